"""This node's own entries and their timers."""

from __future__ import annotations

from random import Random

import pytest

from dhtd.core.messages import Contact
from dhtd.core.metric import Id
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.track import OwnEntry, Tracker
from tests.core.small import contact

KEY = Id(0)
EARLIEST, LATEST = DEFAULT.republish * 0.9, DEFAULT.republish * 1.1
REPLICAS = [contact(id) for id in range(1, 9)]


def make(policy: Policy = DEFAULT) -> Tracker:
    return Tracker(Random(1), policy)


def publish(tracker: Tracker, entry: OwnEntry, now: float, replicas: list[Contact] = REPLICAS) -> None:
    tracker.began(entry)
    tracker.published(entry.key, entry.port, replicas, now)


def test_an_entry_is_tracked_once_however_often_it_is_added() -> None:
    tracker = make()
    first = tracker.add(KEY, 80)
    assert tracker.add(KEY, 80) is first
    assert tracker.get(KEY, 80) is first
    assert list(tracker) == [first]
    assert len(tracker) == 1


def test_one_key_may_have_several_ports() -> None:
    tracker = make()
    for port in (443, 80):
        tracker.add(KEY, port)
    tracker.add(Id(9), 22)
    assert tracker.ports(KEY) == [80, 443]
    assert tracker.remove(KEY, 443) is not None
    assert tracker.ports(KEY) == [80]
    assert tracker.get(KEY, 443) is None
    assert tracker.remove(KEY, 443) is None
    assert tracker.ports(Id(10)) == []


def test_the_ports_of_a_key_are_found_without_a_walk_through_all_entries() -> None:
    class Incomparable(int):
        __hash__ = int.__hash__

        def __eq__(self, other: object) -> bool:
            raise AssertionError("every find_value would cost as much as there are entries")

    tracker = make()
    tracker.add(Id(Incomparable(5)), 80)
    tracker.add(KEY, 443)
    assert tracker.ports(KEY) == [443]


def test_a_key_without_entries_leaves_nothing_behind() -> None:
    tracker = make()
    tracker.add(KEY, 80)
    tracker.add(KEY, 443)
    assert tracker.remove(KEY, 80) is not None
    assert tracker.remove(KEY, 443) is not None
    assert (tracker._entries, tracker._ports) == ({}, {})


def test_an_entry_that_is_removed_while_it_is_published_makes_way_for_the_next() -> None:
    tracker = make(Policy(publishing=1))
    tracker.began(tracker.add(KEY, 80))
    waiting = tracker.add(KEY, 443)
    tracker.due_at(waiting, 5.0)
    assert tracker.next_timeout() is None
    tracker.remove(KEY, 80)
    assert tracker.next_timeout() == 5.0
    assert list(tracker.pop_due(5.0)) == [waiting]


def test_a_new_entry_has_no_timer() -> None:
    tracker = make()
    entry = tracker.add(KEY, 80)
    assert tracker.next_timeout() is None
    assert tracker.due_in(entry, 0.0) == 0.0


def test_an_entry_is_published_again_after_45_minutes_give_or_take_a_tenth() -> None:
    delays = []
    for seed in range(200):
        tracker = Tracker(Random(seed), DEFAULT)
        entry = tracker.add(KEY, 80)
        publish(tracker, entry, 1_000.0)
        delays.append(tracker.due_in(entry, 1_000.0))
    assert EARLIEST <= min(delays) < DEFAULT.republish * 0.92
    assert DEFAULT.republish * 1.08 < max(delays) <= LATEST
    assert DEFAULT.republish == 45 * 60


def test_publishing_twice_starts_one_chain() -> None:
    tracker = make()
    entry = tracker.add(KEY, 80)
    publish(tracker, entry, 0.0)
    publish(tracker, tracker.add(KEY, 80), 10.0)
    tracker.published(KEY, 80, REPLICAS, 11.0)  # not under way: changes nothing
    assert entry.published_at == 10.0
    due = [entry for _ in range(3) for entry in tracker.pop_due(1e6)]
    assert due == [entry]


