"""Gives nodes the routing tables of a network that has been up for hours, without the hours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dhtd.core.ids import Id
from dhtd.core.routing.network_size import SLOTS
from dhtd.sim.host import Host
from dhtd.sim.network import Network


def acquaint(net: Network, hosts: Iterable[Host]) -> None:
    """Let each host know its neighbours, and K of the hosts in each range farther away.

    The contacts of a range were all heard when the range was last refreshed, at a random moment of the latest period.
    With contacts that were never heard, every node would ping for the first minute.
    """
    for host in hosts:
        node = host.node
        clock = host.clock(net.now)
        for others in _acquaintances(net, host):
            heard_at = clock - net.rng.random() * node.policy.bucket_refresh
            for other in others:
                if other is not host and not node.state.restore(other.contact, heard_at):
                    node.state.answered(other.contact, None, heard_at)
        for bucket in node.state.table.buckets:  # each has the activity of the range that it was split from
            heard = [node.state.meta.get(contact.id).heard_at for contact in bucket.contacts]
            bucket.activity = max(filter(None, heard), default=clock)
        _look_back(net, host, clock)
        net.flush(host)


def _look_back(net: Network, host: Host, clock: float) -> None:
    """Let a host have sampled the size of its network, and have done what each node does now and then.

    It did so at a random moment of the latest period. Otherwise all hosts would do it again at the same time.
    """
    node, overlay, policy = host.node, host.node.overlays.first, host.node.policy
    for slot in range(SLOTS):
        place = Id(((slot << 32) + net.rng.getrandbits(32)) * net.codec.traits.keyspace.size // (SLOTS << 32))
        nearest = [other.contact for other in net.closest(place, policy.k + 1) if other is not host]
        overlay.size.measured(place, nearest[: policy.k])
    node.publisher.hurrying.network_has(overlay.estimated_size, overlay.family, clock)
    overlay.refresher.joined(overlay.size_by_neighbours())
    overlay.looks_itself_up(clock - net.rng.random() * policy.introduction)
    join = node.memberships.first.join
    join.bootstrap = host.bootstrap
    join.answered(clock - net.rng.random() * policy.probe_interval)
    join.is_probe_due(clock)  # then the next one is to come
    join.joined(len(overlay.state.table), clock)


def _acquaintances(net: Network, host: Host) -> Iterator[list[Host]]:
    """Yield some hosts of each range that shares one bit less with this host's ID than the next; neighbours last."""
    census, k = net.census, net.policy.k
    places = range(len(census))
    for free in range(net.codec.traits.keyspace.bits - 1, -1, -1):
        own, others = census.halves(places, host.id, free)
        if len(own) <= 2 * k:
            break
        yield [census[place] for place in (others if len(others) <= k else net.rng.sample(others, k))]
        places = own
    yield [census[place] for place in places]
