"""The picture of a comparison: Kademlia beside Chord. It imports matplotlib, so it is loaded only for a picture.

The same figures give the same SVG to the byte.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log2
from pathlib import Path
from typing import TYPE_CHECKING, Final

from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from dhtd.cli.simulate.plot import BLUE, GREY, INK, LATENCIES_MS, ORANGE, canvas, shares
from dhtd.sim import comparison
from dhtd.sim.plan import OVERLAYS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dhtd.sim.comparison import Comparison, Row

_KINDS: Final = {"kademlia": ("Kademlia", BLUE, "o"), "chord": ("Chord", ORANGE, "s")}
_BAR = 0.36  # of the way from one size to the next


def draw(shown: Comparison, command: str, path: Path) -> None:
    """Draw a comparison, which `command` repeats, as a PNG or SVG; raise `OSError`."""
    with canvas((20, 11.5), path) as figure:
        (hops, latency, moved), (success, traffic, words) = figure.subplots(2, 3)
        figure.subplots_adjust(left=0.05, right=0.975, top=0.83, bottom=0.105, wspace=0.22, hspace=0.42)
        _draw_title(figure, shown, command)
        _draw_hops(hops, shown.rows)
        _draw_latency(latency, shown)
        run = [row for row in shown.rows if not row.is_sampled]
        _draw_moved(moved, run)
        _draw_success(success, run)
        _draw_traffic(traffic, run)
        _write(words, shown)


def _draw_title(figure: Figure, shown: Comparison, command: str) -> None:
    figure.text(0.02, 0.955, _headline(shown.rows), fontsize=28, fontweight="bold", va="center")
    plan = shown.plan
    faults = [
        f"{100 * part:g} % of datagrams {words}"
        for words, part in (("lost", plan.loss), ("doubled", plan.duplicate), ("overtaken", plan.reorder))
        if part
    ]
    conditions = ", ".join(("the same links, seed and plan", *faults))
    figure.text(0.02, 0.907, f"Kademlia and Chord on {conditions}", fontsize=19, color=INK, va="center")
    names = [Patch(color=color, label=name) for name, color, _ in _KINDS.values()]
    figure.legend(handles=names, loc="upper right", frameon=False, ncols=2, bbox_to_anchor=(0.985, 0.93), fontsize=19)
    figure.text(0.02, 0.022, command, fontsize=12, color=GREY, family="DejaVu Sans Mono")


def _headline(rows: Sequence[Row]) -> str:
    largest = max(row.nodes for row in rows)
    means = {row.overlay: row.hops_mean for row in rows if row.nodes == largest}
    return f"{largest:,} nodes: {means['kademlia']:.1f} hops in the mean with Kademlia, {means['chord']:.1f} with Chord"


def _draw_hops(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_title("Hops against size")
    axes.set_ylabel("hops of a lookup, mean")
    sizes = sorted({row.nodes for row in rows})
    ends = [sizes[0] / 1.4, sizes[-1] * 1.4]
    axes.plot(ends, [log2(size) / 2 for size in ends], "--", color=GREY, linewidth=2, zorder=1, label="log₂ N / 2")
    for overlay, (_, color, marker) in _KINDS.items():
        points = [row for row in rows if row.overlay == overlay]
        axes.plot([row.nodes for row in points], [row.hops_mean for row in points], marker + "-", color=color)
        for row in points:
            face = "white" if row.is_sampled else color
            axes.plot([row.nodes], [row.hops_mean], marker, color=color, markerfacecolor=face, markeredgewidth=3)
            axes.annotate(
                f"{row.hops_mean:.1f}",
                (row.nodes, row.hops_mean),
                (0, 11),
                textcoords="offset points",
                color=color,
                ha="center",
                fontsize=15,
            )
    _sizes(axes, sizes)
    axes.set_ylim(0, max(row.hops_mean for row in rows) * 1.3)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left", frameon=False, borderaxespad=0.0)


def _draw_latency(axes: Axes, shown: Comparison) -> None:
    largest = max(row.nodes for row in shown.rows if not row.is_sampled)
    axes.set_title(f"Latency, {largest:,} nodes, calm")
    axes.set_xlabel("milliseconds until the lookup ends")
    axes.set_ylabel("% of lookups")
    axes.set_xscale("log")
    ended = [value for values in shown.latencies_ms.values() for value in values if value > 0]
    both = _row(shown, largest, OVERLAYS[0]), _row(shown, largest, OVERLAYS[1])
    for overlay, (_, color, marker) in _KINDS.items():
        values = shown.latencies_ms[overlay]
        axes.step(values, shares(values), where="post", color=color)
        row = _row(shown, largest, overlay)
        for share, field in ((50, "latency_p50_ms"), (99, "latency_p99_ms")):
            at = getattr(row, field)
            is_first = at <= min(getattr(each, field) for each in both)
            axes.plot([at], [share], marker, color=color, clip_on=False)
            axes.annotate(
                f"{at:,.0f} ms",
                (at, share),
                (-12 if is_first else 12, 5 if share == 99 else -7),
                textcoords="offset points",
                color=color,
                va="bottom" if share == 99 else "top",
                ha="right" if is_first else "left",
                fontsize=15,
            )
    axes.set_ylim(0, 112)
    axes.set_xlim(min(ended) / 1.6, max(ended) * 1.8)
    axes.xaxis.set_major_locator(FixedLocator(LATENCIES_MS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_locator(FixedLocator([0, 25, 50, 75, 99]))
    axes.grid(axis="y", color="#dddddd", linewidth=1)


def _row(shown: Comparison, nodes: int, overlay: str) -> Row:
    return next(row for row in shown.rows if (row.nodes, row.overlay) == (nodes, overlay))


def _draw_moved(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_title("Keys moved by a join")
    axes.set_ylabel("entries that a newcomer holds")
    _bars(axes, rows, lambda row: row.moved_per_entry_a_node or 0.0, "{:.1f}")
    axes.margins(y=0.2)


def _draw_success(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_title("Success under churn")
    axes.set_ylabel("% of lookups, found")
    for overlay, (_, color, marker) in _KINDS.items():
        points = [row for row in rows if row.overlay == overlay]
        rates = [100 * (row.churn_success_rate or 0.0) for row in points]
        size = 16 if overlay == OVERLAYS[0] else 9  # where both are the same, both are seen
        axes.plot([row.nodes for row in points], rates, marker + "-", color=color, markersize=size, clip_on=False)
    least = min(100 * (row.churn_success_rate or 0.0) for row in rows)
    _sizes(axes, sorted({row.nodes for row in rows}))
    axes.set_ylim(min(98.0, least - 1.0), 100)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _draw_traffic(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_title("Traffic")
    axes.set_ylabel("bytes a node a second")
    sizes = sorted({row.nodes for row in rows})
    for overlay, (_, color, marker) in _KINDS.items():
        points = [row for row in rows if row.overlay == overlay]
        nodes = [row.nodes for row in points]
        calm, churned = ([getattr(row, field) for row in points] for field in _TRAFFIC)
        axes.plot(nodes, calm, marker + "-", color=color, label="calm")
        axes.plot(
            nodes, churned, marker + "--", color=color, markerfacecolor="white", markeredgewidth=3, label="under churn"
        )
    _sizes(axes, sizes)
    axes.set_ylim(0, max(row.churn_bytes_per_node_s or 0.0 for row in rows) * 1.5)
    axes.legend(loc="upper left", frameon=False, borderaxespad=0.0, ncols=2, columnspacing=1.2)


_TRAFFIC: Final = ("bytes_per_node_s", "churn_bytes_per_node_s")


def _write(axes: Axes, shown: Comparison) -> None:
    """Say how it was measured."""
    axes.set_axis_off()
    plan, run = shown.plan, [row for row in shown.rows if not row.is_sampled]
    lookups = max(row.lookups for row in run)
    notes = [
        "Hops: nodes, each named by the one before, up to the",
        "farthest that has answered. A Chord lookup ends at the",
        "node that holds the entry, a Kademlia lookup when the",
        "8 nodes nearest to the key have answered.",
        "",
        f"{lookups:,} lookups in each run of {plan.duration:g} s, from a warm start;",
        "they are part of the traffic.",
        f"Churn: sessions of {(plan.churn or comparison.CHURN) / 60:g} min in the mean.",
        f"Keys moved: {comparison.SETTLING:g} s after a join, for one entry a node.",
        "Kademlia nodes hand nothing over. Owners find a",
        "newcomer when they publish again, 15 to 45 min later.",
    ]
    if any(row.is_sampled for row in shown.rows):
        notes += ["", f"Hollow: {comparison.SAMPLES} lookups on sampled tables, no nodes run."]
    axes.text(0.0, 1.0, "\n".join(notes), transform=axes.transAxes, va="top", fontsize=14, linespacing=1.5)


def _bars(axes: Axes, rows: Sequence[Row], value: Callable[[Row], float], label: str) -> None:
    sizes = sorted({row.nodes for row in rows})
    for place, (overlay, (_, color, _)) in enumerate(_KINDS.items()):
        values = [value(row) for row in rows if row.overlay == overlay]
        at = [number + (place - 0.5) * _BAR for number in range(len(sizes))]
        bars = axes.bar(at, values, width=_BAR * 0.94, color=color)
        axes.bar_label(bars, [label.format(each) for each in values], padding=3, fontsize=15, color=color)
    axes.set_xticks(range(len(sizes)), [f"{size:,}" for size in sizes])
    axes.set_xlabel("nodes")


def _sizes(axes: Axes, sizes: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.set_xlabel("nodes")
    axes.set_xlim(sizes[0] / 1.6, sizes[-1] * 1.6)
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
