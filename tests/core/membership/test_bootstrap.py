"""Bootstrapping, step by step, with every peer played by the test."""

from __future__ import annotations

from dhtd.core.events import Bootstrapped
from dhtd.core.ids import Id
from dhtd.core.messages import FindNode, Ping
from tests.core.bench import US, Bench
from tests.core.played import STALE, by_id
from tests.core.small import contact, endpoint


def test_bootstrapping_pings_once_and_looks_us_up() -> None:
    bench = Bench()
    op = bench.node.commands.bootstrap([endpoint(1), endpoint(2), endpoint(1)], bench.now)
    pings = by_id(bench.sent())
    assert {id: sent.request for id, sent in pings.items()} == {1: Ping(), 2: Ping()}
    bench.pong(pings[1], 1)
    lookups = bench.sent()
    assert {sent.request for sent in lookups} == {FindNode(Id(0))}
    for sent in lookups:
        bench.found(sent, 1)
    assert not [event for event in bench.events() if isinstance(event, Bootstrapped)]
    bench.advance(STALE)
    assert bench.event(Bootstrapped) == Bootstrapped(op, contacted=1, failed=1, silent=(endpoint(2),))


def test_bootstrapping_ends_with_its_lookup() -> None:
    bench = Bench()
    op = bench.node.commands.bootstrap([endpoint(1), endpoint(2)], bench.now)
    pings = by_id(bench.sent())
    bench.pong(pings[1], 1)
    bench.pong(pings[2], 2)
    assert not [event for event in bench.events() if isinstance(event, Bootstrapped)]
    for sent in bench.sent():
        bench.found(sent, 1)
    for sent in bench.sent():
        bench.found(sent, 2)
    assert bench.event(Bootstrapped) == Bootstrapped(op, contacted=2, failed=0)


def test_an_unanswered_bootstrap_says_so_once() -> None:
    bench = Bench()
    op = bench.node.commands.bootstrap([endpoint(1), endpoint(2)], bench.now)
    for sent in bench.sent():
        if sent.to == endpoint(1):
            bench.refuse(sent, 1)
    assert bench.events() == []
    bench.advance(STALE)
    assert bench.event(Bootstrapped) == Bootstrapped(op, contacted=0, failed=2, silent=(endpoint(1), endpoint(2)))


def test_a_slow_pong_is_waited_for() -> None:
    bench = Bench()
    op = bench.node.commands.bootstrap([endpoint(1)], bench.now)
    sent = bench.sent_one()
    bench.advance(1.9)
    bench.pong(sent, 1)
    for lookup in bench.sent():
        bench.found(lookup, 1)
    assert bench.event(Bootstrapped) == Bootstrapped(op, contacted=1, failed=0)


def test_bootstrapping_from_ourselves_ends_once() -> None:
    bench = Bench(own_id=5)
    op = bench.node.commands.bootstrap([US], bench.now)
    bench.pong(bench.sent_one(), 5)  # it is as good as no answer
    bench.advance(STALE)
    assert bench.event(Bootstrapped) == Bootstrapped(op, contacted=0, failed=1, silent=(US,))
    bench.advance(STALE)
    assert bench.events() == []
    assert len(bench.node.state.table) == 0


def test_bootstrapping_from_nowhere_ends_at_once() -> None:
    bench = Bench()
    op = bench.node.commands.bootstrap([], bench.now)
    assert bench.event(Bootstrapped) == Bootstrapped(op, contacted=0, failed=0)


def test_slow_neighbours_delay_no_bootstrap() -> None:
    bench = Bench()
    op = bench.node.commands.bootstrap([endpoint(1)], bench.now)
    bench.pong(bench.sent_one(), 1)
    for sent in bench.sent():
        bench.found(sent, 1, [contact(9)])
    bench.advance(STALE)
    assert bench.event(Bootstrapped) == Bootstrapped(op, contacted=1, failed=0)
