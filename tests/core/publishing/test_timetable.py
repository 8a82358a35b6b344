"""Timers of own entries: one an entry, or one publication under way."""

from __future__ import annotations

from dhtd.core.policy import Policy
from tests.core.publishing.tracker import KEY, REPLICAS, make, publish
from tests.records import own_key


def test_a_removed_entry_makes_way_for_the_next() -> None:
    tracker = make(Policy(publishing=1))
    tracker.began(tracker.add(own_key(KEY, 80)), 0.0)
    waiting = tracker.add(own_key(KEY, 443))
    tracker.due_at(waiting, 5.0)
    assert tracker.next_timeout() is None
    tracker.remove(own_key(KEY, 80))
    assert tracker.next_timeout() == 5.0
    assert list(tracker.pop_due(5.0)) == [waiting]


def test_a_new_entry_has_no_timer() -> None:
    tracker = make()
    entry = tracker.add(own_key(KEY, 80))
    assert tracker.next_timeout() is None
    assert tracker.due_in(entry, 0.0) == 0.0


def test_publishing_twice_starts_one_chain() -> None:
    tracker = make()
    entry = tracker.add(own_key(KEY, 80))
    publish(tracker, entry, 0.0)
    publish(tracker, tracker.add(own_key(KEY, 80)), 10.0)
    tracker.published(own_key(KEY, 80), REPLICAS, 11.0)  # not under way: changes nothing
    assert entry.published_at == 10.0
    due = [entry for _ in range(3) for entry in tracker.pop_due(1e6)]
    assert due == [entry]


def test_an_entry_under_way_has_no_timer() -> None:
    tracker = make()
    entry = tracker.add(own_key(KEY, 80))
    tracker.due_at(entry, 5.0)
    tracker.began(entry, 0.0)
    assert tracker.next_timeout() is None
    tracker.due_at(entry, 5.0)
    assert tracker.next_timeout() is None
    assert tracker.due_in(entry, 0.0) == 0.0
    tracker.published(own_key(KEY, 80), REPLICAS, 6.0)
    assert tracker.next_timeout() is not None


def test_a_removed_entry_is_never_due() -> None:
    tracker = make()
    tracker.due_at(tracker.add(own_key(KEY, 80)), 1.0)
    tracker.remove(own_key(KEY, 80))
    assert list(tracker.pop_due(1e9)) == []


def test_no_more_are_under_way_than_the_policy_says() -> None:
    tracker = make(Policy(publishing=2))
    entries = [tracker.add(own_key(KEY, port)) for port in range(1, 6)]
    for entry in entries:
        tracker.due_at(entry, 1.0)
    assert list(tracker.pop_due(0.9)) == []
    begun = []
    for entry in tracker.pop_due(1.0):
        tracker.began(entry, 0.0)
        begun.append(entry)
    assert begun == entries[:2]
    assert tracker.next_timeout() is None
    tracker.published(own_key(KEY, 1), REPLICAS, 2.0)
    assert tracker.next_timeout() == 1.0
    assert next(tracker.pop_due(2.0)) is entries[2]