def test_while_it_is_published_an_entry_has_no_timer() -> None:
    tracker = make()
    entry = tracker.add(KEY, 80)
    tracker.due_at(entry, 5.0)
    tracker.began(entry)
    assert tracker.next_timeout() is None
    tracker.due_at(entry, 5.0)
    assert tracker.next_timeout() is None
    assert tracker.due_in(entry, 0.0) == 0.0
    tracker.published(KEY, 80, REPLICAS, 6.0)
    assert tracker.next_timeout() is not None


def test_a_publication_records_who_took_the_entry() -> None:
    tracker = make()
    assert tracker.add(KEY, 80).published_at is None
    entry = tracker.add(KEY, 80)
    publish(tracker, entry, 7.0, REPLICAS[:3])
    assert entry.replicas == tuple(REPLICAS[:3])
    assert entry.published_at == 7.0
    publish(tracker, entry, 8.0, [])
    assert entry.replicas == ()


def test_a_publication_that_nobody_took_is_tried_again_soon_and_then_ever_later() -> None:
    tracker = make()
    entry = tracker.add(KEY, 80)
    for expected in (15.0, 30.0, 60.0, 120.0, 240.0, 300.0, 300.0):
        publish(tracker, entry, 0.0, [])
        assert tracker.due_in(entry, 0.0) == pytest.approx(expected, rel=0.1)
    publish(tracker, entry, 0.0)
    assert entry.failures == 0
    assert tracker.due_in(entry, 0.0) >= EARLIEST
    publish(tracker, entry, 0.0, [])
    assert tracker.due_in(entry, 0.0) == pytest.approx(15.0, rel=0.1)


def test_failures_are_counted_no_further_than_a_power_of_two_can_go() -> None:
    tracker = make()
    entry = tracker.add(KEY, 80)
    for _ in range(2_000):
        publish(tracker, entry, 0.0, [])
    assert entry.failures == 32


def test_the_end_of_a_publication_of_a_removed_entry_changes_nothing() -> None:
    tracker = make()
    tracker.began(tracker.add(KEY, 80))
    tracker.remove(KEY, 80)
    tracker.published(KEY, 80, REPLICAS, 1.0)
    assert len(tracker) == 0
    assert tracker.next_timeout() is None


def test_a_removed_entry_is_never_due() -> None:
    tracker = make()
    tracker.due_at(tracker.add(KEY, 80), 1.0)
    tracker.remove(KEY, 80)
    assert list(tracker.pop_due(1e9)) == []


def test_no_more_publications_are_under_way_than_the_policy_says() -> None:
    tracker = make(Policy(publishing=2))
    entries = [tracker.add(KEY, port) for port in range(1, 6)]
    for entry in entries:
        tracker.due_at(entry, 1.0)
    assert list(tracker.pop_due(0.9)) == []
    begun = []
    for entry in tracker.pop_due(1.0):
        tracker.began(entry)
        begun.append(entry)
    assert begun == entries[:2]
    assert tracker.next_timeout() is None
    tracker.published(KEY, 1, REPLICAS, 2.0)
    assert tracker.next_timeout() == 1.0
    assert next(tracker.pop_due(2.0)) is entries[2]


def test_once_the_network_is_reached_what_nobody_holds_is_published_soon_and_spread_out() -> None:
    tracker = make()
    held = tracker.add(KEY, 1)
    publish(tracker, held, 0.0)
    lost = tracker.add(KEY, 2)
    publish(tracker, lost, 0.0, [])
    restored = [tracker.add(KEY, port) for port in range(3, 60)]
    held_until = tracker.due_in(held, 0.0)
    tracker.joined(1.0)
    assert tracker.due_in(held, 0.0) == held_until
    delays = [tracker.due_in(entry, 1.0) for entry in (lost, *restored)]
    assert max(delays) <= DEFAULT.startup_spread
    assert min(delays) < 2.0
    assert max(delays) > 8.0
    assert len(set(delays)) == len(delays)


def test_reaching_the_network_never_postpones() -> None:
    tracker = make()
    entry = tracker.add(KEY, 80)
    tracker.due_at(entry, 1.0)
    tracker.joined(1.0)
    assert tracker.next_timeout() == 1.0


