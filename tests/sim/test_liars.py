"""Nodes that lie: honest lookups succeed in time, and nobody can be made to hold or announce a false entry."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dhtd.core.events import GetDone, ValuePut
from dhtd.core.ids import NATIVE
from dhtd.core.records import Immutable, Value
from dhtd.sim.host import Host
from dhtd.sim.liars import (
    Aimed,
    Empty,
    FakeContacts,
    FakeEndpoints,
    FakeIds,
    Garbage,
    Impostor,
    ManyIds,
    Mute,
    Refuser,
    WrongSource,
    WrongTid,
)
from dhtd.sim.lie import Lie
from dhtd.sim.network import Network

LIES: list[Callable[[], Lie]] = [
    Empty,
    FakeContacts,
    FakeEndpoints,
    FakeIds,
    Garbage,
    Impostor,
    ManyIds,
    Mute,
    Refuser,
    WrongSource,
    WrongTid,
]

KEY = NATIVE.digest(b"the key")
VALUE = Immutable(b"value")
VALUE_KEY = NATIVE.digest(VALUE.data)


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize(("seeds", "size"), [(range(1), 60), pytest.param(range(3), 100, marks=pytest.mark.slow)])
def test_a_quarter_of_liars_cannot_stop_a_lookup(
    lie: Callable[[], Lie], seeds: range, size: int, figure: Callable[[str, object], None]
) -> None:
    lookups, queries = found_by_all_but(lie, seeds, size)
    figure("honest lookups that found the entry, and queries of the longest", f"{lookups} of {lookups}, {queries}")


@pytest.mark.long
@pytest.mark.parametrize("lie", LIES)
def test_liars_cannot_stop_lookups_on_many_seeds(lie: Callable[[], Lie]) -> None:
    found_by_all_but(lie, range(2, 60), 100)


def found_by_all_but(lie: Callable[[], Lie], seeds: range, size: int) -> tuple[int, int]:
    """Have honest hosts look up what all of them must find; return how many did, and the most queries of one."""
    lookups = queries = 0
    for seed in seeds:
        net = Network(seed)
        hosts = net.populate(size, join=False)
        owner, *others = hosts
        net.enter(owner, KEY, 3000)
        liars = net.rng.sample(others, size // 4)
        for host in liars:
            host.lie = lie()
        honest = [host for host in others if host.lie is None]
        for host in net.rng.sample(honest, 5):
            done = net.lookup(host, KEY)
            assert owner.endpoint.with_port(3000) in done.endpoints, f"seed {seed}, {host}"
            assert done.stats.elapsed < 4.0, f"seed {seed}, {host}"
            assert done.stats.queries < 64, f"seed {seed}, {host}"
            lookups, queries = lookups + 1, max(queries, done.stats.queries)
    return lookups, queries


def with_a_value() -> tuple[Network, Host]:
    """Return a network whose nodes hold a value, and its owner, which is none of them."""
    net = Network(5)
    owner = net.populate(45, join=False)[0]
    net.finish(owner, owner.node.commands.put(VALUE_KEY, VALUE, net.now, keep=False), ValuePut)
    return net, owner


def get(net: Network, host: Host) -> Value | None:
    return net.finish(host, host.node.commands.get(VALUE_KEY, net.now), GetDone).value


@pytest.mark.parametrize("lie", LIES)
def test_a_third_of_liars_cannot_stop_a_get(lie: Callable[[], Lie]) -> None:
    net, owner = with_a_value()
    others = [host for host in net.hosts if host is not owner]
    for host in net.rng.sample(others, 15):
        host.lie = lie()
    honest = [host for host in others if host.lie is None]
    assert [get(net, host) for host in net.rng.sample(honest, 8)] == [VALUE] * 8


@pytest.mark.parametrize("lie", [Empty, FakeContacts, FakeEndpoints, FakeIds, Impostor, ManyIds, Mute, Refuser])
def test_liars_alone_give_no_value(lie: Callable[[], Lie]) -> None:
    net, owner = with_a_value()
    for host in net.hosts:
        if host.node.values.held.get(VALUE_KEY, net.now) is not None:
            host.lie = lie()
    assert get(net, owner) is None


def test_one_victim_under_many_ids_is_asked_once() -> None:
    net = Network(3)
    hosts = net.populate(60)
    net.run_for(30)
    victim, asker, *others = hosts
    for host in others[:20]:
        host.lie = Aimed(victim.endpoint)
    net.taps.append(lambda source, destination, data: seen.append((source, destination, data)))
    for number in range(20):
        seen: list[tuple[bytes, bytes, bytes]] = []
        key = NATIVE.digest(b"%d" % number)
        net.lookup(asker, key)
        asked = [
            data for source, destination, data in seen if (source, destination) == (asker.endpoint, victim.endpoint)
        ]
        assert len(asked) <= 2
        assert sum(NATIVE.to_bytes(key) in data for data in asked) <= 1  # the other is about a part of the region
