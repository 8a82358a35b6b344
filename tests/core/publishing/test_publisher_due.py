"""What is due at the publisher: the disk, publications begun anew, and notices of entries that nobody holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.events import Published, Republished, Unheld
from dhtd.core.ids import Id
from dhtd.core.membership.waiting import Patience
from dhtd.core.messages import FindNode, Store
from dhtd.core.policy import DEFAULT
from tests.core.bench import QUIET, Bench
from tests.core.both import KEY, answer_all
from tests.core.publishing.small_publisher import (
    OWN,
    entry_of,
    holding,
    nameless,
    publish_due,
    published,
    wait_no_longer,
    waiting_for,
)
from tests.core.small import contact
from tests.records import own_key

# The disk


def test_changed_own_and_deleted_entries_are_one_set() -> None:
    bench = holding(1)
    other = own_key(Id(6), 80)
    for key in (OWN, other):
        bench.node.commands.enter(key.key, key.port, bench.now)
        answer_all(bench)
    publisher = bench.node.publisher
    publisher.take_changed()
    publisher.mark_changed([OWN])
    bench.node.commands.delete(other.key, None, bench.now)
    assert publisher.changed_records() == {OWN, other}
    assert publisher.take_changed({other}) == {other}
    assert publisher.take_changed({other}) == set()
    assert publisher.take_changed({OWN}) == {OWN}
    assert publisher.changed_records() == publisher.take_changed() == set()
    publisher.mark_changed([OWN])
    assert publisher.take_changed() == {OWN}


def test_chosen_holders_are_asked_once_written() -> None:
    bench = Bench(write_ahead=True)
    bench.know(contact(1))
    bench.node.commands.enter(KEY, 80, bench.now)
    bench.found(bench.sent_one(), 1)
    publisher, patience = bench.node.publisher, bench.node.policy.write_ahead
    [chosen] = publisher.poll_unwritten()
    assert publisher.poll_unwritten() == []
    assert bench.sent() == []
    wait_no_longer(bench, bench.now + patience - 1.0)
    assert bench.sent() == []
    publisher.written([chosen], bench.now)
    assert bench.sent_one().to == contact(1).endpoint
    assert publisher._write_ahead is not None
    assert publisher._write_ahead.next_timeout() is None
    wait_no_longer(bench, bench.now + patience)
    assert bench.sent() == []


def test_holders_on_a_slow_disk_are_asked_in_the_end() -> None:
    bench = Bench(write_ahead=True)
    bench.know(contact(1))
    bench.node.commands.enter(KEY, 80, bench.now)
    bench.found(bench.sent_one(), 1)
    wait_no_longer(bench, bench.now + bench.node.policy.write_ahead)
    assert bench.sent_one().to == contact(1).endpoint


@pytest.mark.parametrize("write_ahead", [True, False])
def test_every_part_with_a_timer_wakes_the_node(write_ahead: bool) -> None:
    publisher = Bench(write_ahead=write_ahead).node.publisher
    expected = [publisher.newcomers.next_timeout, publisher.record_timers.next_timeout]
    if publisher._write_ahead is not None:
        expected.append(publisher._write_ahead.next_timeout)
    assert len(expected) == 2 + write_ahead
    assert publisher.next_timeouts() == expected
    assert set(publisher.record_timers._next_timeouts) == {
        *(publisher.records.next_timeout, publisher.records.next_overdue),
        *(publisher.heartbeats.next_timeout, publisher.patrol.next_timeout, publisher.withdrawals.next_timeout),
    }


def test_without_records_only_newcomers_have_timers() -> None:
    timers = Bench().node.publisher.record_timers
    assert not timers
    assert timers.next_timeout() is None


# What is due


def test_a_stopped_publication_keeps_its_commands() -> None:
    bench = holding(1)
    op = bench.node.commands.enter(KEY, 80, bench.now)
    bench.sent()
    [ongoing] = bench.node.publisher._publications.values()
    ongoing.publication._over = True  # as a defect may leave it
    bench.advance(DEFAULT.publication_lasts - 1.0)
    answer_all(bench)
    assert published(bench) == []
    bench.advance(1.0)
    answer_all(bench)
    assert published(bench) == [Published(op, KEY, 80, (contact(1),), 1)]


def test_a_stopped_publication_stores_nothing() -> None:
    bench = holding(1)
    op = bench.node.commands.enter(KEY, 80, bench.now)
    before = bench.sent_one()
    publish_due(bench, bench.now + DEFAULT.publication_lasts)
    bench.found(before, 1)
    requests = [query.request for query in answer_all(bench)]
    assert [type(request) for request in requests] == [FindNode, Store]
    assert published(bench) == [Published(op, KEY, 80, (contact(1),), 1)]


def test_a_waiting_publication_is_not_begun_anew() -> None:
    bench = nameless()
    bench.node.commands.enter(KEY, 80, bench.now, patient=True)
    [before] = bench.node.publisher._publications.values()
    bench.advance(2 * DEFAULT.publication_lasts)
    [after] = bench.node.publisher._publications.values()
    assert after is before
    assert waiting_for(bench) == [Patience.ENDLESS]


def test_a_held_back_publication_is_not_begun_anew() -> None:
    bench = holding(1)
    publisher = bench.node.publisher
    publisher.withdrawing.under_way.begin(OWN)
    op = bench.node.commands.enter(KEY, 80, bench.now)
    [before] = publisher._publications.values()
    bench.advance(2 * DEFAULT.publication_lasts)
    answer_all(bench)
    [after] = publisher._publications.values()
    assert after is before
    publisher._release([OWN, own_key(Id(6), 80)], bench.now)
    answer_all(bench)
    assert [event.op for event in published(bench)] == [op]


def test_an_entry_without_its_publication_gets_one() -> None:
    bench = holding(1)
    publisher = bench.node.publisher
    publisher.records.began(publisher.records.add(OWN), bench.now)
    publish_due(bench, bench.now + DEFAULT.publication_lasts)
    answer_all(bench)
    assert entry_of(bench).replicas == (contact(1),)


def test_one_turn_serves_all_entries_that_are_due() -> None:
    bench = Bench(policy=replace(QUIET, publishing=1))
    publisher = bench.node.publisher
    for number in range(3):
        publisher.records.due_at(publisher.records.add(own_key(Id(number), 80)), bench.now)
    publish_due(bench, bench.now)
    assert [type(event) for event in bench.events()] == [Republished] * 3


def test_a_publication_that_fails_has_another_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("a defect")

    bench = holding(1)
    publisher = bench.node.publisher
    publisher.records.due_at(publisher.records.add(OWN), bench.now)
    monkeypatch.setattr(publisher, "_publish", fail)
    with pytest.raises(ExceptionGroup):
        publish_due(bench, bench.now)
    assert publisher.records.is_publishing(entry_of(bench))
    assert publisher.records.next_overdue() == bench.now + DEFAULT.publication_lasts


# Entries that nobody holds


def enter_in_vain(bench: Bench, port: int, *, refused: bool) -> list[Unheld]:
    """Enter an entry that the only node refuses, or does not answer about; return what is told of it."""
    bench.node.commands.enter(KEY, port, bench.now)
    for query in bench.sent():
        if refused:
            bench.found(query, 1, token=b"")
    bench.advance(DEFAULT.query_timeout)
    bench.sent()
    return [event for event in bench.events() if isinstance(event, Unheld)]


def test_the_owner_is_told_of_refused_entries() -> None:
    bench = holding(1)
    assert enter_in_vain(bench, 80, refused=True) == [Unheld(1, 1, refused=True)]
    assert enter_in_vain(bench, 81, refused=True) == []  # it was told a moment ago


def test_entries_without_an_answer_are_told_apart() -> None:
    bench = holding(1)
    for port in (80, 81):
        enter_in_vain(bench, port, refused=True)
    assert enter_in_vain(bench, 82, refused=False) == [Unheld(1, 3, refused=False)]


def test_a_held_entry_is_no_notice() -> None:
    bench = holding(1)
    bench.node.commands.enter(KEY, 80, bench.now)
    answer_all(bench)
    assert [type(event) for event in bench.events()] == [Published]


def test_without_a_network_no_entry_is_told_of() -> None:
    bench = Bench()
    bench.node.commands.enter(KEY, 80, bench.now)
    assert [type(event) for event in bench.events()] == [Published]


def test_a_cancelled_publication_is_no_notice() -> None:
    bench = holding(1)
    bench.node.commands.enter(KEY, 80, bench.now)
    bench.node.commands.delete(KEY, 80, bench.now)
    answer_all(bench)
    assert not any(isinstance(event, Unheld) for event in bench.events())
