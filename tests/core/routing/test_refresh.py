"""Stale buckets: each is refreshed once a period without activity, none twice, and none has to wait."""

from __future__ import annotations

import itertools
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dhtd.core.ids import Id
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.routing.admission import RoutingState
from dhtd.core.routing.refresh import Refresher
from dhtd.core.routing.table import RoutingTable
from tests.core.small import CODEC, SEVEN, contact
from tests.strategies import ids, scaled

AFTER = DEFAULT.bucket_refresh


def make(*members: int, own_id: int = 0, k: int = 2) -> tuple[Refresher, RoutingTable]:
    table = RoutingTable(SEVEN, Id(own_id), k, now=0.0)
    for id in members:
        table.insert(contact(id))
    return Refresher(table, Random(1), DEFAULT), table


def test_with_nobody_to_ask_nothing_is_stale() -> None:
    refresher, _ = make()
    assert refresher.next_timeout() is None
    assert refresher.next_target(1e9) is None


def test_a_bucket_is_stale_after_fifteen_minutes() -> None:
    refresher, _ = make(5)
    assert refresher.next_timeout() == AFTER == 15 * 60
    assert refresher.next_target(AFTER - 0.1) is None
    assert refresher.next_target(AFTER) is not None
    assert refresher.next_timeout() == 2 * AFTER
    assert refresher.next_target(AFTER) is None


def test_the_stalest_bucket_comes_first() -> None:
    refresher, table = make(1, 2, 64, 65, 32)
    assert len(table.buckets) == 3
    for bucket, activity in zip(table.buckets, (20.0, 10.0, 30.0), strict=True):
        bucket.activity = activity
    assert refresher.next_timeout() == 10.0 + AFTER
    for expected in (1, 0, 2):
        target = refresher.next_target(1_000.0)
        assert target is not None
        assert target in table.buckets[expected]
        assert table.buckets[expected].activity == 1_000.0
    assert refresher.next_target(1_000.0) is None


def test_any_id_of_the_range_may_be_the_target() -> None:
    refresher, table = make(1, 2, 64, 65, 32)
    targets = set()
    for _ in range(2_000):
        for bucket in table.buckets:
            bucket.activity = 0.0 if bucket is table.buckets[1] else 1.0
        targets.add(refresher.next_target(AFTER))
    assert targets == set(range(table.buckets[1].low, table.buckets[1].high + 1))


def test_one_refresh_is_under_way_at_a_time() -> None:
    refresher, _ = make(5)
    refresher.under_way = 1
    assert refresher.next_timeout() is None
    assert refresher.next_target(1e9) is None
    refresher.under_way = 0
    assert refresher.next_target(1e9) is not None


def sampling(density: int = 10) -> Refresher:
    refresher, _ = make(1, 2, 64, 65, 32)
    refresher.joined(10)
    refresher.neighbourhood_has(density, 0.0)
    return refresher


def take_samples(refresher: Refresher, count: int) -> list[float]:
    """Return the times of so many samples."""
    times = []
    for _ in range(count):
        due = refresher.next_timeout()
        assert due is not None
        assert refresher.next_target(due) is not None
        times.append(due)
    return times


def test_a_denser_neighbourhood_is_compared() -> None:
    assert sampling(14).next_timeout() == AFTER
    refresher = sampling(15)
    times = take_samples(refresher, DEFAULT.size_samples)
    assert 0.0 < times[0] < times[-1] <= DEFAULT.size_samples * DEFAULT.size_pause
    assert refresher.next_timeout() == AFTER


def test_samples_are_places_anywhere() -> None:
    refresher, _ = make(1, 2, 64, 65, 32)
    refresher.joined(1)
    targets = set()
    for step in range(1, 400):
        refresher.neighbourhood_has(2**step, 0.0)
        due = refresher.next_timeout()
        assert due is not None
        targets.add(refresher.next_target(due))
    assert len(targets) > 100


def test_before_joining_no_density_is_known() -> None:
    refresher, _ = make(1, 2)
    refresher.neighbourhood_has(1_000, 0.0)
    assert refresher.next_timeout() == AFTER


def test_repeated_crowds_cause_few_queries() -> None:
    refresher, table = make(1, 2, 64, 65, 32)
    refresher.joined(10)
    asked, now, density = 0, 0.0, 10
    while now < 10 * 3_600.0:
        for bucket in table.buckets:
            bucket.activity = now
        refresher._due = None
        density *= 2
        refresher.neighbourhood_has(density, now)
        now = max(now, refresher.next_timeout() or now)
        asked += refresher.next_target(now) is not None
    assert asked < 10 * 72


def test_samples_that_are_due_are_not_doubled() -> None:
    refresher = sampling(15)
    due = refresher.next_timeout()
    refresher.neighbourhood_has(40, 0.0)
    assert refresher.next_timeout() == due


@given(ids(SEVEN), st.sets(ids(SEVEN), max_size=40))
def test_a_new_node_asks_about_all_far_buckets(own: Id, members: set[Id]) -> None:
    refresher, table = make(*members - {own}, own_id=own)
    for bucket in table.buckets:
        bucket.activity = 500.0
    refresher.expire_far_buckets(500.0)
    nearest = min((member.id ^ own for member in table), default=0)
    for bucket in table.buckets:
        beyond = min(id ^ own for id in range(bucket.low, bucket.high + 1)) > nearest
        assert bucket.activity == (500.0 - AFTER if beyond else 500.0)


def test_a_bucket_that_is_staler_still_stays_so() -> None:
    refresher, table = make(1, 2, 64, 65)
    table.buckets[1].activity = 3.0
    refresher.expire_far_buckets(5_000.0)
    assert table.buckets[1].activity == 3.0


