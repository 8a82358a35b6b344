"""Most of a network dies at once: nearly all entries of those who are left are found after three minutes."""

from __future__ import annotations

from collections.abc import Callable

from dhtd.core.metric import NATIVE
from dhtd.sim import warm
from dhtd.sim.host import Host
from dhtd.sim.network import Network


def found_after(net: Network, owners: list[Host], seconds: float) -> int:
    """Return how many of the owners' entries are found by somebody else, so long after."""
    net.run_for(seconds)
    live = net.live
    found = 0
    for number, owner in enumerate(owners):
        asker = net.rng.choice([host for host in live if host is not owner])
        key = NATIVE.digest(b"%d" % number)
        found += owner.endpoint.with_port(3_000) in net.lookup(asker, key).endpoints
    return found


def test_when_four_in_five_nodes_die_nine_in_ten_entries_of_the_others_are_found_after_three_minutes(
    figure: Callable[[str, object], None],
) -> None:
    net = Network(1)
    hosts = [net.add(start=False) for _ in range(96)]
    warm.acquaint(net, hosts)
    survivors = hosts[:20]
    owners = [survivors[number % 20] for number in range(100)]
    for number, owner in enumerate(owners):
        net.enter(owner, NATIVE.digest(b"%d" % number), 3_000)
    net.run_for(120)
    for host in hosts[20:]:
        net.kill(host)
    found = found_after(net, owners, 180.0)
    figure("of 100 entries found after three minutes", found)
    assert found >= 90
