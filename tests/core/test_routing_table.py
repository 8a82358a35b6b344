"""The routing table, against brute force over a keyspace of 128 IDs."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dhtd.core.messages import Contact
from dhtd.core.metric import Id
from dhtd.core.routing_table import RoutingTable
from tests.core.small import SEVEN, contact
from tests.strategies import ids

K = 4


def make(own_id: int = 0, k: int = K) -> RoutingTable:
    return RoutingTable(SEVEN, Id(own_id), k, now=0.0)


def always(_: Contact) -> bool:
    return True


class TableMachine(RuleBasedStateMachine):
    """Insertions and removals in any order keep every promise that the table makes."""

    def __init__(self) -> None:
        super().__init__()
        self.table = make()
        self.model: set[Contact] = set()

    @initialize(own_id=ids(SEVEN), k=st.integers(1, 5))
    def begin(self, own_id: Id, k: int) -> None:
        self.table = RoutingTable(SEVEN, own_id, k, now=0.0)

    @rule(id=ids(SEVEN))
    def insert(self, id: Id) -> None:
        if id == self.table.own_id or self.table.get(id):
            return
        room = self.table.has_room(id)
        ranges = len(self.table.buckets)
        assert self.table.has_room(id) is room
        assert len(self.table.buckets) == ranges  # asking splits nothing
        nearer = sum(member.id ^ self.table.own_id < id ^ self.table.own_id for member in self.model)
        went_in = self.table.insert(contact(id))
        assert went_in is room
        if nearer < self.table.k:
            assert went_in  # one of the K nearest to us is always taken
        if went_in:
            self.model.add(contact(id))

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove(self, data: Any) -> None:
        leaving = data.draw(st.sampled_from(sorted(self.model, key=lambda member: member.id)))
        self.table.remove(leaving)
        self.model.remove(leaving)

    @rule(towards=ids(SEVEN), count=st.integers(0, 20), parity=st.integers(0, 1))
    def closest(self, towards: Id, count: int, parity: int) -> None:
        nearest = sorted(self.model, key=lambda member: member.id ^ towards)
        assert self.table.closest(towards, count, always) == nearest[:count]
        chosen = [member for member in nearest if member.id % 2 == parity]
        assert self.table.closest(towards, count, lambda member: member.id % 2 == parity) == chosen[:count]

    @rule(towards=ids(SEVEN))
    def buckets_come_by_nearness(self, towards: Id) -> None:
        visited = list(self.table.by_nearness(towards))
        assert sorted(visited, key=lambda bucket: bucket.low) == self.table.buckets
        distances = [[id ^ towards for id in range(bucket.low, bucket.high + 1)] for bucket in visited]
        for nearer, farther in pairwise(distances):
            assert max(nearer) < min(farther)

    @invariant()
    def buckets_tile_the_keyspace_in_halves_of_halves(self) -> None:
        expected = 0
        for bucket in self.table.buckets:
            assert bucket.low == expected
            span = bucket.high - bucket.low + 1
            assert span & (span - 1) == 0
            assert bucket.low % span == 0
            expected = bucket.high + 1
        assert expected == SEVEN.size

    @invariant()
    def each_contact_is_in_its_bucket_and_nowhere_else(self) -> None:
        assert set(self.table) == self.model
        assert len(self.table) == len(self.model)
        assert sum(len(bucket.contacts) for bucket in self.table.buckets) == len(self.model)
        for bucket in self.table.buckets:
            assert len(bucket.contacts) <= self.table.k
            assert all(member.id in bucket for member in bucket.contacts)
        for id in range(SEVEN.size):
            bucket = self.table.bucket(Id(id))
            assert bucket.low <= id <= bucket.high
            member = self.table.get(Id(id))
            assert (member in bucket.contacts) is (member is not None)
        for member in self.model:
            assert self.table.at(member.endpoint) == self.table.get(member.id) == member


TestTheTableAgreesWithBruteForce = TableMachine.TestCase


def test_an_empty_table_is_one_bucket_over_everything() -> None:
    table = make()
    assert [(bucket.low, bucket.high) for bucket in table.buckets] == [(0, 127)]
    assert table.closest(Id(5), 8, always) == []
    assert len(table) == 0
    assert table.get(Id(5)) is None
    assert table.at(contact(5).endpoint) is None


def test_only_the_bucket_with_our_own_id_splits_once_we_know_our_neighbours() -> None:
    table = make(own_id=0)
    for near in (1, 2, 3, 4):
        assert table.insert(contact(near))
    for far in (64, 80, 96, 112):
        assert table.insert(contact(far))
    assert [(bucket.low, bucket.high) for bucket in table.buckets] == [(0, 63), (64, 127)]
    assert not table.has_room(Id(127))
    assert not table.insert(contact(127))
    assert table.insert(contact(40))  # ours
    assert len(table.buckets) > 2
    assert all(member in table for member in map(contact, (1, 2, 3, 4, 64, 80, 96, 112, 40)))


def test_a_bucket_far_from_us_splits_while_it_holds_our_nearest_neighbours() -> None:
    table = make(own_id=0)
    for far in (64, 65, 66, 67):  # the half next to ours is empty: these are all the neighbours that we have
        assert table.insert(contact(far))
    for far in (127, 126, 125):
        assert not table.has_room(Id(far))
    assert not table.insert(contact(127))
    table = make(own_id=0)
    for far in (124, 125, 126, 127):
        assert table.insert(contact(far))
    for nearer in (67, 66, 65, 64):
        assert table.insert(contact(nearer))
    assert not table.insert(contact(123))


def test_a_split_shares_the_contacts_and_keeps_the_time_of_the_last_activity() -> None:
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
    assert not table.has_room(Id(1))  # not even in the half of the half
    crowded = RoutingTable(SEVEN, Id(0), 0, now=0.0)
    assert not crowded.has_room(Id(1))
    assert not crowded.insert(contact(1))


@given(ids(SEVEN))
def test_a_contact_that_is_in_already_or_is_us_is_a_misuse(own_id: Id) -> None:
    table = make(own_id=own_id)
    other, third = Id(own_id ^ 1), Id(own_id ^ 2)
    assert table.insert(contact(other))
    for misuse in (contact(own_id), contact(other, machine=300), contact(third, machine=other)):
        with pytest.raises(AssertionError):
            table.insert(misuse)
    assert list(table) == [contact(other)]


def test_a_change_of_contacts_drops_the_cached_answer() -> None:
    table = make()
    table.insert(contact(1))
    bucket = table.buckets[0]
    answer = bucket.answer = object()  # type: ignore[assignment]
    table.closest(Id(1), 1, always)
    assert bucket.answer is answer
    table.insert(contact(2))
    assert bucket.answer is None
    bucket.answer = answer
    table.remove(contact(1))
    assert bucket.answer is None
