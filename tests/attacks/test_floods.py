"""Floods from one source and from forged ones, at a node of a network: nobody else notices."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import Contact, FindNode, Ping
from dhtd.core.policy import DEFAULT
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from dhtd.wire.native import NativeCodec
from tests.bench.load import resident
from tests.core.bench import Bench

CODEC = NativeCodec()
KEY = NATIVE.digest(b"the key")
MIB = 2**20
POLICY = replace(DEFAULT, rate_limit=64.0, rate_limit_total=512.0)  # so that a flood is one that a test can send
RATE = 4_096  # forged queries a second: eight times what all may send

Forge = Iterator[tuple[bytes, Endpoint]]


def from_one(rng: Random) -> Forge:
    source = Endpoint.of("203.0.113.66", 1_729)
    while True:
        yield CODEC.encode_query(rng.randbytes(8), NATIVE.random(rng), FindNode(NATIVE.random(rng))), source


def from_forged(rng: Random) -> Forge:
    """Yield a query from a new address each time, under a new ID."""
    while True:
        source = Endpoint(bytes([rng.randrange(128, 190)]) + rng.randbytes(3) + b"\x06\xc1")
        yield CODEC.encode_query(rng.randbytes(8), NATIVE.random(rng), Ping()), source


def from_contacts(net: Network, rng: Random) -> Forge:
    """Yield queries from the addresses of the network's own nodes, which an attacker can know and forge."""
    while True:
        host = rng.choice(net.hosts[1:])
        yield CODEC.encode_query(rng.randbytes(8), host.id, Ping()), host.endpoint


def state(host: Host) -> dict[str, Any]:
    """Return everything that a stranger must not be able to change."""
    node = host.node
    return {
        "contacts": set(node.state.table),
        "held": {(entry.key, entry.record.endpoint) for entry in node.store},
        "own": [(entry.key, entry.port) for entry in node.own_records],
        "external": node.external.endpoints(),
    }


def grown() -> Network:
    net = Network(5, policy=POLICY, codec=NativeCodec())  # with the memory that a daemon has
    net.grow(32)
    net.run_for(120)
    for number, host in enumerate(net.hosts[:4]):
        net.enter(host, KEY, 3_000 + number)
    return net


def flood(net: Network, target: Host, forge: Forge, seconds: float) -> None:
    """Have datagrams arrive at a host for a while, from now on."""
    until, tick = net.now + seconds, 0.02

    def burst() -> None:
        for _ in range(int(RATE * tick)):
            data, source = next(forge)
            target.node.handle_datagram(data, source, net.now)
        net.flush(target)
        if net.now < until:
            net.schedule.at(net.now + tick, burst)

    burst()


def look_up(net: Network, target: Host, seconds: float) -> tuple[int, int]:
    """Have others look up the host's entries, one after the other; return how many did, and how many found all."""
    everyone = {host.endpoint.with_port(3_000 + number) for number, host in enumerate(net.hosts[:4])}
    until = net.now + seconds
    lookups = found = 0
    while net.now < until:
        asker = net.rng.choice([host for host in net.hosts[4:] if host is not target])
        lookups += 1
        found += set(net.lookup(asker, KEY).endpoints) == everyone
    return lookups, found


@pytest.mark.parametrize(
    "kind",
    [
        "forged sources",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("one source", "forged sources of contacts")),
    ],
)
def test_a_flood_costs_no_memory_and_no_lookups(kind: str, figure: Callable[[str, object], None]) -> None:
    net = grown()
    target = net.closest(KEY)[0]
    rng = Random(7)
    forge = {
        "one source": from_one(rng),
        "forged sources": from_forged(rng),
        "forged sources of contacts": from_contacts(net, rng),
    }[kind]
    flood(net, target, forge, 11.0)
    net.run_for(1.0)
    before, memory = state(target), resident(os.getpid())
    limited = target.node.counters.rate_limited
    contacts = [host for host in net.hosts if target.node.state.answers_us(host.endpoint)]
    timeouts = sum(host.node.counters.timeouts for host in contacts)
    began = net.now
    lookups, found = look_up(net, target, 10.0)
    after = state(target)
    contacts_before, contacts_after = before.pop("contacts"), after.pop("contacts")
    assert after == before
    assert contacts_before <= contacts_after <= {host.contact for host in net.hosts}
    assert target.node.counters.rate_limited - limited > 0.5 * 10 * RATE
    assert found == lookups > 15
    figure("honest lookups that found all", f"{found} of {lookups}")
    figure(
        "forged queries a second, refused", f"{(target.node.counters.rate_limited - limited) / (net.now - began):.0f}"
    )
    if sys.platform == "linux":
        grown_by = resident(os.getpid()) - memory
        figure("memory grown by", f"{grown_by / MIB:.2f} MiB")
        assert grown_by < 8 * MIB
    if kind == "forged sources":  # no contact has waited in vain
        assert sum(host.node.counters.timeouts for host in contacts) == timeouts


def test_a_flood_of_strangers_spares_contacts(
    figure: Callable[[str, object], None],
) -> None:
    net = grown()
    target = net.closest(KEY)[0]
    contacts = [host for host in net.hosts if target.node.state.answers_us(host.endpoint)]
    assert len(contacts) > 16
    forge, answered, asked, now = from_forged(Random(3)), 0, 0, net.now
    strangers = 0
    for tick in range(200):
        now += 0.05
        for _ in range(200):
            data, source = next(forge)
            strangers += target.node.handle_datagram(data, source, now) is not None
        for host in contacts[tick % 4 :: 4]:
            asked += 1
            ping = CODEC.encode_query(net.rng.randbytes(8), host.id, Ping())
            answered += target.node.handle_datagram(ping, host.endpoint, now) is not None
    figure("queries of contacts answered", f"{answered} of {asked}")
    figure("queries of strangers answered", f"{strangers} of {200 * 200}")
    assert answered == asked > 1_000
    assert 0.5 * 512 * 10 < strangers < 512 * 12 - answered


def test_a_mixed_flood_spares_contacts_of_both() -> None:
    policy = replace(DEFAULT, rate_limit=64.0, rate_limit_total=128.0)
    bench = Bench(policy=policy, codec=CODEC, families=(Family.IPV4, Family.IPV6))
    friends = [Contact(Id(7), Endpoint.of("192.0.2.7", 1_729)), Contact(Id(7), Endpoint.of("2001:db8:7::1", 1_729))]
    for friend, overlay in zip(friends, bench.node.overlays, strict=True):
        overlay.state.answered(friend, 0.1, 0.0)
    rng = Random(1)
    for number in range(2_000):
        ip = rng.randbytes(4) if number % 2 else b"\x20\x01\x0d\xb8" + rng.randbytes(12)
        bench.deliver(CODEC.encode_query(bytes(8), Id(9), Ping()), Endpoint(ip + b"\x06\xc1"))
    stranger = Contact(Id(8), Endpoint.of("2001:db8:8::1", 1_729))
    for friend in friends:
        assert bench.query(Ping(), friend) is not None
        assert bench.query(Ping(), stranger) is None
