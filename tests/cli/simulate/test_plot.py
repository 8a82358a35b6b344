"""The picture of a simulation: it runs what it needs, shows the right figures, and is the same for the same run."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from math import log2
from pathlib import Path

import pytest

from dhtd.cli.simulate import plot
from dhtd.errors import SimulationFailed
from dhtd.sim import figures
from dhtd.sim.figures import Figures, Success
from dhtd.sim.plan import Plan
from dhtd.sim.report import Hops
from dhtd.sim.scenarios import SCENARIOS
from dhtd.sim.simulation import Simulation
from tests.cli.conftest import Run
from tests.e2e.daemons import BIN, DEADLINE


def hops(mean: float) -> Hops:
    return Hops(mean, round(mean), round(mean) + 1, round(mean) + 1, round(mean) + 2)


def shown(plan: Plan) -> Figures:
    """Return the figures of a small run, with made-up sweeps."""
    simulation = Simulation(plan)
    found = Figures.of(plan, simulation.run(), simulation.tally)
    if plan.nodes > 1:
        found.by_size = {size: hops(log2(size) / 3) for size in figures.sizes(2_000)}
        found.by_session = [Success(session, 1 - 10 / session, 1_000) for session in figures.SESSIONS]
    return found


TRIO = SCENARIOS["trio"].plan


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (1, []),
        (2, [2]),
        (10, [10]),
        (11, [10, 11]),
        (200, [10, 32, 100, 200]),
        (1_000, [10, 32, 100, 316, 1_000]),
        (1_000_000, [10, 32, 100, 316, 1_000, 3_162]),
    ],
)
def test_sizes_are_half_a_decade_apart(nodes: int, expected: list[int]) -> None:
    assert figures.sizes(nodes) == expected


def test_sweeps_are_calm_runs_of_all_sizes() -> None:
    plans = list(figures.plans(Plan(nodes=1_000, loss=0.5, liars=0.5, seed=7)))
    for plan in plans:
        plan.check()
        assert (plan.seed, plan.loss, plan.liars) == (7, 0.0, 0.0)
    calm = [plan for plan in plans if plan.churn is None]
    assert [plan.nodes for plan in calm] == figures.sizes(1_000)
    assert all(plan.warm for plan in calm)
    assert [(plan.nodes, plan.churn) for plan in plans if plan.churn is not None] == [
        (figures.CHURNING_MAX, session) for session in figures.SESSIONS
    ]
    assert list(figures.plans(Plan(nodes=1))) == []


def test_each_further_run_adds_its_point() -> None:
    found = shown(replace(TRIO, lookups=5))
    found.by_size.clear()
    found.by_session.clear()
    report = Simulation(replace(TRIO, nodes=2, lookups=5)).run()
    found.add(Plan(nodes=2), report)
    found.add(Plan(nodes=2, churn=300.0), report)
    assert found.by_size == {2: report.lookups.hops}
    assert found.by_session == [Success(300.0, 1.0, 5)]


def test_the_line_is_the_least_squares_fit() -> None:
    assert figures.fit({size: log2(size) / 3.25 for size in (10, 100, 1_000)}) == pytest.approx(3.25)
    assert figures.fit({}) is None
    assert figures.fit({10: 0.0}) is None
    uneven = {8: 1.4, 64: 1.7, 1_024: 4.0}

    def distance(base: float) -> float:
        return sum((log2(size) / base - mean) ** 2 for size, mean in uneven.items())

    best = min((base / 1_000 for base in range(1_000, 6_000)), key=distance)
    assert figures.fit(uneven) == pytest.approx(best, abs=0.001)


def test_latencies_are_those_of_the_run() -> None:
    simulation = Simulation(TRIO)
    report = simulation.run()
    found = Figures.of(TRIO, report, simulation.tally)
    for samples, spread in ((found.latency_ms, report.lookups.latency_ms), (found.first_ms, report.lookups.first_ms)):
        assert len(samples) == report.lookups.total
        assert list(samples) == sorted(samples)
        assert samples[len(samples) // 2 - 1] == pytest.approx(spread.p50, abs=0.001)
        assert samples[-1] >= spread.p99


def words(svg: Path) -> str:
    """Return the texts of a picture: matplotlib draws them as outlines, and leaves a comment with each."""
    comments = re.findall(r"<!-- (.*?) -->", svg.read_text(encoding="utf-8"))
    return "\n".join(comments).replace("- -", "--")  # which a comment must not have


def test_a_picture_says_what_was_run_and_found(tmp_path: Path) -> None:
    found = shown(replace(TRIO, loss=0.01, churn=1_800.0, partition=(60.0, 120.0), seed=9))
    plot.draw(found, "dhtd simulate --seed 9", tmp_path / "x.svg")
    said = words(tmp_path / "x.svg")
    lookups = found.report.lookups
    assert f"3 nodes, {lookups.total} lookups: {100 * lookups.success_rate:.5g} % found" in said
    assert "1 % of datagrams lost, sessions of 30 min, parted for 1 min, all restarted at once" in said
    assert f"dhtd simulate --seed 9   ({found.report.events:,} events)" in said
    assert "log₂ N / 3.00" in said
    assert "the goal: 99 %" in said
    for spread in (lookups.latency_ms, lookups.first_ms):
        assert f"{spread.p90:,.0f} ms" in said


def test_the_same_run_gives_the_same_svg(dhtd: Run, tmp_path: Path) -> None:
    """Also with another order of hashes, and with the user's settings for matplotlib."""
    (tmp_path / "matplotlibrc").write_text("axes.facecolor: red\naxes.grid: True\nsvg.hashsalt: another\n")
    arguments = ("simulate", "--nodes", "1", "--lookups", "5", "--duration", "10", "--plot")
    env = {**os.environ, "PYTHONHASHSEED": "2", "MATPLOTLIBRC": str(tmp_path)}
    subprocess.run([BIN / "dhtd", *arguments, tmp_path / "1.svg"], env=env, check=True, timeout=DEADLINE)
    assert dhtd(*arguments, tmp_path / "2.svg").status == 0
    one, two = ((tmp_path / f"{number}.svg").read_bytes() for number in (1, 2))
    assert one == two
    assert b"<dc:date>" not in one


