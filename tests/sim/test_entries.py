"""Entries through their lives: published, found, published again, withdrawn, forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.events import Published, Republished, Withdrawn
from dhtd.core.ids import NATIVE, Id
from dhtd.core.policy import DEFAULT, Policy
from dhtd.sim.host import Host
from dhtd.sim.links import LinkModels
from dhtd.sim.network import Network
from tests.records import own_key

KEY = NATIVE.digest(b"the key")


def grown(seed: int, size: int, links: LinkModels | None = None, policy: Policy = DEFAULT) -> Network:
    net = Network(seed, links=links, policy=policy)
    net.grow(size)
    net.run_for(60)
    return net


def holders(net: Network, key: Id = KEY) -> list[Host]:
    return [host for host in net.live if host.node.store.get(key, net.now)]


def finders(net: Network, owner: Host, port: int = 3000, key: Id = KEY) -> list[Host]:
    """Return the live hosts that find the entry when they look it up."""
    served = owner.endpoint.with_port(port)
    return [host for host in net.live if served in net.lookup(host, key).endpoints]


def test_all_find_an_entry_until_its_deletion() -> None:
    net = grown(1, 24)
    owner = net.hosts[5]
    net.enter(owner, KEY, 3000)
    net.enter(owner, KEY, 3001)
    assert finders(net, owner, 3000) == finders(net, owner, 3001) == net.live
    before = net.now
    assert net.delete(owner, KEY, 3000).nodes == 8
    assert net.now - before < 5
    assert finders(net, owner, 3000) == []
    assert finders(net, owner, 3001) == net.live
    net.run_for(1.2 * DEFAULT.republish)
    assert finders(net, owner, 3000) == []


def test_lookups_merge_all_endpoints_of_an_id() -> None:
    net = grown(2, 24)
    for host in net.hosts[:12]:
        net.enter(host, KEY, 3000)
    everyone = {host.endpoint.with_port(3000) for host in net.hosts[:12]}
    assert all(set(net.lookup(host, KEY).endpoints) == everyone for host in net.hosts)


@pytest.mark.slow
def test_an_entry_outlives_its_owner_by_a_lease() -> None:
    net = grown(3, 24)
    owner = net.hosts[0]
    net.enter(owner, KEY, 3000)
    for _ in range(8):
        net.run_for(DEFAULT.republish / 2)
        assert len(finders(net, owner)) == 24
    net.kill(owner)
    killed, lease = net.now, DEFAULT.heartbeat * DEFAULT.heartbeats_in_lease
    net.run_for(lease / 2)
    assert len(finders(net, owner)) == 23
    net.run_for(killed + lease - net.now)
    assert finders(net, owner) == []
    net.run_for(DEFAULT.store_sweep)
    assert sum(len(host.node.store) for host in net.live) == 0


def test_entering_twice_makes_one_chain() -> None:
    net = grown(4, 12)
    owner = net.hosts[0]
    for _ in range(5):
        net.enter(owner, KEY, 3000)
    owner.events.clear()
    net.run_for(3 * DEFAULT.republish)
    publications = [event for _, event in owner.events if isinstance(event, Published | Republished)]
    assert 3 <= len(publications) <= 4


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 12))])
def test_a_growing_network_still_finds_an_entry(seed: int) -> None:
    net = grown(seed, 2)
    owner = net.hosts[0]
    net.enter(owner, KEY, 3000)
    for _ in range(8):
        net.grow(6, every=1.0)
        net.run_for(60)
    net.run_for(120)
    assert finders(net, owner) == net.live, f"seed {seed}"
    assert len(set(net.closest(KEY)) & {owner, *holders(net)}) >= 2, f"seed {seed}"


@pytest.mark.parametrize("seeds", [range(2), pytest.param(range(2, 6), marks=pytest.mark.slow)])
def test_an_entry_survives_the_death_of_a_third(seeds: range) -> None:
    for seed in seeds:
        net = grown(seed, 24)
        owner, *others = net.hosts
        net.enter(owner, KEY, 3000)
        for host in net.rng.sample(others, 8):
            net.kill(host)
        assert finders(net, owner) == net.live, f"seed {seed}"


@pytest.mark.parametrize("wait", [0.0, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("seeds", [range(1), pytest.param(range(1, 4), marks=pytest.mark.slow)])
@pytest.mark.slow
def test_an_entry_deleted_in_publication_is_gone(wait: float, seeds: range) -> None:
    for seed in seeds:
        net = grown(seed, 24, LinkModels(loss=0.05))
        owner = net.hosts[0]
        entering = owner.node.commands.enter(KEY, 3000, net.now)
        net.flush(owner)
        net.run_for(wait)
        net.delete(owner, KEY)
        net.finish(owner, entering, Published)
        net.run_for(10)
        net.weather.links = LinkModels()
        assert holders(net) == [], f"seed {seed}"


@pytest.mark.parametrize("wait", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("seeds", [range(1), pytest.param(range(1, 4), marks=pytest.mark.slow)])
def test_an_entry_entered_in_withdrawal_is_found(wait: float, seeds: range) -> None:
    for seed in seeds:
        net = grown(seed, 24, LinkModels(loss=0.05))
        owner = net.hosts[0]
        net.enter(owner, KEY, 3000)
        deleting, _ = owner.node.commands.delete(KEY, None, net.now)
        net.flush(owner)
        net.run_for(wait)
        net.enter(owner, KEY, 3000)
        net.finish(owner, deleting, Withdrawn)
        net.run_for(10)
        assert len(holders(net)) == 8, f"seed {seed}"


@pytest.mark.parametrize("seeds", [range(3), pytest.param(range(3, 10), marks=pytest.mark.slow)])
def test_a_deletion_survives_lost_datagrams(seeds: range) -> None:
    for seed in seeds:
        net = grown(seed, 24, LinkModels(loss=0.05))
        owner = net.hosts[0]
        net.enter(owner, KEY, 3000)
        net.delete(owner, KEY)
        net.run_for(10)
        assert holders(net) == [], f"seed {seed}"


@pytest.mark.slow
def test_many_entries_are_published_in_turn() -> None:
    net = Network(5, policy=replace(DEFAULT, region=0.0))  # otherwise some keys have more holders, by chance
    hosts = net.populate(50)
    net.run_for(30)
    owner = hosts[0]
    keys = [NATIVE.digest(b"%d" % number) for number in range(400)]
    saved = net.kill(owner)
    net.restart(owner, type(saved)(saved.id, saved.contacts, tuple(own_key(key, 3000) for key in keys), ()))
    busiest = 0
    for _ in range(1_200):
        net.run_for(0.5)
        busiest = max(busiest, len(owner.node.publisher._publications))
        if all(entry.replicas for entry in owner.node.own_records):
            break
    assert busiest <= DEFAULT.publishing
    assert all(len(entry.replicas) == DEFAULT.k for entry in owner.node.own_records)
    assert net.lookup(hosts[9], keys[-1]).endpoints == (owner.endpoint.with_port(3000),)
