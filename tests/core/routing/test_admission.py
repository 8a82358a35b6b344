"""Which nodes may enter the routing table, and which must leave it.

The model decides each case from the full history of every contact and a look through all of them: insert if there is
room; replace a bad contact; verify a questionable one; else refuse. A node that has never answered changes nothing by
querying. If limits apply, all machines here are in one network.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dhtd.core.counters import CONTACTS_PER_NETWORK, CONTACTS_PER_NETWORK_IN_BUCKET
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.policy import DEFAULT, PRIVATE_NETWORKS, Policy
from dhtd.core.routing.admission import RoutingState
from dhtd.core.routing.outcomes import Admission, Contested, Crowded, Full, Inserted, Known, Refused, Replaced, Verify
from dhtd.core.routing.standing import Standing
from tests.core.routing.small_table import NEAR, full, make, make_bad
from tests.core.small import CODEC, SEVEN, History, SlowTable, contact, endpoint
from tests.strategies import ids


def test_an_answering_stranger_enters() -> None:
    state = make()
    assert state.answered(contact(5), 0.25, 10.0) == Inserted()
    assert state.table.get(Id(5)) == contact(5)
    assert state.standing(contact(5), 10.0) is Standing.GOOD
    assert state.heard_at == 10.0
    assert state.table.bucket(Id(5)).activity == 10.0
    round_trips = state.round_trips(*contact(5))
    assert round_trips is not None
    assert round_trips.mean == 0.25


def test_a_contact_that_answers_again_is_known() -> None:
    state = make()
    state.answered(contact(5), 0.25, 10.0)
    assert state.answered(contact(5), None, 2_000.0) == Known()
    assert state.standing(contact(5), 2_000.0) is Standing.GOOD
    assert state.table.bucket(Id(5)).activity == 2_000.0
    assert len(state.table) == 1


def test_a_node_that_only_queries_never_enters() -> None:
    state = make()
    assert state.queried(*contact(5), 10.0)
    assert len(state.table) == 0
    assert state.heard_at is None


def test_a_node_with_our_own_id_is_refused() -> None:
    state = make()
    assert state.answered(contact(0), 0.1, 10.0) == Refused()
    assert not state.queried(*contact(0), 10.0)
    assert not state.restore(contact(0))
    assert len(state.table) == 0
    assert state.heard_at is None


def test_a_querying_contact_is_pinged_unless_good() -> None:
    state = make()
    assert state.restore(contact(5))
    assert state.queried(*contact(5), 10.0)
    assert state.meta.get(Id(5)).heard_at is None
    state.answered(contact(5), 0.1, 11.0)
    assert not state.queried(*contact(5), 10.0 + DEFAULT.good_for)
    assert state.queried(*contact(5), 11.0 + DEFAULT.good_for)


def test_a_full_bucket_pings_only_when_one_is_not_good() -> None:
    state = full()
    for now in (1.0, 2.0):  # the second time, nobody looks at all of them
        assert not state.queried(*contact(100), now)
    assert state.queried(*contact(100), DEFAULT.good_for + 1.0)


def test_the_latest_have_answered_last() -> None:
    state = make()
    state.restore(contact(4))
    for id, when in ((5, 10.0), (80, 12.0), (81, 11.0), (82, 13.0)):
        state.answered(contact(id), 0.1, when)
    for _ in range(2):
        state.meta.timed_out(Id(82))
    state.answered(contact(5), 0.1, 14.0)
    assert state.latest(9) == [contact(5), contact(80), contact(81), contact(4)]
    assert state.latest(2) == [contact(5), contact(80)]


def test_queries_do_not_keep_a_contact_good() -> None:
    """Anybody can forge them, or replay captured ones; only an answer is a sign of life."""
    state = make()
    state.answered(contact(5), 0.1, 10.0)
    for place in range(1, 4):
        state.queried(*contact(5), 10.0 + place * DEFAULT.good_for / 3)
    assert state.meta.get(Id(5)).heard_at == 10.0
    assert state.standing(contact(5), 10.0 + DEFAULT.good_for) is Standing.QUESTIONABLE


def test_a_bad_contact_that_queries_is_pinged() -> None:
    state = full()
    make_bad(state, contact(64), 10.0)
    assert state.queried(*contact(64), 11.0)


def test_only_a_bad_incumbent_loses_its_id() -> None:
    state = full()
    usurper = contact(64, machine=200)
    assert not state.queried(*usurper, 5.0)
    assert state.answered(usurper, 0.1, 5.0) == Refused()
    assert state.table.get(Id(64)) == contact(64)
    make_bad(state, contact(64), 6.0)
    assert state.table.get(Id(64)) == contact(64)
    assert state.queried(*usurper, 7.0)
    assert state.answered(usurper, 0.1, 7.0) == Inserted()
    assert state.table.get(Id(64)) == usurper
    assert state.table.at(contact(64).endpoint) is None


def test_a_claimant_waits_for_a_silent_incumbent() -> None:
    state, usurper = full(), contact(64, machine=200)
    assert not state.queried(*usurper, 60.0)
    assert state.queried(*usurper, 60.01)  # is anybody there, to begin with?
    assert state.answered(usurper, 0.1, 60.01) == Contested(contact(64))
    assert state.table.get(Id(64)) == contact(64)
    assert state.answered(contact(64), 0.1, 61.0) == Known()  # the incumbent has answered: the claim is void
    assert make_bad(state, contact(64), 70.0) == [None, None]
    assert state.table.get(Id(64)) == contact(64)
    state.answered(contact(64), 0.1, 80.0)
    assert state.answered(usurper, 0.1, 140.0) == Contested(contact(64))
    assert make_bad(state, contact(64), 141.0) == [None, contact(64)]
    assert state.table.get(Id(64)) == usurper
    assert state.meta.get(Id(64)).heard_at == 140.0


def test_a_stranger_is_pinged_again_for_a_free_place() -> None:
    state = full()
    assert not state.queried(Id(120), endpoint(120), 1.0)
    assert state.table.bucket(Id(120)).closed_until > 1.0
    for id in NEAR:
        state.moved(Id(id), contact(id).endpoint)
    assert state.table.has_room(state.table.bucket(Id(70)), Id(70))  # nodes farther than our neighbours count no more
    assert state.queried(Id(70), endpoint(70), 1.0)


def test_a_full_bucket_stays_open_to_nearer_strangers() -> None:
    state = make()
    for id in (9, 16, 33, 58, 61, 64):
        assert state.answered(contact(id), 0.1, 0.0) == Inserted()
    assert not state.queried(*contact(34), 1.0)  # 33 is the nearest but two
    assert state.queried(*contact(32), 1.0)


def test_a_contact_answers_us_until_it_turns_bad() -> None:
    state = make()
    state.restore(contact(1))
    state.restore(contact(2))
    assert not state.answers_us(contact(1).endpoint)  # anybody who knows of it could forge queries from there
    for id in (1, 2, 4):
        state.answered(contact(id), 0.1, 1.0)
        assert state.answers_us(contact(id).endpoint)
    assert not state.answers_us(contact(1).endpoint.with_port(9))
    make_bad(state, contact(2), 2.0)
    assert not state.answers_us(contact(2).endpoint)


def test_a_node_with_a_new_id_is_in_the_table_once() -> None:
    state = full()
    renamed = contact(5, machine=64)
    assert state.answered(renamed, 0.1, 5.0) == Inserted()
    assert state.table.get(Id(64)) is None
    assert state.table.at(renamed.endpoint) == renamed


def test_a_full_bucket_of_good_contacts_refuses() -> None:
    state = full()
    assert state.answered(contact(112), 0.1, 5.0) == Full()
    assert not state.queried(*contact(113), 5.0)
    assert state.table.get(Id(112)) is None
    assert len(state.table) == 6


def test_the_oldest_questionable_contact_is_verified() -> None:
    state = full()
    late = DEFAULT.good_for + 100
    state.answered(contact(80), 0.1, late)
    assert state.queried(*contact(112), late)
    assert state.answered(contact(112), 0.1, late) == Verify(contact(64))
    state.answered(contact(64), 0.1, late)
    assert state.answered(contact(112), 0.1, late) == Verify(contact(96))
    state.answered(contact(96), 0.1, late)
    assert state.answered(contact(112), 0.1, late) == Full()


def test_a_contact_never_heard_counts_as_the_oldest() -> None:
    state = make()
    for id in (*NEAR, 64, 96):
        state.answered(contact(id), 0.1, 0.0)
    assert state.restore(contact(80))
    assert state.answered(contact(112), 0.1, DEFAULT.good_for + 1) == Verify(contact(80))


def test_a_full_bucket_replaces_a_bad_contact() -> None:
    state = full()
    assert make_bad(state, contact(80), 10.0) == [None, None]
    assert state.queried(*contact(112), 11.0)
    assert state.answered(contact(112), 0.1, 11.0) == Replaced(contact(80))
    assert state.table.get(Id(80)) is None
    assert state.table.get(Id(112)) == contact(112)


def test_a_newcomer_replaces_one_that_turns_bad() -> None:
    state = full()
    for id in (112, 113):
        assert state.answered(contact(id), 0.1, 5.0 + id) == Full()
    assert [waiting.id for waiting in state._line.of(state.table.bucket(Id(112)))] == [113, 112]
    assert make_bad(state, contact(80), 200.0) == [None, contact(80)]
    assert state.table.get(Id(80)) is None
    assert state.table.get(Id(113)) == contact(113)  # it has answered last
    assert state.meta.get(Id(113)).heard_at == 118.0  # when it answered, not now
    assert [waiting.id for waiting in state._line.of(state.table.bucket(Id(112)))] == [112]


def test_a_long_wait_makes_no_bucket_seem_inactive() -> None:
    state = full()
    assert state.answered(contact(112), 0.1, 5.0) == Full()
    state.answered(contact(64), 0.1, 100.0)
    assert make_bad(state, contact(80), 200.0) == [None, contact(80)]
    assert state.table.get(Id(112)) == contact(112)
    assert state.table.bucket(Id(112)).activity == 100.0


def test_a_bad_contact_stays_while_none_waits() -> None:
    state = full()
    assert make_bad(state, contact(80), 10.0) == [None, None]
    assert state.table.get(Id(80)) == contact(80)
    assert state.standing(contact(80), 10.0) is Standing.BAD
    state.answered(contact(80), 0.1, 20.0)
    assert state.standing(contact(80), 20.0) is Standing.GOOD


def test_a_timeout_counts_only_if_another_answered() -> None:
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


def test_a_timeout_counts_for_its_exact_contact() -> None:
    state = full()
    for _ in range(3):
        assert state.timed_out(contact(80, machine=300), sent_at=-1.0) is None
        assert state.timed_out(contact(81, machine=80), sent_at=-1.0) is None
    assert state.meta.get(Id(80)).timeouts == 0


def test_a_contact_leaves_if_another_answers_there() -> None:
    state = full()
    state.moved(Id(80), contact(81).endpoint)
    assert state.table.get(Id(80)) == contact(80)
    state.moved(Id(80), contact(80).endpoint)
    assert state.table.get(Id(80)) is None
    state.moved(Id(80), contact(80).endpoint)  # twice is harmless


def test_a_restored_contact_is_questionable() -> None:
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


def test_a_contact_is_restored_as_of_its_answer() -> None:
    heard, restored = make(), make()
    for number, at in ((5, 10.0), (80, 20.0), (6, 15.0)):
        heard.answered(contact(number), None, at)
        assert restored.restore(contact(number), at)
    assert list(restored.table) == list(heard.table)
    assert restored.heard_at == heard.heard_at == 15.0
    for number in (5, 6, 80):
        assert restored.meta.last_heard(contact(number)) == heard.meta.last_heard(contact(number))
        assert restored.standing(contact(number), 21.0) is Standing.GOOD
        assert restored.answers_us(contact(number).endpoint)


def test_what_cannot_be_restored_splits_no_bucket() -> None:
    state = make()
    for number in (40, 41, 42):  # all in the half of our own bucket that does not hold us
        assert state.restore(contact(number))
    assert not state.restore(contact(43))
    assert len(state.table.buckets) == 1


def test_round_trips_belong_to_id_and_address() -> None:
    state = full()
    assert state.round_trips(*contact(80, machine=200)) is None
    assert state.round_trips(*contact(81)) is None


def test_questionable_contacts_keep_their_order() -> None:
    state = full()
    late = DEFAULT.good_for + 100
    for id in NEAR:
        state.answered(contact(id), 0.1, late)
    assert [member.id for member in state.closest(Id(64), 3)] == [64, 80, 96]


class SlowState:
    """Admission, the slow way."""

    def __init__(self, own_id: Id, policy: Policy) -> None:
        self.policy = policy
        self.table = SlowTable(own_id, policy.k, 0.0)
        self.histories: dict[Contact, History] = {}
        self.waiting: list[tuple[Contact, float]] = []  # nodes that answered and found no room, and when; latest last
        self.claims: dict[
            Id, tuple[Contact, float]
        ] = {}  # nodes that answered under a member's ID, and when; latest last
        self.answers: list[float] = []  # when anybody else answered

    def enter(self, contact: Contact) -> History:
        self.table.members.append(contact)
        return self.histories.setdefault(contact, History(self.policy))

    def leave(self, contact: Contact) -> None:
        self.table.members.remove(contact)
        del self.histories[contact]
        self.claims.pop(contact.id, None)

    def heard(self, contact: Contact, when: float) -> None:
        self.histories[contact].events.append((when, "answered"))
        self.claims.pop(contact.id, None)
        inside = self.table.range_of(contact.id)
        self.table.ranges[inside] = max(self.table.ranges[inside], when)

    def line(self, inside: range) -> list[tuple[Contact, float]]:
        return [(contact, when) for contact, when in self.waiting if contact.id in inside]

    def standings(self, inside: range, now: float) -> list[tuple[Contact, Standing]]:
        return [(member, self.histories[member].standing(now)) for member in self.table.inside(inside)]

    def answered(self, contact: Contact, now: float) -> Admission:
        if contact.id == self.table.own_id:
            return Refused()
        self.answers.append(now)
        incumbent = self.table.by_id(contact.id)
        if incumbent == contact:
            self.heard(contact, now)
            return Known()
        if incumbent is not None and not self.histories[incumbent].bad:
            return self.claim(contact, incumbent, now)
        predecessor = self.table.by_endpoint(contact.endpoint)
        if predecessor is not None:
            self.leave(predecessor)
        inside = self.table.range_of(contact.id)
        limit = self.limit(inside, [member for member in self.table.members if not self.histories[member].bad])
        if limit is not None:
            return Crowded(limit)
        if incumbent is not None:
            self.leave(incumbent)
        return self.admit(contact, inside, now)

    def claim(self, contact: Contact, incumbent: Contact, now: float) -> Admission:
        if not self.is_contestable(incumbent, now):
            return Refused()
        self.claims.pop(contact.id, None)
        self.claims[contact.id] = contact, now
        for oldest in list(self.claims)[: -self.policy.claims]:
            del self.claims[oldest]
        return Contested(incumbent)

    def admit(self, contact: Contact, inside: range, now: float) -> Admission:
        bad = [member for member, standing in self.standings(inside, now) if standing is Standing.BAD]
        evicted = bad[0] if bad and len(self.table.inside(inside)) == self.policy.k else None
        if evicted is not None:
            self.leave(evicted)
        if self.table.has_room(contact.id):
            while (limit := self.limit(inside, self.table.members)) is not None:
                counted = inside if limit == CONTACTS_PER_NETWORK_IN_BUCKET else range(SEVEN.size)
                self.leave(next(one for one in self.table.members if self.histories[one].bad and one.id in counted))
            self.table.make_room(contact.id)
            self.enter(contact)
            self.heard(contact, now)
            self.waiting = [(other, when) for other, when in self.waiting if other.id != contact.id]
            return Inserted() if evicted is None else Replaced(evicted)
        self.waiting = [(other, when) for other, when in self.waiting if other.id != contact.id]
        self.waiting.append((contact, now))
        line = self.line(inside)
        most = self.policy.replacements
        if self.is_limited:
            most = min(most, self.policy.contacts_per_network_in_bucket)
        if len(line) > most:
            self.waiting.remove(line[0])
        questionable = [member for member, standing in self.standings(inside, now) if standing is Standing.QUESTIONABLE]
        for member in questionable:
            if self.histories[member].heard_at is None:
                return Verify(member)
        if questionable:
            return Verify(min(questionable, key=lambda member: self.histories[member].heard_at or 0.0))
        return Full()

    def queried(self, contact: Contact, now: float) -> bool:
        """Return whether to ping the sender of a query. Nothing is noted, so nothing may change."""
        incumbent = self.table.by_id(contact.id)
        if contact.id == self.table.own_id:
            return False
        if incumbent == contact:
            return self.histories[contact].standing(now) is not Standing.GOOD
        if incumbent is not None:
            return self.histories[incumbent].bad or self.is_contestable(incumbent, now)
        inside = self.table.range_of(contact.id)
        staying = [member for member in self.table.members if not self.histories[member].bad]
        if self.limit(inside, [member for member in staying if member.endpoint != contact.endpoint]) is not None:
            return False
        standings = self.standings(inside, now)
        return self.table.has_room(contact.id) or {standing for _, standing in standings} != {Standing.GOOD}

    @property
    def is_limited(self) -> bool:
        return not self.policy.exempt_networks

    def limit(self, inside: range, counted: list[Contact]) -> str | None:
        """Return the limit that keeps one more out of a range, beside these: one network, an address for each."""
        if not self.is_limited:
            return None
        if len(counted) >= self.policy.contacts_per_network:
            return CONTACTS_PER_NETWORK
        beside = [member for member in counted if member.id in inside]
        return CONTACTS_PER_NETWORK_IN_BUCKET if len(beside) >= self.policy.contacts_per_network_in_bucket else None

    def is_contestable(self, incumbent: Contact, now: float) -> bool:
        heard_at = self.histories[incumbent].heard_at
        return heard_at is None or now - heard_at >= self.policy.claim_after

    def timed_out(self, contact: Contact, sent_at: float, now: float) -> Contact | None:
        if contact not in self.table.members or not any(when > sent_at for when in self.answers):
            return None
        history = self.histories[contact]
        was_bad = history.bad
        history.events.append((now, "timed out"))
        if was_bad or not history.bad:
            return None
        inside = self.table.range_of(contact.id)
        others = [member for member in self.table.members if member != contact]
        claims = [self.claims.pop(contact.id)] if contact.id in self.claims else []
        for newcomer, when in [*claims, *reversed(self.line(inside))]:
            if (newcomer, when) in self.waiting:
                self.waiting.remove((newcomer, when))
            is_new = self.table.by_endpoint(newcomer.endpoint) is None
            is_new &= self.table.by_id(newcomer.id) in (None, contact if (newcomer, when) in claims else None)
            if is_new and self.limit(inside, others) is None:
                self.leave(contact)
                self.enter(newcomer)
                self.heard(newcomer, when)
                return contact
        return None

    def restore(self, contact: Contact) -> bool:
        is_new = self.table.by_id(contact.id) is None and self.table.by_endpoint(contact.endpoint) is None
        if contact.id == self.table.own_id or not is_new:
            return False
        if self.limit(self.table.range_of(contact.id), self.table.members) is not None:
            return False
        if not self.table.make_room(contact.id):
            return False
        self.enter(contact)
        return True

    def nearest(self, target: Id) -> list[Contact]:
        return [member for member in self.table.nearest(target) if not self.histories[member].bad]


gaps = st.sampled_from([0.0, 0.0, 1.0, 30.0, 49.5])
shifts = st.sampled_from([0, 0, 0, 0, 1, 2])


class StateMachine(RuleBasedStateMachine):
    """Answers, queries, timeouts, restores and moves in any order, and lookups between, against the model."""

    def __init__(self) -> None:
        super().__init__()
        self.begin(Id(0), 3, 2, 1, 1, 2, None, 2)

    @initialize(
        own_id=ids(SEVEN),
        k=st.integers(1, 4),
        replacements=st.integers(1, 3),
        bad_after=st.integers(0, 2),
        step=st.sampled_from([1, 3, 17]),
        fill=st.integers(0, 4),
        shares=st.none() | st.tuples(st.integers(1, 4), st.integers(1, 12)),
        claims=st.integers(1, 3),
    )
    def begin(
        self,
        own_id: Id,
        k: int,
        replacements: int,
        bad_after: int,
        step: int,
        fill: int,
        shares: tuple[int, int] | None,
        claims: int,
    ) -> None:
        self.now = 0.0
        in_bucket, in_table = shares or (0, 0)
        self.policy = Policy(
            k=k,
            replacements=replacements,
            bad_after=bad_after,
            good_for=50.0,
            claims=claims,
            claim_after=20.0,
            id_change=0.0,
            contacts_per_network_in_bucket=in_bucket,
            contacts_per_network=in_table,
            exempt_networks=PRIVATE_NETWORKS if shares is None else (),
        )
        self.state = make(self.policy, own_id)
        self.model = SlowState(own_id, self.policy)
        self.several_answer(Id(own_id ^ 1), step, fill * k)

    @rule(seconds=st.sampled_from([0.5, 10.0, 49.5, 50.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(id=ids(SEVEN), shift=shifts, rtt=st.none() | st.floats(0, 2), after=gaps)
    def answers(self, id: Id, shift: int, rtt: float | None, after: float = 0.0) -> None:
        self.now += after
        newcomer = contact(id, machine=id + shift)
        outcome = self.state.answered(newcomer, rtt, self.now)
        assert outcome == self.model.answered(newcomer, self.now)
        event(type(outcome).__name__)
        if newcomer in self.model.table.members:
            assert self.state.standing(newcomer, self.now) is Standing.GOOD
            self.model.histories[newcomer].rtts += [] if rtt is None else [rtt]

    @rule(start=ids(SEVEN), step=st.sampled_from([1, 3, 17]), count=st.integers(2, 6))
    def several_answer(self, start: Id, step: int, count: int) -> None:
        for place in range(count):
            self.answers(Id((start + step * place) % SEVEN.size), 0, None)

    @rule(id=ids(SEVEN), shift=shifts)
    def queries(self, id: Id, shift: int) -> None:
        source = contact(id, machine=id + shift)
        assert self.state.queried(*source, self.now) is self.model.queried(source, self.now)

    @precondition(lambda self: self.model.table.members)
    @rule(data=st.data(), early=st.booleans())
    def stranger_queries_until_a_member_is_no_longer_good(self, data: Any, early: bool) -> None:
        inside = self.model.table.range_of(data.draw(st.sampled_from(self.model.table.members)).id)
        stranger = data.draw(st.sampled_from(inside))
        for member in self.model.table.inside(inside):
            self.now += 1.0
            self.answers(member.id, member.endpoint[3] - member.id, None)
        self.queries(Id(stranger), 2)
        heard = [self.model.histories[member].heard_at or 0.0 for member in self.model.table.inside(inside)]
        until = min(heard) + self.policy.good_for
        self.now = max(self.now, until - 0.25 if early else until)
        self.queries(Id(stranger), 2)

    @precondition(lambda self: self.model.waiting)
    @rule(data=st.data(), id=ids(SEVEN))
    def a_waiting_node_answers_by_another_id_and_gets_a_place(self, data: Any, id: Id) -> None:
        waiter, _ = data.draw(st.sampled_from(self.model.waiting))
        self.answers(id, waiter.endpoint[3] - id, None)
        for member in self.model.table.inside(self.model.table.range_of(waiter.id))[:1]:
            self.turns_bad(member)

    @precondition(lambda self: self.model.table.members)
    @rule(data=st.data(), after=gaps)
    def member_answers(self, data: Any, after: float) -> None:
        member = data.draw(st.sampled_from(self.model.table.members))
        self.now += after
        assert self.state.answered(member, None, self.now) == self.model.answered(member, self.now)

    @precondition(lambda self: self.model.table.members)
    @rule(data=st.data(), after=gaps)
    def member_queries(self, data: Any, after: float) -> None:
        self.now += after
        member: Contact = data.draw(st.sampled_from(self.model.table.members))
        assert self.state.queried(*member, self.now) is self.model.queried(member, self.now)

    def misses(self, victim: Contact, sent_at: float) -> None:
        evicted = self.state.timed_out(victim, sent_at)
        assert evicted == self.model.timed_out(victim, sent_at, self.now)
        event(f"misses a query, and leaves: {evicted is not None}")

    def turns_bad(self, victim: Contact) -> None:
        self.now += 1.0
        self.answers(Id(self.model.table.own_id ^ 1), 0, None)  # so the network is up
        for _ in range(self.policy.bad_after + 1):
            self.misses(victim, self.now - 0.5)

    @precondition(lambda self: self.model.table.members)
    @rule(
        data=st.data(), ago=st.sampled_from([0.0, 0.5, 10.0, 100.0]), times=st.integers(1, 4), shift=shifts, after=gaps
    )
    def member_misses_queries(self, data: Any, ago: float, times: int, shift: int, after: float) -> None:
        self.now += after
        member = data.draw(st.sampled_from(self.model.table.members))
        for _ in range(times):  # a shift makes it somebody else, at the same ID
            self.misses(contact(member.id, member.endpoint[3] + shift), self.now - ago)

    @precondition(lambda self: self.model.table.members)
    @rule(data=st.data(), near=st.integers(1, 3))
    def member_turns_bad_and_a_neighbour_answers(self, data: Any, near: int) -> None:
        member = data.draw(st.sampled_from(self.model.table.members))
        self.turns_bad(member)
        self.answers(Id(member.id ^ near), 0, None)

    @rule(id=ids(SEVEN), shift=shifts)
    def is_restored(self, id: Id, shift: int) -> None:
        former = contact(id, machine=id + shift)
        assert self.state.restore(former) is self.model.restore(former)

    @precondition(lambda self: self.model.table.members)
    @rule(data=st.data(), shift=shifts)
    def has_moved(self, data: Any, shift: int) -> None:
        member = data.draw(st.sampled_from(self.model.table.members))
        gone = contact(member.id, machine=member.id + shift)
        self.state.moved(gone.id, gone.endpoint)
        if gone in self.model.table.members:
            self.model.leave(gone)

    @rule(id=ids(SEVEN))
    def range_is_looked_up(self, id: Id) -> None:
        self.state.table.bucket(id).activity = self.now
        self.model.table.ranges[self.model.table.range_of(id)] = self.now

    @rule(towards=ids(SEVEN), count=st.integers(0, 10))
    def closest(self, towards: Id, count: int) -> None:
        assert self.state.closest(towards, count) == self.model.nearest(towards)[:count]

    @invariant()
    def answers_are_of_the_present_table(self) -> None:
        for towards in map(Id, range(0, SEVEN.size, 5)):
            packed = self.state.answers.packed_closest(towards)
            nearest = self.model.nearest(towards)[: self.policy.k]
            assert set(packed.contacts) == set(nearest)
            assert len(packed.contacts) == len(nearest)
            assert self.state.answers.packed_closest(towards) is packed

    @invariant()
    def strangers_are_pinged_when_the_present_table_has_a_use_for_them(self) -> None:
        for id in map(Id, range(3, SEVEN.size, 14)):
            if self.model.table.by_id(id) is None:
                stranger = contact(id, machine=250)
                assert self.state.queried(*stranger, self.now) is self.model.queried(stranger, self.now)

    @invariant()
    def ranges_and_members_agree(self) -> None:
        expected = sorted(self.model.table.ranges.items(), key=lambda entry: entry[0].start)
        buckets = self.state.table.buckets
        assert [(range(bucket.low, bucket.high + 1), bucket.activity) for bucket in buckets] == expected
        for bucket, (inside, _) in zip(buckets, expected, strict=True):
            assert bucket.contacts == self.model.table.inside(inside)
            line = [contact for contact, _ in self.model.line(inside)]
            assert list(self.state._line.of(bucket)) == line[::-1]
            assert len(line) <= self.policy.replacements

    @invariant()
    def histories_agree(self) -> None:
        assert self.state.heard_at == max(self.model.answers, default=None)
        assert len(self.state.meta._records) == len(self.model.histories)
        for member, history in self.model.histories.items():
            record = self.state.meta.get(member.id)
            assert self.state.standing(member, self.now) is history.standing(self.now)
            assert self.state.is_live(member) is not history.bad
            assert (record.heard_at, record.reachable) == (history.heard_at, history.reachable)
            assert record.timeouts == history.missed
            round_trips = self.state.round_trips(*member)
            assert round_trips is record.round_trips
            assert round_trips.mean == pytest.approx(history.mean())


TestStateKeepsItsPromises = StateMachine.TestCase


def test_an_endpoint_changes_its_id_after_minutes() -> None:
    state = RoutingState(Id(0), CODEC, DEFAULT, 0.0)
    assert state.answered(contact(5, machine=1), None, 0.0) == Inserted()
    assert state.answered(contact(6, machine=1), None, 1.0) == Inserted()  # it may have started anew, without its file
    assert state.answered(contact(7, machine=1), None, 2.0) == Refused()
    assert list(state.table) == []
    assert not state.queried(Id(7), endpoint(1), 3.0)  # it is not even asked whether it is there
    assert state.queried(Id(7), endpoint(1), 1.0 + DEFAULT.id_change)
    assert state.answered(contact(7, machine=1), None, DEFAULT.id_change) == Refused()
    assert state.answered(contact(7, machine=1), None, 1.0 + DEFAULT.id_change) == Inserted()
    assert state.answered(contact(8, machine=2), None, 2.0) == Inserted()


def test_an_answer_in_place_of_another_is_a_new_id() -> None:
    state = RoutingState(Id(0), CODEC, DEFAULT, 0.0)
    for number, outcome in ((5, Inserted()), (6, Inserted()), (7, Refused())):
        for known in list(state.table):
            state.moved(known.id, known.endpoint)
        assert state.answered(contact(number, machine=1), None, 1.0) == outcome


def test_changers_are_forgotten_when_there_are_many() -> None:
    state = RoutingState(Id(0), CODEC, DEFAULT, 0.0)
    for machine in range(2_000):
        state.answered(contact(5, machine=machine), None, 1.0)
        state.moved(Id(5), endpoint(machine))
        state.answered(contact(5, machine=machine), None, 1.0)
        state.moved(Id(5), endpoint(machine))
    assert len(state.changers) == 1_024
