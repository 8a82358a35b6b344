"""With a write-ahead, the holders of an own entry are on disk before the entry is sent there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.counters import ENTRY_HOLDERS
from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Published, Withdrawn
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, FindNode, FindValue, Store, Withdraw
from dhtd.core.publishing.write_ahead import Chosen
from tests.core.bench import QUIET, Bench, Sent
from tests.records import own_key

KEY = Id(7)
POLICY = replace(QUIET, k=2)


def contact(number: int) -> Contact:
    return Contact(Id(number), Endpoint.of(f"10.0.0.{number}", 1729))


def publishing(policy: object = POLICY) -> tuple[Bench, list[Chosen]]:
    """Return a bench whose node has looked for holders, the nearest being 6, 5, 3, 2; and its choice."""
    bench = Bench(policy=policy, write_ahead=True)  # type: ignore[arg-type]
    bench.know(*map(contact, (2, 3, 5, 6)))
    bench.node.commands.enter(KEY, 80, bench.now)
    while sent := bench.sent():
        for query in sent:
            assert isinstance(query.request, FindNode)
            bench.found(query, query.to[3], [*map(contact, (2, 3, 5, 6))])
    return bench, bench.node.publisher.poll_unwritten()


def stores(bench: Bench) -> list[Sent]:
    sent = bench.sent()
    assert all(isinstance(each.request, Store) for each in sent)
    return sent


def test_stores_go_out_once_holders_are_written() -> None:
    bench, chosen = publishing()
    assert [contacts for _, contacts in chosen] == [(contact(6), contact(5))]
    assert set(bench.node.publisher.holders(own_key(KEY, 80), bench.now)) == {contact(6), contact(5)}
    assert bench.node.publisher.changed_records() == {own_key(KEY, 80)}
    assert bench.node.publisher.poll_unwritten() == []
    assert bench.sent() == []
    bench.advance(POLICY.write_ahead - 1)
    assert bench.sent() == []
    bench.node.publisher.take_changed()
    bench.node.publisher.written(chosen, bench.now)
    sent = stores(bench)
    assert [each.to for each in sent] == [contact(6).endpoint, contact(5).endpoint]
    assert bench.node.publisher.changed_records() == set(), "what was written is to be written again"
    for each in sent:
        bench.pong(each, each.to[3])
    assert set(bench.event(Published).replicas) == {contact(6), contact(5)}
    bench.node.publisher.written(chosen, bench.now)  # by mistake
    assert bench.sent() == []


def test_a_substitute_is_written_first_too() -> None:
    bench, chosen = publishing()
    bench.node.publisher.written(chosen, bench.now)
    first, second = stores(bench)
    bench.refuse(first, 6)
    assert bench.sent() == []
    bench.pong(second, 5)
    assert bench.events() == [], "the publication has ended while a store waits"
    chosen = bench.node.publisher.poll_unwritten()
    assert [contacts for _, contacts in chosen] == [(contact(3),)]
    bench.node.publisher.written(chosen, bench.now)
    (third,) = stores(bench)
    bench.pong(third, 3)
    assert set(bench.event(Published).replicas) == {contact(5), contact(3)}


def test_a_disk_that_hangs_delays_stores_only() -> None:
    bench, chosen = publishing()
    bench.advance(POLICY.write_ahead)
    sent = stores(bench)
    assert [each.to for each in sent] == [contact(6).endpoint, contact(5).endpoint]
    bench.node.publisher.written(chosen, bench.now)  # at last
    for each in sent:
        bench.pong(each, each.to[3])
    assert set(bench.event(Published).replicas) == {contact(6), contact(5)}
    assert bench.sent() == []


def test_a_slow_disk_is_counted_in_the_expiry() -> None:
    for wait in (0.0, POLICY.write_ahead):
        bench, chosen = publishing()
        bench.advance(wait)
        bench.node.publisher.written(chosen, bench.now)
        bench.advance(POLICY.query_timeout / 2)  # it may take so long to arrive
        assert set(bench.node.publisher.holders(own_key(KEY, 80), bench.now + POLICY.store_expiry)) == {
            contact(6),
            contact(5),
        }


def test_a_timely_write_wakes_nobody_later() -> None:
    bench, chosen = publishing()
    patience = bench.now + POLICY.write_ahead
    assert (due := bench.node.poll_timeout()) is not None
    assert due <= patience
    bench.node.publisher.written(chosen, bench.now)
    for each in stores(bench):
        bench.pong(each, each.to[3])
    assert (due := bench.node.poll_timeout()) is not None
    assert due > patience


def test_a_forgotten_holder_is_asked_all_the_same() -> None:
    bench, chosen = publishing(replace(POLICY, entry_holders=1))
    assert bench.node.counters.caps_hit[ENTRY_HOLDERS] == 1
    bench.node.publisher.written(chosen, bench.now)
    assert len(stores(bench)) == 2
    assert set(bench.node.publisher.holders(own_key(KEY, 80), bench.now)) == {contact(5)}
    assert bench.node.counters.caps_hit[ENTRY_HOLDERS] == 1


@pytest.mark.parametrize("again", [False, True])
def test_a_deletion_during_a_write_stops_the_stores(again: bool) -> None:
    bench, chosen = publishing()
    _, ports = bench.node.commands.delete(KEY, 80, bench.now)
    assert ports == [80]
    published = bench.event(Published)
    assert (published.cancelled, published.asked, published.replicas) == (True, 0, ())
    bench.node.publisher.written(chosen, bench.now)
    if again:
        bench.node.commands.enter(KEY, 80, bench.now)
        bench.node.publisher.written(chosen, bench.now)
    while sent := bench.sent():
        for each in sent:
            assert not isinstance(each.request, Store)
            if isinstance(each.request, Withdraw):
                bench.pong(each, each.to[3])
            else:
                assert isinstance(each.request, FindNode | FindValue)
                bench.found(each, each.to[3])
    assert bench.event(Withdrawn).nodes == 2  # a chosen holder may hold it, as far as anybody knows after a kill
    assert [list(map(len, each)) for _, *each in bench.node.publisher.poll_unwritten()] == [[2]] * again


def test_without_a_write_ahead_nobody_waits() -> None:
    bench = Bench(policy=POLICY)
    bench.know(contact(5))
    bench.node.commands.enter(KEY, 80, bench.now)
    bench.found(bench.sent_one(), 5)
    assert bench.node.publisher.poll_unwritten() == []
    assert len(stores(bench)) == 1
