"""Machines that stop for good, in order: they tell others before they go.

What they tell is the business of their kind of node. A Kademlia node has the holders of its entries drop them, as
`on_stop = "leave"` says. A Chord node withdraws its entries, hands over what it holds, and leaves the ring.
"""

from __future__ import annotations

from collections.abc import Callable

from dhtd.sim.host import Host
from dhtd.sim.network import Network

WITHIN = 20.0  # seconds: then a machine goes, whatever was said
_GLANCE = 0.5  # seconds between two looks whether all is said


class Goodbyes:
    """The machines that are saying goodbye."""

    def __init__(self, net: Network, forget: Callable[[Host], None]) -> None:
        """`forget` is told of each machine that is gone."""
        self._net = net
        self._forget = forget

    def begin(self, host: Host) -> None:
        """Have a machine say goodbye. Nobody expects anything of it any more."""
        net = self._net
        net.overlay.say_goodbye(host.member, host.clock(net.now))
        net.flush(host)
        net.schedule.at(net.now + _GLANCE, self._look, host, net.now + WITHIN)

    def _look(self, host: Host, until: float) -> None:
        net = self._net
        if not host.alive:
            return  # it was killed meanwhile
        if net.overlay.has_gone(host.member) or net.now >= until:
            net.note("has said goodbye", host)
            self._forget(host)
        else:
            net.schedule.at(net.now + _GLANCE, self._look, host, until)
