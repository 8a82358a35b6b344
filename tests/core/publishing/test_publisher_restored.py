"""News that the publisher passes on to its records, and what it puts back after a restart."""

from __future__ import annotations

import pytest

from dhtd.core.counters import ENTRY_HOLDERS
from dhtd.core.endpoint import Family
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, Ping
from dhtd.core.policy import DEFAULT
from dhtd.core.routing.overlay import Joining
from tests.core.bench import US, Bench
from tests.core.both import KEY, answer_all, both
from tests.core.publishing.small_publisher import OWN, entry_of, holding
from tests.core.small import MAPPED, contact, six
from tests.core.test_node import joined
from tests.records import own_key

# The network and this machine


def test_a_move_and_a_sleep_hurry_entries() -> None:
    for what in ("moved", "slept"):
        bench = holding(1)
        bench.node.commands.enter(KEY, 80, bench.now)
        answer_all(bench)
        publisher, entry = bench.node.publisher, entry_of(bench)
        assert publisher.records.due_in(entry, bench.now) > 60.0
        if what == "moved":
            publisher.moved(bench.now)
        else:
            publisher.slept(DEFAULT.republish, bench.now)
        assert publisher.records.due_in(entry, bench.now) <= DEFAULT.startup_spread


def test_a_reached_network_has_entries_and_debtors() -> None:
    bench = both()
    publisher, deleted = bench.node.publisher, own_key(Id(6), 80)
    publisher.restore_own(OWN, bench.now)
    for holder in (contact(1), six(2)):
        publisher.restore_holder(deleted, holder, bench.now + 60.0, bench.now)
    assert publisher.records.next_publication(entry_of(bench)) is None
    publisher.reached(Family.IPV6, bench.now)
    due_at = publisher.records.next_publication(entry_of(bench))
    assert due_at is not None
    assert due_at <= bench.now + DEFAULT.startup_spread
    due = {pending.holder: pending.due_at is not None for pending in publisher.withdrawals}
    assert due == {contact(1): False, six(2): True}


def test_a_doubtful_holder_is_asked() -> None:
    bench = holding(1)
    bench.node.commands.enter(KEY, 80, bench.now)
    answer_all(bench)
    bench.node.publisher.doubtful(contact(2), bench.now)
    assert bench.sent() == []
    bench.node.publisher.doubtful(contact(1), bench.now)
    ping = bench.sent_one()
    assert (ping.to, ping.request) == (contact(1).endpoint, Ping())


# Restarts


def test_a_restored_entry_waits_for_its_network() -> None:
    bench = both()
    bench.node.publisher.restore_own(OWN, bench.now)
    assert bench.node.publisher.records.next_publication(entry_of(bench)) is None
    bench.node.overlays[Family.IPV6].joining = Joining.JOINED
    other = own_key(Id(6), 80)
    bench.node.publisher.restore_own(other, bench.now)
    restored = bench.node.publisher.records.get(other)
    assert restored is not None
    assert restored.joined == {Family.IPV6}
    due_at = bench.node.publisher.records.next_publication(restored)
    assert due_at is not None
    assert due_at <= bench.now + DEFAULT.startup_spread


def test_a_present_entry_is_not_restored() -> None:
    bench = holding(1)
    bench.node.publisher.records.add(OWN)
    bench.node.publisher.restore_own(OWN, bench.now)
    assert bench.node.publisher.records.next_publication(entry_of(bench)) is None


@pytest.mark.parametrize("own", [True, False])
def test_a_holder_is_restored_until_its_copy_expires(own: bool) -> None:
    bench = both()
    publisher, longest = bench.node.publisher, DEFAULT.store_expiry + DEFAULT.query_timeout
    publisher.lease.is_renewed = False  # as on a wire without leases
    if own:
        publisher.restore_own(OWN, bench.now)
    assert publisher.restore_holder(OWN, contact(1), bench.now + 1.0, bench.now) is True
    assert publisher.restore_holder(OWN, contact(2), bench.now, bench.now) is False
    assert publisher.restore_holder(OWN, contact(3), bench.now + 2 * longest, bench.now) is True
    assert publisher.restore_holder(OWN, six(4), bench.now + 1.0, bench.now) is True
    expected = {contact(1): bench.now + 1.0, contact(3): bench.now + longest, six(4): bench.now + 1.0}
    assert publisher.holders(OWN, bench.now) == expected
    assert publisher.changed_records() == set()
    assert (publisher.withdrawals.holders(OWN) == expected) is not own


