"""Watches in the hands of others: forged changes, liars among the holders, floods of watches and of changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import WatchUpdate
from dhtd.core.ids import Id
from dhtd.core.messages import Changed, Error, Query, Watch
from dhtd.core.watching.held_watches import HeldWatch
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from tests.bench.load import resident
from tests.core.bench import Bench
from tests.core.small import contact
from tests.core.watching.test_notices import AT, POLICY, enter, notices
from tests.records import SESSION, hold_peer

MIB = 2**20
LIE = Endpoint.of("203.0.113.66", 80)


def watched() -> tuple[Network, Host, Host, Id]:
    """Return a network with an entry under a key, its watcher, and a node that tells the watcher of changes."""
    net = Network(7)
    net.populate(12)
    net.run_for(60)
    owner, watcher = net.hosts[:2]
    key = net.codec.traits.keyspace.random(net.rng)
    net.enter(owner, key, 80)
    watcher.node.commands.watch(key, net.now)
    net.flush(watcher)
    net.run_for(5)
    holder = next(host for host in net.closest(key) if host not in (owner, watcher))
    assert shown(watcher) == {owner.endpoint.with_port(80)}
    return net, watcher, holder, key


def shown(watcher: Host) -> set[Endpoint]:
    """Return what the watcher was told last."""
    return set([event for _, event in watcher.events if isinstance(event, WatchUpdate)][-1].endpoints)


def test_a_forged_change_is_not_believed() -> None:
    """The forger knows key, holder and watcher, sends from the holder's address, and guesses the version."""
    net, watcher, holder, key = watched()
    before, sent = shown(watcher), net.datagrams
    for _ in range(200):
        forged = Changed(key, net.rng.randrange(2**63), (LIE,), tuple(before))
        data = net.codec.encode_query(net.rng.randbytes(8), holder.id, forged)
        net.inject(holder.endpoint, watcher.endpoint, data)
    net.run_for(1.0)
    assert shown(watcher) == before
    assert net.datagrams - sent < 2 * 200 + 50  # an acknowledgement for each, and one question at a time


def test_a_strangers_change_is_refused() -> None:
    net, watcher, _, key = watched()
    stranger = net.add(bootstrap=[watcher])
    answers: list[object] = []
    net.taps.append(
        lambda source, to, data: answers.append(net.codec.decode(data)) if to == stranger.endpoint else None
    )
    data = net.codec.encode_query(b"some tid", stranger.id, Changed(key, 1, (LIE,), ()))
    net.inject(stranger.endpoint, watcher.endpoint, data)
    net.run_for(1.0)
    assert [answer.text for answer in answers if isinstance(answer, Error)] == ["not watched"]
    assert LIE not in shown(watcher)


def test_one_liar_removes_nothing() -> None:
    """A holder can name what is not there, as in a lookup, but what other holders have stays."""
    net, watcher, holder, key = watched()
    before, session = shown(watcher), net.hosts[0].node.publisher.lease.session
    for endpoint in before:
        assert holder.node.store.remove(key, endpoint, session)
    net.flush(holder)
    net.run_for(10)
    assert shown(watcher) == before


def test_a_flood_of_watches_takes_little_memory(figure: Callable[[str, object], None]) -> None:
    """So many watches as one node holds, each of a key with as many endpoints as a watcher is told of."""
    policy = replace(POLICY, watches_per_source=10_000, watches_per_key=10_000)
    bench = Bench(policy=policy)
    for at in AT[: policy.watch_endpoints]:
        hold_peer(bench.node.store, Id(77), at, bench.now)
    held, notices_ = bench.node.watching.held, bench.node.watching.notices
    before = resident(os.getpid())
    for number in range(policy.watches + 100):
        watch = notices_.begin(
            Watch(Id(77), b"", 60, number.to_bytes(16, "big")), contact(1, number % 60_000), bench.now
        )
        if isinstance(watch, HeldWatch):
            notices_.told(watch, notices_.there(watch, bench.now))
    grown = resident(os.getpid()) - before
    assert len(held) == policy.watches
    figure("memory of 4,096 watches of 256 endpoints each, MiB", round(grown / MIB, 1))
    assert grown < 128 * MIB
    bench.node.handle_timeout(61.0)
    assert len(held) == 0


def test_a_crowd_of_watchers_is_told_bit_by_bit() -> None:
    """An attacker changes a crowded key again and again: each change costs 64 turns at once, at most."""
    bench = Bench(policy=replace(POLICY, watches_per_source=10_000, watches_per_key=10_000))
    for number in range(1_000):
        bench.node.watching.notices.begin(
            Watch(Id(77), b"", 60, number.to_bytes(16, "big")), contact(1, number), bench.now
        )
    told = 0
    for at in AT[:10]:
        enter(bench, at, Id(77))
        bench.node.handle_timeout(bench.now)
        sent = notices(bench)
        assert len(sent) <= 64
        told += len(sent)
    assert told <= 64 * 10


def test_an_address_that_is_silent_is_told_no_more() -> None:
    """A watch for an address whose owner has left it costs that address few datagrams."""
    bench = Bench(policy=POLICY)
    bench.know(contact(5))
    notices_ = bench.node.watching.notices
    notices_.begin(Watch(Id(77), b"", 14_400, SESSION), contact(9), bench.now)
    count = 0
    for at in AT[:50]:
        enter(bench, at, Id(77))
        bench.advance(1)
        count += sum(isinstance(sent.request, Changed) for sent in bench.sent())
    assert count <= 9
    assert len(bench.node.watching.held) == 0


def test_a_watch_is_no_amplifier() -> None:
    """Without a token that only its owner can have, an address gets an error shorter than the query."""
    bench = Bench(policy=POLICY)
    for at in AT[:100]:
        hold_peer(bench.node.store, Id(77), at, bench.now)
    query = Query(bytes(8), Id(5), Watch(Id(77), b"forged", 60, SESSION))
    data = bench.codec.encode_query(query.tid, query.sender, query.request)
    answer = bench.deliver(data, contact(5).endpoint)
    assert answer is not None
    assert len(answer) <= len(data)
