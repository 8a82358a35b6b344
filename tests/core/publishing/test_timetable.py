"""Timers of own entries: one an entry, or one publication under way."""

from __future__ import annotations

from dhtd.core.policy import Policy
from tests.core.publishing.hurried import KEY, REPLICAS, make, publish
from tests.records import own_key


def test_a_removed_entry_makes_way_for_the_next() -> None:
    records = make(Policy(publishing=1))
    records.began(records.add(own_key(KEY, 80)), 0.0)
    waiting = records.add(own_key(KEY, 443))
    records.due_at(waiting, 5.0)
    assert records.next_timeout() is None
    records.remove(own_key(KEY, 80))
    assert records.next_timeout() == 5.0
    assert list(records.pop_due(5.0)) == [waiting]


def test_a_new_entry_has_no_timer() -> None:
    records = make()
    entry = records.add(own_key(KEY, 80))
    assert records.next_timeout() is None
    assert records.due_in(entry, 0.0) == 0.0


def test_publishing_twice_starts_one_chain() -> None:
    records = make()
    entry = records.add(own_key(KEY, 80))
    publish(records, entry, 0.0)
    publish(records, records.add(own_key(KEY, 80)), 10.0)
    records.published(own_key(KEY, 80), REPLICAS, 11.0)  # not under way: changes nothing
    assert entry.published_at == 10.0
    due = [entry for _ in range(3) for entry in records.pop_due(1e6)]
    assert due == [entry]


def test_an_entry_under_way_has_no_timer() -> None:
    records = make()
    entry = records.add(own_key(KEY, 80))
    records.due_at(entry, 5.0)
    records.began(entry, 0.0)
    assert records.next_timeout() is None
    records.due_at(entry, 5.0)
    assert records.next_timeout() is None
    assert records.due_in(entry, 0.0) == 0.0
    records.published(own_key(KEY, 80), REPLICAS, 6.0)
    assert records.next_timeout() is not None


def test_a_removed_entry_is_never_due() -> None:
    records = make()
    records.due_at(records.add(own_key(KEY, 80)), 1.0)
    records.remove(own_key(KEY, 80))
    assert list(records.pop_due(1e9)) == []


def test_no_more_are_under_way_than_the_policy_says() -> None:
    records = make(Policy(publishing=2))
    entries = [records.add(own_key(KEY, port)) for port in range(1, 6)]
    for entry in entries:
        records.due_at(entry, 1.0)
    assert list(records.pop_due(0.9)) == []
    begun = []
    for entry in records.pop_due(1.0):
        records.began(entry, 0.0)
        begun.append(entry)
    assert begun == entries[:2]
    assert records.next_timeout() is None
    records.published(own_key(KEY, 1), REPLICAS, 2.0)
    assert records.next_timeout() == 1.0
    assert next(records.pop_due(2.0)) is entries[2]
