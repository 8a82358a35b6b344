"""The cost of an unused network: datagrams, wake-ups, memory."""

from __future__ import annotations

import pytest

from dhtd.core.ids import NATIVE
from dhtd.core.node import Node
from dhtd.core.policy import DEFAULT
from dhtd.sim.network import Network

HOURS = 6


# Each is the most of a node in an hour. Of 24 nodes, 25 datagrams in the mean are introductions.
@pytest.mark.parametrize(
    ("size", "datagrams", "wakeups"),
    [(1, 0, 60), (2, 30, 60), (3, 50, 60), pytest.param(24, 340, 60, marks=pytest.mark.slow)],
)
def test_a_quiet_node_sends_and_wakes_little(size: int, datagrams: int, wakeups: int) -> None:
    net = Network(1)
    net.grow(size)
    net.run_for(600)
    before = [(host.sent, host.wakeups) for host in net.hosts]
    net.run_for(HOURS * 3600)
    for host, (sent, woken) in zip(net.hosts, before, strict=True):
        assert host.sent - sent <= HOURS * datagrams
        assert host.wakeups - woken <= HOURS * wakeups


def test_a_lonely_node_wakes_ever_less() -> None:
    net = Network(2)
    gone = net.add()
    net.kill(gone)
    host = net.add(bootstrap=[gone])
    net.run_for(3600)
    sent, woken = host.sent, host.wakeups
    net.run_for(HOURS * 3600)
    assert host.sent - sent <= HOURS * 3600 / (0.75 * DEFAULT.rejoin_max)
    assert host.wakeups - woken <= HOURS * 120


def footprint(node: Node) -> dict[str, int]:
    """Return the sizes of everything in a node that could grow."""
    requester = node.requester
    return {
        "queries": len(requester.transactions),
        "deadlines": len(requester.transactions._deadlines._heap),
        "transmits": len(requester.transmits),
        "outcomes": len(node._news._operations),
        "operations": len(node.handles.open),
        "publications": len(node.publisher._publications),
        "withdrawals": len(node.publisher.withdrawing.under_way) + len(node.publisher._held_back),
        "owed": len(node.withdrawals) + len(node.withdrawals._holders) + len(node.withdrawals._timers),
        "deferred": len(node.waiting),
        "checks": len(node.strangers.pings)
        + len(node.memberships.verifying)
        + len(node.memberships.first.join.attempt),
        "entries": len(node.own_records) + len(node.store),
    }


def test_ended_commands_leave_nothing_behind() -> None:
    net = Network(3)
    hosts = net.grow(24)
    net.run_for(600)
    for number in range(60):
        host = net.rng.choice(hosts)
        key = NATIVE.digest(b"%d" % number)
        net.enter(host, key, 3000)
        net.lookup(host, key)
        cancelled = host.node.commands.lookup(key, net.now)
        host.node.commands.cancel(cancelled)
        net.flush(host)
        net.delete(host, key)
        host.node.commands.delete(key, None, net.now)
        host.node.commands.cancel(host.node.commands.ping(net.rng.choice(hosts).endpoint, net.now))
        host.node.commands.cancel(cancelled)
        net.flush(host)
    net.run_for(75)  # until all that was deleted is confirmed to be gone
    for host in hosts:
        sizes = footprint(host.node)
        assert sizes.pop("deadlines") <= 100
        assert set(sizes.values()) == {0}, sizes
