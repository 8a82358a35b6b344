"""Entries that no node takes: tried ever more seldom, and counted."""

from __future__ import annotations

from dhtd.core.endpoint import Family
from dhtd.core.policy import DEFAULT
from tests.core.publishing.hurried import KEY, make, publish
from tests.core.small import contact
from tests.records import own_key


def test_a_refused_entry_is_tried_ever_more_seldom() -> None:
    records = make()
    entry = records.add(own_key(KEY, 80))
    waits = []
    for _ in range(12):
        records.began(entry, 0.0)
        records.published(own_key(KEY, 80), [], 0.0, refused=True)
        waits.append(records.due_in(entry, 0.0))
        assert records.untaken.refused == 1
    assert waits[0] < 20
    assert waits[-1] > 40 * 60
    records.hurrying.contact_joined(contact(1), 0.0)
    assert records.due_in(entry, 0.0) == waits[-1]
    publish(records, entry, 0.0)
    assert records.untaken.refused == 0


def test_many_refused_entries_wait_longer() -> None:
    records = make()
    for port in range(1, 1_001):
        records.began(records.add(own_key(KEY, port)), 0.0)
        records.published(own_key(KEY, port), [], 0.0, refused=True)
    last = records.get(own_key(KEY, 1_000))
    assert last is not None
    assert records.due_in(last, 0.0) > 1_000 * DEFAULT.refused_pace * 0.8
    records.hurrying.network_has(10, Family.IPV4, 0.0)
    assert records.due_in(last, 0.0) > 1_000 * DEFAULT.refused_pace * 0.8
    records.remove(own_key(KEY, 1_000))
    assert records.untaken.refused == 999
