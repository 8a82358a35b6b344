"""The picture of a simulation. It imports matplotlib, so it is loaded only where one is asked for.

The same figures give the same SVG to the byte: settings of the user's own, dates and random names are kept out of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import log2
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from dhtd.sim import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dhtd.sim.figures import Figures
    from dhtd.sim.plan import Plan

# From Okabe and Ito's colours, which colour-blind people can tell apart.
BLUE, ORANGE, GREEN, INK, GREY = "#0072B2", "#D55E00", "#009E73", "#1a1a1a", "#767676"

_STYLE: Any = {
    "axes.edgecolor": GREY,
    "axes.labelsize": 17,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlepad": 16,
    "axes.titlesize": 20,
    "axes.titleweight": "bold",
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 16,
    "lines.linewidth": 3,
    "lines.markersize": 10,
    "svg.hashsalt": "dhtd",
    "text.color": INK,
    "xtick.labelsize": 15,
    "ytick.labelsize": 15,
}
LATENCIES_MS = (10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000)  # ms


def draw(shown: Figures, command: str, path: Path) -> None:
    """Draw a run, which `command` repeats, with its sweeps, as a PNG or SVG; raise `OSError`."""
    with canvas((18, 8.4), path) as figure:
        left, middle, right = figure.subplots(1, 3)
        figure.subplots_adjust(left=0.05, right=0.975, top=0.77, bottom=0.16, wspace=0.24)
        _draw_title(figure, shown, command)
        _draw_hops(left, shown)
        _draw_latency(middle, shown)
        _draw_success(right, shown)


@contextmanager
def canvas(size: tuple[float, float], path: Path) -> Iterator[Figure]:
    """Yield a figure of so many inches to draw on, and save it as a PNG or SVG then; raise `OSError`."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        figure = Figure(figsize=size, dpi=120, facecolor="white")
        FigureCanvasAgg(figure)
        yield figure
        svg = path.suffix.lower() == ".svg"
        figure.savefig(path, format="svg" if svg else "png", metadata={"Date": None} if svg else {"Software": None})


def _draw_title(figure: Figure, shown: Figures, command: str) -> None:
    report, plan = shown.report, shown.plan
    lookups = report.lookups
    figure.text(
        0.02,
        0.945,
        f"{_count(plan.nodes, 'node')}, {_count(lookups.total, 'lookup')}: {100 * lookups.success_rate:.5g} % found, "
        f"half of them within {lookups.first_ms.p50:,.0f} ms",
        fontsize=27,
        fontweight="bold",
        va="center",
    )
    figure.text(0.02, 0.885, _conditions(plan), fontsize=19, color=INK, va="center")
    figure.text(
        0.02,
        0.03,
        f"{command}   ({report.events:,} events)",
        fontsize=11,
        color=GREY,
        family="DejaVu Sans Mono",
    )


def _conditions(plan: Plan) -> str:
    """Return in words what the network had to bear."""
    parts = {
        "of datagrams lost": plan.loss,
        "doubled": plan.duplicate,
        "overtaken": plan.reorder,
        "of nodes behind NAT": plan.nat,
        "liars": plan.liars,
        "of clocks jump": plan.jumps,
    }
    found = [f"{100 * part:g} % {words}" for words, part in parts.items() if part]
    if plan.churn is not None:
        found.append(f"sessions of {_minutes(plan.churn)} min")
    if plan.partition is not None:
        found.append(f"parted for {_minutes(plan.partition[1] - plan.partition[0])} min")
    if plan.restart is not None:
        found.append("all restarted at once")
    if plan.rush is not None:
        found.append(f"one key, asked for within {plan.rush:g} s")
    return ", ".join(found) if found else "no faults"


