"""Gives nodes the neighbours and fingers of a ring that has been up for hours, without the hours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.sim.chord.messages import Neighbourhood
from dhtd.sim.chord.node import ChordNode
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
        far = fingers(node, neighbours.successors, lambda id: census.successor(id).contact)
        node.settled(neighbours, far, host.bootstrap, clock)
        net.flush(host)


def fingers(node: ChordNode, after: Sequence[Contact], successor: Callable[[Id], Contact]) -> dict[int, Contact]:
    """Return the fingers beyond the successors `after` a node, of which `successor` is asked.

    Of each node among them, it is the first finger.
    """
    circle = node.ring.circle
    far: dict[int, Contact] = {}
    number = 0
    if not after:
        return far
    way = circle.way(after[0].id)
    while number < circle.keyspace.bits:
        if 1 << number > way:
            finger = successor(circle.after(1 << number))
            if finger.id == node.own_id:
                break
            far[number] = finger
            way = circle.way(finger.id)
        number += 1
    return far
