"""A simulation from the command line: watched while it runs, reported, replayed, and drawn where that is wanted."""

from __future__ import annotations

import gc
import math
import resource
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from dhtd.cli.output import Failure
from dhtd.cli.streams import put, put_json, say
from dhtd.errors import DhtdError, GoalMissed, SimulationFailed
from dhtd.sim import figures, story
from dhtd.sim.simulation import RunStatus, Simulation

if TYPE_CHECKING:
    from dhtd.sim.plan import Plan
    from dhtd.sim.report import Report
    from dhtd.sim.scenarios import Scenario

Watch = Callable[[RunStatus], None]
Command = Callable[["Plan", str | None], str]

_GLANCE = 0.1  # seconds between two looks at a run
_SLICE_MAX = 50_000  # events between them


class Order:
    """What is to be done, and how to say what has come of it."""

    def __init__(
        self,
        plan: Plan,
        name: str | None,
        scenario: Scenario | None,
        command: Command,
        *,
        stop_at: int | None,
        picture: Path | None,
        json: bool,
    ) -> None:
        self._plan = plan
        self._name = name
        self._scenario = scenario
        self._command = command
        self._stop_at = stop_at
        self._picture = picture
        self._json = json

    def carry_out(self) -> None:
        """Do it all; raise `SimulationFailed` or `GoalMissed`."""
        with less_collecting():
            begun = perf_counter()
            simulation = Simulation(self._plan)
            self.run(simulation, "", self._name, self._stop_at)
            report = simulation.report()
            result = as_result(report, perf_counter() - begun)
            if self._stop_at is not None:
                self._tell(simulation, result, self._stop_at)
                return
            if not self._json:
                show(result, self._plan, self._heading)
            if self._picture is not None:
                self._draw(simulation, report, result, self._picture)
        missed = [] if self._scenario is None else self._scenario.shortfalls(report)
        if missed:
            raise Failure(GoalMissed(f"{self._name} misses its goal: {'; '.join(missed)}"), result)
        if self._json:
            put_json(result)

    def run(self, simulation: Simulation, title: str, name: str | None, stop_at: int | None = None) -> None:
        """Run it to its end, or to an event, and watch; raise `SimulationFailed` with the command that replays it."""
        try:
            with watching(title) as watch:
                _advance(simulation, watch, math.inf if stop_at is None else stop_at)
                if stop_at is not None:
                    simulation.check()  # so a replay also finds out since when it is broken
        except SimulationFailed as failed:
            replay = f"{self._command(simulation.plan, name)} --stop-at {simulation.net.schedule.events}"
            led_to_it = story.tell(simulation.net)
            if self._json:
                error = SimulationFailed(f"{failed}; up to there: {replay}")
                raise Failure(error, {"replay": asdict(led_to_it)}) from failed
            told = "\n".join(led_to_it)
            raise SimulationFailed(f"{failed}\nThe same up to there: {replay}\n{told}") from failed

    def _tell(self, simulation: Simulation, result: Mapping[str, Any], stop_at: int) -> None:
        """Show a run that was stopped: its figures so far, and what led to where it is."""
        if self._json:
            put_json({**result, "replay": asdict(story.tell(simulation.net))})
            return
        show(result, self._plan, self._heading)
        sys.stdout.flush()
        for line in story.tell(simulation.net):
            say(line)
        if simulation.net.schedule.events < stop_at:
            say(f"the run ended with event {simulation.net.schedule.events}")

    @property
    def _heading(self) -> str:
        return "" if self._scenario is None else f"{self._name}: {self._scenario.summary}"

    def _draw(self, simulation: Simulation, report: Report, result: Mapping[str, Any], path: Path) -> None:
        """Run what a picture needs beside the run itself, and draw."""
        shown = figures.Figures.of(self._plan, report, simulation.tally)
        plans = list(figures.plans(self._plan))
        for number, plan in enumerate(plans, 1):
            further = Simulation(plan)
            self.run(further, f"for the picture, {number} of {len(plans)}: ", None)
            shown.add(plan, further.report())

        from dhtd.cli.simulate import plot

        try:
            plot.draw(shown, self._command(self._plan, self._name), path)
        except OSError as error:
            raise Failure(DhtdError(f"cannot write {path}: {error.strerror}"), result) from error
        if not self._json:
            say(f"drawn in {path}")


def show(result: Mapping[str, Any], plan: Plan, heading: str) -> None:
    """Print the figures of a run: for people on a terminal, else one line each."""
    if sys.stdout.isatty():
        from dhtd.cli import render

        render.simulation(result, plan, heading)
    else:
        for line in lines(result):
            put(line)


def _advance(simulation: Simulation, watch: Watch, stop_at: float) -> None:
    """Run up to the end, or to event `stop_at`, and look at it about ten times a second."""
    some = 100
    while (left := stop_at - simulation.net.schedule.events) > 0:
        begun = perf_counter()
        more = simulation.advance(int(min(some, left)))
        if simulation.plan.warm and simulation.built < 1:
            gc.freeze()  # what a warm start makes is there to stay
        watch(simulation.status())
        if not more:
            return
        took = perf_counter() - begun
        some = max(1, min(_SLICE_MAX, 2 * some, int(some * _GLANCE / max(took, 1e-6))))


@contextmanager
def less_collecting() -> Iterator[None]:
    """Collect garbage seldom: nearly all objects stay. It saves a fifth of the time that 2,000 nodes take."""
    before = gc.get_threshold()
    gc.set_threshold(1_000_000, 20, 100)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


@contextmanager
def _unwatched() -> Iterator[Watch]:
    yield lambda status: None


def watching(title: str) -> AbstractContextManager[Watch]:
    """Show on a terminal how far a run is; also where stdout gets JSON."""
    if not sys.stderr.isatty():
        return _unwatched()
    from dhtd.cli import render

    return render.watching(title)


def as_result(report: Report, wall_s: float) -> dict[str, Any]:
    """Return what `--json` prints: the report, and what only this machine can tell."""
    body = asdict(report)
    head = {key: body.pop(key) for key in ("nodes", "seed", "events", "virtual_s")}
    return {**head, "wall_s": round(wall_s, 3), "rss_mb": round(resident(), 1), **body}


def resident() -> float:
    """Return the most memory that this process has had, in MB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1e6 if sys.platform == "darwin" else 1e6 / 1024)


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield one line a figure: what it is about, then its value, with `-` for what there is none of."""
    for name, value in _flat(result, ""):
        line = f"{name} {'-' if value is None else value}"
        yield f"{line} (log2 N = {math.log2(result['nodes']):.2f})" if name == "lookups hops p50" else line


def _flat(body: Mapping[str, Any], about: str) -> Iterator[tuple[str, Any]]:
    for name, value in body.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{about}{name} ")
        else:
            yield f"{about}{name}", value
