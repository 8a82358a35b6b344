"""A watched key with more endpoints than an answer has room for."""

from __future__ import annotations

from dhtd.core.events import WatchUpdate
from dhtd.core.messages import Query, Watch
from dhtd.sim.network import Network

ENDPOINTS = 200


def test_one_end_among_many_is_one_update() -> None:
    """Each answer is cut, and what it leaves out is neither gone, nor a reason to ask all other holders."""
    net = Network(5)
    net.populate(10)
    net.run_for(60)
    key = net.codec.traits.keyspace.random(net.rng)
    watcher, *owners = net.hosts[:6]
    for number in range(ENDPOINTS):
        net.enter(owners[number % len(owners)], key, 1_000 + number)
    watcher.node.commands.watch(key, net.now)
    net.flush(watcher)
    net.run_for(30)
    told, asked = len(watcher.events), 0

    def count(source: object, to: object, data: bytes) -> None:
        nonlocal asked
        if source == watcher.endpoint:
            message = net.codec.decode(data)
            asked += isinstance(message, Query) and isinstance(message.request, Watch)

    net.taps.append(count)
    owners[0].node.commands.delete(key, 1_000, net.now)
    net.flush(owners[0])
    net.run_for(20)
    updates = [event for _, event in watcher.events[told:] if isinstance(event, WatchUpdate)]
    assert [(update.added, update.removed) for update in updates] == [((), (owners[0].endpoint.with_port(1_000),))]
    assert len(updates[-1].endpoints) == ENDPOINTS - 1
    assert asked <= 4 * 8
