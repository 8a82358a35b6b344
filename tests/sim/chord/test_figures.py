"""Hops of fault-free lookups: log2(N) / 2 in the mean, as the paper says, counted to the node that has the entry."""

from __future__ import annotations

from collections.abc import Callable
from math import log2

import pytest

from dhtd.sim.plan import Plan
from dhtd.sim.simulation import Simulation


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("nodes", "lookups"),
    [
        (100, 500),
        pytest.param(1_000, 2_000, marks=pytest.mark.slow),
        pytest.param(10_000, 2_000, marks=pytest.mark.slow),
    ],
)
def test_hops_are_half_of_log2_n(nodes: int, lookups: int, figure: Callable[[str, object], None]) -> None:
    plan = Plan(overlay="chord", nodes=nodes, entries=50, lookups=lookups, duration=10.0, warm=True)
    report = Simulation(plan).run()
    ratio = report.lookups.hops.mean / (log2(nodes) / 2)
    figure("hops", report.lookups.hops.mean)
    figure("hops / (log2(N) / 2)", round(ratio, 3))
    assert report.lookups.found == report.lookups.total == lookups
    assert 0.9 <= ratio <= 1.1


def test_the_same_plan_gives_the_same_run() -> None:
    plan = Plan(overlay="chord", nodes=30, entries=10, lookups=50, duration=60.0, loss=0.05, churn=60.0)
    assert Simulation(plan).run() == Simulation(plan).run()
