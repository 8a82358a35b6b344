"""Networks of IPv4, of IPv6, and of both: how their machines find each other, and the cost of a failing family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.policy import DEFAULT
from dhtd.core.routing.overlay import Overlay
from dhtd.sim.host import Host
from dhtd.sim.network import Network

ONLY4, ONLY6, BOTH = (Family.IPV4,), (Family.IPV6,), (Family.IPV4, Family.IPV6)
K = 8


def overlay(host: Host, family: Family) -> Overlay:
    (found,) = [overlay for overlay in host.node.overlays if overlay.family is family]
    return found


def at(host: Host, family: Family) -> Endpoint:
    """Return the host's endpoint of a family that it speaks."""
    return next(endpoint for endpoint in host.endpoints if endpoint.family is family)


def speaks(host: Host, *families: Family) -> bool:
    """Whether the host speaks any of these."""
    return any(endpoint.family in families for endpoint in host.endpoints)


def of(hosts: Sequence[Host], families: tuple[Family, ...]) -> list[Host]:
    """Return the hosts that speak these families and no others."""
    return [host for host in hosts if tuple(endpoint.family for endpoint in host.endpoints) == families]


def grow(net: Network, kinds: Sequence[tuple[Family, ...]]) -> list[Host]:
    """Start a host of each kind, bootstrapped from any earlier host with a common family."""
    added: list[Host] = []
    for families in kinds:
        reachable = [host for host in added if speaks(host, *families)]
        added.append(net.add(families=families, bootstrap=[net.rng.choice(reachable)] if reachable else []))
        net.run_for(0.2)
    net.run_for(30.0)
    return added


def swarm(net: Network) -> list[Host]:
    """Start a network: a third each speaks IPv4, IPv6 and both."""
    return grow(net, [BOTH, *([ONLY4, BOTH, ONLY6] * 10)])


def key(net: Network) -> Id:
    return net.codec.traits.keyspace.random(net.rng)


@pytest.mark.parametrize("families", [ONLY4, ONLY6, BOTH], ids=["IPv4", "IPv6", "both"])
def test_a_pair_finds_each_others_entries(families: tuple[Family, ...]) -> None:
    net = Network(1)
    one, other = grow(net, [families, families])
    for owner, asker in ((one, other), (other, one)):
        wanted = key(net)
        published = net.enter(owner, wanted, 3000)
        assert set(published.replicas) == set(asker.contacts)
        assert set(net.lookup(asker, wanted).endpoints) == {endpoint.with_port(3000) for endpoint in owner.endpoints}
        assert net.delete(owner, wanted).nodes == len(families)
        assert net.lookup(asker, wanted).endpoints == ()


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_mixed_swarms_find_all_reachable_entries(seed: int) -> None:
    net = Network(seed, policy=replace(DEFAULT, region=0.0))  # otherwise some keys have more holders, by chance
    hosts = swarm(net)
    for families in (BOTH, ONLY4, ONLY6):
        owner = net.rng.choice(of(hosts, families))
        wanted = key(net)
        published = net.enter(owner, wanted, 3000)
        for family in families:
            others = [host for host in hosts if host is not owner and speaks(host, family)]
            nearest = sorted(others, key=lambda host: host.id ^ wanted)[:K]
            took = {replica for replica in published.replicas if len(replica.endpoint) == family}
            assert took == {Contact(host.id, at(host, family)) for host in nearest}
        for asker in hosts:
            found = set(net.lookup(asker, wanted).endpoints)
            everywhere = {endpoint.with_port(3000) for endpoint in owner.endpoints}
            assert {endpoint for endpoint in everywhere if speaks(asker, endpoint.family)} <= found <= everywhere
        net.delete(owner, wanted)
        for asker in hosts:
            assert net.lookup(asker, wanted).endpoints == ()


