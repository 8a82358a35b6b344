"""Routing tables as of a network that has been up for long, without the hours in which they would come about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from dhtd.core.metric import Id
from dhtd.core.size import SLOTS
from dhtd.sim.host import Host

if TYPE_CHECKING:
    from dhtd.sim.network import Network


def acquaint(net: Network, hosts: Iterable[Host]) -> None:
    """Let each host know its neighbours, and K of the hosts in each range farther away.

    Who is known in one range was heard when that was last refreshed: at any moment of the latest period. With contacts
    that nobody has heard, the first minute would be one of pings instead.
    """
    for host in hosts:
        node = host.node
        clock = host.clock(net.now)
        for others in _acquaintances(net, host):
            heard_at = clock - net.rng.random() * node.policy.bucket_refresh
            for other in others:
                if other is not host:
                    node.state.answered(other.contact, None, heard_at)
        for bucket in node.state.table.buckets:  # whose activity is that of the range that each was split from
            heard = [node.state.meta.get(contact.id).heard_at for contact in bucket.contacts]
            bucket.activity = max(filter(None, heard), default=clock)
        for slot in range(SLOTS):
            place = Id(((slot << 32) + net.rng.getrandbits(32)) * net.codec.keyspace.size // (SLOTS << 32))
            nearest = [other.contact for other in net.closest(place, net.policy.k + 1) if other is not host]
            node.overlays[0].size.measured(place, nearest[: net.policy.k])
        node.overlays[0].refresher.joined(node.state.estimated_size())
        node.join.bootstrap = host.bootstrap
        node.join.answered(clock)
        node.join.joined(len(node.state.table), clock)
        net.flush(host)


def _acquaintances(net: Network, host: Host) -> Iterator[list[Host]]:
    """Yield some hosts of each range that shares one bit less with this host's ID than the next; neighbours last."""
    census, k = net.census, net.policy.k
    places = range(len(census))
    for free in range(net.codec.keyspace.bits - 1, -1, -1):
        low = host.id >> free << free
        own = census.between(low, low | (1 << free) - 1)
        if len(own) <= 2 * k:
            break
        sibling = low ^ 1 << free
        others = census.between(sibling, sibling | (1 << free) - 1)
        yield [census[place] for place in (others if len(others) <= k else net.rng.sample(others, k))]
        places = own
    yield [census[place] for place in places]
