"""Gives nodes the neighbours and fingers of a ring that has been up for hours, without the hours."""

from __future__ import annotations

from collections.abc import Iterable

from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.sim.chord.messages import Neighbourhood
from dhtd.sim.chord.overlay import chord_node
from dhtd.sim.host import Host
from dhtd.sim.network import Network


def settle(net: Network, hosts: Iterable[Host]) -> None:
    """Let each host know its true neighbours and fingers."""
    census = net.census
    for host in hosts:
        node, clock = chord_node(host.member), host.clock(net.now)
        neighbours: Neighbourhood = Neighbourhood(None, ())
        if len(census) > 1:
            place, length = census.place(host), min(node.policy.successors, len(census) - 1)
            after = tuple(census[(place + step) % len(census)].contact for step in range(1, length + 1))
            neighbours = Neighbourhood(census[place - 1].contact, after)
        node.settled(neighbours, _fingers(net, host, neighbours), host.bootstrap, clock)
        net.flush(host)


def _fingers(net: Network, host: Host, neighbours: Neighbourhood) -> dict[int, Contact]:
    """Return the fingers beyond the successor: of each node among them, the first one."""
    circle = chord_node(host.member).ring.circle
    far: dict[int, Contact] = {}
    number = 0
    if not neighbours.successors:
        return far
    way = circle.way(neighbours.successors[0].id)
    while number < net.keyspace.bits:
        if 1 << number > way:
            finger = net.census.successor(Id(circle.after(1 << number)))
            if finger is host:
                break
            far[number] = finger.contact
            way = circle.way(finger.id)
        number += 1
    return far