def test_one_familys_node_leads_to_the_other() -> None:
    net = Network(4)
    hosts = swarm(net)
    newcomer = net.add(families=BOTH, bootstrap=of(hosts, ONLY4)[:1])
    net.run_for(10.0)
    assert len(overlay(newcomer, Family.IPV6).state.table) >= K
    assert overlay(newcomer, Family.IPV6).is_joined
    wanted = key(net)
    net.enter(newcomer, wanted, 3000)
    for other in of(hosts, ONLY6):
        assert at(newcomer, Family.IPV6).with_port(3000) in net.lookup(other, wanted).endpoints


def cut_off(net: Network, hosts: Sequence[Host], family: Family) -> None:
    """Let nothing of this family arrive anywhere."""
    for host in hosts:
        if speaks(host, family):
            net.weather.unplug(at(host, family))


@pytest.mark.slow
@pytest.mark.parametrize("family", [Family.IPV4, pytest.param(Family.IPV6, marks=pytest.mark.slow)], ids=str)
def test_a_silent_family_costs_little(family: Family) -> None:
    net = Network(5)
    hosts = grow(net, [BOTH] * 24)
    asker, owner = hosts[3], hosts[17]
    wanted = key(net)
    net.enter(owner, wanted, 3000)
    before = net.lookup(asker, wanted)
    known = set(overlay(asker, family).state.table)
    cut_off(net, hosts, family)
    hit = net.lookup(asker, wanted)
    assert {endpoint.family for endpoint in hit.endpoints} == set(Family), (
        "a node that answers in one family holds the entries of both"
    )
    assert hit.stats.elapsed < before.stats.elapsed + 1.0 + 0.1
    net.run_for(10.0)
    assert overlay(asker, family).is_silent
    after = net.lookup(asker, wanted)
    assert after.endpoints
    assert after.stats.elapsed < before.stats.elapsed + 0.1
    assert after.stats.timeouts == 0
    net.run_for(3_600.0)
    assert set(overlay(asker, family).state.table) >= known, "nobody is to blame for an outage"

    # When it is back, its entries are back, too.
    net.weather.heal()
    net.run_for(600.0)
    assert all(other.is_joined for host in hosts for other in host.node.overlays)
    replicas = {len(replica.endpoint) for entry in owner.node.own_records for replica in entry.replicas}
    assert replicas == set(Family)
    assert {endpoint.family for endpoint in net.lookup(asker, wanted).endpoints} == set(Family)


@pytest.mark.parametrize("family", [pytest.param(Family.IPV4, marks=pytest.mark.slow), Family.IPV6], ids=str)
def test_a_useless_family_spares_the_other(family: Family) -> None:
    net = Network(6)
    hosts = swarm(net)
    cut_off(net, [broken := net.add(families=BOTH, bootstrap=[hosts[0]])], family)
    net.run_for(60.0)
    other = Family.IPV6 if family is Family.IPV4 else Family.IPV4
    assert not overlay(broken, family).is_connected
    assert overlay(broken, other).is_joined
    wanted = key(net)
    published = net.enter(broken, wanted, 3000)
    assert {len(replica.endpoint) for replica in published.replicas} == {int(other)}
    assert net.lookup(of(hosts, (other,))[0], wanted).endpoints == (at(broken, other).with_port(3000),)
    asked = net.lookup(broken, wanted)
    assert asked.stats.timeouts == 0
    assert asked.stats.elapsed < 1.0
    sent = broken.sent
    net.run_for(3_600.0)
    assert broken.sent - sent < 3_000, "nor does it knock on closed doors all the time"


def test_a_dual_host_restarts_with_both_families() -> None:
    net = Network(7)
    hosts = grow(net, [BOTH] * 12)
    host = hosts[5]
    saved = net.kill(host)
    assert {len(contact.endpoint) for contact in saved.contacts} == set(Family)
    host.bootstrap = ()
    net.restart(host, saved)
    net.run_for(10.0)
    assert all(each.is_joined and len(each.state.table) >= K for each in host.node.overlays)
