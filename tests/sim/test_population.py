"""The machines of a run: whatever becomes of them, an honest one is left to ask."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dhtd.sim.plan import Plan
from dhtd.sim.simulation import Simulation

FEW = Plan(nodes=3, entries=2, lookups=20, duration=300.0, liars=0.9, warm=True)


@pytest.mark.parametrize(
    "more",
    [
        {"churn": 20.0},
        {"churn": 20.0, "returning": 0.5},
        {"churn": 20.0, "goodbyes": 0.5},
        {"cut": (60.0, 70.0), "entries": 20, "nodes": 6, "liars": 0.5},
        {"watched": 2, "watchers": 3},
        {"values": 2, "gets": 5, "away": 60.0, "duration": 44_000.0},
    ],
    ids=["churn", "returning", "goodbyes", "cut", "watched", "away"],
)
def test_the_last_honest_machine_is_not_lost(more: dict[str, Any]) -> None:
    simulation = Simulation(replace(FEW, seed=0, **more))
    simulation.run()
    assert any(host.lie is None for host in simulation._population.live)