def test_no_holder_is_foreign_or_ourselves() -> None:
    bench = Bench()
    publisher, until = bench.node.publisher, bench.now + 60.0
    for foreign in (six(1), Contact(bench.node.own_id, contact(1).endpoint)):
        assert publisher.restore_holder(OWN, foreign, until, bench.now) is False
    assert both().node.publisher.restore_holder(OWN, Contact(Id(9), MAPPED), until, bench.now) is False
    assert publisher.holders(OWN, bench.now) == {}


def test_too_many_restored_holders_are_counted() -> None:
    bench = both(entry_holders=1)
    publisher, until = bench.node.publisher, bench.now + 60.0
    publisher.restore_own(OWN, bench.now)
    for number in (1, 2, 3):
        publisher.restore_holder(OWN, contact(number), until, bench.now)
    assert set(publisher.holders(OWN, bench.now)) == {contact(3)}
    assert bench.node.counters.caps_hit[ENTRY_HOLDERS] == 2


def test_restored_sightings_are_told_again() -> None:
    bench = both()
    publisher, until = bench.node.publisher, bench.now + 60.0
    publisher.lease.is_renewed = False  # as on a wire without leases
    assert publisher.seen_by(OWN, contact(1).endpoint) == ()
    publisher.restore_own(OWN, bench.now)
    seen = ((US.ip, until),)
    publisher.restore_holder(OWN, contact(1), until, bench.now, seen)
    assert publisher.seen_by(OWN, contact(1).endpoint) == seen
    assert publisher.seen_by(OWN, contact(2).endpoint) == ()
    publisher.restore_holder(OWN, contact(2), until, bench.now)
    assert publisher.seen_by(OWN, contact(2).endpoint) == ()


def test_restored_debtors_are_asked_where_we_joined() -> None:
    bench = both()
    publisher = bench.node.publisher
    for holder in (contact(1), six(2)):
        publisher.restore_holder(OWN, holder, bench.now + 60.0, bench.now)
    bench.node.overlays[Family.IPV6].joining = Joining.JOINED
    publisher.restored(bench.now)
    due = {pending.holder: pending.due_at is not None for pending in publisher.withdrawals}
    assert due == {contact(1): False, six(2): True}


def test_a_late_restored_entry_is_published_soon() -> None:
    bench = joined(1)
    bench.node.publisher.restore_own(own_key(Id(5), 80), bench.now)
    entry = bench.node.own_records.get(own_key(Id(5), 80))
    bench.node.publisher.restore_own(own_key(Id(6), 80), bench.now)
    bench.node.publisher.restore_own(own_key(Id(5), 80), bench.now)  # again
    late = bench.node.own_records.get(own_key(Id(6), 80))
    assert bench.node.own_records.get(own_key(Id(5), 80)) is entry
    assert entry is not None
    assert late is not None
    assert late.joined == {len(contact(1).endpoint)}


def test_late_restored_holders_are_asked_soon() -> None:
    bench = joined(1)
    bench.node.publisher.restore_holder(own_key(Id(5), 80), contact(2), bench.now + 100, bench.now)
    assert bench.node.withdrawals.next_timeout() is None
    bench.node.publisher.restored(bench.now)
    assert bench.node.withdrawals.next_timeout() is not None


def test_before_joining_nobody_is_asked_to_let_go() -> None:
    bench = Bench()
    bench.node.publisher.restore_holder(own_key(Id(5), 80), contact(2), bench.now + 100, bench.now)
    bench.node.publisher.restored(bench.now)
    assert bench.node.withdrawals.next_timeout() is None
