"""The holders that owe an acknowledgement of a deletion, and their timers; against a list, and by example."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dhtd.core.counters import WITHDRAWALS, none_hit
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import Id, packed
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy
from dhtd.core.publishing.pending_withdrawals import Holder, Pending, PendingWithdrawals
from dhtd.core.records import RecordKey
from tests.core.small import contact
from tests.records import own_key
from tests.strategies import scaled

Entry = RecordKey

KEY, OTHER = Id(64), Id(65)
STEADY = Policy(republish_jitter=0.0, startup_spread=0.0)
UNTIL = 3_600.0


def make(policy: Policy = STEADY, caps_hit: dict[str, int] | None = None) -> PendingWithdrawals:
    return PendingWithdrawals(Random(1), policy, caps_hit)


def attempt(withdrawals: PendingWithdrawals, now: float, *, failed: bool) -> Holder:
    """Have the only due holder asked, in vain or with everything acknowledged."""
    (holder,) = withdrawals.pop_due(now)
    if not failed:
        for entries in withdrawals.due(holder, now).values():
            for entry in entries:
                withdrawals.let_go(entry, holder.contact, now)
    withdrawals.over(holder, holder.endpoint, now, failed=failed)
    return holder


def deleted(withdrawals: PendingWithdrawals, *contacts: Contact, now: float = 0.0) -> None:
    """Delete KEY at port 80, without any acknowledgement."""
    for each in contacts:
        withdrawals.add(own_key(KEY, 80), each, UNTIL)
    withdrawals.release([own_key(KEY, 80)], now)


def test_pauses_of_a_silent_holder_double() -> None:
    withdrawals, now = make(), 0.0
    deleted(withdrawals, contact(1))
    pauses = []
    for _ in range(8):
        due = withdrawals.next_timeout()
        assert due is not None
        assert not list(withdrawals.pop_due(due - 0.01))
        pauses.append(due - now)
        now = due
        attempt(withdrawals, now, failed=True)
    assert pauses == [15, 30, 60, 120, 240, 300, 300, 300]


def test_pauses_are_jittered_by_a_tenth() -> None:
    withdrawals = make(Policy())
    deleted(withdrawals, *map(contact, range(1, 100)))
    times = [pending.due_at for pending in withdrawals if pending.due_at is not None]
    assert 13.5 <= min(times) < 14
    assert 16 < max(times) <= 16.5


def test_withdrawals_expire_bit_by_bit() -> None:
    withdrawals = make()
    for number in range(1_000):
        withdrawals.add(own_key(Id(number), 80), contact(number % 8), UNTIL)
    assert [withdrawals.sweep(UNTIL) for _ in range(4)] == [True, True, True, False]
    assert len(withdrawals) == 0


def test_withdrawals_are_listed_entry_by_entry() -> None:
    withdrawals = make()
    deleted(withdrawals, contact(1), contact(2))
    withdrawals.add(own_key(OTHER, 81), contact(3), UNTIL)
    entries = withdrawals.entries()
    assert [pending for entry in entries for pending in withdrawals.pending(entry)] == list(withdrawals)
    withdrawals.take(own_key(KEY, 80))
    first, second = map(withdrawals.pending, entries)
    assert (first, second) == ([], list(withdrawals))


def test_the_first_withdrawal_comes_before_retries() -> None:
    withdrawals = make()
    withdrawals.add(own_key(KEY, 80), contact(1), UNTIL)
    assert withdrawals.next_timeout() is None
    assert not list(withdrawals.pop_due(1_000.0))
    assert list(withdrawals) == [Pending(own_key(KEY, 80), contact(1), UNTIL, False, 0, None)]


def test_an_acknowledgement_is_confirmed_once() -> None:
    withdrawals = make()
    withdrawals.add(own_key(KEY, 80), contact(1), UNTIL)
    withdrawals.let_go(own_key(KEY, 80), contact(1), 1.0)
    withdrawals.let_go(own_key(KEY, 80), contact(1), 1.5)  # the same again says nothing new
    withdrawals.release([own_key(KEY, 80)], 2.0)
    assert list(withdrawals) == [Pending(own_key(KEY, 80), contact(1), UNTIL, True, 0, 31.0)]
    withdrawals.heard(contact(1), 3.0, is_accepted=True)  # which is no reason to be early
    assert withdrawals.next_timeout() == 31.0
    attempt(withdrawals, 31.0, failed=False)
    assert len(withdrawals) == 0
    assert withdrawals.next_timeout() is None
    assert not withdrawals._holders


def test_a_failed_confirmation_is_tried_again() -> None:
    withdrawals = make()
    withdrawals.add(own_key(KEY, 80), contact(1), UNTIL)
    withdrawals.let_go(own_key(KEY, 80), contact(1), 0.0)
    withdrawals.release([own_key(KEY, 80)], 0.0)
    for due, then in ((30.0, 45.0), (45.0, 75.0), (75.0, 135.0)):
        assert withdrawals.next_timeout() == due
        attempt(withdrawals, due, failed=True)
        assert withdrawals.next_timeout() == then
    attempt(withdrawals, 135.0, failed=False)
    assert len(withdrawals) == 0


def test_confirmations_in_a_row_are_asked_together() -> None:
    withdrawals = make()
    for number in range(20):
        key = Id(number)
        withdrawals.add(own_key(key, 80), contact(1), UNTIL)
        withdrawals.let_go(own_key(key, 80), contact(1), number * 0.5)
        withdrawals.release([own_key(key, 80)], number * 0.5)
    attempt(withdrawals, 30.0, failed=False)
    assert len(withdrawals) == 19
    assert withdrawals.next_timeout() == 45.0
    attempt(withdrawals, 45.0, failed=False)
    assert len(withdrawals) == 0


def test_a_failed_holder_is_asked_once_it_is_heard() -> None:
    withdrawals = make()
    deleted(withdrawals, contact(1))
    for due in (15.0, 45.0, 105.0):
        attempt(withdrawals, due, failed=True)
    withdrawals.heard(contact(1), 106.0, is_accepted=True)
    assert withdrawals.next_timeout() == 120.0
    attempt(withdrawals, 120.0, failed=True)
    withdrawals.heard(contact(2), 200.0, is_accepted=True)
    assert withdrawals.next_timeout() == 360.0
    withdrawals.heard(contact(1), 200.0, is_accepted=True)
    assert withdrawals.next_timeout() == 200.0


def test_a_moved_holder_is_asked_at_its_new_place() -> None:
    withdrawals = make()
    deleted(withdrawals, contact(1))
    old, new = contact(1), contact(1, machine=9)
    other_family = Contact(old.id, Endpoint.of("2001:db8::1", 1729))
    withdrawals.heard(other_family, 1.0, is_accepted=True)  # which says nothing
    assert attempt(withdrawals, 15.0, failed=True).endpoint == old.endpoint
    withdrawals.heard(new, 30.0, is_accepted=True)
    (holder,) = withdrawals.pop_due(30.0)
    assert holder.endpoint == old.endpoint
    withdrawals.over(holder, old.endpoint, 32.0, failed=True, nobody_there=True)
    (holder,) = withdrawals.pop_due(32.0)
    assert holder.endpoint == new.endpoint
    withdrawals.let_go(own_key(KEY, 80), old, 32.0)
    withdrawals.over(holder, new.endpoint, 32.0, failed=False)
    assert withdrawals.next_timeout() == 62.0
    (holder,) = withdrawals.pop_due(62.0)
    assert holder.endpoint == old.endpoint  # it may be back by then
    withdrawals.over(holder, old.endpoint, 64.0, failed=True, nobody_there=True)
    (holder,) = withdrawals.pop_due(64.0)
    assert holder.endpoint == new.endpoint
    withdrawals.over(holder, new.endpoint, 64.0, failed=True, nobody_there=True)
    assert holder.endpoint == old.endpoint
    assert holder.moved_to is None


def test_an_old_place_that_answers_is_asked_alone() -> None:
    withdrawals = make()
    deleted(withdrawals, contact(1))
    withdrawals.heard(contact(1, machine=9), 1.0, is_accepted=True)
    (holder,) = withdrawals.pop_due(15.0)
    withdrawals.over(holder, holder.endpoint, 15.0, failed=True)  # refused by the node there, whatever its ID
    (holder,) = withdrawals.pop_due(1_000.0)
    assert holder.endpoint == contact(1).endpoint


def test_an_unaccepted_id_moves_no_holder() -> None:
    withdrawals = make()
    deleted(withdrawals, contact(1))
    withdrawals.heard(contact(1, machine=9), 1.0, is_accepted=False)
    (holder,) = withdrawals.pop_due(15.0)
    assert holder.moved_to is None
    withdrawals.over(holder, holder.endpoint, 17.0, failed=True, nobody_there=True)
    withdrawals.heard(contact(1), 18.0, is_accepted=False)  # but where it is, its answer says that it is there
    assert withdrawals.next_timeout() == 32.0


def test_a_reached_network_forgives_its_holders() -> None:
    withdrawals = make(replace(STEADY, startup_spread=10.0))
    deleted(withdrawals, *map(contact, range(1, 50)))
    other = Contact(Id(1), Endpoint.of("2001:db8::1", 1729))
    withdrawals.add(own_key(KEY, 80), other, UNTIL)
    for _ in range(3):
        for holder in withdrawals.pop_due(100.0):
            withdrawals.over(holder, holder.endpoint, 100.0, failed=True)
    withdrawals.joined(Family.IPV4, 101.0)
    times = [pending.due_at for pending in withdrawals if pending.holder != other]
    assert all(at is not None and at <= 115.0 for at in times)
    assert all(pending.attempts == 0 for pending in withdrawals)
    assert {pending.due_at for pending in withdrawals if pending.holder == other} == {None}


def test_the_policy_bounds_the_holders_in_hand() -> None:
    withdrawals = make(replace(STEADY, withdrawing=2))
    deleted(withdrawals, *map(contact, range(1, 6)))
    first, second = withdrawals.pop_due(20.0)
    assert withdrawals.next_timeout() is None
    assert not list(withdrawals.pop_due(20.0))
    assert {pending.due_at for pending in withdrawals if pending.holder == first.contact} == {None}
    withdrawals.joined(Family.IPV4, 20.0)  # a holder in hand gets no timer
    withdrawals.over(second, second.endpoint, 20.0, failed=True)
    assert withdrawals.next_timeout() == 15.0  # the others wait since then
    assert {pending.due_at for pending in withdrawals if pending.holder == second.contact} == {20.0 + 15.0}


def test_holders_of_the_first_deletion_are_forgotten() -> None:
    caps_hit = none_hit()
    withdrawals = make(replace(STEADY, withdrawals=3), caps_hit)
    for key, number in ((KEY, 1), (KEY, 2), (OTHER, 1)):
        withdrawals.add(own_key(key, 80), contact(number), UNTIL)
    withdrawals.add(own_key(OTHER, 80), contact(1), UNTIL + 1)  # the same, for longer
    assert withdrawals.holders(own_key(OTHER, 80)) == {contact(1): UNTIL + 1}
    assert caps_hit[WITHDRAWALS] == 0
    withdrawals.add(own_key(OTHER, 80), contact(3), UNTIL)
    assert withdrawals.holders(own_key(KEY, 80)) == {contact(2): UNTIL}
    assert caps_hit[WITHDRAWALS] == 1
    withdrawals.add(own_key(OTHER, 80), contact(4), UNTIL)
    assert caps_hit[WITHDRAWALS] == 2
    assert withdrawals.holders(own_key(KEY, 80)) == {}
    assert set(withdrawals.holders(own_key(OTHER, 80))) == {contact(1), contact(3), contact(4)}
    assert len(withdrawals) == 3


def test_a_failed_entry_comes_last_the_next_time() -> None:
    withdrawals = make()
    for key in (KEY, OTHER, Id(66)):
        for port in (80, 443):
            withdrawals.add(own_key(key, port), contact(1), UNTIL)
    withdrawals.release([own_key(KEY, 80)], 0.0)
    (holder,) = withdrawals.pop_due(15.0)
    first, second, third = ([own_key(key, 80), own_key(key, 443)] for key in (KEY, OTHER, Id(66)))
    due = withdrawals.due(holder, 15.0)
    assert due == {packed(KEY): first, packed(OTHER): second, packed(Id(66)): third}
    withdrawals.take(own_key(KEY, 443))
    withdrawals.postpone(holder, first)
    assert list(withdrawals.due(holder, 15.0).values()) == [second, third, [own_key(KEY, 80)]]


def test_a_holder_in_hand_is_forgotten_afterwards() -> None:
    withdrawals = make()
    deleted(withdrawals, contact(1))
    (holder,) = withdrawals.pop_due(15.0)
    withdrawals.take(own_key(KEY, 80))
    assert withdrawals._holders
    withdrawals.over(holder, holder.endpoint, 16.0, failed=True)
    assert not withdrawals._holders


def test_a_node_without_debts_may_hold_nothing() -> None:
    withdrawals = make()
    deleted(withdrawals, contact(1))
    withdrawals.holds_nothing(own_key(KEY, 80), contact(2))
    withdrawals.holds_nothing(own_key(KEY, 81), contact(1))
    assert [pending.holder for pending in withdrawals] == [contact(1)]
    withdrawals.holds_nothing(own_key(KEY, 80), contact(1))
    assert len(withdrawals) == 0


def test_two_endpoints_of_one_id_are_two_holders() -> None:
    withdrawals = make()
    deleted(withdrawals, contact(1), contact(1, machine=9))
    withdrawals.holds_nothing(own_key(KEY, 80), contact(1))
    assert list(withdrawals.holders(own_key(KEY, 80))) == [contact(1, machine=9)]
    withdrawals.heard(contact(1), 16.0, is_accepted=True)  # it is here now, but may not stay
    (holder,) = withdrawals.pop_due(16.0)
    assert holder.contact == contact(1, machine=9)
    assert (holder.endpoint, holder.moved_to) == (contact(1, machine=9).endpoint, contact(1).endpoint)


# Against a plain list


@dataclass
class Owed:
    """The debt of one holder for one entry."""

    until: float
    acknowledged_at: float | None = None


class WithdrawalsMachine(RuleBasedStateMachine):
    """Deletions, answers, silence, new entries, news of the network and time, in any order."""

    POLICY = Policy(withdrawing=2, withdrawals=12)

    keys = st.sampled_from([own_key(Id(0), 80), own_key(Id(0), 443), own_key(Id(5), 80)])
    machines = st.integers(1, 4)

    @initialize(seed=st.integers(0, 99), now=st.sampled_from([0.0, 1e6]))
    def begin(self, seed: int, now: float) -> None:
        self.now = now
        self.told: set[Entry] = set()  # changes that must have been told
        self.withdrawals = PendingWithdrawals(Random(seed), self.POLICY)
        self.model: dict[tuple[Entry, Contact], Owed] = {}
        self.in_hand: list[tuple[Holder, list[tuple[Entry, Contact]]]] = []
        self.silent_since: dict[Contact, float] = {}

    @rule(entry=keys, by=st.sets(machines, min_size=1), age=st.sampled_from([0.0, 3_000.0]), answers=st.sets(machines))
    def is_deleted(self, entry: Entry, by: set[int], age: float, answers: set[int]) -> None:
        until = self.now + 3_602.0 - age
        for number in sorted(by):
            self.withdrawals.add(entry, contact(number), until)
            known = self.model.setdefault((entry, contact(number)), Owed(until))
            known.until, known.acknowledged_at = max(known.until, until), None
        for number in sorted(answers):
            self.acknowledges(entry, contact(number))
        assert self.withdrawals.silent([entry]) == sum(
            of == entry and owed.acknowledged_at is None for (of, _), owed in self.model.items()
        )
        self.withdrawals.release([entry], self.now)
        self.told.add(entry)

    def acknowledges(self, entry: Entry, holder: Contact) -> None:
        self.withdrawals.let_go(entry, holder, self.now)
        owed = self.model.get((entry, holder))
        if owed is None:
            return
        if owed.acknowledged_at is None:
            owed.acknowledged_at = self.now
            return
        since, is_over = self.now - owed.acknowledged_at, holder not in self.withdrawals.holders(entry)
        assert is_over or since < 33.1
        assert not is_over or since > 26.9
        if is_over:
            del self.model[entry, holder]

    @rule(entry=keys)
    def is_entered_again(self, entry: Entry) -> None:
        expected = {holder: owed.until for (of, holder), owed in self.model.items() if of == entry}
        assert self.withdrawals.take(entry) == expected
        self.model = {owed: value for owed, value in self.model.items() if owed[0] != entry}
        self.told |= {entry} if expected else set()

    @rule(entry=keys, number=machines)
    def has_nothing(self, entry: Entry, number: int) -> None:
        self.withdrawals.holds_nothing(entry, contact(number))
        self.model.pop((entry, contact(number)), None)

    @rule()
    def they_are_asked(self) -> None:
        for holder in self.withdrawals.pop_due(self.now):
            due = self.withdrawals.due(holder, self.now)
            asked = [(entry, holder.contact) for entries in due.values() for entry in entries]
            for one in asked:
                owed = self.model[one]
                assert owed.until > self.now
                assert owed.acknowledged_at is None or self.now >= owed.acknowledged_at + 27.0
            unacknowledged = {
                one
                for one, owed in self.model.items()
                if one[1] == holder.contact and owed.acknowledged_at is None and owed.until > self.now
            }
            assert unacknowledged <= set(asked)
            self.in_hand.append((holder, asked))

    @rule(answers=st.booleans(), nobody_there=st.booleans())
    def one_is_over(self, answers: bool, *, nobody_there: bool) -> None:
        if self.in_hand:
            holder, asked = self.in_hand.pop(0)
            for entry, by in asked if answers else ():
                self.acknowledges(entry, by)
            nobody = nobody_there and not answers
            self.withdrawals.over(holder, holder.endpoint, self.now, failed=not answers, nobody_there=nobody)

    @rule(number=machines, at=machines, is_accepted=st.booleans())
    def somebody_is_heard(self, number: int, at: int, *, is_accepted: bool) -> None:
        self.withdrawals.heard(contact(number, machine=at), self.now, is_accepted=is_accepted)

    @rule()
    def the_network_is_reached(self) -> None:
        self.withdrawals.joined(Family.IPV4, self.now)
        busy = {holder.contact for holder, _ in self.in_hand}
        for pending in self.withdrawals:
            if pending.holder not in busy:
                assert pending.due_at is not None
                assert pending.due_at <= self.now + 10.0

    @rule(seconds=st.sampled_from([1.0, 16.0, 34.0, 400.0, 3_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def what_has_expired_is_swept(self) -> None:
        self.withdrawals.sweep(self.now)
        self.model = {one: owed for one, owed in self.model.items() if owed.until > self.now}

    @invariant()
    def they_are_those_of_the_list(self) -> None:
        if not hasattr(self, "model"):
            return
        assert {(each.record_key, each.holder): each.until for each in self.withdrawals} == {
            one: owed.until for one, owed in self.model.items()
        }
        assert len(self.withdrawals) == len(self.model) <= self.POLICY.withdrawals
        assert self.told <= self.withdrawals.changed()
        holders = [holder for by_endpoint in self.withdrawals._holders.values() for holder in by_endpoint.values()]
        busy = {holder.contact for holder, _ in self.in_hand}
        assert {holder.contact for holder in holders} == {by for _, by in self.model} | busy

    @invariant()
    def each_debtor_has_a_timer_and_none_is_far_off(self) -> None:
        if not hasattr(self, "model"):
            return
        busy = {holder.contact for holder, _ in self.in_hand}
        assert len(busy) <= self.POLICY.withdrawing
        for pending in self.withdrawals:
            if pending.holder in busy:
                assert pending.due_at is None
            else:
                assert pending.due_at is not None
                assert pending.due_at <= self.now + 330.0
        due = [pending.due_at for pending in self.withdrawals if pending.due_at is not None]
        full = len(busy) == self.POLICY.withdrawing
        assert self.withdrawals.next_timeout() == (None if full else min(due, default=None))


TestWithdrawalsAreThoseOfAList = WithdrawalsMachine.TestCase
TestWithdrawalsAreThoseOfAList.settings = scaled(60)
