"""What a picture of a run shows beside the run itself: hops against the network's size, and success under churn.

Each point is a small run of its own, and its plan is here. The drawing program runs them, so it can show its progress.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import log2, sqrt

from dhtd.sim.plan import Plan
from dhtd.sim.report import Hops, Report
from dhtd.sim.tally import Tally

SIZES_MAX = 3_162  # nodes of the largest network: a minute's work; hops grow with the logarithm only
LOOKUPS = 500  # of each network of a size
CHURNING_MAX = 100  # nodes of the networks under churn: the shortest sessions are half a minute's work
SESSIONS = (300.0, 600.0, 1_200.0, 2_400.0, 4_800.0)  # seconds
CHURNING = 7_200.0  # seconds: more than the longest session, and than an entry lasts that is not renewed
CHURNING_LOOKUPS = 1_000
SUCCESS = 0.99  # what lookups are to achieve under churn

_SMALLEST = 10
_STEP = sqrt(10)  # half a decade


@dataclass(frozen=True, slots=True)
class Success:
    """How lookups went in a network with sessions of this mean length."""

    session: float  # seconds
    rate: float
    lookups: int


@dataclass(slots=True)
class Figures:
    """What is drawn."""

    plan: Plan
    report: Report
    first_ms: Sequence[float]  # sorted: of each lookup that found something, until it did
    latency_ms: Sequence[float]  # sorted: of each lookup, until its end
    by_size: dict[int, Hops] = field(default_factory=dict)
    by_session: list[Success] = field(default_factory=list)

    @classmethod
    def of(cls, plan: Plan, report: Report, tally: Tally) -> Figures:
        """Return the figures of the run itself."""
        latencies = sorted(1000 * outcome.seconds for outcome in tally.outcomes)
        return cls(plan, report, sorted(1000 * first for first in tally.first_seconds), latencies)

    def add(self, plan: Plan, report: Report) -> None:
        """Add what one of the further `plans` has shown."""
        if plan.churn is None:
            self.by_size[plan.nodes] = report.lookups.hops
        else:
            self.by_session.append(Success(plan.churn, report.lookups.success_rate, report.lookups.total))

    def base(self) -> float | None:
        """Return the b for which hops are nearest to log2(nodes) / b in the mean; None if no lookup tells."""
        return fit({nodes: hops.mean for nodes, hops in self.by_size.items()})


def plans(plan: Plan) -> Iterator[Plan]:
    """Yield the plans of the further points, for a picture of a run of `plan`: those of sizes, then those of churn."""
    for nodes in sizes(plan.nodes):
        yield Plan(nodes=nodes, entries=20, lookups=LOOKUPS, duration=60.0, seed=plan.seed, warm=True)
    if plan.nodes > 1:
        nodes = min(plan.nodes, CHURNING_MAX)
        entries = max(1, nodes // 10)
        for session in SESSIONS:
            yield Plan(
                nodes=nodes,
                entries=entries,
                lookups=CHURNING_LOOKUPS,
                duration=CHURNING,
                seed=plan.seed,
                churn=session,
            )


def sizes(nodes: int) -> list[int]:
    """Return sizes of networks half a decade apart, the last of them `nodes`, or the largest that is tried."""
    last = min(nodes, SIZES_MAX)
    found = []
    size = float(_SMALLEST)
    while round(size) < last:
        found.append(round(size))
        size *= _STEP
    return [*found, last] if last > 1 else []


def fit(hops: Mapping[int, float]) -> float | None:
    """Return the b for which the squares of `log2(size) / b - hops` are least in their sum, over sizes and hops."""
    products = sum(log2(size) * mean for size, mean in hops.items())
    squares = sum(log2(size) ** 2 for size in hops)
    return squares / products if products else None
