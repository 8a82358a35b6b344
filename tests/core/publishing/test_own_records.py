"""This node's own entries and their timers: each has one chain of publications, in any order of events."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dhtd.core.endpoint import Family
from dhtd.core.ids import NATIVE, Id, closest
from dhtd.core.messages import Contact
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.publishing.own_records import STEP, OwnEntry, OwnRecords
from dhtd.core.records import RecordKey
from tests.core.small import contact, endpoint
from tests.records import own_key
from tests.strategies import scaled

KEY = Id(0)
EARLIEST, LATEST = DEFAULT.republish_first * 0.9, DEFAULT.republish_first * 1.1
REPLICAS = [contact(id) for id in range(1, 9)]


def make(policy: Policy = DEFAULT) -> OwnRecords:
    return OwnRecords(Random(1), policy)


def publish(tracker: OwnRecords, entry: OwnEntry, now: float, replicas: list[Contact] = REPLICAS) -> None:
    tracker.began(entry, 0.0)
    tracker.published(own_key(entry.key, entry.port), replicas, now)


def test_after_a_pause_of_the_machine_entries_are_published_as_much_sooner() -> None:
    tracker = make()
    young, old, waiting = (tracker.add(own_key(Id(number), 80)) for number in range(3))
    publish(tracker, young, 1_000.0)
    publish(tracker, old, 100.0)
    due = tracker.due_in(young, 1_000.0)
    tracker.began(waiting, 0.0)
    tracker.slept(400.0, 1_000.0)
    assert tracker.due_in(young, 1_000.0) == pytest.approx(due - 400.0)
    assert tracker.due_in(old, 1_000.0) <= DEFAULT.startup_spread
    assert (young.replicas, old.replicas) == (tuple(REPLICAS), tuple(REPLICAS))
    tracker.slept(DEFAULT.store_expiry - 400.0, 1_000.0)
    assert (young.replicas, old.replicas) == ((), ())
    assert tracker.due_in(young, 1_000.0) <= DEFAULT.startup_spread
    tracker.published(own_key(waiting.key, 80), REPLICAS, 1_000.0)  # which was under way all the time
    assert waiting.replicas == tuple(REPLICAS)


def test_an_entry_is_tracked_once_however_often_it_is_added() -> None:
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


def test_the_ports_of_a_key_are_found_without_a_walk_through_all_entries() -> None:
    class Incomparable(int):
        __hash__ = int.__hash__

        def __eq__(self, other: object) -> bool:
            raise AssertionError("every find_value would cost as much as there are entries")

    tracker = make()
    tracker.add(own_key(Id(Incomparable(5)), 80))
    tracker.add(own_key(KEY, 443))
    assert tracker.ports(KEY) == [443]


def test_a_key_without_entries_leaves_nothing_behind() -> None:
    tracker = make()
    tracker.add(own_key(KEY, 80))
    tracker.add(own_key(KEY, 443))
    assert tracker.remove(own_key(KEY, 80)) is not None
    assert tracker.remove(own_key(KEY, 443)) is not None
    assert (tracker._entries, tracker._ports) == ({}, {})


def test_an_entry_that_is_removed_while_it_is_published_makes_way_for_the_next() -> None:
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


def test_an_entry_is_published_again_after_45_minutes_give_or_take_a_tenth() -> None:
    delays = []
    for seed in range(200):
        tracker = OwnRecords(Random(seed), DEFAULT)
        entry = tracker.add(own_key(KEY, 80))
        publish(tracker, entry, 1_000.0)
        delays.append(tracker.due_in(entry, 1_000.0))
    assert EARLIEST <= min(delays) < DEFAULT.republish_first * 0.92
    assert DEFAULT.republish_first * 1.08 < max(delays) <= LATEST
    assert (DEFAULT.republish_first, DEFAULT.republish) == (15 * 60, 45 * 60)


def test_publishing_twice_starts_one_chain() -> None:
    tracker = make()
    entry = tracker.add(own_key(KEY, 80))
    publish(tracker, entry, 0.0)
    publish(tracker, tracker.add(own_key(KEY, 80)), 10.0)
    tracker.published(own_key(KEY, 80), REPLICAS, 11.0)  # not under way: changes nothing
    assert entry.published_at == 10.0
    due = [entry for _ in range(3) for entry in tracker.pop_due(1e6)]
    assert due == [entry]


def test_while_it_is_published_an_entry_has_no_timer() -> None:
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


def test_a_publication_records_who_took_the_entry() -> None:
    tracker = make()
    assert tracker.add(own_key(KEY, 80)).published_at is None
    entry = tracker.add(own_key(KEY, 80))
    publish(tracker, entry, 7.0, REPLICAS[:3])
    assert entry.replicas == tuple(REPLICAS[:3])
    assert entry.published_at == 7.0
    publish(tracker, entry, 8.0, [])
    assert entry.replicas == ()


def test_a_publication_that_nobody_took_is_tried_again_soon_and_then_ever_later() -> None:
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


def test_failures_are_counted_no_further_than_a_power_of_two_can_go() -> None:
    tracker = make()
    entry = tracker.add(own_key(KEY, 80))
    for _ in range(2_000):
        publish(tracker, entry, 0.0, [])
    assert entry.failures == 32


def test_the_end_of_a_publication_of_a_removed_entry_changes_nothing() -> None:
    tracker = make()
    tracker.began(tracker.add(own_key(KEY, 80)), 0.0)
    tracker.remove(own_key(KEY, 80))
    tracker.published(own_key(KEY, 80), REPLICAS, 1.0)
    assert len(tracker) == 0
    assert tracker.next_timeout() is None


def test_a_removed_entry_is_never_due() -> None:
    tracker = make()
    tracker.due_at(tracker.add(own_key(KEY, 80)), 1.0)
    tracker.remove(own_key(KEY, 80))
    assert list(tracker.pop_due(1e9)) == []


def test_no_more_publications_are_under_way_than_the_policy_says() -> None:
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


def test_once_the_network_is_reached_what_nobody_holds_is_published_soon_and_spread_out() -> None:
    tracker = make()
    held = tracker.add(own_key(KEY, 1))
    publish(tracker, held, 0.0)
    lost = tracker.add(own_key(KEY, 2))
    publish(tracker, lost, 0.0, [])
    restored = [tracker.add(own_key(KEY, port)) for port in range(3, 60)]
    held_until = tracker.due_in(held, 0.0)
    tracker.joined(Family.IPV4, 1.0)
    assert tracker.due_in(held, 0.0) == held_until
    delays = [tracker.due_in(entry, 1.0) for entry in (lost, *restored)]
    assert max(delays) <= DEFAULT.startup_spread
    assert min(delays) < 2.0
    assert max(delays) > 8.0
    assert len(set(delays)) == len(delays)


def test_reaching_the_network_never_postpones() -> None:
    tracker = make()
    entry = tracker.add(own_key(KEY, 80))
    tracker.due_at(entry, 1.0)
    tracker.joined(Family.IPV4, 1.0)
    assert tracker.next_timeout() == 1.0


def test_a_new_contact_brings_publication_forward_only_if_it_is_nearer_than_a_holder() -> None:
    tracker = make()
    entry = tracker.add(own_key(KEY, 80))
    tracker.contact_stayed(contact(3), 0.0, 0.0)
    assert tracker.next_timeout() is None  # never published yet: reaching the network will do that
    publish(tracker, entry, 1_000.0)
    due = tracker.next_timeout()
    tracker.contact_stayed(contact(9), 1_001.0, 1_001.0)  # the farthest of eight holders is 8
    assert tracker.next_timeout() == due
    tracker.contact_stayed(contact(7, machine=99), 1_001.0, 1_001.0)
    soon = tracker.due_in(entry, 1_000.0)
    assert DEFAULT.newcomer_gap * 0.9 <= soon <= DEFAULT.newcomer_gap * 1.1


def test_a_new_contact_is_welcome_however_far_while_there_are_fewer_holders_than_wanted() -> None:
    tracker = make()
    entry = tracker.add(own_key(KEY, 80))
    publish(tracker, entry, 1_000.0, REPLICAS[:7])
    tracker.contact_joined(contact(127), 1_500.0)
    assert tracker.due_in(entry, 1_500.0) == 0.0  # the gap since the last publication is over


def test_a_new_contact_makes_an_entry_due_at_once_that_nobody_holds() -> None:
    tracker = make()
    entry = tracker.add(own_key(KEY, 80))
    publish(tracker, entry, 1_000.0, [])
    tracker.contact_joined(contact(127), 1_001.0)
    assert tracker.due_in(entry, 1_001.0) == 0.0


def test_holders_are_all_who_may_have_the_entry_until_it_must_have_expired_there() -> None:
    tracker = make()
    entry = tracker.add(own_key(KEY, 80))
    entry.may_hold(contact(1), until=10.0)
    entry.may_hold(contact(2), until=20.0)
    entry.may_hold(contact(1), until=15.0)
    assert tracker.changed == {own_key(KEY, 80)}
    assert list(entry.holders(14.9)) == [contact(2), contact(1)]
    assert entry.holders(15.0) == {contact(2): 20.0}
    publish(tracker, entry, 16.0)
    assert list(entry.holders(0.0)) == [contact(2)]


def test_what_is_published_is_published_again_when_the_network_has_doubled() -> None:
    tracker = OwnRecords(Random(1), DEFAULT)
    published, waiting = tracker.add(own_key(KEY, 80)), tracker.add(own_key(KEY, 81))
    tracker.network_has(10, Family.IPV4, now=0.0)
    tracker.began(published, 0.0)
    tracker.published(own_key(KEY, 80), [contact(number) for number in range(8)], now=0.0)
    for size in (19, 11, 6):
        tracker.network_has(size, Family.IPV4, now=1.0)
        assert tracker.due_in(published, 1.0) > DEFAULT.republish_first / 2
    tracker.network_has(20, Family.IPV4, now=1.0)
    assert 1.0 < tracker.due_in(published, 1.0) < 2 * DEFAULT.republish_gap
    assert tracker.next_timeout() is not None
    assert [entry.port for entry in tracker.pop_due(DEFAULT.republish_gap * 2)] == [80]
    assert waiting.published_at is None


def test_a_network_that_has_halved_may_double_again_but_not_soon() -> None:
    tracker = OwnRecords(Random(1), DEFAULT)
    entry = tracker.add(own_key(KEY, 80))
    publish(tracker, entry, 0.0)
    for size in (40, 20, 40, 20, 80):
        tracker.network_has(size, Family.IPV4, now=1.0)
    assert tracker.due_in(entry, 1.0) < 2 * DEFAULT.republish_gap
    publish(tracker, entry, 60.0)
    tracker.network_has(80, Family.IPV4, now=61.0)
    tracker.network_has(800, Family.IPV4, now=DEFAULT.republish_first)
    assert tracker.due_in(entry, DEFAULT.republish_first) > 0.0
    tracker.network_has(800, Family.IPV4, now=1.0 + DEFAULT.republish_first)
    assert tracker.due_in(entry, 1.0 + DEFAULT.republish_first) == 0.0


def test_who_comes_near_an_entry_again_and_again_hurries_it_ever_less() -> None:
    tracker = make()
    entry = tracker.add(own_key(KEY, 80))
    publish(tracker, entry, 0.0)
    now, pauses = 0.0, []
    for number in range(6):
        tracker.contact_stayed(contact(7, machine=100 + number), now, now)
        pauses.append(tracker.due_in(entry, now) / 60)
        now += tracker.due_in(entry, now)
        publish(tracker, entry, now)
    assert 3 < pauses[0] < 5
    assert all(pause >= 13 for pause in pauses[1:])


def test_new_contacts_hurry_a_few_entries_and_one_more_for_every_four_published_again_unhurried() -> None:
    tracker = make()
    entries = [tracker.add(own_key(KEY, port)) for port in range(1, 41)]
    for entry in entries:
        publish(tracker, entry, 0.0)

    def hurried(now: float) -> int:
        tracker.contact_stayed(contact(7, machine=99), now, now)
        return sum(entry.hurried for entry in entries)

    assert [hurried(1.0), hurried(1.0)] == [4, 4]
    for entry in entries:
        publish(tracker, entry, 900.0)
    assert hurried(900.0) == 36 // 4
    for _ in range(50):
        for entry in entries:
            publish(tracker, entry, 1_000.0)
    assert hurried(1_000.0) == 10  # however much is published, the credit is for a quarter of the entries


def test_an_entry_that_nobody_holds_needs_no_credit() -> None:
    tracker = make()
    entries = [tracker.add(own_key(KEY, port)) for port in range(1, 41)]
    for entry in entries:
        publish(tracker, entry, 0.0, [])
    tracker.contact_joined(contact(7), 1.0)
    assert all(entry.hurried for entry in entries)


def test_losses_and_a_doubled_network_hurry_entries_without_credit() -> None:
    for news in ("losses", "growth"):
        tracker = make(replace(DEFAULT, newcomer_credit=0))
        entry = tracker.add(own_key(KEY, 80))
        publish(tracker, entry, 0.0)
        tracker.contact_stayed(contact(7, machine=99), 1.0, 1.0)
        assert not entry.hurried
        if news == "losses":
            for replica in REPLICAS[:4]:
                tracker.holder_lost(replica, 1.0)
        else:
            tracker.network_has(2, Family.IPV4, 1.0)
        assert entry.hurried


def test_a_publication_that_nothing_has_hurried_makes_the_next_pause_shorter_again() -> None:
    tracker = make()
    entry = tracker.add(own_key(KEY, 80))
    publish(tracker, entry, 0.0)
    for _ in range(4):
        tracker.contact_stayed(contact(7, machine=99), 0.0, 0.0)
        publish(tracker, entry, 0.0)
    assert entry.hurries == 4
    for _ in range(9):
        publish(tracker, entry, 0.0)
    assert entry.hurries == 0


def test_a_new_contact_costs_the_entries_that_it_concerns_and_each_of_these_once() -> None:
    tracker, rng = make(replace(DEFAULT, newcomer_credit=2_000)), Random(2)
    nodes = [Contact(NATIVE.random(rng), endpoint(number)) for number in range(300)]
    for _ in range(2_000):
        key = NATIVE.random(rng)
        publish(tracker, tracker.add(own_key(key, 80)), 0.0, closest(nodes, key, 8))
    concerned = 0
    for number in range(100):
        node = Contact(NATIVE.random(rng), endpoint(1_000 + number))
        near = list(tracker._near(node))
        concerned += len(near)
        tracker.contact_stayed(node, 1.0, 1.0)
        assert not list(tracker._near(node))
    assert 10 < concerned / 100 < 60  # 8 in 300 of 2,000 are 53, and fewer when some are hurried


class Looks(dict[RecordKey, OwnEntry]):
    """The tracked entries; it counts how often one is looked up, as a walk does with each."""

    looks = 0

    def get(self, *found_by: Any) -> Any:
        self.looks += 1
        return super().get(*found_by)

    def taken(self) -> int:
        looks, self.looks = self.looks, 0
        return looks


NEWS: dict[str, Callable[[OwnRecords], object]] = {
    "a move": lambda tracker: tracker.moved(1_000.0),
    "a pause": lambda tracker: tracker.slept(1.0, 1_000.0),
    "a family": lambda tracker: tracker.joined(Family.IPV6, 1_000.0),
    "a loss": lambda tracker: [tracker.holder_lost(replica, 1_000.0) for replica in REPLICAS[:4]],
    "a contact": lambda tracker: tracker.contact_stayed(contact(3, machine=99), 1_000.0, 1_000.0),
    "growth": lambda tracker: tracker.network_has(64, Family.IPV4, 1_000.0),
}


@pytest.mark.parametrize("news", NEWS)
@pytest.mark.parametrize("holders", [3, 8])  # three are all nodes of a small network: each contact concerns all entries
def test_no_news_has_more_than_some_hundreds_of_entries_visited_at_once(news: str, holders: int) -> None:
    tracker = make(replace(DEFAULT, newcomer_credit=5_000))
    for port in range(1, 3_001):
        publish(tracker, tracker.add(own_key(KEY, port)), 0.0, REPLICAS[:holders])
    looks = tracker._entries = Looks(tracker._entries)
    NEWS[news](tracker)
    steps = [looks.taken()]
    while tracker._walks:
        assert tracker.next_timeout() == 1_000.0
        tracker._step(1_000.0)
        steps.append(looks.taken())
    assert sum(steps) >= 3_000
    assert max(steps) <= 4 * STEP  # four losses are four walks
    if news in ("a loss", "a contact", "growth"):
        assert all(entry.hurried for entry in tracker)


def test_a_contact_has_no_copy_made_of_all_entries() -> None:
    """In a network of few nodes, every contact concerns every entry."""
    tracker = make(replace(DEFAULT, newcomer_credit=0))
    for number in range(20 * STEP):
        publish(tracker, tracker.add(own_key(Id(number << 64), 80)), 0.0, REPLICAS[:1])
    stranger = contact(9)
    tracemalloc.start()
    try:
        assert not tracker.holds(stranger)
        tracker.contact_joined(stranger, 1.0)
        assert tracemalloc.get_traced_memory()[1] < 8 * STEP
    finally:
        tracemalloc.stop()


def test_the_holders_of_one_entry_after_the_other_are_told_round_and_round() -> None:
    tracker = make()
    for port in (80, 81):
        publish(tracker, tracker.add(own_key(KEY, port)), 0.0, [contact(port)])
    assert [tracker.some_replicas(1) for _ in range(3)] == [[contact(80)], [contact(81)], [contact(80)]]


def test_who_is_deleted_while_a_walk_goes_on_is_not_visited() -> None:
    tracker = make()
    for port in range(1, STEP + 3):
        publish(tracker, tracker.add(own_key(KEY, port)), 0.0)
    tracker.moved(100.0)
    tracker.remove(own_key(KEY, STEP + 1))
    assert tracker.next_timeout() == 100.0
    assert not list(tracker.pop_due(50.0))
    due = [entry for entry in tracker if tracker.due_in(entry, 100.0) <= DEFAULT.startup_spread]
    assert len(due) == STEP + 1
    assert len(tracker._timers) == STEP + 1


def test_an_entry_that_is_published_while_a_walk_goes_on_is_as_old_as_it_is() -> None:
    tracker = make()
    entries = [tracker.add(own_key(KEY, port)) for port in range(1, STEP + 3)]
    for entry in entries:
        publish(tracker, entry, 0.0)
    tracker.slept(100.0, 200.0)
    tracker.network_has(64, Family.IPV4, 200.0)
    publish(tracker, entries[-1], 201.0)
    while tracker._walks:
        assert not list(tracker.pop_due(100.0))
    assert [entry.published_at for entry in entries[-2:]] == [-100.0, 201.0]
    assert [entry.hurried for entry in entries[-2:]] == [True, False]


def test_an_entry_that_has_lost_half_of_its_holders_is_published_soon() -> None:
    tracker = make()
    entry = tracker.add(own_key(KEY, 80))
    publish(tracker, entry, 0.0)
    assert tracker.holds(REPLICAS[0])
    assert not tracker.holds(contact(99))
    assert tracker.holder_lost(REPLICAS[0], 600.0) == []
    assert tracker.holder_lost(REPLICAS[0], 600.0) == []
    assert tracker.holder_lost(REPLICAS[1], 600.0) == REPLICAS[2:]  # which may be gone as well
    assert tracker.due_in(entry, 600.0) > 100.0
    assert tracker.holder_lost(REPLICAS[2], 600.0) == REPLICAS[3:]
    assert tracker.due_in(entry, 600.0) > 100.0
    tracker.holder_lost(REPLICAS[3], 600.0)
    assert tracker.due_in(entry, 600.0) <= DEFAULT.startup_spread
    assert tracker.holder_lost(REPLICAS[4], 600.0) == []
    publish(tracker, entry, 610.0)
    assert entry.lost == ()


def test_what_all_nodes_refuse_is_tried_ever_more_seldom_and_counted() -> None:
    tracker = make()
    entry = tracker.add(own_key(KEY, 80))
    waits = []
    for _ in range(12):
        tracker.began(entry, 0.0)
        tracker.published(own_key(KEY, 80), [], 0.0, refused=True)
        waits.append(tracker.due_in(entry, 0.0))
        assert tracker.unheld == 1
    assert waits[0] < 20
    assert waits[-1] > 40 * 60
    tracker.contact_joined(contact(1), 0.0)
    assert tracker.due_in(entry, 0.0) == waits[-1]
    publish(tracker, entry, 0.0)
    assert tracker.unheld == 0


def test_the_more_entries_all_nodes_refuse_the_longer_each_of_them_waits() -> None:
    tracker = make()
    for port in range(1, 1_001):
        tracker.began(tracker.add(own_key(KEY, port)), 0.0)
        tracker.published(own_key(KEY, port), [], 0.0, refused=True)
    last = tracker.get(own_key(KEY, 1_000))
    assert last is not None
    assert tracker.due_in(last, 0.0) > 1_000 * DEFAULT.refused_pace * 0.8
    tracker.network_has(10, Family.IPV4, 0.0)
    assert tracker.due_in(last, 0.0) > 1_000 * DEFAULT.refused_pace * 0.8
    tracker.remove(own_key(KEY, 1_000))
    assert tracker.unheld == 999


def test_the_failures_of_an_outage_do_not_count_after_it() -> None:
    tracker = OwnRecords(Random(1), DEFAULT)
    entry = tracker.add(own_key(KEY, 80))
    for _ in range(10):
        tracker.began(entry, 0.0)
        tracker.published(own_key(KEY, 80), [], now=0.0)
    assert tracker.due_in(entry, 0.0) > DEFAULT.republish_retry_max / 2
    tracker.joined(Family.IPV4, now=0.0)
    assert tracker.due_in(entry, 0.0) <= DEFAULT.startup_spread
    tracker.began(entry, 0.0)
    tracker.published(own_key(KEY, 80), [], now=0.0)
    assert tracker.due_in(entry, 0.0) < 2 * DEFAULT.republish_retry


# Any order of events, against a dictionary of entries

JITTER = 0.1
GAP = 60.0  # seconds from one publication to the next, where news makes it worth the while
SPREAD = 10.0  # seconds in which all are published that nobody holds
EXACT = 1e-6  # seconds that sums of floats may be off

Window = tuple[float, float]  # the earliest and the latest time


def jittered(seconds: float) -> Window:
    return seconds * (1 - JITTER), seconds * (1 + JITTER)


def wait_after(replicas: int, failures: int, minutes: float) -> Window:
    """Return how long after a publication the next one is due, that nobody took so many publications before it."""
    if replicas:
        return jittered(60 * minutes)
    return jittered(min(15.0 * 2**failures, 5 * 60.0))


def minutes_after(minutes: float, before: list[Contact], now: list[Contact], elapsed: float) -> float:
    """Return the interval after a publication with these holders before and now, so many seconds later."""
    if before and now and elapsed >= 30 * minutes:
        lost = [holder for holder in before if holder not in now]
        if 4 * len(lost) <= len(before):
            return min(45.0, 2 * minutes)
        if 2 * len(lost) > len(before):
            return max(15.0, minutes / 2)
    return minutes


@dataclass
class Expected:
    """What an entry should be like. It has a chain from when it was entered, or the network was reached."""

    due: float | None = None
    publishing: bool = False
    minutes: float = 15.0
    published_at: float | None = None
    replicas: list[Contact] = field(default_factory=list)
    failures: int = 0
    lost: set[Id] = field(default_factory=set)
    hurried: bool = False
    hurries: int = 0
    holders: dict[Contact, float] = field(default_factory=dict)


class TrackerMachine(RuleBasedStateMachine):
    """Entries, publications, deletions, news of the network, time and restarts, in any order.

    The machine does what a node does: it begins what is entered or due, once at a time, and ends it once.
    """

    POLICY = Policy(k=3, publishing=2, newcomer_credit=1_000)

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.size = 1
        self.grown_at = float("-inf")
        self.restarts = 0
        self.acknowledged: set[RecordKey] = set()  # what the state file holds
        self.model: dict[RecordKey, Expected] = {}
        self.tracker = OwnRecords(Random(0), self.POLICY)

    keys = st.sampled_from([own_key(Id(0), 80), own_key(Id(0), 443), own_key(Id(5), 80)])
    near = st.integers(0, 15).map(Id)
    replicas = st.sampled_from([0, 1, 3, 3, 3, 4]).flatmap(
        lambda count: st.frozensets(st.integers(0, 15).map(Id), min_size=count, max_size=count)
    )

    @initialize(
        seed=st.integers(0, 99),
        now=st.sampled_from([0.0, 1e6]),
        size=st.sampled_from([1, 8]),
        history=st.lists(st.tuples(keys, replicas), max_size=4),
    )
    def begin(self, seed: int, now: float, size: int, history: list[tuple[RecordKey, frozenset[Id]]]) -> None:
        self.now = now
        self.tracker = OwnRecords(Random(seed), self.POLICY)
        self._network_has(size)
        for key, replicas in history:
            self.is_entered(key)
            self._published(key, replicas)

    @rule(key=keys)
    def is_entered(self, key: RecordKey) -> None:
        self.acknowledged.add(key)
        expected = self.model.setdefault(key, Expected())
        entry = self.tracker.add(key)
        if not expected.publishing:
            self.tracker.began(entry, self.now)
            expected.publishing, expected.due = True, None
        self._agree()

    @rule(key=keys)
    def is_deleted(self, key: RecordKey) -> None:
        expected = self.model.pop(key, None)
        entry = self.tracker.remove(key)
        self.acknowledged.discard(key)
        assert (entry is None) == (expected is None)
        if entry is not None and expected is not None:
            assert entry.holders(self.now) == self._holders(expected)
        self._agree()

    @precondition(lambda self: any(expected.publishing for expected in self.model.values()))
    @rule(data=st.data(), holders=st.sets(near, max_size=4), age=st.sampled_from([0.0, 100.0, 3_600.0]))
    def is_sent_to(self, data: st.DataObject, holders: set[Id], age: float) -> None:
        key = data.draw(st.sampled_from(self._publishing()))
        entry = self.tracker.get(key)
        assert entry is not None
        for id in holders:
            entry.may_hold(contact(id), self.now - age + 3_600.0)
            self.model[key].holders[contact(id)] = self.now - age + 3_600.0
        self._agree()

    @precondition(lambda self: any(expected.publishing for expected in self.model.values()))
    @rule(data=st.data(), replicas=replicas)
    def has_been_published(self, data: st.DataObject, replicas: frozenset[Id]) -> None:
        self._published(data.draw(st.sampled_from(self._publishing())), replicas)

    @rule(key=keys, replicas=replicas, times=st.sampled_from([1, 1, 1, 7]))
    def is_entered_and_published_again_and_again(self, key: RecordKey, replicas: frozenset[Id], times: int) -> None:
        for _ in range(times):
            self.is_entered(key)
            self._published(key, replicas)

    def _published(self, key: RecordKey, replicas: frozenset[Id]) -> None:
        expected = self.model[key]
        taken = [contact(id) for id in sorted(replicas)]
        self.tracker.published(key, iter(taken), self.now)
        if expected.published_at is not None:
            elapsed = self.now - expected.published_at
            expected.minutes = minutes_after(expected.minutes, expected.replicas, taken, elapsed)
        wait = wait_after(len(taken), expected.failures, expected.minutes)
        expected.publishing = False
        expected.hurries = expected.hurries + 1 if expected.hurried else max(0, expected.hurries - 1)
        expected.hurried, expected.lost = False, set()
        expected.published_at, expected.replicas = self.now, taken
        expected.holders = {holder: until for holder, until in expected.holders.items() if until > self.now}
        expected.failures = 0 if taken else expected.failures + 1
        self._agree({key: (self.now + wait[0], self.now + wait[1])})

    @rule(key=keys)
    def a_publication_that_was_called_off_ends(self, key: RecordKey) -> None:
        if key not in self._publishing():
            self.tracker.published(key, [contact(1)], self.now)
            self._agree()

    @rule(several=st.lists(near, min_size=1, max_size=3))
    def contacts_join(self, several: list[Id]) -> None:
        for id in several:
            self._contact_joins(id)

    def _contact_joins(self, id: Id) -> None:
        self.tracker.contact_joined(contact(id), self.now)
        self.tracker.contact_stayed(contact(id), self.now, self.now)
        concerned = []
        for key, expected in self.model.items():
            nearer_than = [replica for replica in expected.replicas if id ^ key.key <= replica.id ^ key.key]
            is_holder = contact(id) in expected.replicas
            if not expected.publishing and not is_holder and (nearer_than or len(expected.replicas) < 3):
                concerned.append(key)
        self._hurried(concerned, is_newcomer=True)

    def _hurried(self, keys: Iterable[RecordKey], spread: float = 0.0, *, is_newcomer: bool = False) -> None:
        windows = {}
        for key in keys:
            expected = self.model[key]
            if expected.published_at is not None and not expected.hurried:
                expected.hurried = True
                is_first = not expected.replicas and not expected.hurries
                gap = 4 * GAP if is_newcomer and len(expected.replicas) >= 3 else GAP
                earliest, latest = (self.now, self.now) if is_first else self._after_the_gap(expected, gap)
                windows[key] = earliest, max(latest, self.now + spread)
        self._agree(self._sooner(windows))

    @rule(lost=st.lists(near, min_size=1, max_size=3, unique=True))
    def holders_are_lost(self, lost: list[Id]) -> None:
        for id in lost:
            self.tracker.holder_lost(contact(id), self.now)
            concerned = []
            for key, expected in self.model.items():
                idle = expected.published_at is not None and not expected.publishing and not expected.hurried
                if idle and contact(id) in expected.replicas:
                    expected.lost.add(id)
                    if 2 * len(expected.lost) >= len(expected.replicas):
                        concerned.append(key)
            self._hurried(concerned, SPREAD)

    @rule(changes=st.lists(st.sampled_from(["doubles", "almost doubles", "halves", "almost halves"]), max_size=4))
    def the_network_grows_and_shrinks(self, changes: list[str]) -> None:
        for change in changes:
            size = {
                "doubles": 2 * self.size,
                "almost doubles": 2 * self.size - 1,
                "halves": max(1, self.size // 2),
                "almost halves": self.size // 2 + 1,
            }
            self._network_has(size[change])

    def _network_has(self, size: int) -> None:
        self.tracker.network_has(size, Family.IPV4, self.now)
        published = [key for key, expected in self.model.items() if expected.published_at is not None]
        doubled = size >= 2 * self.size
        if doubled and published and self.now < self.grown_at + 900.0:
            self._agree()
            return
        if doubled and published:
            self.grown_at = self.now
        if doubled or size <= self.size / 2:
            self.size = size
        self._hurried(published if doubled else [])

    @rule()
    def the_network_is_reached(self) -> None:
        self.tracker.joined(Family.IPV4, self.now)
        windows = {}
        for key, expected in self.model.items():
            if not expected.replicas:
                expected.failures = 0
                windows[key] = self.now, self.now + SPREAD
        self._agree(self._sooner(windows))

    @rule(seconds=st.sampled_from([0.0, 1.0, 20.0, 100.0, 1_000.0, 3_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self._begin_what_is_due()

    @rule()
    def time_passes_until_something_is_due(self) -> None:
        when = self.tracker.next_timeout()
        if when is not None:
            self.now = max(self.now, when)
            assert self._begin_what_is_due()

    @precondition(lambda self: self.restarts < 2)
    @rule(seed=st.integers(0, 99), pause=st.sampled_from([0.0, 1e4]))
    def is_restarted(self, seed: int, pause: float) -> None:
        self.restarts += 1
        self.now += pause
        self.tracker, self.size, self.grown_at = OwnRecords(Random(seed), self.POLICY), 1, float("-inf")
        for key in sorted(self.acknowledged):
            self.tracker.add(key)
        self.model = {key: Expected() for key in self.acknowledged}
        self._agree()

    @invariant()
    def what_was_acknowledged_is_tracked_and_nothing_else(self) -> None:
        assert len(self.tracker) == len(self.acknowledged)
        assert {entry.record_key for entry in self.tracker} == self.acknowledged
        for id in (Id(0), Id(5)):
            assert self.tracker.ports(id) == sorted(each.port for each in self.acknowledged if each.key == id)
            for port in (80, 443):
                assert (self.tracker.get(own_key(id, port)) is not None) == (own_key(id, port) in self.acknowledged)

    @invariant()
    def each_entry_has_one_timer_or_one_publication(self) -> None:
        assert set(self.tracker._publishing) == set(self._publishing())
        assert len(self.tracker._timers) == sum(expected.due is not None for expected in self.model.values())
        for key, expected in self.model.items():
            entry = self.tracker.get(key)
            assert entry is not None
            assert not (expected.publishing and expected.due is not None)
            assert self.tracker.due_in(entry, self.now) == max(0.0, (expected.due or self.now) - self.now)
            assert list(entry.replicas) == expected.replicas
            assert entry.published_at == expected.published_at
            assert entry.holders(self.now) == self._holders(expected)
            assert set(entry.holders(float("-inf"))) == set(expected.holders)  # all that is remembered

    @invariant()
    def the_next_timeout_is_that_of_whoever_may_begin_next(self) -> None:
        due = [expected.due for expected in self.model.values() if expected.due is not None]
        may_begin = len(self._publishing()) < 2
        assert self.tracker.next_timeout() == (min(due, default=None) if may_begin else None)

    def _publishing(self) -> list[RecordKey]:
        return sorted(key for key, expected in self.model.items() if expected.publishing)

    def _holders(self, expected: Expected) -> dict[Contact, float]:
        return {holder: until for holder, until in expected.holders.items() if until > self.now}

    def _after_the_gap(self, expected: Expected, gap: float) -> Window:
        assert expected.published_at is not None
        gap = min(gap * 4**expected.hurries, 60 * expected.minutes)
        earliest, latest = (expected.published_at + gap for gap in jittered(gap))
        return max(self.now, earliest), max(self.now, latest)

    def _sooner(self, windows: dict[RecordKey, Window]) -> dict[RecordKey, Window]:
        """Return the windows of those that are not being published; nobody's is later than what was set before."""
        sooner = {}
        for key, (earliest, latest) in windows.items():
            expected = self.model[key]
            if not expected.publishing:
                due = float("inf") if expected.due is None else expected.due
                sooner[key] = min(due, earliest), min(due, latest)
        return sooner

    def _begin_what_is_due(self) -> int:
        due = sorted(e.due for e in self.model.values() if e.due is not None and e.due <= self.now)
        due = due[: max(0, 2 - len(self._publishing()))]
        begun = []
        for entry in self.tracker.pop_due(self.now):
            self.tracker.began(entry, self.now)
            expected = self.model[entry.record_key]
            begun.append(expected.due)
            expected.publishing, expected.due = True, None
        assert begun == due
        self._agree()
        return len(begun)

    def _agree(self, windows: dict[RecordKey, Window] | None = None) -> None:
        """Check that these have timers within their windows and the others those that they had; take note of them."""
        windows = windows or {}
        for key, expected in self.model.items():
            due = self.tracker._timers.get(key)
            if key in windows:
                earliest, latest = windows[key]
                assert due is not None
                assert earliest - EXACT <= due <= latest + EXACT
                expected.due = due
            else:
                assert due == expected.due


