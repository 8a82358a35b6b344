"""More own entries than all others have room for: the work on entries without holders stays bounded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dhtd.core.events import Published, Unheld
from dhtd.core.ids import NATIVE
from dhtd.core.policy import DEFAULT
from dhtd.sim import warm
from dhtd.sim.network import Network
from tests.records import own_key

ENTRIES = 2_000
ROOM = 100  # entries from one source, at each of the others


@pytest.mark.slow
def test_unheld_entries_cost_little(
    figure: Callable[[str, object], None],
) -> None:
    net = Network(1, policy=replace(DEFAULT, store_entries_per_source=ROOM))
    owner, *others = [net.add(start=False) for _ in range(12)]
    warm.acquaint(net, [owner, *others])
    net.run_for(5)
    for number in range(ENTRIES):
        owner.node.publisher.restore_own(own_key(NATIVE.digest(b"%d" % number), 3_000), net.now)
    net.flush(owner)
    net.run_for(900)
    records = owner.node.own_records
    unheld = records.untaken.refused
    assert unheld >= ENTRIES - len(others) * ROOM
    before = len(owner.events)
    sent = owner.node.counters.queries_sent
    net.run_for(1_800)
    events = [event for _, event in owner.events[before:]]
    published = sum(isinstance(event, Published) for event in events)
    figure("entries that nobody holds", f"{unheld} of {ENTRIES}")
    figure("publications in half an hour", published)
    figure("queries a second", round((owner.node.counters.queries_sent - sent) / 1_800, 1))
    assert published <= 1_800 + 2 * ENTRIES
    assert 1 <= sum(isinstance(event, Unheld) for event in events) <= 3
