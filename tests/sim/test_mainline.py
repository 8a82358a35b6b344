"""Whole networks on the Mainline wire and by its policy: the core is the same, and so is what it can do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.endpoint import Family
from dhtd.core.events import GetDone, Renamed, ValuePut
from dhtd.core.ids import Id
from dhtd.core.policy import MAINLINE
from dhtd.core.records import Immutable, Mutable, Value
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from dhtd.sim.places import scattered
from dhtd.wire import bep42
from dhtd.wire.bep5 import Bep5Codec
from dhtd.wire.signatures import signed

NODES = 20


def grown(nodes: int = NODES) -> Network:
    net = Network(1, codec=Bep5Codec(), policy=MAINLINE)
    net.grow(nodes)
    net.run_for(60)
    return net


def by_owner(seq: int, text: bytes, salt: bytes = b"") -> Mutable:
    """Return a signed value as this wire has it: its data are bencoded."""
    return signed(bytes(32), salt, seq, text)._replace(data=b"%d:%b" % (len(text), text))


def key(net: Network, text: bytes = b"a key") -> Id:
    return net.codec.traits.keyspace.digest(text)


def put(net: Network, host: Host, value: Value) -> ValuePut:
    op = host.node.commands.put(net.codec.key_of(value), value, net.now)
    return net.finish(host, op, ValuePut)


def got(net: Network, host: Host, value: Value, salt: bytes = b"") -> GetDone:
    op = host.node.commands.get(net.codec.key_of(value), net.now, salt=salt)
    return net.finish(host, op, GetDone)


def test_all_find_what_one_has_announced() -> None:
    net = grown()
    owner = net.hosts[7]
    published = net.enter(owner, key(net), 80)
    assert len(published.replicas) == MAINLINE.k
    for host in net.hosts:
        assert net.lookup(host, key(net)).endpoints == (owner.endpoint.with_port(80),)


@pytest.mark.slow
def test_it_is_announced_again_before_it_expires() -> None:
    net = grown()
    owner = net.hosts[7]
    net.enter(owner, key(net), 80)
    for _ in range(8):
        net.run_for(MAINLINE.store_expiry / 3)
        assert net.lookup(net.hosts[3], key(net)).endpoints == (owner.endpoint.with_port(80),)
    net.kill(owner)
    net.run_for(MAINLINE.store_expiry + MAINLINE.store_sweep)
    assert net.lookup(net.hosts[3], key(net)).endpoints == ()


@pytest.mark.parametrize("value", [Immutable(b"i5e"), by_owner(5, b"five")])
def test_all_get_what_one_has_put(value: Value) -> None:
    net = grown()
    assert len(put(net, net.hosts[7], value).replicas) == MAINLINE.k
    for host in net.hosts[::3]:
        assert got(net, host, value).value == value


def test_a_salted_value_needs_its_salt() -> None:
    net = grown()
    value = by_owner(5, b"five", b"salt")
    put(net, net.hosts[7], value)
    reader = next(host for host in net.hosts if host.node.values.held.get(net.codec.key_of(value), net.now) is None)
    assert got(net, reader, value, b"salt").value == value
    assert got(net, reader, value).value is None


def test_the_newest_value_wins_and_old_copies_are_mended() -> None:
    net = grown()
    put(net, net.hosts[7], by_owner(5, b"five"))
    newer = by_owner(6, b"six")
    put(net, net.hosts[9], newer)
    for host in net.hosts[::3]:
        assert got(net, host, newer).value == newer


@pytest.mark.slow
def test_nobody_but_its_owner_keeps_a_value_alive() -> None:
    """A put does not say for how long on this wire, so one by a reader or a holder could go on for ever."""
    net = grown()
    value, owner = Immutable(b"5:hello"), net.hosts[7]
    key_of = net.codec.key_of(value)
    put(net, owner, value)
    net.kill(owner)
    net.add(bootstrap=net.hosts[:1])
    for _ in range(4):
        net.run_for(1_500)
        assert got(net, net.hosts[3], value).value == value
    net.run_for(1_500)
    assert not [host for host in net.live if host.node.values.held.get(key_of, net.now)]
    assert got(net, net.hosts[3], value).value is None


def test_a_node_of_both_families_finds_both() -> None:
    net = Network(1, codec=Bep5Codec(dual_stack=True), policy=replace(MAINLINE, lonely_lookups=2))
    both = (Family.IPV4, Family.IPV6)
    first = net.add(families=both)
    for number in range(12):
        net.add(bootstrap=[first], families=(both, both[:1], both[1:])[number % 3])
        net.run_for(2)
    net.run_for(60)
    net.enter(net.hosts[4], key(net), 80)
    found = net.lookup(net.hosts[1], key(net)).endpoints
    assert set(found) == {endpoint.with_port(80) for endpoint in net.hosts[4].endpoints}


def suited(host: Host) -> bool:
    """Whether all IDs of a host follow from its addresses."""
    overlays = host.node.overlays
    return all(bep42.suits(overlays[each.family].own_id, each.ip) for each in host.endpoints)


@pytest.mark.parametrize("families", [(Family.IPV4,), pytest.param((Family.IPV4, Family.IPV6), marks=pytest.mark.slow)])
def test_ids_follow_from_public_addresses(families: tuple[Family, ...]) -> None:
    net = Network(1, codec=Bep5Codec(dual_stack=len(families) > 1), policy=MAINLINE, address=scattered)
    first = net.add(families=families)
    assert not suited(first)
    for _ in range(NODES - 1):
        net.add(bootstrap=[first], families=families)
        net.run_for(1)
    owner = net.hosts[7]
    net.enter(owner, key(net), 80)
    net.run_for(900)
    assert sum(map(suited, net.hosts)) >= NODES - 2
    # The network is whole, and finds what was entered before.
    for host in net.hosts:
        assert set(net.lookup(host, key(net)).endpoints) == {each.with_port(80) for each in owner.endpoints}
    told = [event for host in net.hosts for _, event in host.events if isinstance(event, Renamed)]
    assert NODES * len(families) - 2 <= len(told) <= 2 * NODES * len(families)
