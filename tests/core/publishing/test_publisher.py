"""The commands of the publisher: entries are entered, wait for the network, and are deleted."""

from __future__ import annotations

import pytest

from dhtd.core.counters import ENTRY_HOLDERS, OWN_ENTRIES, OWN_PORTS
from dhtd.core.events import Published, Republished, Withdrawn
from dhtd.core.ids import Id
from dhtd.core.membership.waiting import Patience
from dhtd.core.messages import Store, Withdraw
from dhtd.errors import TooManyEntries
from tests.core.both import KEY, answer_all, both
from tests.core.publishing.small_publisher import OWN, entry_of, holding, nameless, publish_due, published, waiting_for
from tests.core.small import contact, six
from tests.records import own_key


def test_an_entry_is_stored_in_both_families() -> None:
    bench = both(k=2)
    bench.know(*map(contact, (4, 7, 64)), *map(six, (1, 4, 64)))
    bench.node.commands.enter(KEY, 80, bench.now)
    stores = [query.to for query in answer_all(bench) if isinstance(query.request, Store)]
    nearest = {contact(4), contact(7), six(4), six(1)}
    assert sorted(stores) == sorted(member.endpoint for member in nearest)
    published = bench.event(Published)
    assert set(published.replicas) == nearest
    assert published.asked == 4
    bench.node.commands.delete(KEY, None, bench.now)
    withdrawn = [query.to for query in answer_all(bench) if isinstance(query.request, Withdraw)]
    assert set(withdrawn) >= {member.endpoint for member in nearest}
    assert bench.event(Withdrawn).nodes == len(nearest)  # others are told to be sure, and not counted


def test_one_family_publishes_before_the_other() -> None:
    bench = both(k=1)
    bench.know(contact(4), six(1))
    bench.node.commands.enter(KEY, 80, bench.now)
    of_ipv4, of_ipv6 = bench.sent()
    bench.found(of_ipv4, 4)
    store = bench.sent_one()
    assert (type(store.request), store.to) == (Store, contact(4).endpoint)
    bench.pong(store, 4)
    assert bench.events() == []
    bench.found(of_ipv6, 1)
    bench.pong(bench.sent_one(), 1)
    assert set(bench.event(Published).replicas) == {contact(4), six(1)}


def test_a_cancelled_publication_asks_no_family() -> None:
    bench = both()
    bench.know(contact(4), six(1))
    bench.node.commands.enter(KEY, 80, bench.now)
    of_ipv4, of_ipv6 = bench.sent()
    bench.node.commands.delete(KEY, 80, bench.now)
    bench.sent()
    bench.found(of_ipv4, 4, [contact(7), six(7)])
    bench.found(of_ipv6, 1, [contact(6), six(6)])
    assert bench.sent() == []
    assert bench.event(Published).cancelled


# Room


def test_room_ends_at_the_number_of_entries() -> None:
    bench = both(own_entries=2)
    publisher, caps_hit = bench.node.publisher, bench.node.counters.caps_hit
    publisher.restore_own(own_key(Id(1), 80), bench.now)
    publisher.records.check_room(own_key(Id(2), 80))
    publisher.restore_own(own_key(Id(2), 80), bench.now)
    for _ in range(2):
        with pytest.raises(TooManyEntries, match=r"as many entries as it takes \(2\)"):
            publisher.records.check_room(own_key(Id(3), 80))
    publisher.records.check_room(own_key(Id(2), 80))
    assert (caps_hit[OWN_ENTRIES], caps_hit[OWN_PORTS]) == (2, 0)


def test_room_ends_at_the_number_of_ports_of_a_key() -> None:
    bench = both(own_ports=2)
    publisher, caps_hit = bench.node.publisher, bench.node.counters.caps_hit
    publisher.restore_own(OWN, bench.now)
    publisher.records.check_room(own_key(KEY, 81))
    publisher.restore_own(own_key(KEY, 81), bench.now)
    for _ in range(2):
        with pytest.raises(TooManyEntries, match=r"this ID on as many ports as it takes \(2\)"):
            publisher.records.check_room(own_key(KEY, 82))
    publisher.records.check_room(own_key(KEY, 81))
    publisher.records.check_room(own_key(Id(6), 82))
    assert (caps_hit[OWN_ENTRIES], caps_hit[OWN_PORTS]) == (0, 2)


# Entering


def test_commands_for_one_entry_end_together() -> None:
    bench = holding(1)
    first = bench.node.commands.enter(KEY, 80, bench.now)
    second = bench.node.commands.enter(KEY, 80, bench.now)
    answer_all(bench)
    assert published(bench) == [Published(op, KEY, 80, (contact(1),), 1) for op in (first, second)]
    third = bench.node.commands.enter(KEY, 80, bench.now)
    answer_all(bench)
    assert [event.op for event in published(bench)] == [third]


def test_an_entry_is_published_again_unasked() -> None:
    bench = holding(1)
    bench.node.commands.enter(KEY, 80, bench.now)
    answer_all(bench)
    bench.events()
    bench.node.publisher.records.due_at(entry_of(bench), bench.now)
    bench.advance(0.0)
    answer_all(bench)
    assert bench.events() == [Republished(KEY, 80, (contact(1),), 1)]


