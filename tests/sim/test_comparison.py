"""Kademlia beside Chord: the same plan for both, and hops on sampled tables that are those of real nodes."""

from __future__ import annotations

from dataclasses import replace
from math import log2
from random import Random
from statistics import mean

import pytest

from dhtd.core.ids import NATIVE
from dhtd.errors import UsageError
from dhtd.sim import comparison
from dhtd.sim.plan import OVERLAYS, Plan
from dhtd.sim.sampled import KINDS, Ids
from dhtd.sim.simulation import Simulation

TINY = replace(comparison.PLAN, lookups=30, duration=10.0, seed=3)


def test_both_kinds_get_the_same_plan() -> None:
    tasks = comparison.tasks(replace(TINY, loss=0.1), 100)
    assert [(task.plan.overlay, task.is_calm) for task in tasks] == [
        ("kademlia", True),
        ("kademlia", False),
        ("chord", True),
        ("chord", False),
    ]
    assert len({replace(task.plan, overlay="chord", churn=None) for task in tasks}) == 1
    assert [task.plan.churn for task in tasks] == [None, comparison.CHURN] * 2
    assert {(task.plan.warm, task.plan.entries, task.plan.loss) for task in tasks} == {
        (True, comparison.ENTRIES_MIN, 0.1)
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_join_moves_keys_in_a_ring_alone(overlay: str) -> None:
    calm = comparison.tasks(replace(TINY, entries=40), 40)[2 * OVERLAYS.index(overlay)]
    simulation = Simulation(calm.plan)
    report = simulation.run()
    moved = comparison.join(simulation, lambda: None)
    row = comparison.row(calm, report, moved, report)
    assert (row.overlay, row.nodes, row.found, row.lookups) == (overlay, 40, 30, 30)
    assert len(moved) == 2
    assert row.moved_mean == row.moved_per_entry_a_node
    assert 4 <= mean(moved) <= 16 if overlay == "chord" else mean(moved) == 0
    rare = comparison.row(replace(calm, plan=replace(calm.plan, entries=10)), report, moved, report)
    assert rare.moved_per_entry_a_node == pytest.approx(4 * mean(moved), abs=0.001)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_sampled_tables_are_those_of_a_network(overlay: str) -> None:
    plan = replace(comparison.PLAN, overlay=overlay, nodes=150, entries=30, lookups=200, duration=20.0)
    run = Simulation(plan).run().lookups.hops.mean
    network, rng = KINDS[overlay](Ids(150, 1)), Random(1)
    sampled = mean(network.look_up(NATIVE.random(rng), rng.randrange(150)).hops for _ in range(200))
    assert sampled == pytest.approx(run, rel=0.12)


def test_sampled_hops_are_those_of_the_paper() -> None:
    kademlia, chord = (row for _, _, row in comparison.sampled(7, 2_000) if row is not None)
    assert chord.hops_mean == pytest.approx(log2(2_000) / 2, rel=0.1)
    assert kademlia.hops_mean < chord.hops_mean
    assert kademlia.is_sampled
    assert kademlia.found is None


def test_what_is_for_one_kind_is_not_compared() -> None:
    for field, plan in (("liars", Plan(liars=0.1)), ("nat", Plan(nat=0.1)), ("partition", Plan(partition=(1.0, 2.0)))):
        with pytest.raises(UsageError, match=f"--{field} does not go with --compare"):
            comparison.check(plan)