@given(ids(SEVEN), st.sets(ids(SEVEN), min_size=1, max_size=60), st.integers(0, 60))
def test_each_range_is_refreshed_once_a_period(own: Id, members: set[Id], takes: int) -> None:
    refresher, table = make(*(members - {own}), own_id=own)
    refreshed: dict[Id, list[float]] = {bucket.low: [0.0] for bucket in table.buckets}
    now = 0.0
    while (when := refresher.next_timeout()) is not None and when < 20 * AFTER:
        now = max(now, when)
        target = refresher.next_target(now)
        assert target is not None
        refreshed[table.bucket(target).low].append(now)
        assert now < AFTER or len(refreshed[table.bucket(target).low]) < 2 + now / AFTER  # or this would go on for ever
        refresher.under_way = 1
        now += takes
        refresher.under_way = 0
    for times in refreshed.values():
        for earlier, later in itertools.pairwise(times):
            assert AFTER <= later - earlier <= AFTER + takes * len(table.buckets)
        assert len(table) == 0 or len(times) > 10


class RefresherMachine(RuleBasedStateMachine):
    """Contacts, time, refreshes and joining in any order, against the time of the last activity at each single ID.

    Whatever happens in a range happens at each of its IDs, so that a split hands nothing over here.
    """

    PERIOD = 15 * 60.0

    def __init__(self) -> None:
        super().__init__()
        self.begin(Id(0), 2, 0)

    @initialize(own_id=ids(SEVEN), k=st.integers(1, 3), seed=st.integers(0, 9))
    def begin(self, own_id: Id, k: int, seed: int) -> None:
        self.now = 50.0
        self.state = RoutingState(own_id, CODEC, Policy(k=k), self.now)
        self.refresher = Refresher(self.state.table, Random(seed), Policy(k=k))
        self.active = dict.fromkeys(range(SEVEN.size), self.now)

    @rule(several=st.lists(ids(SEVEN), min_size=1, max_size=5))
    def contacts_answer(self, several: list[Id]) -> None:
        for id in several:
            self.state.answered(contact(id), 0.1, self.now)
            if self.state.table.get(id) is not None:
                self._activity_around(id)

    @precondition(lambda self: len(self.state.table) > 0)
    @rule(seconds=st.sampled_from([1.0, 300.0]))
    def somebody_answers_in_each_range(self, seconds: float) -> None:
        self.now += seconds
        self.contacts_answer([contact.id for bucket in self.state.table.buckets for contact in bucket.contacts])
        self.contacts_answer([Id(low) for low, _ in self._ranges() if self.active[low] < self.now])

    @rule()
    def all_contacts_leave(self) -> None:
        for member in list(self.state.table):
            self.a_contact_leaves(member.id)

    @rule(id=ids(SEVEN))
    def a_contact_is_restored(self, id: Id) -> None:
        self.state.restore(contact(id))

    @rule(id=ids(SEVEN))
    def a_contact_leaves(self, id: Id) -> None:
        self.state.moved(id, contact(id).endpoint)

    @rule(seconds=st.sampled_from([0.0, 1.0, 300.0, 899.0, 900.0, 5_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self._refresh_what_is_stale()

    @precondition(lambda self: self.refresher.next_timeout() is not None)
    @rule()
    def time_passes_until_a_range_may_be_stale(self) -> None:
        when = self.refresher.next_timeout()
        assert when is not None
        self.now = max(self.now, when)
        self._refresh_what_is_stale()

    @precondition(lambda self: self.refresher.under_way)
    @rule(seconds=st.sampled_from([0.0, 5.0]))
    def a_refresh_ends(self, seconds: float) -> None:
        self.now += seconds
        self.refresher.under_way = 0
        self._refresh_what_is_stale()

    @rule()
    def joins(self) -> None:
        own_id = self.state.table.own_id
        nearest = min((member.id ^ own_id for member in self.state.table), default=0)
        self.refresher.expire_far_buckets(self.now)
        for low, high in self._ranges():
            if all(id ^ own_id > nearest for id in range(low, high + 1)):
                for id in range(low, high + 1):
                    self.active[id] = min(self.active[id], self.now - self.PERIOD)

    @invariant()
    def nobody_is_forgotten(self) -> None:
        """A caller that waits for `next_timeout` comes in time for the first range that turns stale."""
        when = self.refresher.next_timeout()
        if self.refresher.under_way or not list(self.state.table):
            assert when is None
        else:
            assert when is not None
            assert when <= min(self.active.values()) + self.PERIOD

    @invariant()
    def each_range_is_as_active_as_its_ids(self) -> None:
        for bucket in self.state.table.buckets:
            assert {self.active[id] for id in range(bucket.low, bucket.high + 1)} == {bucket.activity}

    def _refresh_what_is_stale(self) -> None:
        """Do the work of a woken node, and compare."""
        stale = [self.active[low] for low, _ in self._ranges() if self.active[low] + self.PERIOD <= self.now]
        can_ask = not self.refresher.under_way and list(self.state.table)
        target = self.refresher.next_target(self.now)
        if not can_ask or not stale:
            assert target is None
            when = self.refresher.next_timeout()
            assert when is None or when > self.now  # or the node would be woken again at once, for ever
            return
        assert target is not None
        assert self.active[target] == min(stale)
        self._activity_around(target)
        self.refresher.under_way = 1

    def _ranges(self) -> list[tuple[int, int]]:
        return [(bucket.low, bucket.high) for bucket in self.state.table.buckets]

    def _activity_around(self, id: Id) -> None:
        [(low, high)] = [(low, high) for low, high in self._ranges() if low <= id <= high]
        for other in range(low, high + 1):
            self.active[other] = self.now


TestRefresherForgetsNoRange = RefresherMachine.TestCase
TestRefresherForgetsNoRange.settings = scaled(50)