def test_a_new_contact_brings_publication_forward_only_if_it_is_nearer_than_a_holder() -> None:
    tracker = make()
    entry = tracker.add(KEY, 80)
    tracker.contact_joined(contact(3), 0.0)
    assert tracker.next_timeout() is None  # never published yet: that is for who reaches the network
    publish(tracker, entry, 1_000.0)
    due = tracker.next_timeout()
    tracker.contact_joined(contact(9), 1_001.0)  # the farthest of eight holders is 8
    assert tracker.next_timeout() == due
    tracker.contact_joined(contact(7, machine=99), 1_001.0)
    soon = tracker.due_in(entry, 1_000.0)
    assert DEFAULT.republish_gap * 0.9 <= soon <= DEFAULT.republish_gap * 1.1


def test_a_new_contact_is_welcome_however_far_while_there_are_fewer_holders_than_wanted() -> None:
    tracker = make()
    entry = tracker.add(KEY, 80)
    publish(tracker, entry, 1_000.0, REPLICAS[:7])
    tracker.contact_joined(contact(127), 1_500.0)
    assert tracker.due_in(entry, 1_500.0) == 0.0  # the gap since the last publication is over


def test_a_new_contact_makes_an_entry_due_at_once_that_nobody_holds() -> None:
    tracker = make()
    entry = tracker.add(KEY, 80)
    publish(tracker, entry, 1_000.0, [])
    tracker.contact_joined(contact(127), 1_001.0)
    assert tracker.due_in(entry, 1_001.0) == 0.0


def test_holders_are_all_who_may_have_the_entry_until_it_must_have_expired_there() -> None:
    tracker = make()
    entry = tracker.add(KEY, 80)
    entry.may_hold(contact(1), until=10.0)
    entry.may_hold(contact(2), until=20.0)
    entry.may_hold(contact(1), until=15.0)
    assert entry.holders(14.9) == [contact(1), contact(2)]
    assert entry.holders(15.0) == [contact(2)]
    publish(tracker, entry, 16.0)
    assert entry.holders(0.0) == [contact(2)]


def test_what_is_published_is_published_again_when_the_network_has_doubled() -> None:
    tracker = Tracker(Random(1), DEFAULT)
    published, waiting = tracker.add(KEY, 80), tracker.add(KEY, 81)
    tracker.network_has(10, now=0.0)
    tracker.began(published)
    tracker.published(KEY, 80, [contact(number) for number in range(8)], now=0.0)
    for size in (19, 11, 6):
        tracker.network_has(size, now=1.0)
        assert tracker.due_in(published, 1.0) > DEFAULT.republish / 2
    tracker.network_has(20, now=1.0)
    assert 1.0 < tracker.due_in(published, 1.0) < 2 * DEFAULT.republish_gap
    assert tracker.next_timeout() is not None
    assert [entry.port for entry in tracker.pop_due(DEFAULT.republish_gap * 2)] == [80]
    assert waiting.published_at is None


def test_a_network_that_has_halved_may_double_again() -> None:
    tracker = Tracker(Random(1), DEFAULT)
    entry = tracker.add(KEY, 80)
    tracker.network_has(40, now=0.0)
    tracker.began(entry)
    tracker.published(KEY, 80, [contact(number) for number in range(8)], now=0.0)
    tracker.network_has(20, now=1.0)
    assert tracker.due_in(entry, 1.0) > DEFAULT.republish / 2
    tracker.network_has(40, now=1.0)
    assert tracker.due_in(entry, 1.0) < 2 * DEFAULT.republish_gap


def test_the_failures_of_an_outage_do_not_count_after_it() -> None:
    tracker = Tracker(Random(1), DEFAULT)
    entry = tracker.add(KEY, 80)
    for _ in range(10):
        tracker.began(entry)
        tracker.published(KEY, 80, [], now=0.0)
    assert tracker.due_in(entry, 0.0) > DEFAULT.republish_retry_max / 2
    tracker.joined(now=0.0)
    assert tracker.due_in(entry, 0.0) <= DEFAULT.startup_spread
    tracker.began(entry)
    tracker.published(KEY, 80, [], now=0.0)
    assert tracker.due_in(entry, 0.0) < 2 * DEFAULT.republish_retry
