"""The routing table, against a list of contacts and a list of ranges over a keyspace of 128 IDs.

Each ID has one bucket, found by looking through all ranges. A bucket holds K contacts at most. The ranges follow from
the contacts that came and their order, and from nothing else. A contact is a member (its ID is here, at its endpoint),
roaming (its ID is here, elsewhere), renamed (its endpoint is here, under another ID) or unknown; only an unknown one
enters.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dhtd.core.ids import Id, packed
from dhtd.core.messages import Contact
from dhtd.core.routing.table import RoutingTable
from tests.core.small import SEVEN, SlowTable, contact
from tests.strategies import ids

K = 4


def make(own_id: int = 0, k: int = K) -> RoutingTable:
    return RoutingTable(SEVEN, Id(own_id), k, now=0.0)


class TableMachine(RuleBasedStateMachine):
    """Insertions and removals in any order keep every promise that the table makes."""

    def __init__(self) -> None:
        super().__init__()
        self.table = make()
        self.model = SlowTable(Id(0), K, 0.0)
        self.now = 0.0

    @initialize(own_id=ids(SEVEN), k=st.integers(1, 5))
    def begin(self, own_id: Id, k: int) -> None:
        self.table = RoutingTable(SEVEN, own_id, k, now=0.0)
        self.model = SlowTable(own_id, k, 0.0)

    def whose(self, newcomer: Contact) -> str:
        for member in self.model.members:
            if member.id == newcomer.id:
                return "member" if member.endpoint == newcomer.endpoint else "roaming"
        if any(member.endpoint == newcomer.endpoint for member in self.model.members):
            return "renamed"
        return "ours" if newcomer.id == self.model.own_id else "unknown"

    @rule(id=ids(SEVEN), shift=st.sampled_from([0, 0, 0, 1, 200]))
    def insert(self, id: Id, shift: int) -> None:
        newcomer = contact(id, machine=id + shift)
        kind = self.whose(newcomer)
        member = self.table.get(id)
        resident = self.table.at(newcomer.endpoint)
        assert (kind in {"member", "roaming"}) is (member is not None)
        assert (kind == "member") is (member == newcomer)
        assert (kind in {"member", "renamed"}) is (resident is not None and member in {None, newcomer})
        if kind != "unknown":
            with pytest.raises(AssertionError):
                self.table.insert(newcomer)
            return
        room = self.model.has_room(id)
        assert self.table.has_room(self.table.bucket(id), id) is room
        self.agrees()  # asking splits nothing
        assert self.table.insert(newcomer) is room
        assert self.model.make_room(id) is room
        if room:
            self.model.members.append(newcomer)

    @rule(low=ids(SEVEN), count=st.integers(1, 12))
    def insert_neighbours(self, low: Id, count: int) -> None:
        for id in range(low, min(low + count, SEVEN.size)):
            self.insert(Id(id), 0)

    @precondition(lambda self: self.model.members)
    @rule(data=st.data())
    def remove(self, data: Any) -> None:
        leaving = data.draw(st.sampled_from(self.model.members))
        self.table.remove(leaving)
        self.model.members.remove(leaving)

    @rule(id=ids(SEVEN))
    def something_goes_on(self, id: Id) -> None:
        self.now += 1.0
        self.table.bucket(id).activity = self.now
        self.model.ranges[self.model.range_of(id)] = self.now

    @rule(towards=ids(SEVEN), count=st.integers(0, 20), parity=st.integers(0, 1))
    def closest(self, towards: Id, count: int, parity: int) -> None:
        nearest = self.model.nearest(towards)
        assert self.table.closest(towards, count, ()) == nearest[:count]
        chosen = [member for member in nearest if member.id % 2 == parity]
        others = {packed(member.id) for member in nearest if member not in chosen}
        assert self.table.closest(towards, count, others) == chosen[:count]

    @rule(towards=ids(SEVEN))
    def buckets_come_by_nearness(self, towards: Id) -> None:
        visited = list(self.table.by_nearness(towards))
        assert sorted(visited, key=lambda bucket: bucket.low) == self.table.buckets
        distances = [[id ^ towards for id in range(bucket.low, bucket.high + 1)] for bucket in visited]
        for nearer, farther in pairwise(distances):
            assert max(nearer) < min(farther)

    @rule()
    def each_id_has_the_bucket_that_a_look_through_all_ranges_finds(self) -> None:
        for id in range(SEVEN.size):
            (only,) = [bucket for bucket in self.table.buckets if bucket.low <= id <= bucket.high]
            assert self.table.bucket(Id(id)) is only
            assert [bucket for bucket in self.table.buckets if Id(id) in bucket] == [only]
            assert self.table.get(Id(id)) == self.model.by_id(Id(id))

    @rule()
    def a_bucket_is_all_ids_of_one_prefix(self) -> None:
        everyone = [f"{id:07b}" for id in range(SEVEN.size)]
        for bucket in self.table.buckets:
            low, high = everyone[bucket.low], everyone[bucket.high]
            prefix = next(low[:shared] for shared in range(7, -1, -1) if low[:shared] == high[:shared])
            assert [id for id in everyone if id.startswith(prefix)] == everyone[bucket.low : bucket.high + 1]

    @invariant()
    def agrees(self) -> None:
        expected = sorted(self.model.ranges.items(), key=lambda entry: entry[0].start)
        ranges = [(range(bucket.low, bucket.high + 1), bucket.activity) for bucket in self.table.buckets]
        assert ranges == expected  # so they are contiguous and disjoint, and a split has handed its timer over
        for bucket, (inside, _) in zip(self.table.buckets, expected, strict=True):
            assert bucket.contacts == self.model.inside(inside)
            assert len(bucket.contacts) <= self.model.k
        assert list(self.table) == self.model.members
        assert len(self.table) == len(self.model.members)
        for member in self.model.members:
            assert self.table.at(member.endpoint) == self.table.get(member.id) == member


TestTheTableAgreesWithBruteForce = TableMachine.TestCase


def test_an_empty_table_is_one_bucket() -> None:
    table = make()
    assert [(bucket.low, bucket.high) for bucket in table.buckets] == [(0, 127)]
    assert table.closest(Id(5), 8, ()) == []
    assert len(table) == 0
    assert table.get(Id(5)) is None
    assert table.at(contact(5).endpoint) is None


def test_only_our_own_bucket_splits() -> None:
    table = make(own_id=0)
    for near in (1, 2, 3, 4):
        assert table.insert(contact(near))
    for far in (64, 80, 96, 112):
        assert table.insert(contact(far))
    assert [(bucket.low, bucket.high) for bucket in table.buckets] == [(0, 63), (64, 127)]
    assert not table.has_room(table.bucket(Id(127)), Id(127))
    assert not table.insert(contact(127))
    assert table.insert(contact(40))  # ours
    assert len(table.buckets) > 2
    assert all(member in table for member in map(contact, (1, 2, 3, 4, 64, 80, 96, 112, 40)))


def test_a_far_bucket_splits_for_near_neighbours() -> None:
    table = make(own_id=0)
    for far in (64, 65, 66, 67):  # the half next to ours is empty: these are all the neighbours that we have
        assert table.insert(contact(far))
    for far in (127, 126, 125):
        assert not table.has_room(table.bucket(Id(far)), Id(far))
    assert not table.insert(contact(127))
    table = make(own_id=0)
    for far in (124, 125, 126, 127):
        assert table.insert(contact(far))
    for nearer in (67, 66, 65, 64):
        assert table.insert(contact(nearer))
    assert not table.insert(contact(123))


def test_a_split_keeps_contacts_and_activity() -> None:
    table = make(own_id=0)
    table.buckets[0].activity = 7.0
    for id in (1, 2, 64, 65, 66):
        assert table.insert(contact(id))
    assert [[member.id for member in bucket.contacts] for bucket in table.buckets] == [[1, 2], [64, 65, 66]]
    assert [bucket.activity for bucket in table.buckets] == [7.0, 7.0]


def test_a_bucket_of_one_id_is_never_split() -> None:
    table = make(own_id=0, k=1)
    for id in (64, 32, 16, 8, 4, 2, 1):
        assert table.insert(contact(id))
    assert [(bucket.low, bucket.high) for bucket in table.buckets][:2] == [(0, 1), (2, 3)]
    assert not table.has_room(table.bucket(Id(1)), Id(1))  # not even in the half of the half
    crowded = RoutingTable(SEVEN, Id(0), 0, now=0.0)
    assert not crowded.has_room(crowded.bucket(Id(1)), Id(1))
    assert not crowded.insert(contact(1))


@given(ids(SEVEN))
def test_adding_a_contact_twice_or_us_is_misuse(own_id: Id) -> None:
    table = make(own_id=own_id)
    other, third = Id(own_id ^ 1), Id(own_id ^ 2)
    assert table.insert(contact(other))
    for misuse in (contact(own_id), contact(other, machine=300), contact(third, machine=other)):
        with pytest.raises(AssertionError):
            table.insert(misuse)
    assert list(table) == [contact(other)]


def test_departures_may_open_far_buckets() -> None:
    table = make(own_id=0)
    for near in (1, 2, 3, 4):
        table.insert(contact(near))
    for far in (80, 96, 112, 120):
        table.insert(contact(far))
    [ours, others] = table.buckets
    assert table.is_whole(others)
    for neighbour in (1, 2, 3):
        ours.closed_until = others.closed_until = others.good_until = 10.0
        table.remove(contact(neighbour))
        assert others.closed_until == float("-inf")
        assert others.good_until == 10.0
    assert not table.is_whole(others)
    assert table.has_room(others, Id(70))
    others.closed_until = 10.0
    table.insert(contact(3))  # our neighbours are nearer again: nothing opens
    assert others.closed_until == 10.0


def test_a_change_drops_the_cached_contacts() -> None:
    table = make()
    table.insert(contact(1))
    bucket = table.buckets[0]
    for change in (lambda: table.insert(contact(2)), lambda: table.remove(contact(1))):
        bucket.good_until = bucket.closed_until = 10.0
        table.closest(Id(1), 1, ())
        assert bucket.good_until == bucket.closed_until == 10.0
        change()
        assert bucket.good_until == bucket.closed_until == float("-inf")
