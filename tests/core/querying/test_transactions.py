"""Queries in flight, against a dictionary with the state of each.

A query ends once, by an answer or by its last timeout. Messages with another tid, from elsewhere, or after its end
change nothing. Before its end, it is called slow once at most, then late once at most, and is sent again no more often
than allowed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, Error, FindNode, Ping, Result
from dhtd.core.policy import DEFAULT
from dhtd.core.querying.requester import Asked
from dhtd.core.querying.transactions import InFlight, Late, Retry, Slow, TimedOut, Transactions
from dhtd.core.round_trips import RoundTrips
from tests.core.bench import US, Bench, Sent
from tests.core.small import CODEC, endpoint
from tests.strategies import scaled

HERE, ELSEWHERE = endpoint(1), endpoint(2)
TIMEOUT = DEFAULT.query_timeout


def make() -> Transactions[str]:
    return Transactions(8, Random(1), DEFAULT)


def begin(
    transactions: Transactions[str], now: float = 0.0, attempts: int = 1, measured: RoundTrips | None = None
) -> InFlight[str]:
    tid = transactions.new_tid()
    query = InFlight(tid, Ping(), HERE, None, "owner", b"datagram", now, attempts)
    transactions.begin(query, measured)
    return query


def measured(*rtts: float) -> RoundTrips:
    round_trips = RoundTrips()
    for rtt in rtts:
        round_trips.add(rtt)
    return round_trips


def test_an_answer_needs_the_tid_and_exact_source() -> None:
    transactions = make()
    query = begin(transactions)
    other = begin(transactions)
    assert transactions.match(query.tid, HERE) is query
    assert transactions.match(other.tid, HERE) is other
    assert transactions.match(query.tid, ELSEWHERE) is None
    assert transactions.match(query.tid, HERE.with_port(1)) is None
    assert transactions.match(bytes(8), HERE) is None
    assert len(transactions) == 2


def test_an_answered_query_is_over() -> None:
    transactions = make()
    query = begin(transactions, now=10.0)
    assert transactions.conclude(query, 10.25) == 0.25
    assert transactions.match(query.tid, HERE) is None
    assert len(transactions) == 0
    assert transactions.next_timeout() is None
    assert list(transactions.expire(100.0)) == []


def test_transaction_ids_are_unique_in_flight() -> None:
    class Repeating(Random):
        """Draws each value twice."""

        def __init__(self) -> None:
            super().__init__(1)
            self.drawn: list[bytes] = []

        def randbytes(self, n: int) -> bytes:
            self.drawn.append(len(self.drawn).__floordiv__(2).to_bytes(n, "big"))
            return self.drawn[-1]

    transactions: Transactions[str] = Transactions(2, Repeating(), DEFAULT)
    tids = [begin(transactions).tid for _ in range(5)]
    assert tids == [number.to_bytes(2, "big") for number in range(5)]


def test_an_unmeasured_query_is_slow_then_fails() -> None:
    transactions = make()
    query = begin(transactions, now=1.0)
    assert transactions.next_timeout() == 1.0 + DEFAULT.slow_initial
    assert list(transactions.expire(1.49)) == []
    assert list(transactions.expire(1.5)) == [Slow(query)]
    assert query.slow
    assert transactions.match(query.tid, HERE) is query
    assert transactions.next_timeout() == 1.0 + DEFAULT.late_initial
    assert list(transactions.expire(1.99)) == []
    assert list(transactions.expire(2.0)) == [Late(query)]
    assert transactions.match(query.tid, HERE) is query
    assert transactions.next_timeout() == 1.0 + TIMEOUT
    assert list(transactions.expire(2.99)) == []
    assert list(transactions.expire(3.0)) == [TimedOut(query)]
    assert transactions.match(query.tid, HERE) is None
    assert len(transactions) == 0


def test_an_unseen_query_fails_without_being_slow() -> None:
    transactions = make()
    query = begin(transactions)
    assert list(transactions.expire(60.0)) == [TimedOut(query)]
    assert not query.slow


def test_a_retry_keeps_the_transaction_id() -> None:
    transactions = make()
    query = begin(transactions, attempts=2)
    assert list(transactions.expire(0.5)) == [Slow(query)]
    assert list(transactions.expire(2.5)) == [Retry(query, sent_at=0.0)]
    assert (query.sent_at, query.attempts_left) == (2.5, 1)
    assert transactions.match(query.tid, HERE) is query
    assert transactions.next_timeout() == 2.5 + TIMEOUT
    assert list(transactions.expire(4.5)) == [TimedOut(query)]


def test_a_retried_query_measures_nothing() -> None:
    transactions = make()
    query = begin(transactions, attempts=2)
    list(transactions.expire(2.0))
    assert transactions.conclude(query, 2.1) is None
    assert transactions.round_trips.mean is None


def test_own_round_trips_outweigh_those_of_all() -> None:
    transactions = make()
    for _ in range(DEFAULT.k):
        transactions.conclude(begin(transactions), 0.2)
    assert transactions.round_trips.mean == pytest.approx(0.2)
    of_all = transactions.round_trips.patience(DEFAULT.slow_deviations)
    assert of_all is not None
    begin(transactions, now=10.0)
    assert transactions.next_timeout() == pytest.approx(10.0 + of_all)
    begin(transactions, now=10.0, measured=measured(0.1))
    assert transactions.next_timeout() == pytest.approx(10.0 + 0.1 + DEFAULT.slow_deviations * 0.05)  # first sample
    begin(transactions, now=1.0, measured=RoundTrips())
    assert transactions.next_timeout() == pytest.approx(1.0 + of_all)


def test_a_few_foreign_round_trips_say_nothing() -> None:
    transactions = make()
    for _ in range(DEFAULT.k - 1):
        transactions.conclude(begin(transactions), 0.01)
    begin(transactions, now=10.0)
    assert transactions.next_timeout() == 10.0 + DEFAULT.slow_initial


def test_a_slow_insistent_query_measures_nothing() -> None:
    transactions = make()
    query = begin(transactions)
    query.is_insistent = True
    assert list(transactions.expire(0.6)) == [Slow(query)]
    assert transactions.conclude(query, 0.7) is None


def test_no_query_is_slow_before_the_floor() -> None:
    transactions = make()
    begin(transactions, measured=measured(*[0.001] * 50))
    assert transactions.next_timeout() == DEFAULT.slow_floor
    transactions = make()
    lame = begin(transactions, measured=measured(1.5))
    assert transactions.next_timeout() == TIMEOUT
    assert list(transactions.expire(TIMEOUT)) == [TimedOut(lame)]


@given(st.lists(st.floats(0, 2), min_size=1, max_size=50))
def test_round_trips_stay_within_the_measured(rtts: list[float]) -> None:
    round_trips = measured(*rtts)
    patience = round_trips.patience(4)
    assert round_trips.mean is not None
    assert patience is not None
    assert min(rtts) - 1e-9 <= round_trips.mean <= max(rtts) + 1e-9
    assert patience >= round_trips.mean
    assert RoundTrips().patience(4) == 0.0


def test_steady_contacts_get_short_patience() -> None:
    steady, shaky = measured(*[0.1] * 40), measured(*[0.02, 0.18] * 20)
    assert steady.mean == pytest.approx(0.1)
    assert steady.patience(4) == pytest.approx(0.1, abs=0.001)
    assert shaky.mean == pytest.approx(0.1, abs=0.02)
    assert shaky.patience(4) == pytest.approx(0.42, abs=0.05)


def test_round_trips_follow_rfc_6298() -> None:
    round_trips = measured(0.4)
    assert round_trips.patience(4) == pytest.approx(0.4 + 4 * 0.2)
    round_trips.add(0.8)
    assert round_trips.mean == pytest.approx(0.4 * 7 / 8 + 0.8 / 8)
    assert round_trips.patience(4) == pytest.approx(0.45 + 4 * (0.75 * 0.2 + 0.25 * 0.4))


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 3)), min_size=1, max_size=30))
def test_every_query_ends_when_the_clock_says(
    starts: list[tuple[float, int]],
) -> None:
    transactions = make()
    ended = []
    now = 0.0
    for gap, attempts in starts:
        now += gap
        begin(transactions, now=now, attempts=attempts)
    while (when := transactions.next_timeout()) is not None:
        happened = list(transactions.expire(max(when, now)))
        assert happened
        ended += [expiry.query.tid for expiry in happened if isinstance(expiry, TimedOut)]
        assert not list(transactions.expire(max(when, now)))
    assert len(ended) == len(set(ended)) == len(starts)
    assert len(transactions) == 0


def patience(rtts: list[float], deviations: int, part: int = 8) -> float | None:
    """Return the estimate of RFC 6298 section 2, from all samples; each newer one weighs one `part`."""
    if not rtts:
        return None
    srtt, rttvar = rtts[0], rtts[0] / 2
    for rtt in rtts[1:]:
        rttvar = (1 - 2 / part) * rttvar + 2 / part * abs(srtt - rtt)
        srtt = (1 - 1 / part) * srtt + 1 / part * rtt
    return srtt + deviations * rttvar


def waits(own: list[float], of_all: list[float]) -> tuple[float, float]:
    """Return the times after which a query is slow, and late."""
    both = []
    for deviations, floor, initial in (
        (DEFAULT.slow_deviations, DEFAULT.slow_floor, DEFAULT.slow_initial),
        (DEFAULT.late_deviations, DEFAULT.late_floor, DEFAULT.late_initial),
    ):
        expected = patience(own, deviations)
        if expected is None and len(of_all) >= DEFAULT.k:
            expected = patience(of_all, deviations, part=32)
        both.append(min(max(initial if expected is None else expected, floor), TIMEOUT))
    return both[0], both[1]


@dataclass
class Facts:
    """The state of a query in flight."""

    query: InFlight[str]
    attempts: int
    sent_at: float
    slow_at: float  # infinite once it was said, or sent again
    late_at: float  # the same
    retried: bool = False

    @property
    def hard(self) -> float:
        return self.sent_at + TIMEOUT


class TransactionsMachine(RuleBasedStateMachine):
    """Queries begin, are answered rightly and wrongly, and expire, with looks at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.transactions: Transactions[str] = Transactions(1, Random(1), DEFAULT)  # so short that tids collide
        self.model: dict[bytes, Facts] = {}
        self.rtts: list[float] = []
        self.over: set[tuple[bytes, Endpoint]] = set()
        self.now = 0.0

    @rule(seconds=st.sampled_from([0.0, 0.04, 0.25, 0.5, 1.0, 2.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(early=st.booleans())
    def time_passes_until_something_is_due(self, early: bool) -> None:
        when = self.transactions.next_timeout()
        if when is not None:
            self.now = max(self.now, math.nextafter(when, 0) if early else when)

    @rule(machine=st.integers(1, 3), attempts=st.integers(1, 3), own=st.none() | st.lists(st.floats(0, 2), max_size=4))
    def begin(self, machine: int, attempts: int, own: list[float] | None = None) -> None:
        if len(self.model) > 200:
            return
        tid = self.transactions.new_tid()
        assert tid not in self.model
        query = InFlight(tid, Ping(), endpoint(machine), None, "owner", b"datagram", self.now, attempts)
        self.transactions.begin(query, None if own is None else measured(*own))
        slow, late = waits(own or [], self.rtts)
        slow_at = self.transactions._deadlines.get(tid)
        assert slow_at is not None
        assert (slow_at, query.late_at) == pytest.approx((self.now + slow, self.now + late), abs=1e-9)
        self.model[tid] = Facts(query, attempts, self.now, slow_at, query.late_at)

    @rule()
    def begin_many(self) -> None:
        for machine in range(20):
            self.begin(machine, attempts=1)

    def answer(self, tid: bytes, source: Endpoint) -> None:
        query = self.transactions.match(tid, source)
        facts = self.model.get(tid)
        if facts is None or facts.query.endpoint != source:
            assert query is None
            return
        assert query is facts.query
        rtt = self.transactions.conclude(query, self.now)
        assert rtt == (None if facts.retried else self.now - facts.sent_at)
        if rtt is not None:
            self.rtts.append(rtt)
        self.end(tid)

    def end(self, tid: bytes) -> None:
        self.over.add((tid, self.model.pop(tid).query.endpoint))

    @precondition(lambda self: self.model)
    @rule(data=st.data(), moved=st.booleans())
    def somebody_answers(self, data: Any, moved: bool) -> None:
        tid = data.draw(st.sampled_from(sorted(self.model)))
        other = data.draw(st.sampled_from(sorted(self.model)))
        source = self.model[other].query.endpoint  # often the right one
        self.answer(tid, source.with_port(9) if moved else source)

    @rule(tid=st.binary(min_size=1, max_size=1), machine=st.integers(1, 3))
    def somebody_guesses(self, tid: bytes, machine: int) -> None:
        self.answer(tid, endpoint(machine))

    @rule(meanwhile=st.lists(st.sampled_from(["begin", "answer", "nothing"]), max_size=4))
    def expire(self, meanwhile: list[str]) -> None:
        does = iter(meanwhile)
        for expiry in self.transactions.expire(self.now):
            tid = expiry.query.tid
            facts = self.model[tid]
            assert expiry.query is facts.query
            match expiry:
                case Slow():
                    assert facts.slow_at <= self.now < facts.hard
                    facts.slow_at = math.inf
                case Late():
                    assert facts.slow_at == math.inf
                    assert facts.late_at <= self.now < facts.hard
                    facts.late_at = math.inf
                case Retry(_, sent_at):
                    assert facts.hard <= self.now
                    assert sent_at == facts.sent_at
                    facts.attempts -= 1
                    assert facts.attempts >= 1
                    facts.sent_at, facts.slow_at, facts.late_at, facts.retried = self.now, math.inf, math.inf, True
                case TimedOut():
                    assert facts.hard <= self.now
                    assert facts.attempts == 1
                    self.end(tid)
            match next(does, "nothing"):
                case "begin":
                    self.begin(1, attempts=1)
                case "answer" if self.model:
                    first = min(self.model)
                    self.answer(first, self.model[first].query.endpoint)
        for facts in self.model.values():
            assert min(facts.slow_at, facts.late_at, facts.hard) > self.now

    @invariant()
    def agrees(self) -> None:
        assert len(self.transactions) == len(self.model)
        due = [min(facts.slow_at, facts.late_at, facts.hard) for facts in self.model.values()]
        assert self.transactions.next_timeout() == min(due, default=None)
        for tid, facts in self.model.items():
            query = facts.query
            assert self.transactions.match(tid, query.endpoint) is query
            assert (query.sent_at, query.attempts_left, query.retried) == (facts.sent_at, facts.attempts, facts.retried)
        for tid, source in self.over:
            taken = self.model.get(tid)
            assert (self.transactions.match(tid, source) is None) is (taken is None or taken.query.endpoint != source)


TestTransactionsAgreeWithADictionary = TransactionsMachine.TestCase


@dataclass(eq=False)
class Listener:
    """An operation that remembers everything that it is told."""

    told: list[str] = field(default_factory=list)

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        self.told.append("answered")

    def overdue(self, query: Asked, now: float, *, late: bool) -> None:
        self.told.append("late" if late else "slow")

    def retried(self, now: float) -> None:
        self.told.append("retried")

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        self.told.append("timed out" if error is None else "refused")

    def give_up(self, now: float) -> None:
        self.told.append("given up")


class AskingMachine(RuleBasedStateMachine):
    """Whatever comes in, from anywhere: the asker is told of one end, and that comes last."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.asked: list[tuple[Listener, Sent, int]] = []

    @rule(machine=st.integers(1, 4), attempts=st.integers(1, 2))
    def ask(self, machine: int, attempts: int) -> None:
        listener, request = Listener(), FindNode(Id(1), b"token")
        asked = self.bench.node.requester.ask(
            *(listener, request, endpoint(machine), None, self.bench.now, attempts),
            impatient=listener,
            on_retry=listener.retried,
        )
        (sent,) = [sent for sent in self.bench.sent() if sent.query.tid == asked.tid]
        self.asked.append((listener, sent, attempts))

    @rule(seconds=st.sampled_from([0.01, 0.6, 1.0, 2.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.bench.advance(seconds)

    @precondition(lambda self: self.asked)
    @rule(
        data=st.data(),
        kind=st.sampled_from(["reply", "error", "nonsense"]),
        wrong=st.sampled_from(["nothing", "nothing", "tid", "host", "port"]),
        times=st.integers(1, 2),
    )
    def something_comes_in(self, data: Any, kind: str, wrong: str, times: int) -> None:
        listener, sent, _ = data.draw(st.sampled_from(self.asked[-6:]))
        tid = bytes(8) if wrong == "tid" else sent.query.tid
        source = {"host": endpoint(99), "port": sent.to.with_port(99)}.get(wrong, sent.to)
        sender = Id(sent.to[3])
        datagram = {
            "reply": CODEC._encode(1, tid, sender, bytes(US), [b"token", b"", b"", False]),
            "error": CODEC.encode_error(tid, sender, 202, "busy"),
            "nonsense": CODEC._encode(1, tid, sender, bytes(US), []),
        }[kind]
        for _ in range(times):
            before = [list(listener.told) for listener, _, _ in self.asked]
            here = [listener for listener, _, _ in self.asked].index(listener)
            counters = self.bench.node.counters
            unmatched, malformed = counters.unmatched, counters.malformed
            assert self.bench.deliver(datagram, source) is None
            is_over = bool({"answered", "refused", "timed out"} & set(before[here]))
            after = [list(listener.told) for listener, _, _ in self.asked]
            if wrong != "nothing" or is_over:
                assert counters.unmatched == unmatched + 1
            elif kind == "nonsense":
                assert counters.malformed == malformed + 1
            else:
                before[here].append("answered" if kind == "reply" else "refused")
            assert after == before

    @invariant()
    def each_is_told_of_one_end_and_of_that_last(self) -> None:
        for listener, _, attempts in self.asked:
            *before, last = listener.told or [""]
            assert set(before) <= {"slow", "late", "retried"}
            assert [told for told in listener.told if told in {"slow", "late"}] in ([], ["slow"], ["slow", "late"])
            assert listener.told.count("retried") <= attempts - 1
            if last == "timed out":
                assert before.count("retried") == attempts - 1

    def teardown(self) -> None:
        self.bench.advance(10.0)
        for listener, _, _ in self.asked:
            assert listener.told[-1] in {"answered", "refused", "timed out"}


TestEachQueryHasOneEnd = AskingMachine.TestCase
TestEachQueryHasOneEnd.settings = scaled(50)