TestTrackerStartsOneChainAnEntry = TrackerMachine.TestCase
TestTrackerStartsOneChainAnEntry.settings = scaled(100)


def test_the_interval_doubles_while_the_holders_stay_and_is_halved_when_they_do_not() -> None:
    tracker = OwnRecords(Random(1), DEFAULT)
    entry = tracker.add(own_key(Id(1), 80))
    minutes, now = [], 0.0
    some_stay = range(5, 13)
    for holders in (range(8), range(2, 10), range(2, 10), some_stay, range(13, 21), range(20, 28), range(20, 28)):
        tracker.began(entry, 0.0)
        tracker.published(own_key(Id(1), 80), [contact(100 + id) for id in holders], now)
        minutes.append(entry.interval / 60)
        now += entry.interval
    assert minutes == [15, 30, 45, 45, 22.5, 15, 30]


def test_a_publication_soon_after_another_says_nothing_of_how_long_holders_stay() -> None:
    tracker = OwnRecords(Random(1), DEFAULT)
    entry = tracker.add(own_key(Id(1), 80))
    for now in (0.0, 60.0, 120.0):
        tracker.began(entry, 0.0)
        tracker.published(own_key(Id(1), 80), [contact(5)], now)
    assert entry.interval == DEFAULT.republish_first
    tracker.began(entry, 0.0)
    tracker.published(own_key(Id(1), 80), [], 2_000.0)
    tracker.began(entry, 0.0)
    tracker.published(own_key(Id(1), 80), [contact(5)], 4_000.0)  # the network was away, and not the holders
    assert entry.interval == DEFAULT.republish_first
