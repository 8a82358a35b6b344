"""This node's own entries: which there are, and when each is published again."""

from __future__ import annotations

from random import Random

import pytest

from dhtd.core.ids import Id
from dhtd.core.policy import DEFAULT
from tests.core.publishing.hurried import KEY, REPLICAS, HurriedRecords, make, publish
from tests.records import own_key

EARLIEST, LATEST = DEFAULT.republish_first * 0.9, DEFAULT.republish_first * 1.1


def test_an_entry_added_twice_is_there_once() -> None:
    records = make()
    first = records.add(own_key(KEY, 80))
    assert records.add(own_key(KEY, 80)) is first
    assert records.get(own_key(KEY, 80)) is first
    assert list(records) == [first]
    assert len(records) == 1


def test_one_key_may_have_several_ports() -> None:
    records = make()
    for port in (443, 80):
        records.add(own_key(KEY, port))
    records.add(own_key(Id(9), 22))
    assert records.ports(KEY) == [80, 443]
    assert records.remove(own_key(KEY, 443)) is not None
    assert records.ports(KEY) == [80]
    assert records.get(own_key(KEY, 443)) is None
    assert records.remove(own_key(KEY, 443)) is None
    assert records.ports(Id(10)) == []


def test_the_ports_of_a_key_are_found_without_a_walk() -> None:
    class Incomparable(int):
        __hash__ = int.__hash__

        def __eq__(self, other: object) -> bool:
            raise AssertionError("every find_value would cost as much as there are entries")

    records = make()
    records.add(own_key(Id(Incomparable(5)), 80))
    records.add(own_key(KEY, 443))
    assert records.ports(KEY) == [443]


def test_an_emptied_key_leaves_nothing_behind() -> None:
    records = make()
    records.add(own_key(KEY, 80))
    records.add(own_key(KEY, 443))
    assert records.remove(own_key(KEY, 80)) is not None
    assert records.remove(own_key(KEY, 443)) is not None
    assert (records._entries, records._ports) == ({}, {})


def test_intervals_are_jittered_by_a_tenth() -> None:
    delays = []
    for seed in range(200):
        records = HurriedRecords(Random(seed), DEFAULT)
        entry = records.add(own_key(KEY, 80))
        publish(records, entry, 1_000.0)
        delays.append(records.due_in(entry, 1_000.0))
    assert EARLIEST <= min(delays) < DEFAULT.republish_first * 0.92
    assert DEFAULT.republish_first * 1.08 < max(delays) <= LATEST
    assert (DEFAULT.republish_first, DEFAULT.republish) == (15 * 60, 45 * 60)


def test_a_publication_records_the_replicas() -> None:
    records = make()
    assert records.add(own_key(KEY, 80)).published_at is None
    entry = records.add(own_key(KEY, 80))
    publish(records, entry, 7.0, REPLICAS[:3])
    assert entry.replicas == tuple(REPLICAS[:3])
    assert entry.published_at == 7.0
    publish(records, entry, 8.0, [])
    assert entry.replicas == ()


def test_an_untaken_entry_is_tried_soon_and_ever_later() -> None:
    records = make()
    entry = records.add(own_key(KEY, 80))
    for expected in (15.0, 30.0, 60.0, 120.0, 240.0, 300.0, 300.0):
        publish(records, entry, 0.0, [])
        assert records.due_in(entry, 0.0) == pytest.approx(expected, rel=0.1)
    publish(records, entry, 0.0)
    assert entry.failures == 0
    assert records.due_in(entry, 0.0) >= EARLIEST
    publish(records, entry, 0.0, [])
    assert records.due_in(entry, 0.0) == pytest.approx(15.0, rel=0.1)


def test_failures_are_counted_up_to_a_bound() -> None:
    records = make()
    entry = records.add(own_key(KEY, 80))
    for _ in range(2_000):
        publish(records, entry, 0.0, [])
    assert entry.failures == 32


def test_the_end_of_a_removed_entry_changes_nothing() -> None:
    records = make()
    records.began(records.add(own_key(KEY, 80)), 0.0)
    records.remove(own_key(KEY, 80))
    records.published(own_key(KEY, 80), REPLICAS, 1.0)
    assert len(records) == 0
    assert records.next_timeout() is None
