"""A whole swarm in one public network: a LAN with one /64 of IPv6, machines side by side at one provider."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.address_groups import network_of
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE
from dhtd.core.policy import DEFAULT, Policy
from dhtd.sim.network import Network

LAN4, LAN6 = "203.0.113.{}", "2001:db8::{:x}"
AWARE = replace(DEFAULT, own_networks=tuple(network_of(Endpoint.of(lan.format(1), 1)) for lan in (LAN4, LAN6)))


def found_without_the_first_two(lan: str, size: int, policy: Policy) -> float:
    """Return the share of lookups that succeed after the two oldest nodes, known to all, have gone."""
    net = Network(1, policy=policy)
    for number in range(size):
        endpoint = Endpoint.of(lan.format(number + 1), 1729)
        via = net.rng.sample(net.hosts, min(2, len(net.hosts)))
        net.add(endpoint=endpoint, bootstrap=via, families=[endpoint.family])
        net.run_for(2)
    net.run_for(1_200)
    first, second, *others = net.hosts
    entries = {NATIVE.digest(b"%d" % number): net.rng.choice(others) for number in range(15)}
    for key, owner in entries.items():
        net.enter(owner, key, 3000)
    net.kill(first)
    net.kill(second)
    net.run_for(60)
    found = [
        owner.endpoint.with_port(3000) in net.lookup(asker, key).endpoints
        for key, owner in entries.items()
        for asker in net.rng.sample(others, 3)
    ]
    return sum(found) / len(found)


@pytest.mark.parametrize("lan", [LAN4, LAN6])
@pytest.mark.parametrize("size", [5, 24])
def test_a_swarm_works_in_one_public_network(lan: str, size: int) -> None:
    assert found_without_the_first_two(lan, size, AWARE) == 1.0


def test_unaware_nodes_know_two_of_a_swarm() -> None:
    assert found_without_the_first_two(LAN6, 24, DEFAULT) < 0.7


def test_an_outsider_has_one_place_an_address() -> None:
    net = Network(2, policy=AWARE)
    victim = net.add(endpoint=Endpoint.of(LAN4.format(1), 1729))
    for number in range(30):
        net.add(endpoint=Endpoint.of(LAN4.format(66), 2_000 + number), bootstrap=[victim])
    net.run_for(60)
    assert len(victim.node.state.table) == 1
    done = net.lookup(victim, NATIVE.digest(b"whatever"))
    assert done.stats.queries == 1