def _draw_hops(axes: Axes, shown: Figures) -> None:
    """Draw hops against the size of calm networks, with this run beside them."""
    axes.set_title("Hops against size")
    axes.set_xlabel("nodes, in calm networks")
    axes.set_ylabel("hops of a lookup")
    by_size = shown.by_size
    if not by_size:
        _say(axes, "one node asks nobody")
        return
    sizes = sorted(by_size)
    here = shown.report.lookups.hops
    largest = max(sizes[-1], shown.plan.nodes)
    axes.set_xscale("log")
    base = shown.base()
    if base is not None:
        ends = [sizes[0], largest]
        axes.plot(ends, [log2(size) / base for size in ends], "--", color=GREY, zorder=1, label=f"log₂ N / {base:.2f}")
    for part, marker, color, large in (("p90", "^", ORANGE, 15), ("p50", "o", BLUE, 10)):
        axes.plot(
            sizes, [getattr(by_size[size], part) for size in sizes], marker, color=color, markersize=large, label=part
        )
    axes.plot(
        sizes, [by_size[size].mean for size in sizes], "_", color=INK, markersize=18, markeredgewidth=3, label="mean"
    )
    axes.plot([shown.plan.nodes], [here.mean], "*", color=GREEN, markersize=20, label="this run, mean", zorder=4)
    axes.set_xlim(sizes[0] / 1.5, largest * 1.5)
    axes.set_ylim(0, max(here.mean, *(hops.p90 for hops in by_size.values())) * 1.45)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.legend(loc="upper left", frameon=False, handletextpad=0.4, borderaxespad=0.0, ncols=2, columnspacing=1.0)


def _draw_latency(axes: Axes, shown: Figures) -> None:
    """Draw which share of this run's lookups was answered, and which had ended, by when."""
    axes.set_title("Latency")
    axes.set_xlabel("milliseconds since the lookup began, in this run")
    axes.set_ylabel("% of lookups")
    lookups = shown.report.lookups
    curves = [
        ("first answer", shown.first_ms, lookups.first_ms, BLUE),
        ("end of the lookup", shown.latency_ms, lookups.latency_ms, ORANGE),
    ]
    waited = [value for _, values, _, _ in curves for value in values if value > 0]
    axes.set_ylim(0, 126)
    if not waited:
        _say(axes, "no lookup had to wait")
        return
    axes.set_xscale("log")
    for name, values, spread, color in curves:
        if not values or not values[-1]:
            continue
        axes.step(values, shares(values), where="post", color=color, label=name)
        for share, value in ((50, spread.p50), (90, spread.p90), (99, spread.p99)):
            if value > 0:
                axes.plot([value], [share], "o", color=color, clip_on=False)
                axes.annotate(
                    f"{value:,.0f} ms",
                    (value, share),
                    (9, -5),
                    textcoords="offset points",
                    color=color,
                    va="top",
                    fontsize=15,
                )
    low, high = min(waited), max(waited)
    axes.set_xlim(low / 1.3, high * 3)
    axes.xaxis.set_major_locator(FixedLocator(LATENCIES_MS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_locator(FixedLocator([0, 25, 50, 75, 90, 99]))
    axes.grid(axis="y", color="#dddddd", linewidth=1)
    axes.legend(loc="upper left", frameon=False, borderaxespad=0.0)


def _draw_success(axes: Axes, shown: Figures) -> None:
    """Draw the success of lookups against the length of sessions."""
    axes.set_title("Success under churn")
    axes.set_xlabel("mean session, minutes")
    axes.set_ylabel("% of lookups that find their entry")
    points = sorted(shown.by_session, key=lambda success: success.session)
    if not points:
        _say(axes, "one node has nobody to lose")
        return
    minutes = [success.session / 60 for success in points]
    rates = [100 * success.rate for success in points]
    axes.set_xscale("log")
    axes.axhline(100 * figures.SUCCESS, color=GREY, linestyle="--", zorder=1)
    axes.annotate(
        f"the goal: {100 * figures.SUCCESS:g} %",
        (minutes[-1], 100 * figures.SUCCESS),
        (0, -6),
        textcoords="offset points",
        color=GREY,
        ha="right",
        va="top",
    )
    axes.plot(minutes, rates, "o-", color=GREEN, clip_on=False)
    floor = min(98.0, *rates)
    axes.set_ylim(floor - (100 - floor) * 0.1, 100 + (100 - floor) * 0.05)
    axes.xaxis.set_major_locator(FixedLocator(minutes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.annotate(
        f"{min(shown.plan.nodes, figures.CHURNING_MAX)} nodes, {figures.CHURNING / 3600:g} hours,\n"
        f"{_count(figures.CHURNING_LOOKUPS, 'lookup')} each",
        (1, 0),
        (0, 8),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=14,
        color=GREY,
    )


def shares(values: Sequence[float]) -> list[float]:
    """Return in percent which part of these values, sorted, is reached at each of them."""
    return [100 * rank / len(values) for rank in range(1, len(values) + 1)]


def _say(axes: Axes, words: str) -> None:
    """Say why there is nothing to draw."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=GREY)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:g}"
