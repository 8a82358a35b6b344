"""Who may enter the routing table, and who must leave it."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dhtd.core.messages import Contact
from dhtd.core.metric import Id
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.routing_meta import Standing
from dhtd.core.state import Full, Inserted, Known, Refused, Replaced, State, Verify
from dhtd.wire.native import NativeCodec
from tests.core.small import CODEC, SEVEN, contact, endpoint
from tests.strategies import ids

POLICY = Policy(k=3, replacements=2)
FAR = (64, 80, 96)  # fill the far bucket of a node with ID 0 ...
NEAR = (1, 2, 4)  # ... which does not split, once these are known


def make(policy: Policy = POLICY, own_id: int = 0) -> State:
    return State(Id(own_id), CODEC, policy, now=0.0)


def full(now: float = 0.0) -> State:
    """Return a state whose far bucket is full of contacts that answered at `now`, a millisecond apart."""
    state = make()
    for place, id in enumerate((*NEAR, *FAR)):
        assert state.answered(contact(id), 0.1, now + place / 1000) == Inserted()
    return state


def make_bad(state: State, victim: Contact, now: float) -> list[Contact | None]:
    """Let two queries to `victim` time out while a neighbour answers."""
    outcomes = []
    for _ in range(2):
        state.answered(contact(NEAR[0]), None, now + 0.1)
        outcomes.append(state.timed_out(victim, sent_at=now))
    return outcomes


def test_who_answers_enters() -> None:
    state = make()
    assert state.answered(contact(5), 0.25, 10.0) == Inserted()
    assert state.table.get(Id(5)) == contact(5)
    assert state.standing(contact(5), 10.0) is Standing.GOOD
    assert state.heard_at == 10.0
    assert state.table.bucket(Id(5)).activity == 10.0
    round_trips = state.round_trips(contact(5))
    assert round_trips is not None
    assert round_trips.mean == 0.25


def test_who_answers_again_is_known_and_its_record_is_brought_up_to_date() -> None:
    state = make()
    state.answered(contact(5), 0.25, 10.0)
    assert state.answered(contact(5), None, 2_000.0) == Known()
    assert state.standing(contact(5), 2_000.0) is Standing.GOOD
    assert state.table.bucket(Id(5)).activity == 2_000.0
    assert len(state.table) == 1


def test_who_only_queries_never_enters_and_is_worth_a_ping_while_there_is_room() -> None:
    state = make()
    assert state.queried(contact(5), 10.0)
    assert len(state.table) == 0
    assert state.heard_at is None


def test_who_claims_our_own_id_is_refused_and_not_pinged() -> None:
    state = make()
    assert state.answered(contact(0), 0.1, 10.0) == Refused()
    assert not state.queried(contact(0), 10.0)
    assert not state.restore(contact(0))
    assert len(state.table) == 0
    assert state.heard_at is None


def test_a_contact_in_the_table_that_queries_is_pinged_only_until_it_has_answered() -> None:
    state = make()
    assert state.restore(contact(5))
    assert state.queried(contact(5), 10.0)
    assert state.meta.get(Id(5)).heard_at is None
    state.answered(contact(5), 0.1, 11.0)
    assert not state.queried(contact(5), 12.0)
    assert state.meta.get(Id(5)).heard_at == 12.0


def test_a_bad_contact_that_queries_is_pinged() -> None:
    state = full()
    make_bad(state, contact(64), 10.0)
    assert state.queried(contact(64), 11.0)


def test_the_same_id_from_another_address_leaves_the_incumbent_unless_it_is_bad() -> None:
    state = full()
    usurper = contact(64, machine=200)
    assert not state.queried(usurper, 5.0)
    assert state.answered(usurper, 0.1, 5.0) == Refused()
    assert state.table.get(Id(64)) == contact(64)
    late = DEFAULT.good_for + 100
    assert state.answered(usurper, 0.1, late) == Refused()  # questionable is not bad
    make_bad(state, contact(64), late)
    assert state.table.get(Id(64)) == contact(64)
    assert state.queried(usurper, late + 1)
    assert state.answered(usurper, 0.1, late + 1) == Inserted()
    assert state.table.get(Id(64)) == usurper
    assert state.table.at(contact(64).endpoint) is None


def test_a_node_that_changed_its_id_is_in_the_table_once() -> None:
    state = full()
    renamed = contact(5, machine=64)
    assert state.answered(renamed, 0.1, 5.0) == Inserted()
    assert state.table.get(Id(64)) is None
    assert state.table.at(renamed.endpoint) == renamed


def test_a_full_bucket_of_good_contacts_refuses() -> None:
    state = full()
    assert state.answered(contact(112), 0.1, 5.0) == Full()
    assert not state.queried(contact(113), 5.0)
    assert state.table.get(Id(112)) is None
    assert len(state.table) == 6


def test_a_full_bucket_has_its_oldest_questionable_contact_verified() -> None:
    state = full()
    late = DEFAULT.good_for + 100
    state.answered(contact(80), 0.1, late)
    assert state.queried(contact(112), late)
    assert state.answered(contact(112), 0.1, late) == Verify(contact(64))
    state.answered(contact(64), 0.1, late)
    assert state.answered(contact(112), 0.1, late) == Verify(contact(96))
    state.answered(contact(96), 0.1, late)
    assert state.answered(contact(112), 0.1, late) == Full()


def test_a_contact_that_was_never_heard_is_the_oldest_questionable_one() -> None:
    state = make()
    for id in (*NEAR, 64, 96):
        state.answered(contact(id), 0.1, 0.0)
    assert state.restore(contact(80))
    assert state.answered(contact(112), 0.1, DEFAULT.good_for + 1) == Verify(contact(80))


def test_a_full_bucket_replaces_a_bad_contact() -> None:
    state = full()
    assert make_bad(state, contact(80), 10.0) == [None, None]
    assert state.queried(contact(112), 11.0)
    assert state.answered(contact(112), 0.1, 11.0) == Replaced(contact(80))
    assert state.table.get(Id(80)) is None
    assert state.table.get(Id(112)) == contact(112)


def test_who_waits_takes_the_place_of_a_contact_that_turns_bad() -> None:
    state = full()
    for id in (112, 113):
        assert state.answered(contact(id), 0.1, 5.0 + id) == Full()
    assert [waiting.id for waiting in state.waiting(state.table.bucket(Id(112)))] == [113, 112]
    assert make_bad(state, contact(80), 200.0) == [None, contact(80)]
    assert state.table.get(Id(80)) is None
    assert state.table.get(Id(113)) == contact(113)  # it has answered last
    assert state.meta.get(Id(113)).heard_at == 118.0  # when it answered, not now
    assert [waiting.id for waiting in state.waiting(state.table.bucket(Id(112)))] == [112]


def test_who_has_waited_long_does_not_make_its_bucket_seem_inactive() -> None:
    state = full()
    assert state.answered(contact(112), 0.1, 5.0) == Full()
    state.answered(contact(64), 0.1, 100.0)
    assert make_bad(state, contact(80), 200.0) == [None, contact(80)]
    assert state.table.get(Id(112)) == contact(112)
    assert state.table.bucket(Id(112)).activity == 100.0


def test_no_more_wait_for_a_bucket_than_the_policy_says_and_the_latest_stay() -> None:
    state = full()
    for id in (112, 113, 114, 112):
        state.answered(contact(id), 0.1, 5.0)
    assert [waiting.id for waiting in state.waiting(state.table.bucket(Id(112)))] == [112, 114]


def test_who_waits_and_has_come_in_by_another_way_does_not_come_in_twice() -> None:
    state = full()
    state.answered(contact(112), 0.1, 5.0)
    state.answered(contact(113), 0.1, 6.0)
    assert state.answered(contact(5, machine=113), 0.1, 7.0) == Inserted()  # same machine, new ID
    assert make_bad(state, contact(80), 10.0) == [None, contact(80)]
    assert state.table.get(Id(113)) is None
    assert state.table.get(Id(112)) == contact(112)
    assert list(state.waiting(state.table.bucket(Id(112)))) == []


def test_who_waits_no_longer_waits_once_it_is_in() -> None:
    state = full()
    state.answered(contact(112), 0.1, 5.0)
    state.moved(Id(64), contact(64).endpoint)
    assert state.answered(contact(112), 0.1, 6.0) == Inserted()
    assert list(state.waiting(state.table.bucket(Id(112)))) == []


def test_a_bad_contact_stays_while_nobody_waits_for_its_place() -> None:
    state = full()
    assert make_bad(state, contact(80), 10.0) == [None, None]
    assert state.table.get(Id(80)) == contact(80)
    assert state.standing(contact(80), 10.0) is Standing.BAD
    state.answered(contact(80), 0.1, 20.0)
    assert state.standing(contact(80), 20.0) is Standing.GOOD


def test_a_timeout_counts_only_if_somebody_has_answered_since_the_query_was_sent() -> None:
    state = make()
    state.restore(contact(80))
    for _ in range(5):
        assert state.timed_out(contact(80), sent_at=0.0) is None  # nobody was ever heard
    state.answered(contact(1), 0.1, 10.0)
    for sent_at in (10.0, 11.0):
        assert state.timed_out(contact(80), sent_at) is None
    assert state.meta.get(Id(80)).timeouts == 0
    state.timed_out(contact(80), sent_at=9.9)
    assert state.meta.get(Id(80)).timeouts == 1


def test_a_timeout_of_somebody_else_at_a_contact_s_id_or_address_is_not_its_own() -> None:
    state = full()
    for _ in range(3):
        assert state.timed_out(contact(80, machine=300), sent_at=-1.0) is None
        assert state.timed_out(contact(81, machine=80), sent_at=-1.0) is None
    assert state.meta.get(Id(80)).timeouts == 0


def test_a_contact_from_whose_address_another_answers_is_taken_out() -> None:
    state = full()
    state.moved(Id(80), contact(81).endpoint)
    assert state.table.get(Id(80)) == contact(80)
    state.moved(Id(80), contact(80).endpoint)
    assert state.table.get(Id(80)) is None
    state.moved(Id(80), contact(80).endpoint)  # twice is harmless


def test_a_restored_contact_is_questionable_and_in_the_table_once() -> None:
    state = make()
    assert state.restore(contact(5))
    assert state.standing(contact(5), 0.0) is Standing.QUESTIONABLE
    assert not state.restore(contact(5))
    assert not state.restore(contact(5, machine=6))
    assert not state.restore(contact(6, machine=5))
    assert state.heard_at is None
    crowded = full()
    assert not crowded.restore(contact(112))
    assert len(crowded.table) == 6


def test_round_trips_are_those_of_the_contact_at_its_address() -> None:
    state = full()
    assert state.round_trips(contact(80, machine=200)) is None
    assert state.round_trips(contact(81)) is None


@pytest.mark.parametrize("towards", range(128))
def test_the_packed_answer_holds_the_same_contacts_as_the_ordered_one(towards: int) -> None:
    state = full()
    state.answered(contact(40), 0.1, 1.0)
    for _ in range(2):  # the second time from the cache
        packed = state.packed_closest(Id(towards))
        assert set(packed.contacts) == set(state.closest(Id(towards), POLICY.k))
        assert packed == CODEC.pack_contacts(packed.contacts)


def test_the_packed_answer_of_a_full_bucket_is_made_once() -> None:
    state = full()
    assert state.packed_closest(Id(127)) is state.packed_closest(Id(64))
    assert [member.id for member in state.packed_closest(Id(127)).contacts] == list(FAR)


def test_a_contact_that_turns_bad_leaves_the_answer_and_one_that_recovers_returns() -> None:
    state = full()
    before = state.packed_closest(Id(64))
    make_bad(state, contact(80), 10.0)
    assert contact(80) not in state.packed_closest(Id(64)).contacts
    assert contact(80) not in state.closest(Id(80), 8)
    assert len(state.packed_closest(Id(64)).contacts) == POLICY.k  # filled up from the next bucket
    state.answered(contact(80), 0.1, 20.0)
    assert set(state.packed_closest(Id(64)).contacts) == set(before.contacts)


def test_questionable_contacts_are_not_put_behind_good_ones() -> None:
    state = full()
    late = DEFAULT.good_for + 100
    for id in NEAR:
        state.answered(contact(id), 0.1, late)
    assert [member.id for member in state.closest(Id(64), 3)] == [64, 80, 96]


class StateMachine(RuleBasedStateMachine):
    """Answers, queries, timeouts, restores and moves in any order: the promises of admission hold throughout."""

    def __init__(self) -> None:
        super().__init__()
        self.state = make()
        self.now = 0.0
        self.has_answered: set[Contact] = set()
        self.restored: set[Contact] = set()

    @initialize(own_id=ids(SEVEN), k=st.integers(1, 4), replacements=st.integers(1, 3))
    def begin(self, own_id: Id, k: int, replacements: int) -> None:
        self.state = make(Policy(k=k, replacements=replacements, good_for=50.0), own_id)

    @rule(seconds=st.sampled_from([0.5, 10.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(id=ids(SEVEN), shift=st.sampled_from([0, 0, 0, 1, 2]))
    def answers(self, id: Id, shift: int) -> None:
        newcomer = contact(id, machine=id + shift)
        members = set(self.state.table)
        incumbent = self.state.table.get(id)
        standings = {member: self.state.standing(member, self.now) for member in members}
        outcome = self.state.answered(newcomer, 0.1, self.now)
        self.has_answered.add(newcomer)
        after = set(self.state.table)
        renamed = {member for member in members if member.endpoint == newcomer.endpoint and member != newcomer}
        match outcome:
            case Inserted():
                assert after == (members - renamed - {incumbent}) | {newcomer}
                assert incumbent is None or standings[incumbent] is Standing.BAD
            case Replaced(evicted):
                assert after == (members - renamed - {evicted}) | {newcomer}
                assert standings[evicted] is Standing.BAD
            case Known():
                assert incumbent == newcomer
                assert after == members
            case Verify(questionable):
                assert after == members - renamed
                assert standings[questionable] is Standing.QUESTIONABLE
            case Full():
                assert after == members - renamed
                bucket = self.state.table.bucket(id)
                assert len(bucket.contacts) == self.state.table.k
                assert all(self.state.standing(member, self.now) is Standing.GOOD for member in bucket.contacts)
            case Refused():
                assert after == members
                assert id == self.state.table.own_id or (
                    incumbent is not None and incumbent != newcomer and standings[incumbent] is not Standing.BAD
                )
        if newcomer in after:
            assert self.state.standing(newcomer, self.now) is Standing.GOOD

    @rule(id=ids(SEVEN), shift=st.sampled_from([0, 0, 1]))
    def queries(self, id: Id, shift: int) -> None:
        members = set(self.state.table)
        worth_a_ping = self.state.queried(contact(id, machine=id + shift), self.now)
        assert set(self.state.table) == members
        if id == self.state.table.own_id:
            assert not worth_a_ping

    @rule(data=st.data(), ago=st.sampled_from([0.0, 2.0, 100.0]))
    def times_out(self, data: Any, ago: float) -> None:
        members = sorted(self.state.table, key=lambda member: member.id)
        if not members:
            return
        victim = data.draw(st.sampled_from(members))
        sent_at = self.now - ago
        in_vain = self.state.heard_at is not None and self.state.heard_at > sent_at
        timeouts = self.state.meta.get(victim.id).timeouts
        evicted = self.state.timed_out(victim, sent_at)
        if not in_vain:
            assert evicted is None
            assert self.state.meta.get(victim.id).timeouts == timeouts
        if evicted is not None:
            assert evicted == victim
            assert timeouts == self.state.meta._policy.bad_after
            (replacement,) = set(self.state.table) - set(members)
            assert replacement in self.has_answered

    @rule(id=ids(SEVEN))
    def is_restored(self, id: Id) -> None:
        if self.state.restore(contact(id)):
            self.restored.add(contact(id))
            assert self.state.standing(contact(id), self.now) is Standing.QUESTIONABLE

    @rule(id=ids(SEVEN))
    def has_moved(self, id: Id) -> None:
        members = set(self.state.table)
        self.state.moved(id, contact(id).endpoint)
        assert set(self.state.table) == members - {contact(id)}

    @rule(towards=ids(SEVEN), count=st.integers(0, 10))
    def closest(self, towards: Id, count: int) -> None:
        live = [member for member in self.state.table if self.state.standing(member, self.now) is not Standing.BAD]
        nearest = sorted(live, key=lambda member: member.id ^ towards)
        assert self.state.closest(towards, count) == nearest[:count]
        assert set(self.state.packed_closest(towards).contacts) == set(nearest[: self.state.table.k])

    @invariant()
    def only_who_answered_or_was_restored_is_in(self) -> None:
        assert set(self.state.table) <= self.has_answered | self.restored
        assert set(self.state.meta._records) == {member.id for member in self.state.table}

    @invariant()
    def nobody_waits_twice_and_few_wait_for_a_bucket(self) -> None:
        for bucket in self.state.table.buckets:
            waiting = list(self.state.waiting(bucket))
            assert len({member.id for member in waiting}) == len(waiting)
            assert set(waiting) <= self.has_answered


TestStateKeepsItsPromises = StateMachine.TestCase


def test_the_size_of_the_network_is_estimated_from_our_nearest_neighbours() -> None:
    rng = Random(1)
    codec = NativeCodec()
    for size in (2, 5, 9, 50, 1000):
        own_id = codec.keyspace.random(rng)
        state = State(own_id, codec, DEFAULT, 0.0)
        for number in range(size - 1):
            state.answered(Contact(codec.keyspace.random(rng), endpoint(number)), None, 0.0)
        assert state.estimated_size() == size or (size > 8 and size / 3 < state.estimated_size() < 3 * size)
