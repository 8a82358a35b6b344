"""`dhtd simulate --compare`: Kademlia beside Chord, in one table."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from dhtd.cli.output import Failure
from dhtd.cli.simulate.run import Command, Order, less_collecting, resident, watching
from dhtd.cli.streams import put, put_json, say
from dhtd.errors import DhtdError, UsageError
from dhtd.sim import comparison
from dhtd.sim.comparison import Comparison, Row, Task
from dhtd.sim.simulation import Simulation

if TYPE_CHECKING:
    from dhtd.sim.plan import Plan
    from dhtd.sim.report import Report

_NOTES: Final = (
    "Hops: nodes, each named by the one before, up to the farthest that has answered. A Chord lookup ends at the",
    "node that holds the entry, a Kademlia lookup when the 8 nodes nearest to the key have answered.",
    "Keys moved: entries that a newcomer holds {settling:g} s after its join, for one entry a node. Kademlia nodes",
    "hand nothing over: owners find a newcomer when they publish again, 15 to 45 min later.",
)


class Comparing:
    """The runs of a comparison, and how to say what has come of them."""

    def __init__(
        self, plan: Plan, nodes: int | None, command: Command, *, samples: bool, picture: Path | None, json: bool
    ) -> None:
        """It is of networks of the usual sizes; with `nodes`, of those that are smaller, and of this one."""
        self._plan = plan
        self._sizes = sizes(nodes)
        self._samples = samples
        self._picture = picture
        self._json = json
        self._order = Order(plan, None, None, command, stop_at=None, picture=None, json=json)
        self._latencies: dict[str, Sequence[float]] = {}

    def carry_out(self, words: str) -> None:
        """Do it all; raise `SimulationFailed`. A picture says by which `words` it was made."""
        begun = perf_counter()
        rows: list[Row] = []
        for nodes in self._sizes:
            tasks = comparison.tasks(self._plan, nodes)
            for calm, churned in zip(tasks[::2], tasks[1::2], strict=True):
                report, moved = self._run_calm(calm)
                rows.append(comparison.row(calm, report, moved, self._run(churned).report()))
        if self._samples:
            rows.extend(_sampled(self._plan.seed))
        result = {
            "seed": self._plan.seed,
            "wall_s": round(perf_counter() - begun, 3),
            "rss_mb": round(resident(), 1),
            "comparison": [asdict(row) for row in rows],
        }
        if not self._json:
            for line in (*table(rows), "", *(note.format(settling=comparison.SETTLING) for note in _NOTES)):
                put(line)
        if self._picture is not None:
            self._draw(Comparison(self._plan, rows, self._latencies), words, self._picture, result)
        if self._json:
            put_json(result)

    def _run(self, task: Task) -> Simulation:
        with less_collecting():
            simulation = Simulation(task.plan)
            self._order.run(simulation, f"{task.title}: ", None)
        return simulation

    def _run_calm(self, task: Task) -> tuple[Report, list[int]]:
        simulation = self._run(task)
        report = simulation.report()
        self._latencies[task.plan.overlay] = sorted(1000 * outcome.seconds for outcome in simulation.tally.outcomes)
        with watching(f"{task.title}, newcomers: ") as watch:
            moved = comparison.join(simulation, lambda: watch(simulation.status()))
        return report, moved

    def _draw(self, shown: Comparison, words: str, path: Path, result: Mapping[str, Any]) -> None:
        from dhtd.cli.simulate import plot_comparison

        try:
            plot_comparison.draw(shown, words, path)
        except OSError as error:
            raise Failure(DhtdError(f"cannot write {path}: {error.strerror}"), result) from error
        if not self._json:
            say(f"drawn in {path}")


def sizes(nodes: int | None) -> list[int]:
    """Return the sizes of networks that are compared, up to so many nodes; raise `UsageError`."""
    if nodes is None:
        return list(comparison.SIZES)
    if nodes < comparison.LEAST:
        raise UsageError(f"--nodes {nodes}: a comparison needs {comparison.LEAST} nodes at least")
    return [*(size for size in comparison.SIZES if size < nodes), nodes]


def _sampled(seed: int) -> Iterator[Row]:
    with _counting() as show:
        for overlay, number, row in comparison.sampled(seed):
            show(f"{overlay}, {comparison.SAMPLED:,} nodes, sampled tables: {number} of {comparison.SAMPLES} lookups")
            if row is not None:
                yield row


@contextmanager
def _counting() -> Iterator[Callable[[str], None]]:
    """Show on a terminal how far a count is."""
    if not sys.stderr.isatty():
        yield lambda words: None
        return
    from dhtd.cli import render

    with render.counting() as show:
        yield show


_COLUMNS: Final = (
    ("", "nodes", 9),
    ("", "", 8),
    ("found", "%", 6),
    ("hops", "p50", 4),
    ("", "mean", 5),
    ("latency", "p50 ms", 7),
    ("", "p99 ms", 6),
    ("queries", "mean", 7),
    ("bytes a", "node s", 7),
    ("churn:", "found %", 7),
    ("bytes a", "node s", 7),
    ("keys", "moved", 6),
)


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the table."""
    for head in (0, 1):
        yield _line([(upper, lower)[head] for upper, lower, _ in _COLUMNS])
    before = 0
    for row in rows:
        yield _line(
            [
                f"{row.nodes:,}" if row.nodes != before else "",
                row.overlay,
                _shown(None if row.found is None else 100 * row.found / max(1, row.lookups), 2),
                _shown(row.hops_p50, 0),
                _shown(row.hops_mean, 2),
                _shown(row.latency_p50_ms, 0),
                _shown(row.latency_p99_ms, 0),
                _shown(row.queries_mean, 1),
                _shown(row.bytes_per_node_s, 0),
                _shown(None if row.churn_success_rate is None else 100 * row.churn_success_rate, 2),
                _shown(row.churn_bytes_per_node_s, 0),
                _shown(row.moved_per_entry_a_node, 1),
            ]
        )
        before = row.nodes


def _line(cells: Sequence[str]) -> str:
    widths = [width for _, _, width in _COLUMNS]
    return " ".join(
        cell.ljust(width) if place == 1 else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ).rstrip()


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
