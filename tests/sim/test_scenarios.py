"""Every named scenario in small, held to its goal; a run depends on its plan alone."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from itertools import pairwise
from typing import Any

import pytest

from dhtd.core.ids import Id
from dhtd.errors import SimulationFailed, UsageError
from dhtd.sim.plan import Plan
from dhtd.sim.report import Report
from dhtd.sim.scenarios import SCENARIOS, Goal, Scenario
from dhtd.sim.simulation import Simulation
from tests.records import SESSION

AWAY_FOR = 4 * 3_600.0  # seconds instead of twelve hours: eight sessions, so of the first holders none is left

# The numbers that make each small; `dhtd simulate --scenario NAME` runs the size of the plan.
SMALL: dict[str, dict[str, Any]] = {
    "calm": {"nodes": 60, "entries": 25, "lookups": 150, "duration": 150.0},
    "lossy": {"nodes": 100, "entries": 50, "lookups": 300, "duration": 300.0},
    "churn": {"nodes": 50, "entries": 30, "lookups": 400, "duration": 3_600.0},
    "flash-crowd": {"nodes": 100, "lookups": 200, "duration": 150.0},
    "partition-heals": {
        "nodes": 40,
        "entries": 40,
        "lookups": 300,
        "duration": 5_400.0,
        "partition": (300.0, 3_900.0),
    },
    "mass-restart": {"nodes": 12, "restored": 40, "lookups": 100, "duration": 300.0},
    "power-cut": {"nodes": 50, "entries": 40, "lookups": 100, "duration": 420.0, "cut": (120.0, 240.0)},
    "watchers": {"nodes": 60, "watched": 4, "watchers": 6, "duration": 200.0, "lookups": 50},
    "hot-key": {"nodes": 60, "gets": 400, "lookups": 50, "duration": 150.0},
    "owner-away": {
        "nodes": 32,
        "values": 8,
        "gets": 100,
        "away": 600.0,
        "duration": 600.0 + AWAY_FOR + 1_200.0,
        "lookups": 50,
    },
    "half-nat": {"nodes": 80, "entries": 40, "lookups": 200, "duration": 300.0},
    "liars": {"nodes": 100, "entries": 50, "lookups": 200, "duration": 300.0},
    "eclipse": {"nodes": 100, "entries": 3, "lookups": 40, "duration": 300.0},
    "lone-node": {},
    "pair": {},
    "trio": {},
}

# What misses a goal of its scenario, and why.
MISSES = {"power-cut": "the median is about 50 s, and 51.2 s of the 34 entries of this small run"}

# These have siblings in tests/sim/test_faults.py that are quicker.
LONG = {
    "lossy",
    "churn",
    "partition-heals",
    "liars",
    "half-nat",
    "flash-crowd",
    "mass-restart",
    "eclipse",
    "power-cut",
    "watchers",
    "owner-away",
    "hot-key",
}

EVERYTHING = Plan(
    nodes=40,
    entries=20,
    lookups=60,
    duration=240.0,
    loss=0.05,
    duplicate=0.05,
    reorder=0.05,
    churn=300.0,
    pareto=True,
    returning=0.5,
    nat=0.2,
    liars=0.1,
    jumps=0.3,
    partition=(100.0, 140.0),
)


@cache
def everything() -> Report:
    """Return the result of everything at once."""
    return Simulation(EVERYTHING).run()


def test_every_scenario_is_tried_in_small() -> None:
    assert set(SMALL) == set(SCENARIOS)


def scenario_marks(name: str) -> list[pytest.MarkDecorator]:
    """Return the marks of a scenario's test."""
    marks = [pytest.mark.slow] if name in LONG else []
    return [*marks, pytest.mark.xfail(reason=MISSES[name], strict=True)] if name in MISSES else marks


@pytest.mark.parametrize("name", [pytest.param(name, marks=scenario_marks(name)) for name in SMALL])
def test_a_scenario_reaches_its_goal_in_small(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dhtd.sim.values.AWAY_FOR", AWAY_FOR)
    scenario = SCENARIOS[name]
    report = Simulation(scenario.vary(**SMALL[name])).run()
    assert report.lookups.total >= scenario.vary(**SMALL[name]).lookups * 0.9
    assert scenario.shortfalls(report) == []


# Those that are not about what only Kademlia nodes do.
IN_A_RING = (
    "calm",
    "churn",
    "flash-crowd",
    "partition-heals",
    "mass-restart",
    "power-cut",
    "lone-node",
    "pair",
    "trio",
)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in IN_A_RING])
def test_a_ring_reaches_the_goal_in_small(name: str) -> None:
    scenario = SCENARIOS[name]
    assert scenario.shortfalls(Simulation(scenario.vary(**SMALL[name], overlay="chord")).run()) == []


