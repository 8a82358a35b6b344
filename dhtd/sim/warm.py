"""Routing tables as of a network that has been up for long, without the hours in which they would come about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from dhtd.sim.host import Host

if TYPE_CHECKING:
    from dhtd.sim.network import Network


def acquaint(net: Network, hosts: Iterable[Host]) -> None:
    """Let each host know its neighbours, and K of the hosts in each range farther away.

    As after a restart, the contacts are questionable until they answer; but the host does not ask around for them.
    """
    for host in hosts:
        for other in _acquaintances(net, host):
            if other is not host:
                host.node.restore_contact(other.contact)
        host.node.join.bootstrap = host.bootstrap
        host.node.join.answered(host.clock(net.now))  # what the first answer of anybody does
        net.flush(host)


def _acquaintances(net: Network, host: Host) -> Iterator[Host]:
    """Yield the hosts of each range that shares one bit less with this host's ID than its next neighbours do."""
    census, k = net.census, net.policy.k
    places = range(len(census))
    for free in range(net.codec.keyspace.bits - 1, -1, -1):
        low = host.id >> free << free
        own = census.between(low, low | (1 << free) - 1)
        if len(own) <= 2 * k:
            break
        sibling = low ^ 1 << free
        others = census.between(sibling, sibling | (1 << free) - 1)
        for place in others if len(others) <= k else net.rng.sample(others, k):
            yield census[place]
        places = own
    for place in places:
        yield census[place]
