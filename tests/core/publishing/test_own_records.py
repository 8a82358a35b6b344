"""This node's own entries: which there are, and when each is published again."""

from __future__ import annotations

from random import Random

import pytest

from dhtd.core.ids import Id
from dhtd.core.policy import DEFAULT
from tests.core.publishing.tracker import KEY, REPLICAS, Tracker, make, publish
from tests.records import own_key

EARLIEST, LATEST = DEFAULT.republish_first * 0.9, DEFAULT.republish_first * 1.1


def test_an_entry_added_twice_is_there_once() -> None:
    tracker = make()
    first = tracker.add(own_key(KEY, 80))
    assert tracker.add(own_key(KEY, 80)) is first
    assert tracker.get(own_key(KEY, 80)) is first
    assert list(tracker) == [first]
    assert len(tracker) == 1


def test_one_key_may_have_several_ports() -> None:
    tracker = make()
    for port in (443, 80):
        tracker.add(own_key(KEY, port))
    tracker.add(own_key(Id(9), 22))
    assert tracker.ports(KEY) == [80, 443]
    assert tracker.remove(own_key(KEY, 443)) is not None
    assert tracker.ports(KEY) == [80]
    assert tracker.get(own_key(KEY, 443)) is None
    assert tracker.remove(own_key(KEY, 443)) is None
    assert tracker.ports(Id(10)) == []


def test_the_ports_of_a_key_are_found_without_a_walk() -> None:
    class Incomparable(int):
        __hash__ = int.__hash__

        def __eq__(self, other: object) -> bool:
            raise AssertionError("every find_value would cost as much as there are entries")

    tracker = make()
    tracker.add(own_key(Id(Incomparable(5)), 80))
    tracker.add(own_key(KEY, 443))
    assert tracker.ports(KEY) == [443]


def test_an_emptied_key_leaves_nothing_behind() -> None:
    tracker = make()
    tracker.add(own_key(KEY, 80))
    tracker.add(own_key(KEY, 443))
    assert tracker.remove(own_key(KEY, 80)) is not None
    assert tracker.remove(own_key(KEY, 443)) is not None
    assert (tracker._entries, tracker._ports) == ({}, {})


def test_intervals_are_jittered_by_a_tenth() -> None:
    delays = []
    for seed in range(200):
        tracker = Tracker(Random(seed), DEFAULT)
        entry = tracker.add(own_key(KEY, 80))
        publish(tracker, entry, 1_000.0)
        delays.append(tracker.due_in(entry, 1_000.0))
    assert EARLIEST <= min(delays) < DEFAULT.republish_first * 0.92
    assert DEFAULT.republish_first * 1.08 < max(delays) <= LATEST
    assert (DEFAULT.republish_first, DEFAULT.republish) == (15 * 60, 45 * 60)


def test_a_publication_records_the_replicas() -> None:
    tracker = make()
    assert tracker.add(own_key(KEY, 80)).published_at is None
    entry = tracker.add(own_key(KEY, 80))
    publish(tracker, entry, 7.0, REPLICAS[:3])
    assert entry.replicas == tuple(REPLICAS[:3])
    assert entry.published_at == 7.0
    publish(tracker, entry, 8.0, [])
    assert entry.replicas == ()


def test_an_untaken_entry_is_tried_soon_and_ever_later() -> None:
    tracker = make()
    entry = tracker.add(own_key(KEY, 80))
    for expected in (15.0, 30.0, 60.0, 120.0, 240.0, 300.0, 300.0):
        publish(tracker, entry, 0.0, [])
        assert tracker.due_in(entry, 0.0) == pytest.approx(expected, rel=0.1)
    publish(tracker, entry, 0.0)
    assert entry.failures == 0
    assert tracker.due_in(entry, 0.0) >= EARLIEST
    publish(tracker, entry, 0.0, [])
    assert tracker.due_in(entry, 0.0) == pytest.approx(15.0, rel=0.1)


def test_failures_are_counted_up_to_a_bound() -> None:
    tracker = make()
    entry = tracker.add(own_key(KEY, 80))
    for _ in range(2_000):
        publish(tracker, entry, 0.0, [])
    assert entry.failures == 32


def test_the_end_of_a_removed_entry_changes_nothing() -> None:
    tracker = make()
    tracker.began(tracker.add(own_key(KEY, 80)), 0.0)
    tracker.remove(own_key(KEY, 80))
    tracker.published(own_key(KEY, 80), REPLICAS, 1.0)
    assert len(tracker) == 0
    assert tracker.next_timeout() is None