@pytest.mark.slow
def test_a_warm_network_starts_at_rest() -> None:
    simulation = Simulation(Plan(nodes=300, entries=1, lookups=0, duration=1_000.0, warm=True))
    net = simulation.net
    sent = [0]
    for minute in range(1, 16):
        while net.now < 60.0 * minute:
            simulation.advance(10)
        sent.append(net.datagrams)
    by_minute = [after - before for before, after in pairwise(sent)]
    assert min(by_minute) > 0
    assert max(by_minute) < 2 * min(by_minute)


@pytest.mark.slow
def test_a_warm_network_is_as_good_as_a_grown_one() -> None:
    scenario = SCENARIOS["calm"]
    report = Simulation(scenario.vary(nodes=300, lookups=200, duration=60.0, warm=True)).run()
    assert scenario.shortfalls(report) == []


@pytest.mark.slow
def test_a_plan_and_seed_fix_the_run() -> None:
    first, again = everything(), Simulation(EVERYTHING).run()
    assert asdict(first) == asdict(again)
    assert first.lookups.total >= 50
    other = Simulation(Scenario("", EVERYTHING).vary(seed=2)).run()
    assert other.events != first.events


@pytest.mark.slow
def test_under_everything_at_once_most_is_found() -> None:
    report = everything()
    assert report.lookups.success_rate >= 0.9


def test_a_run_in_pieces_is_the_same() -> None:
    plan = Plan(nodes=10, entries=5, lookups=10, duration=30.0)
    whole = Simulation(plan).run()
    pieces = Simulation(plan)
    while pieces.advance(7):
        pass
    assert pieces.report() == whole


def test_a_broken_invariant_tells_seed_and_event() -> None:
    plan = Plan(nodes=10, entries=5, lookups=10, duration=30.0, seed=3)
    told = set()
    for _ in range(2):
        simulation = Simulation(plan)
        simulation.advance(500)
        host = simulation.net.hosts[4]
        host.node.store.put(Id(1), host.endpoint, SESSION, 60, now=1e6)  # so it is held for much too long
        with pytest.raises(
            SimulationFailed, match=r"^seed 3, event \d+, at \d+\.\d+ virtual seconds: Assertion"
        ) as failed:
            simulation.run()
        told.add(str(failed.value))
    assert len(told) == 1


@pytest.mark.slow
def test_a_goal_that_is_missed_is_said_in_words() -> None:
    strict = Scenario(
        "",
        EVERYTHING,
        Goal(1.1, recall_at_k=1.1, recovery=-1.0, peak=0.0, gone_p50=50.0, gone_max=75.0, seen=1.0, seen_p99=0.0),
    )
    shortfalls = strict.shortfalls(everything())
    assert [shortfall.split()[0] for shortfall in shortfalls] == [
        "success_rate",
        "recall_at_k",
        "seen_share",
        "recovery_s",
        "peak_datagrams_per_node_s",
        "gone_p50_s",
        "gone_max_s",
        "seen_p99_ms",
    ]


def test_a_goal_needs_a_lookup() -> None:
    scenario = SCENARIOS["pair"]
    report = Simulation(scenario.vary(lookups=0)).run()
    assert scenario.shortfalls(report) == ["no lookup has ended, so nothing is shown"]


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"nodes": 0}, "--nodes"),
        ({"entries": 0}, "--entries"),
        ({"lookups": -1}, "--lookups"),
        ({"duration": float("nan")}, "--duration"),
        ({"loss": 1.0}, "--loss"),
        ({"churn": 0.0}, "--churn"),
        ({"nat": -0.1}, "--nat"),
        ({"partition": (10.0, 10.0)}, "--partition"),
        ({"partition": (10.0, 1e9)}, "--partition"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(given: dict[str, Any], option: str) -> None:
    with pytest.raises(UsageError, match=option):
        Simulation(Scenario("", Plan()).vary(**given))
