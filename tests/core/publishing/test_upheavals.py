"""What touches all own entries at once: a network is reached, the machine slept."""

from __future__ import annotations

import pytest

from dhtd.core.endpoint import Family
from dhtd.core.ids import Id
from dhtd.core.policy import DEFAULT
from dhtd.core.publishing.walks import STEP
from tests.core.publishing.hurried import KEY, REPLICAS, make, publish
from tests.core.small import contact
from tests.records import own_key


def test_a_sleep_makes_publications_older() -> None:
    records = make()
    young, old, waiting = (records.add(own_key(Id(number), 80)) for number in range(3))
    publish(records, young, 1_000.0)
    publish(records, old, 100.0)
    due = records.due_in(young, 1_000.0)
    records.began(waiting, 0.0)
    records.upheavals.slept(400.0, 1_000.0)
    assert records.due_in(young, 1_000.0) == pytest.approx(due - 400.0)
    assert records.due_in(old, 1_000.0) <= DEFAULT.startup_spread
    assert (young.replicas, old.replicas) == (tuple(REPLICAS), tuple(REPLICAS))
    records.upheavals.slept(DEFAULT.store_expiry - 400.0, 1_000.0)
    assert (young.replicas, old.replicas) == ((), ())
    assert records.due_in(young, 1_000.0) <= DEFAULT.startup_spread
    records.published(own_key(waiting.key, 80), REPLICAS, 1_000.0)  # which was under way all the time
    assert waiting.replicas == tuple(REPLICAS)


def test_a_reached_network_gets_unheld_entries_soon() -> None:
    records = make()
    held = records.add(own_key(KEY, 1))
    publish(records, held, 0.0)
    lost = records.add(own_key(KEY, 2))
    publish(records, lost, 0.0, [])
    restored = [records.add(own_key(KEY, port)) for port in range(3, 60)]
    held_until = records.due_in(held, 0.0)
    records.upheavals.joined(Family.IPV4, 1.0)
    assert records.due_in(held, 0.0) == held_until
    delays = [records.due_in(entry, 1.0) for entry in (lost, *restored)]
    assert max(delays) <= DEFAULT.startup_spread
    assert min(delays) < 2.0
    assert max(delays) > 8.0
    assert len(set(delays)) == len(delays)


def test_reaching_the_network_never_postpones() -> None:
    records = make()
    entry = records.add(own_key(KEY, 80))
    records.due_at(entry, 1.0)
    records.upheavals.joined(Family.IPV4, 1.0)
    assert records.next_timeout() == 1.0


def test_a_walk_passes_over_deleted_entries() -> None:
    records = make()
    for port in range(1, STEP + 3):
        publish(records, records.add(own_key(KEY, port)), 0.0)
    records.upheavals.moved(100.0)
    records.remove(own_key(KEY, STEP + 1))
    assert records.next_timeout() == 100.0
    assert not list(records.pop_due(50.0))
    due = [entry for entry in records if records.due_in(entry, 100.0) <= DEFAULT.startup_spread]
    assert len(due) == STEP + 1
    assert len(records._timetable._timers) == STEP + 1


def test_a_publication_during_a_walk_keeps_its_age() -> None:
    records = make()
    entries = [records.add(own_key(KEY, port)) for port in range(1, STEP + 3)]
    for entry in entries:
        publish(records, entry, 0.0)
    records.upheavals.slept(100.0, 200.0)
    records.hurrying.network_has(64, Family.IPV4, 200.0)
    publish(records, entries[-1], 201.0)
    while records._walks:
        assert not list(records.pop_due(100.0))
    assert [entry.published_at for entry in entries[-2:]] == [-100.0, 201.0]
    assert [entry.hurried for entry in entries[-2:]] == [True, False]


def test_failures_of_an_outage_do_not_count_later() -> None:
    records = make()
    entry = records.add(own_key(KEY, 80))
    for _ in range(10):
        records.began(entry, 0.0)
        records.published(own_key(KEY, 80), [], now=0.0)
    assert records.due_in(entry, 0.0) > DEFAULT.republish_retry_max / 2
    records.upheavals.joined(Family.IPV4, now=0.0)
    assert records.due_in(entry, 0.0) <= DEFAULT.startup_spread
    records.began(entry, 0.0)
    records.published(own_key(KEY, 80), [], now=0.0)
    assert records.due_in(entry, 0.0) < 2 * DEFAULT.republish_retry


def test_a_reached_family_gets_missing_entries() -> None:
    records = make()
    publish(records, records.add(own_key(KEY, 80)), 0.0, [contact(1)])
    records.upheavals.joined(Family.IPV4, 5.0)
    assert (records.next_timeout() or 0) > 60.0
    records.upheavals.joined(Family.IPV6, 5.0)
    assert (records.next_timeout() or 0) <= 5.0 + DEFAULT.startup_spread


def test_a_family_reached_meanwhile_is_served_next() -> None:
    for family, wait in ((Family.IPV6, DEFAULT.startup_spread), (Family.IPV4, 2 * DEFAULT.republish)):
        records = make()
        entry = records.add(own_key(KEY, 80))
        records.began(entry, 0.0)
        records.upheavals.joined(family, 1.0)
        records.published(own_key(KEY, 80), [contact(1)], 2.0)
        due = records.due_in(entry, 2.0)
        assert 0 < due <= wait
        assert (due > 60.0) is (family is Family.IPV4)
