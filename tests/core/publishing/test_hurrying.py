"""News that hurries own entries: nearer contacts, lost holders, a doubled network."""

from __future__ import annotations

from dataclasses import replace

from dhtd.core.endpoint import Family
from dhtd.core.policy import DEFAULT
from tests.core.publishing.hurried import KEY, REPLICAS, make, publish
from tests.core.small import contact, six
from tests.records import own_key


def test_only_a_contact_nearer_than_a_holder_hurries() -> None:
    records = make()
    entry = records.add(own_key(KEY, 80))
    records.hurrying.contact_stayed(contact(3), 0.0, 0.0)
    assert records.next_timeout() is None  # never published yet: reaching the network will do that
    publish(records, entry, 1_000.0)
    due = records.next_timeout()
    records.hurrying.contact_stayed(contact(9), 1_001.0, 1_001.0)  # the farthest of eight holders is 8
    assert records.next_timeout() == due
    records.hurrying.contact_stayed(contact(7, machine=99), 1_001.0, 1_001.0)
    soon = records.due_in(entry, 1_000.0)
    assert DEFAULT.newcomer_gap * 0.9 <= soon <= DEFAULT.newcomer_gap * 1.1


def test_any_contact_hurries_while_holders_are_few() -> None:
    records = make()
    entry = records.add(own_key(KEY, 80))
    publish(records, entry, 1_000.0, REPLICAS[:7])
    records.hurrying.contact_joined(contact(127), 1_500.0)
    assert records.due_in(entry, 1_500.0) == 0.0  # the gap since the last publication is over


def test_a_contact_makes_an_unheld_entry_due_at_once() -> None:
    records = make()
    entry = records.add(own_key(KEY, 80))
    publish(records, entry, 1_000.0, [])
    records.hurrying.contact_joined(contact(127), 1_001.0)
    assert records.due_in(entry, 1_001.0) == 0.0


def test_what_all_nodes_refuse_is_not_hurried() -> None:
    records = make()
    entry = records.add(own_key(KEY, 80))
    publish(records, entry, 1_000.0, [])
    records.untaken.add(entry, refused=True)
    records.hurrying.contact_joined(contact(127), 1_001.0)
    assert not entry.hurried


def test_a_doubled_network_hurries_published_entries() -> None:
    records = make()
    published, waiting = records.add(own_key(KEY, 80)), records.add(own_key(KEY, 81))
    records.hurrying.network_has(10, Family.IPV4, now=0.0)
    records.began(published, 0.0)
    records.published(own_key(KEY, 80), [contact(number) for number in range(8)], now=0.0)
    for size in (19, 11, 6):
        records.hurrying.network_has(size, Family.IPV4, now=1.0)
        assert records.due_in(published, 1.0) > DEFAULT.republish_first / 2
    records.hurrying.network_has(20, Family.IPV4, now=1.0)
    assert 1.0 < records.due_in(published, 1.0) < 2 * DEFAULT.republish_gap
    assert records.next_timeout() is not None
    assert [entry.port for entry in records.pop_due(DEFAULT.republish_gap * 2)] == [80]
    assert waiting.published_at is None


def test_a_network_of_one_node_has_not_doubled() -> None:
    records = make()
    entry = records.add(own_key(KEY, 80))
    publish(records, entry, 0.0)
    for size in (1, 2):
        records.hurrying.network_has(size, Family.IPV4, now=1.0)
        assert entry.hurried is (size == 2)


def test_a_network_a_little_smaller_counts_as_before() -> None:
    records = make()
    records.hurrying.network_has(100, Family.IPV4, now=0.0)
    entry = records.add(own_key(KEY, 80))
    publish(records, entry, 0.0)
    for size in (51, 199):
        records.hurrying.network_has(size, Family.IPV4, now=1.0)
        assert not entry.hurried
    records.hurrying.network_has(200, Family.IPV4, now=1.0)
    assert entry.hurried


def test_a_halved_network_may_double_but_not_soon() -> None:
    records = make()
    entry = records.add(own_key(KEY, 80))
    publish(records, entry, 0.0)
    for size in (40, 20, 40, 20, 80):
        records.hurrying.network_has(size, Family.IPV4, now=1.0)
    assert records.due_in(entry, 1.0) < 2 * DEFAULT.republish_gap
    publish(records, entry, 60.0)
    records.hurrying.network_has(80, Family.IPV4, now=61.0)
    records.hurrying.network_has(800, Family.IPV4, now=DEFAULT.republish_first)
    assert records.due_in(entry, DEFAULT.republish_first) > 0.0
    records.hurrying.network_has(800, Family.IPV4, now=1.0 + DEFAULT.republish_first)
    assert records.due_in(entry, 1.0 + DEFAULT.republish_first) == 0.0