def test_the_same_figures_give_the_same_svg(tmp_path: Path) -> None:
    found = shown(TRIO)
    for name in ("one", "two"):
        plot.draw(found, "dhtd simulate", tmp_path / f"{name}.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


@pytest.mark.parametrize("name", ["lone-node", "pair"])
def test_the_smallest_networks_have_a_picture_too(name: str, tmp_path: Path) -> None:
    plan = replace(SCENARIOS[name].plan, lookups=10)
    plot.draw(shown(plan), "dhtd simulate", tmp_path / "x.png")
    plot.draw(shown(replace(plan, lookups=0)), "dhtd simulate", tmp_path / "y.svg")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert "one node asks nobody" in words(tmp_path / "y.svg") or name == "pair"
    assert "no lookup had to wait" in words(tmp_path / "y.svg")


@pytest.mark.slow
def test_the_command_runs_the_sweeps_and_draws(dhtd: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "SESSIONS", (60.0, 120.0))
    monkeypatch.setattr(figures, "CHURNING", 60.0)
    monkeypatch.setattr(figures, "CHURNING_LOOKUPS", 20)
    monkeypatch.setattr(figures, "LOOKUPS", 20)
    arguments = ("simulate", "--nodes", 12, "--lookups", 10, "--duration", 20, "--warm", "--plot", tmp_path / "x.svg")
    done = dhtd(*arguments)
    assert (done.status, done.err) == (0, f"drawn in {tmp_path / 'x.svg'}\n")
    assert "nodes 12" in done.out.splitlines()
    said = words(tmp_path / "x.svg")
    assert "12 nodes, 10 lookups: 100 % found" in said
    assert "dhtd simulate --nodes 12 --entries 1 --lookups 10 --duration 20 --seed 1 --warm" in said
    first = (tmp_path / "x.svg").read_bytes()
    again = dhtd(*arguments, "--json")
    assert (again.status, again.err, again.body["nodes"]) == (0, "", 12)
    assert (tmp_path / "x.svg").read_bytes() == first


def test_an_unwritable_picture_leaves_the_figures(dhtd: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(found: Figures, command: str, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plot, "draw", refuse)
    done = dhtd("simulate", "--scenario", "lone-node", "--plot", tmp_path / "x.png", "--json")
    assert (done.status, done.body["nodes"]) == (1, 1)
    assert done.body["error"] == {
        "code": "failed",
        "message": f"cannot write {tmp_path / 'x.png'}: No space left on device",
    }


def test_a_broken_sweep_run_tells_its_own_path(dhtd: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Simulation):
        def advance(self, events: int) -> bool:
            if self.plan.warm:
                raise SimulationFailed("broken")
            return super().advance(events)

    monkeypatch.setattr("dhtd.cli.simulate.run.Simulation", Broken)
    done = dhtd("simulate", "--scenario", "pair", "--plot", tmp_path / "x.png")
    assert done.status == 1
    assert "lookups total 100" in done.out.splitlines()
    command = "dhtd simulate --nodes 2 --entries 20 --lookups 500 --duration 60 --seed 1 --warm --stop-at 0"
    assert f"The same up to there: {command}" in done.err
