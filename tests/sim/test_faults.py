"""Restarts, outages, partitions, translators and churn: entries stay findable."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from dhtd.core.events import Isolated, Joined
from dhtd.core.ids import NATIVE
from dhtd.core.policy import DEFAULT
from dhtd.core.routing.standing import Standing
from dhtd.sim.host import Host
from dhtd.sim.links import LinkModels, Nat
from dhtd.sim.network import Network

KEY = NATIVE.digest(b"the key")


def grown(seed: int, size: int, links: LinkModels | None = None) -> Network:
    net = Network(seed, links=links)
    net.grow(size)
    net.run_for(60)
    return net


def not_finding(net: Network, hosts: Iterable[Host], owner: Host) -> list[Host]:
    served = owner.endpoint.with_port(3000)
    return [host for host in hosts if served not in net.lookup(host, KEY).endpoints]


def count(host: Host, kind: type[Joined | Isolated]) -> int:
    return sum(isinstance(event, kind) for _, event in host.events)


# Restarts


@pytest.mark.parametrize("size", [2, 3])
def test_small_networks_survive_any_restart(size: int) -> None:
    for restarted in range(size):
        for owner_place in range(size):
            net = grown(10 * restarted + owner_place, size)
            host, owner = net.hosts[restarted], net.hosts[owner_place]
            net.enter(owner, KEY, 3000)
            saved = net.kill(host)
            net.run_for(30)
            host.bootstrap = ()  # its saved contacts must do
            net.restart(host, saved)
            net.run_for(30)
            assert host.id == saved.id
            others = [other for other in net.hosts if other is not owner]
            assert not_finding(net, others, owner) == [], f"{restarted}, {owner_place}"
            assert owner.node.own_records.ports(KEY) == [3000]


def test_a_full_restart_reunites_all() -> None:
    net = grown(1, 12)
    owner = net.hosts[3]
    net.enter(owner, KEY, 3000)
    saved = [(host, net.kill(host)) for host in net.hosts]
    net.run_for(120)
    for host, state in saved:
        host.bootstrap = ()
        net.restart(host, state)
    net.run_for(30)
    assert not_finding(net, net.hosts, owner) == []
    assert all(len(host.node.state.table) >= 8 for host in net.hosts)


def test_a_node_under_a_new_id_is_known_by_it() -> None:
    net = grown(2, 3)
    host, owner, asker = net.hosts
    old = host.contact
    net.kill(host)
    net.restart(host)
    net.run_for(30)
    net.enter(owner, KEY, 3000)
    assert not_finding(net, [host, asker], owner) == []
    for other in (owner, asker):
        assert other.node.state.table.get(old.id) is None
        assert other.node.state.table.get(host.id) == host.contact


@pytest.mark.slow
def test_half_new_networks_find_their_entries() -> None:
    net = grown(3, 40)
    owner = net.hosts[0]
    net.enter(owner, KEY, 3000)
    missed = 0
    for _ in range(40):  # every three minutes one in ten is replaced
        for host in net.rng.sample([host for host in net.live if host is not owner], 4):
            net.kill(host)
        net.grow(4)
        net.run_for(180)
        missed += len(not_finding(net, net.rng.sample(net.live, 5), owner))
    assert missed == 0


# Outages


@pytest.mark.slow
def test_an_outage_evicts_nobody_and_ends_soon() -> None:
    net = grown(4, 24)
    owner = net.hosts[0]
    net.enter(owner, KEY, 3000)
    before = {host: set(host.node.state.table) for host in net.hosts}
    sent = {host: host.sent for host in net.hosts}
    net.outage()
    hours = 3
    net.run_for(hours * 3600)
    for host in net.hosts:
        assert set(host.node.state.table) == before[host]
        assert all(host.node.state.standing(contact, net.now) is not Standing.BAD for contact in before[host])
        assert count(host, Isolated) == 1
        # Capped backoff: a dozen pings every five minutes, and the refreshes and publications that come to nothing.
        assert host.sent - sent[host] < hours * 60 * 9
    net.heal()
    net.run_for(DEFAULT.rejoin_max + DEFAULT.query_timeout + 60)
    for host in net.hosts:
        assert count(host, Joined) == 2
        assert set(host.node.state.table) >= before[host]
    assert not_finding(net, net.hosts, owner) == []


def test_a_short_outage_changes_nothing() -> None:
    net = grown(5, 24)
    owner = net.hosts[0]
    net.enter(owner, KEY, 3000)
    before = {host: set(host.node.state.table) for host in net.hosts}
    net.outage()
    for host in net.hosts:
        host.node.commands.lookup(KEY, net.now)
        net.flush(host)
    net.run_for(20)
    net.heal()
    net.run_for(60)
    assert not_finding(net, net.hosts, owner) == []
    assert all(set(host.node.state.table) >= before[host] for host in net.hosts)


@pytest.mark.slow
def test_an_unplugged_node_blames_nobody() -> None:
    net = grown(6, 24)
    owner = net.hosts[0]
    net.enter(owner, KEY, 3000)
    before = set(owner.node.state.table)
    net.unplug(owner)
    net.run_for(2 * 3600)
    assert set(owner.node.state.table) == before
    assert not_finding(net, net.hosts[1:], owner) == net.hosts[1:]  # it has expired meanwhile
    net.heal()
    net.run_for(DEFAULT.rejoin_max + DEFAULT.startup_spread + 60)
    assert not_finding(net, net.hosts, owner) == []


# Partitions


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_a_partition_works_and_merges_again(seed: int) -> None:
    net = grown(seed, 24)
    west, east = net.hosts[:12], net.hosts[12:]
    net.partition([west, east])
    net.run_for(3600)
    net.enter(west[0], KEY, 3000)
    net.enter(east[0], KEY, 3000)
    assert not_finding(net, west, west[0]) == not_finding(net, east, east[0]) == [], f"seed {seed}"
    net.heal()
    net.run_for(3600)
    assert not_finding(net, net.hosts, west[0]) == not_finding(net, net.hosts, east[0]) == [], f"seed {seed}"


@pytest.mark.slow
def test_separate_halves_merge_by_one_node() -> None:
    net = Network(7)
    net.add()
    net.run_for(5)
    for _ in range(11):
        net.add(bootstrap=[net.hosts[0]])
    other = net.add()
    net.run_for(5)
    for _ in range(11):
        net.add(bootstrap=[other])
    net.run_for(60)
    net.add(bootstrap=[net.hosts[0], other])
    net.run_for(3600)
    net.enter(net.hosts[3], KEY, 3000)
    assert not_finding(net, net.hosts, net.hosts[3]) == []


# Translators and loss


def test_hosts_behind_translators_enter_and_find() -> None:
    net = grown(8, 8)
    hidden = [net.add(bootstrap=[net.hosts[0]], nat=Nat(lifetime=60)) for _ in range(16)]
    net.run_for(3600)  # most mappings have lapsed
    net.enter(hidden[0], KEY, 3000)
    net.enter(net.hosts[1], KEY, 3000)
    assert not_finding(net, net.hosts, hidden[0]) == []
    assert not_finding(net, net.hosts, net.hosts[1]) == []


def test_a_tenth_lost_and_everything_is_found() -> None:
    net = grown(9, 24, LinkModels(loss=0.1))
    for number in range(10):
        owner, asker = net.rng.sample(net.hosts, 2)
        key = NATIVE.digest(b"%d" % number)
        assert len(net.enter(owner, key, 3000).replicas) >= 6
        assert owner.endpoint.with_port(3000) in net.lookup(asker, key).endpoints
    net.run_for(1200)
    assert sum(count(host, Isolated) for host in net.hosts) == 0
    assert all(len(host.node.state.table) >= 12 for host in net.hosts)


@pytest.mark.slow
@pytest.mark.parametrize("loss", [0.1, 0.2])
def test_lost_datagrams_are_no_outage(loss: float) -> None:
    net = grown(10, 24, LinkModels(loss=loss))
    net.run_for(3 * 3600)
    assert sum(count(host, Isolated) for host in net.hosts) == 0


@pytest.mark.slow
def test_contacts_dying_in_turn_are_no_outage() -> None:
    net = grown(14, 24)
    for _ in range(2 * 80):
        net.kill(net.rng.choice(net.live))
        net.grow(1)
        net.run_for(45)
    assert sum(count(host, Isolated) for host in net.hosts) == 0


def test_an_outage_is_noticed_in_four_timeouts() -> None:
    net = grown(12, 24, LinkModels(loss=0.1))
    net.outage()
    begun_at = net.now
    for host in net.hosts:
        host.node.commands.lookup(KEY, net.now)
        net.flush(host)
    net.run_for((1 + DEFAULT.outage_witnesses) * DEFAULT.query_timeout)
    assert [count(host, Isolated) for host in net.hosts] == [1] * 24
    assert all(when > begun_at for host in net.hosts for when, event in host.events if isinstance(event, Isolated))