def test_repeated_contacts_hurry_an_entry_ever_less() -> None:
    records = make()
    entry = records.add(own_key(KEY, 80))
    publish(records, entry, 0.0)
    now, pauses = 0.0, []
    for number in range(6):
        records.hurrying.contact_stayed(contact(7, machine=100 + number), now, now)
        pauses.append(records.due_in(entry, now) / 60)
        now += records.due_in(entry, now)
        publish(records, entry, now)
    assert 3 < pauses[0] < 5
    assert all(pause >= 13 for pause in pauses[1:])


def test_an_unhurried_publication_shortens_the_pause() -> None:
    records = make()
    entry = records.add(own_key(KEY, 80))
    publish(records, entry, 0.0)
    for _ in range(4):
        records.hurrying.contact_stayed(contact(7, machine=99), 0.0, 0.0)
        publish(records, entry, 0.0)
    assert entry.hurries == 4
    for _ in range(9):
        publish(records, entry, 0.0)
    assert entry.hurries == 0


def test_half_of_the_holders_lost_hurries_an_entry() -> None:
    records = make()
    entry = records.add(own_key(KEY, 80))
    publish(records, entry, 0.0)
    assert records.hurrying.holds(REPLICAS[0])
    assert not records.hurrying.holds(contact(99))
    assert records.hurrying.holder_lost(REPLICAS[0], 600.0) == []
    assert records.hurrying.holder_lost(REPLICAS[0], 600.0) == []
    assert records.hurrying.holder_lost(REPLICAS[1], 600.0) == REPLICAS[2:]  # which may be gone as well
    assert records.due_in(entry, 600.0) > 100.0
    assert records.hurrying.holder_lost(REPLICAS[2], 600.0) == REPLICAS[3:]
    assert records.due_in(entry, 600.0) > 100.0
    records.hurrying.holder_lost(REPLICAS[3], 600.0)
    assert records.due_in(entry, 600.0) <= DEFAULT.startup_spread
    assert records.hurrying.holder_lost(REPLICAS[4], 600.0) == []
    publish(records, entry, 610.0)
    assert entry.lost == ()


def test_a_contact_competes_within_its_family() -> None:
    policy = replace(DEFAULT, k=1)
    records = make(policy)
    entry = records.add(own_key(KEY, 80))
    publish(records, entry, 0.0, [contact(KEY ^ 1), six(KEY ^ 64)])
    records.hurrying.contact_stayed(contact(KEY ^ 8), 1.0, 1.0)
    assert records.due_in(entry, 1.0) > policy.newcomer_gap * 2
    records.hurrying.contact_stayed(six(KEY ^ 8), 1.0, 1.0)
    assert records.due_in(entry, 1.0) < policy.newcomer_gap * 2


def test_one_familys_growth_is_its_own() -> None:
    records = make()
    records.hurrying.network_has(100, Family.IPV4, 0.0)
    records.hurrying.network_has(10, Family.IPV6, 0.0)
    entry = records.add(own_key(KEY, 80))
    publish(records, entry, 0.0, [contact(1)])
    for _ in range(3):  # neither has changed
        records.hurrying.network_has(100, Family.IPV4, 1.0)
        records.hurrying.network_has(10, Family.IPV6, 1.0)
    assert records.due_in(entry, 1.0) > 2 * DEFAULT.republish_gap
    records.hurrying.network_has(20, Family.IPV6, 1.0)
    assert records.due_in(entry, 1.0) < 2 * DEFAULT.republish_gap


def test_a_lost_copy_hurries_an_entry_once() -> None:
    records = make()
    entry = records.add(own_key(KEY, 80))
    publish(records, entry, 0.0)
    records.hurrying.copy_lost(entry, contact(77), 100.0)  # it is no holder
    assert (entry.lost, entry.hurried) == ((), False)
    for _ in range(2):
        records.hurrying.copy_lost(entry, REPLICAS[0], 100.0)
    assert (entry.lost, entry.hurried) == ((REPLICAS[0],), True)
    due = records.due_in(entry, 100.0)
    assert due <= DEFAULT.startup_spread
    records.hurrying.copy_lost(entry, REPLICAS[1], 100.0)
    assert records.due_in(entry, 100.0) == due


def test_a_lost_copy_waits_for_its_pause() -> None:
    records = make()
    entry = records.add(own_key(KEY, 80))
    publish(records, entry, 0.0)
    records.hurrying.copy_lost(entry, REPLICAS[0], 1.0)
    assert 0.9 * DEFAULT.republish_gap - 1.0 <= records.due_in(entry, 1.0) <= 1.1 * DEFAULT.republish_gap