def test_old_holders_of_an_entry_are_known_again() -> None:
    bench = both(entry_holders=1)
    publisher, until = bench.node.publisher, bench.now + 60.0
    publisher.lease.is_renewed = False  # as on a wire without leases
    for number in (1, 2, 3):
        publisher.restore_holder(OWN, contact(number), until, bench.now)
    assert set(publisher.withdrawals.holders(OWN)) == {contact(1), contact(2), contact(3)}
    bench.node.commands.enter(KEY, 80, bench.now)
    assert publisher.holders(OWN, bench.now) == {contact(3): until}
    assert publisher.withdrawals.holders(OWN) == {}
    assert bench.node.counters.caps_hit[ENTRY_HOLDERS] == 2


# Patience


@pytest.mark.parametrize(("patient", "patience"), [(True, Patience.ENDLESS), (False, Patience.SOME)])
def test_a_command_says_how_long_it_waits(patient: bool, patience: Patience) -> None:
    bench = nameless()
    bench.node.commands.enter(KEY, 80, bench.now, patient=patient)
    assert waiting_for(bench) == [patience]


def test_the_most_patient_command_counts() -> None:
    bench = nameless()
    bench.node.commands.enter(KEY, 80, bench.now)
    ops = [bench.node.commands.enter(KEY, 80, bench.now, patient=True) for _ in range(2)]
    bench.node.commands.enter(KEY, 80, bench.now)
    found = [waiting_for(bench)]
    for op in ops:
        bench.node.commands.cancel(op)
        found.append(waiting_for(bench))
    assert found == [[Patience.ENDLESS], [Patience.ENDLESS], [Patience.SOME]]


def test_a_publication_of_our_own_has_little_patience() -> None:
    bench = nameless()
    bench.node.publisher.restore_own(OWN, bench.now)
    bench.node.publisher.records.due_at(entry_of(bench), bench.now)
    publish_due(bench, bench.now)
    assert waiting_for(bench) == [Patience.LITTLE]
    bench.node.commands.enter(KEY, 80, bench.now)
    assert waiting_for(bench) == [Patience.LITTLE]
    bench.node.commands.enter(KEY, 80, bench.now, patient=True)
    assert waiting_for(bench) == [Patience.ENDLESS]


# Deleting


def test_a_deletion_takes_the_ports_that_it_names() -> None:
    bench = holding(1)
    for key, port in ((KEY, 82), (KEY, 80), (KEY, 81), (Id(6), 80)):
        bench.node.commands.enter(key, port, bench.now)
        answer_all(bench)
    publisher, op = bench.node.publisher, bench.node.handles.begin()
    assert publisher.delete(op, KEY, 81, bench.now) == [81]
    assert publisher.delete(op, KEY, 81, bench.now) == []
    assert publisher.delete(op, KEY, None, bench.now) == [80, 82]
    assert [(entry.key, entry.port) for entry in publisher.records] == [(6, 80)]
    for port in (80, 81, 82):
        assert set(publisher.withdrawals.holders(own_key(KEY, port))) == {contact(1)}


def test_a_deletion_of_nothing_begins_nothing() -> None:
    bench = holding(1)
    assert bench.node.publisher.delete(bench.node.handles.begin(), KEY, None, bench.now) == []
    assert bench.sent() == []
    bench.node._news.settle(bench.now)
    assert bench.events() == []


def test_only_live_copies_are_owed() -> None:
    bench = both()
    publisher = bench.node.publisher
    publisher.lease.is_renewed = False  # as on a wire without leases
    publisher.restore_own(OWN, bench.now)
    publisher.restore_holder(OWN, contact(1), bench.now + 10.0, bench.now)
    publisher.restore_holder(OWN, contact(2), bench.now + 20.0, bench.now)
    publisher.delete(bench.node.handles.begin(), KEY, 80, bench.now + 10.0)
    assert publisher.withdrawals.holders(OWN) == {contact(2): bench.now + 20.0}


def test_a_deleted_entry_does_not_wait_any_longer() -> None:
    bench = nameless()
    op = bench.node.commands.enter(KEY, 80, bench.now, patient=True)
    bench.node.commands.delete(KEY, 80, bench.now)
    assert published(bench) == [Published(op, KEY, 80, (), 0, cancelled=True)]
    assert waiting_for(bench) == [Patience.LITTLE]  # the withdrawal
    bench.node.start([], bench.now, awaits_names=False)
    bench.know(contact(1))
    assert not any(isinstance(query.request, Store) for query in answer_all(bench))


def test_a_publication_waits_for_a_withdrawal() -> None:
    bench = holding(1)
    bench.node.commands.enter(KEY, 80, bench.now)
    answer_all(bench)
    bench.node.commands.delete(KEY, 80, bench.now)
    bench.events()
    bench.node.commands.enter(KEY, 80, bench.now)
    requests = [type(query.request) for query in answer_all(bench)]
    assert requests.index(Withdraw) < requests.index(Store)
    assert [type(event) for event in bench.events()] == [Withdrawn, Published]
    assert [type(query.request) for query in answer_all(bench)] == []


def test_a_held_back_entry_may_be_deleted_again() -> None:
    bench = holding(1)
    bench.node.commands.enter(KEY, 80, bench.now)
    answer_all(bench)
    bench.node.commands.delete(KEY, 80, bench.now)
    bench.events()
    op = bench.node.commands.enter(KEY, 80, bench.now)
    bench.node.commands.delete(KEY, 80, bench.now)
    assert published(bench) == [Published(op, KEY, 80, (), 0, cancelled=True)]
    assert bench.node.publisher._held_back == {}
    assert not any(isinstance(query.request, Store) for query in answer_all(bench))
    assert OWN not in bench.node.publisher.withdrawing.under_way
