"""Getting into a network, losing it, and finding it again."""

from __future__ import annotations

import pytest

from dhtd.core.events import Isolated, Joined, LookupDone, Published
from dhtd.core.ids import NATIVE
from dhtd.core.messages import Ping
from dhtd.core.policy import DEFAULT
from dhtd.sim.host import Host
from dhtd.sim.liars import FakeContacts, nowhere
from dhtd.sim.links import LinkModels
from dhtd.sim.network import Network
from tests.records import own_key


def isolations(hosts: list[Host]) -> int:
    return sum(isinstance(event, Isolated) for host in hosts for _, event in host.events)


@pytest.mark.slow
def test_invented_nodes_are_no_outage() -> None:
    net = Network(1)
    hosts = net.populate(60)
    net.run_for(30)
    for liar in hosts[:15]:
        liar.lie = FakeContacts()
    honest = hosts[15:]
    for number, host in enumerate(honest):
        host.node.commands.lookup(NATIVE.digest(b"%d" % number), net.now)
        net.flush(host)
    net.run_for(600)
    assert isolations(honest) == 0
    assert max(host.sent for host in honest) < 2_000


def test_forged_queries_make_no_outage() -> None:
    net = Network(2)
    hosts = net.grow(10)
    net.run_for(30)
    victim, sent = hosts[0], hosts[0].sent
    for _ in range(200):
        query = net.codec.encode_query(net.rng.randbytes(8), NATIVE.random(net.rng), Ping())
        net.inject(nowhere(net.rng), victim.endpoint, query)
        net.run_for(0.5)
    assert isolations([victim]) == 0
    assert victim.sent - sent < 200 * 2 + 200  # an answer and a ping for each at most, and the node's own traffic


@pytest.mark.slow
def test_machines_starting_together_find_holders() -> None:
    """The bootstrap is ready a second after the others, and each is told to enter within three seconds."""
    entered = 0
    for seed in range(14):
        net = Network(seed)
        first = net.add()
        net.kill(first)
        others = [net.add(bootstrap=[first]) for _ in range(15)]
        due = sorted((net.rng.uniform(0.0, 3.0), number, host) for number, host in enumerate(others))
        ready_at, entering = net.now + 1.0, []
        start = net.now
        for when, number, host in due:
            if start + when > ready_at and not first.alive:
                net.run_for(ready_at - net.now)
                net.restart(first)
            net.run_for(start + when - net.now)
            entering.append((host, host.node.commands.enter(NATIVE.digest(b"%d" % number), 80, net.now)))
            net.flush(host)
        for host, op in entering:
            assert net.finish(host, op, Published).replicas, f"seed {seed}: {host} has found nobody"
            entered += 1
    assert entered == 210


def test_a_late_bootstrap_joins_and_publishes() -> None:
    net = Network(3)
    late = net.add()
    net.kill(late)
    early = net.add(bootstrap=[late])
    key = NATIVE.digest(b"early")
    assert net.enter(early, key, 3000).replicas == ()
    net.run_for(3600)
    net.restart(late)
    net.run_for(DEFAULT.rejoin_max + DEFAULT.query_timeout + 30)
    assert len(early.node.state.table) == len(late.node.state.table) == 1
    assert net.lookup(late, key).endpoints == (early.endpoint.with_port(3000),)


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_a_first_stranger_ends_loneliness(loss: float) -> None:
    for seed in range(10):
        net = Network(seed, links=LinkModels(loss=loss))
        lone = net.add()
        old, new = NATIVE.digest(b"old"), NATIVE.digest(b"new")
        lone.node.publisher.restore_own(own_key(old, 3000), net.now)
        net.enter(lone, new, 3001)
        net.run_for(7200)
        stranger = net.add(bootstrap=[lone])
        net.run_for(60)
        held = {(entry.key, entry.record.endpoint) for entry in stranger.node.store}
        assert held == {(old, lone.endpoint.with_port(3000)), (new, lone.endpoint.with_port(3001))}, f"seed {seed}"
        assert any(isinstance(event, Joined) for _, event in lone.events), f"seed {seed}"


def test_commands_wait_for_joining() -> None:
    net = Network(4)
    hosts = net.grow(24)
    net.run_for(60)
    there, mine = NATIVE.digest(b"there"), NATIVE.digest(b"ours")
    net.enter(hosts[3], there, 3000)
    newcomer = net.add(bootstrap=[hosts[0]])
    looking = newcomer.node.commands.lookup(there, net.now)
    entering = newcomer.node.commands.enter(mine, 3001, net.now)
    found = net.finish(newcomer, looking, LookupDone)
    assert found.endpoints == (hosts[3].endpoint.with_port(3000),)
    assert len(net.finish(newcomer, entering, Published).replicas) == DEFAULT.k
    for host in hosts:
        assert net.lookup(host, mine).endpoints == (newcomer.endpoint.with_port(3001),)
