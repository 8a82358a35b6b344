"""Good, questionable, bad: the standing of a contact follows from its whole history, and so the model computes it."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dhtd.core.ids import Id
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.routing.standing import Standing, Standings
from tests.core.small import History

A = Id(1)
LATER = DEFAULT.good_for


def make() -> Standings:
    meta = Standings(DEFAULT)
    meta.add(A)
    return meta


def test_an_unheard_contact_is_questionable() -> None:
    assert make().standing(A, 0.0) is Standing.QUESTIONABLE
    assert not make().get(A).reachable


def test_an_answer_is_good_for_fifteen_minutes() -> None:
    meta = make()
    meta.answered(A, 0.1, 100.0)
    assert meta.get(A).reachable
    assert meta.standing(A, 100.0 + LATER - 0.001) is Standing.GOOD
    assert meta.standing(A, 100.0 + LATER) is Standing.QUESTIONABLE
    assert LATER == 15 * 60


def test_two_timeouts_in_a_row_make_a_contact_bad() -> None:
    meta = make()
    meta.answered(A, 0.1, 100.0)
    assert meta.timed_out(A) is False
    assert meta.standing(A, 100.0) is Standing.GOOD
    assert not meta.is_bad(A)
    assert meta.timed_out(A) is True
    assert meta.standing(A, 100.0) is Standing.BAD
    assert meta.is_bad(A)
    assert meta.timed_out(A) is False  # it was bad before


def test_an_answer_ends_a_row_of_timeouts() -> None:
    meta = make()
    meta.answered(A, 0.1, 100.0)
    meta.timed_out(A)
    meta.answered(A, 0.1, 101.0)
    meta.timed_out(A)
    assert not meta.is_bad(A)
    meta.timed_out(A)
    assert meta.is_bad(A)
    meta.answered(A, None, 103.0)
    assert meta.standing(A, 103.0) is Standing.GOOD


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_how_many_timeouts_are_forgiven_is_policy(allowed: int) -> None:
    meta = Standings(Policy(bad_after=allowed))
    meta.add(A)
    assert [meta.timed_out(A) for _ in range(allowed + 1)] == [False] * allowed + [True]


def test_only_an_unambiguous_round_trip_is_taken() -> None:
    meta = make()
    meta.answered(A, None, 1.0)
    assert meta.get(A).round_trips.mean is None
    meta.answered(A, 0.25, 1.0)
    assert meta.get(A).round_trips.mean == 0.25


def test_a_returning_contact_starts_anew() -> None:
    meta = make()
    meta.answered(A, 0.1, 1.0)
    meta.timed_out(A)
    meta.drop(A)
    with pytest.raises(KeyError):
        meta.get(A)
    record = meta.add(A)
    assert (record.heard_at, record.reachable, record.timeouts, record.round_trips.mean) == (None, False, 0, None)


few = st.integers(0, 2).map(Id)


class MetaMachine(RuleBasedStateMachine):
    """Three contacts enter, answer, miss queries and leave; their standing always follows from their history."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = DEFAULT
        self.meta = make()
        self.histories: dict[Id, History] = {}
        self.now = 0.0

    @initialize(good_for=st.sampled_from([10.0, 20.0]), bad_after=st.integers(0, 2))
    def begin(self, good_for: float, bad_after: int) -> None:
        self.policy = Policy(good_for=good_for, bad_after=bad_after)
        self.meta = Standings(self.policy)

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0, 9.5, 10.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(id=few)
    def enters_or_leaves(self, id: Id) -> None:
        if id in self.histories:
            self.meta.drop(id)
            del self.histories[id]
        else:
            self.meta.add(id)
            self.histories[id] = History(self.policy)

    @rule(id=few, rtt=st.none() | st.floats(0, 2))
    def answers(self, id: Id, rtt: float | None) -> None:
        if id in self.histories:
            self.meta.answered(id, rtt, self.now)
            self.histories[id].events.append((self.now, "answered"))
            self.histories[id].rtts += [] if rtt is None else [rtt]

    @rule(id=few)
    def misses_a_query(self, id: Id) -> None:
        if id in self.histories:
            history = self.histories[id]
            was_bad = history.bad
            history.events.append((self.now, "timed out"))
            assert self.meta.timed_out(id) is (history.bad and not was_bad)

    @invariant()
    def agrees(self) -> None:
        for id in map(Id, range(3)):
            if id not in self.histories:
                with pytest.raises(KeyError):
                    self.meta.get(id)
                continue
            history, record = self.histories[id], self.meta.get(id)
            assert self.meta.standing(id, self.now) is history.standing(self.now)
            assert self.meta.is_bad(id) is history.bad
            assert (record.heard_at, record.reachable) == (history.heard_at, history.reachable)
            assert record.timeouts == history.missed
            assert record.round_trips.mean == pytest.approx(history.mean())
            if history.standing(self.now) is Standing.GOOD:
                until = self.meta.good_until(id)
                assert history.standing(until - 0.25) is Standing.GOOD
                assert history.standing(until) is Standing.QUESTIONABLE


TestAContactIsWhatItsHistorySays = MetaMachine.TestCase
