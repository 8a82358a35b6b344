"""Drawing on a terminal. Only this module imports rich; off a terminal it is not used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import log2
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dhtd.cli.terminal import drawing
from dhtd.cli.told import Told
from dhtd.words import count, duration

if TYPE_CHECKING:
    from dhtd.sim.plan import Plan
    from dhtd.sim.simulation import RunStatus

_BAR_WIDTH = 12
_SPEED_OVER = 20  # looks at a simulation, two seconds or so, over which its speed is told


def lookup(answers: Iterator[Told]) -> Told:
    """Print endpoints as they arrive, above a line with the progress of the lookup; return the result."""
    console = Console(highlight=False)
    printed: set[str] = set()
    status = console.status("asking the nearest nodes")
    with drawing(status.stop, status.start), status:
        for told in answers:
            for peer in told.texts("peers"):
                if peer not in printed:
                    printed.add(peer)
                    console.print(Text(peer))
            status.update(Text(_progress(len(printed), told.part("stats"))))
    return told


@contextmanager
def watching(title: str) -> Iterator[Callable[[RunStatus], None]]:
    """Show the progress of a simulation on stderr, at each call with its status; erase it at the end."""
    console = Console(stderr=True, highlight=False)
    begun = perf_counter()
    seen: deque[tuple[float, int]] = deque([(begun, 0)], maxlen=_SPEED_OVER)
    # No drawing thread: the simulation calls often enough, and must not wait.
    live = Live(console=console, auto_refresh=False, transient=True)
    with drawing(live.stop, live.start), live:

        def show(status: RunStatus) -> None:
            now = perf_counter()
            (since, events), spent = seen[0], now - begun
            seen.append((now, status.events))
            speed = (status.events - events) / max(now - since, 1e-6)
            live.update(_progress_of_simulation(title, status, speed, spent), refresh=True)

        yield show


@contextmanager
def counting() -> Iterator[Callable[[str], None]]:
    """Show on stderr, in words, how far something is, at each call; erase it at the end."""
    console = Console(stderr=True, highlight=False)
    live = Live(console=console, auto_refresh=False, transient=True)
    with drawing(live.stop, live.start), live:
        yield lambda words: live.update(Text(words), refresh=True)


def simulation(result: Mapping[str, Any], plan: Plan, heading: str) -> None:
    """Print what a simulation has shown."""
    console = Console(highlight=False)
    console.print(Group(*_simulated(result, plan, heading)))


def _progress(found: int, stats: Told) -> str:
    queries, answered = count(stats.number("queries"), "query"), count(stats.number("responses"), "node")
    hops = count(stats.number("hops"), "hop")
    return f"{found} found; {queries}, {answered} answered, {stats.text('timeouts')} did not; {hops}"


def _grid(*justify: str) -> Table:
    grid = Table.grid(padding=(0, 2))
    for side in justify:
        grid.add_column(justify="right" if side == "right" else "left", overflow="fold")
    return grid


def _progress_of_simulation(title: str, status: RunStatus, speed: float, spent: float) -> RenderableType:
    share = min(1.0, status.virtual_s / status.total_s)
    top = Table.grid(padding=(0, 1), expand=True)
    top.add_column()
    top.add_column(ratio=1)
    top.add_column(justify="right")
    top.add_row(
        Text(f"{title}{status.phase}"),
        ProgressBar(total=1.0, completed=share),
        Text(f"{100 * share:3.0f} %  {duration(status.virtual_s)} of {duration(status.total_s)}"),
    )
    success = f", {100 * status.found / status.ended:.2f} % found" if status.ended else ""
    live = (
        f"{count(status.live, 'node')}   {count(status.ended, 'lookup')}{success}   "
        f"{count(status.events, 'event')}, {speed:,.0f}/s   {duration(spent)}"
    )
    return Group(top, Text(live, style="dim"))


def _simulated(result: Mapping[str, Any], plan: Plan, heading: str) -> Iterator[RenderableType]:
    lookups, traffic, table, balance, cut, watches = (
        result[key] for key in ("lookups", "traffic", "table", "balance", "cut", "watches")
    )
    if heading:
        yield Text(heading, style="bold")
    yield _success(lookups)
    yield Text("")
    yield _percentiles(result)
    yield Text("")
    grid = _grid("left", "left")
    recall = lookups["recall_at_k"]
    facts = {
        "recall at K": ""
        if recall is None
        else f"{100 * recall:.2f} % of the nodes nearest to a key answered its lookup",
        "queries": f"{lookups['queries']['mean']:.1f} in the mean, {lookups['queries']['p99']:g} at p99",
        "recovery": ""
        if lookups["recovery_s"] is None
        else f"{duration(lookups['recovery_s'])} after the partition until all lookups across it succeed",
        "traffic": f"{traffic['datagrams_per_node_s']:.2f} datagrams, {traffic['bytes_per_node_s']:,.0f} bytes "
        f"a node and second; {traffic['peak_datagrams_per_node_s']:,} at most",
        "leases": f"{traffic['renewals_per_node_s']:.2f} renewals a node and second",
        "power cuts": ""
        if not cut["entries"]
        else f"{count(cut['entries'], 'entry')} gone after {duration(cut['gone_p50_s'])} in the median, "
        f"{duration(cut['gone_max_s'])} at most",
        "watches": ""
        if not watches["expected"]
        else f"{count(watches['changes'], 'change')}, {100 * watches['seen_share']:.2f} % seen by the watchers, "
        f"{_within(watches['seen_p50_ms'])} in the median, {_within(watches['seen_p99_ms'])} at p99; "
        f"{watches['wrong']:,} wrong",
        "tables": f"{table['size_p50']:g} contacts in the median, {100 * table['stale_share']:.1f} % stale",
        "balance": "no node was there from the beginning to the end"
        if balance["max_over_mean"] is None
        else f"the busiest node gets {balance['max_over_mean']:.2f} times the mean, "
        f"p99 {balance['p99_over_mean']:.2f} times",
        "network": f"{count(result['nodes'], 'node')}, {count(plan.entries, 'entry')}, seed {result['seed']}",
        "run": f"{count(result['events'], 'event')} in {duration(result['virtual_s'])}, which took "
        f"{duration(result['wall_s'])} and {result['rss_mb']:,.0f} MB",
    }
    for name, words in facts.items():
        if words:
            grid.add_row(Text(name, style="dim"), Text(words))
    yield grid


def _within(milliseconds: float | None) -> str:
    return "never" if milliseconds is None else f"{milliseconds:,.0f} ms"


def _success(lookups: Mapping[str, Any]) -> RenderableType:
    found, total = lookups["found"], lookups["total"]
    if not total:
        return Text("no lookups", style="yellow")
    style = "green" if found == total else "yellow" if found >= 0.99 * total else "red"
    filled = _BAR_WIDTH * found // total
    line = Text(f"{found:,} of {total:,} lookups found their entry, {100 * lookups['success_rate']:.2f} % ")
    return line.append("━" * filled, style=style).append("━" * (_BAR_WIDTH - filled), style="bright_black")


def _percentiles(result: Mapping[str, Any]) -> RenderableType:
    lookups = result["lookups"]
    grid = _grid("left", "right", "right", "right", "right", "left")
    grid.add_row("", *(Text(name, style="dim") for name in ("p50", "p90", "p99", "max")), "")
    hops = lookups["hops"]
    against = Text(f"log2 N = {log2(result['nodes']):.2f}", style="dim")
    values = (Text(f"{hops[name]:g}") for name in ("p50", "p90", "p99", "max"))
    grid.add_row(Text("hops", style="dim"), *values, against)
    for name, key in (("first answer", "first_ms"), ("end", "latency_ms")):
        spread = (Text(f"{lookups[key][part]:,.0f} ms") for part in ("p50", "p90", "p99"))
        grid.add_row(Text(name, style="dim"), *spread, "", "")
    return grid
