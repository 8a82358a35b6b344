"""Machines that stop for good and say goodbye: nobody holds their entries any more, in either kind of network."""

from __future__ import annotations

from collections import deque

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.node import Node
from dhtd.sim import story
from dhtd.sim.chord.overlay import chord_node
from dhtd.sim.host import Host
from dhtd.sim.plan import OVERLAYS, Plan
from dhtd.sim.simulation import Simulation


def held(host: Host, now: float) -> set[Endpoint]:
    """Return the endpoints of the records that a host holds for any key."""
    if isinstance(host.member, Node):
        return {entry.record.endpoint for entry in host.member.store}
    shelf = chord_node(host.member).shelf
    return {endpoint for key, _ in shelf.places() for endpoint in shelf.under(key, now)}


def run(overlay: str, goodbyes: float) -> tuple[set[str], int]:
    """Return what machines did when they stopped, and how many of those that stopped have entries that are held."""
    plan = Plan(
        overlay=overlay, nodes=16, entries=16, lookups=40, duration=120.0, churn=120.0, goodbyes=goodbyes, warm=True
    )
    simulation = Simulation(plan)
    net = simulation.net
    net.latest = deque()
    assert simulation.run().lookups.success_rate >= 0.95
    deeds = {moment.message for moment in story.tell(net).moments if moment.source is None}
    living = {host.endpoint.host for host in net.hosts}
    left = {endpoint.host for host in net.hosts for endpoint in held(host, net.now)} - living
    return {word for word in ("says goodbye", "stops for good") if any(deed.endswith(word) for deed in deeds)}, len(
        left
    )


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_goodbyes_leave_hardly_an_entry_behind(overlay: str) -> None:
    deeds, left = run(overlay, 1.0)
    assert deeds == {"says goodbye"}
    assert left <= 1  # a Kademlia node may be publishing one when it stops
    deeds, left = run(overlay, 0.0)
    assert deeds == {"stops for good"}
    assert left >= 5
