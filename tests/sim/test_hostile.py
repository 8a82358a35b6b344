"""Hostile datagrams at a busy node: they make it no weapon, announce nobody else and change no state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE
from dhtd.core.messages import FindNode, FindValue, Found, Ping, Query, Reply, Request
from dhtd.errors import WireError
from dhtd.sim.host import Host
from dhtd.sim.liars import damaged, nowhere
from dhtd.sim.network import Network
from tests.records import hold_peer, to_store, to_withdraw

KEY = NATIVE.digest(b"the key")


def grown(seed: int, size: int = 24) -> Network:
    net = Network(seed)
    net.grow(size)
    net.run_for(600)
    for number, host in enumerate(net.hosts):
        net.enter(host, KEY, 3000 + number)
    return net


def state(host: Host) -> dict[str, Any]:
    """Return everything that a stranger must not be able to change."""
    node = host.node
    return {
        "contacts": set(node.state.table),
        "held": set(node.store),
        "own": [(entry.key, entry.port) for entry in node.own_records],
        "external": node.external.endpoints(),
        "in flight": set(node.requester.transactions._queries),
        "deadlines": dict(node.requester.transactions._deadlines._deadlines),
    }


def all_find(net: Network) -> str:
    """Have every host look up the entries of all; return how many found all."""
    everyone = {host.endpoint.with_port(3000 + number) for number, host in enumerate(net.hosts)}
    found = sum(everyone <= set(net.lookup(host, KEY).endpoints) for host in net.hosts)
    assert found == len(net.hosts)
    return f"{found} of {len(net.hosts)}"


def recorded(net: Network, seconds: float = 3600.0) -> list[bytes]:
    """Return the datagrams of a while of ordinary life."""
    seen: list[bytes] = []
    net.taps.append(lambda source, destination, data: seen.append(data))
    for host in net.hosts:
        net.lookup(host, KEY)
    net.run_for(seconds)
    net.taps.clear()
    return seen


def test_unproved_answers_stay_within_both_bounds() -> None:
    net = grown(1)
    host = net.closest(KEY)[0]
    for number in range(500):  # more than a datagram holds
        hold_peer(host.node.store, KEY, Endpoint.of(f"10.3.{number >> 8}.{number & 255}", 80), net.now)
    requests: list[Request] = [
        Ping(),
        FindNode(KEY),
        FindValue(KEY),
        to_store(KEY, 80, b"none"),
        to_withdraw(KEY, 80, b"none"),
    ]
    for request in requests:
        padded = net.codec.encode_query(b"12345678", host.id, request)
        for query in (padded, padded[:-300] if len(padded) > 390 else padded):
            answer = host.node.handle_datagram(query, nowhere(net.rng), net.now)
            assert answer is None or len(answer) <= 3 * len(query), request
    sent: list[int] = []
    net.taps.append(lambda source, destination, data: sent.append(len(data)))
    for asker in net.hosts:
        net.lookup(asker, KEY)
    assert 1000 < max(sent) <= 1200  # a query with a token gets a whole datagram


@pytest.mark.slow
def test_garbage_changes_nothing_and_is_ignored(figure: Callable[[str, object], None]) -> None:
    net = grown(2)
    ordinary = recorded(net)
    victim = net.hosts[0]
    victim.node.commands.lookup(KEY, net.now)  # so that queries are in flight
    before = state(victim)
    assert before["in flight"]
    answered = 0
    for _ in range(5_000):
        data = damaged(net.rng.choice(ordinary), net.rng)
        source = net.rng.choice([nowhere(net.rng), net.rng.choice(net.hosts).endpoint])
        try:
            message = net.codec.decode(data)
        except WireError:
            answered += victim.node.handle_datagram(data, source, net.now) is not None
        else:
            if not isinstance(message, Query):  # a query that survives the damage is a query
                victim.node.handle_datagram(data, source, net.now)
        assert state(victim) == before, f"{data!r} from {source}"
    figure("malformed datagrams that were answered", f"{answered} of {victim.node.counters.malformed}")
    assert answered == 0
    figure("honest lookups that found the entry afterwards", all_find(net))


@pytest.mark.slow
def test_replays_change_and_announce_nothing(
    figure: Callable[[str, object], None],
) -> None:
    net = grown(3)
    ordinary = recorded(net)
    victim = net.hosts[0]
    held = {(entry.key, entry.record.endpoint) for entry in victim.node.store}
    contacts = set(victim.node.state.table)
    for data in ordinary:
        source = nowhere(net.rng)
        unmatched = victim.node.counters.unmatched
        victim.node.handle_datagram(data, source, net.now)
        if isinstance(net.codec.decode(data), Reply):
            assert victim.node.counters.unmatched == unmatched + 1
    net.flush(victim)
    net.run_for(10)
    assert {(entry.key, entry.record.endpoint) for entry in victim.node.store} <= held
    assert set(victim.node.state.table) == contacts
    figure("datagrams of an hour that were replayed and changed nothing", len(ordinary))
    figure("honest lookups that found the entry afterwards", all_find(net))


def test_nobody_stores_or_withdraws_for_another(figure: Callable[[str, object], None]) -> None:
    net = grown(4)
    holder = net.closest(KEY)[0]
    victim = next(entry.record.endpoint for entry in holder.node.store)
    attacker = nowhere(net.rng)
    answer = holder.node.handle_datagram(net.codec.encode_query(b"12345678", KEY, FindValue(KEY)), attacker, net.now)
    assert answer is not None
    reply = net.codec.decode(answer)
    assert isinstance(reply, Reply)
    found = net.codec.decode_result(FindValue(KEY), reply.body)
    assert isinstance(found, Found)
    assert found.token
    before = {(entry.record, entry.session): entry for entry in holder.node.store}
    for request in (to_store(KEY, 9, found.token), to_withdraw(KEY, victim.port, found.token)):
        data = net.codec.encode_query(b"12345678", KEY, request)
        held = set(holder.node.store)
        holder.node.handle_datagram(data, victim, net.now)  # the attacker's token, from a forged source
        assert set(holder.node.store) == held
        holder.node.handle_datagram(data, attacker, net.now)
    new = {entry.record.endpoint for entry in set(holder.node.store) - set(before.values())}
    assert new == {attacker.with_port(9)}
    figure("honest lookups that found the entry afterwards", all_find(net))
    # Their owners have renewed some of them meanwhile.
    assert before.keys() <= {(entry.record, entry.session) for entry in holder.node.store}
