"""Kademlia beside Chord: the same seed, links, churn and plan for both, in networks of some sizes.

Each size has two runs of each kind of network, both from a warm start:

- *calm*: without churn. At its end some newcomers join, one a second, and a minute later each is asked how many entries
  it holds: those are the *keys moved at a join*. There are as many entries as a tenth of the nodes, but 100 at
  least, so the count is also told for one entry a node.
- *churn*: the same plan, with machines that leave.

Hops are counted by each kind of node itself: how many nodes, each named by the one before it, lead to the farthest node
that has answered. A Chord lookup asks one after another, up to the node that holds the entry. A Kademlia lookup asks
some at a time, up to the K nodes nearest to the key, also when one of them has long answered with the entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from dhtd.core.ids import NATIVE
from dhtd.errors import UsageError
from dhtd.sim.plan import KADEMLIA_ONLY, OVERLAYS, Plan
from dhtd.sim.report import Report, mean, percentile
from dhtd.sim.sampled import KINDS, Ids, Sample
from dhtd.sim.simulation import Simulation

SIZES = (100, 1_000, 10_000)
SAMPLED = 1_000_000  # nodes of the network of which tables are sampled
SAMPLES = 300  # lookups there
CHURN = 120.0  # seconds of a session in the mean, where nobody says how many: four in ten nodes go within the run
PLAN = Plan(warm=True, lookups=500, duration=60.0)  # what both runs do, where nobody says otherwise
ENTRIES_MIN, ENTRIES_MAX = 100, 1_000  # with fewer, chance decides how far the keys are
LEAST = 20  # nodes: with fewer, one join or death is an upheaval
JOINS = 20  # newcomers, but no more than one to twenty nodes
SETTLING = 60.0  # seconds from the last join until the newcomers are asked

# What makes no sense for both, or is of a run with a goal.
_FIXED = ("overlay", *KADEMLIA_ONLY, "partition")


@dataclass(frozen=True, slots=True)
class Row:
    """What one kind of network has shown at one size. None: it was not measured there."""

    overlay: str
    nodes: int
    is_sampled: bool  # hops were counted on sampled tables
    lookups: int
    found: int | None
    hops_p50: float
    hops_mean: float
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    queries_mean: float
    bytes_per_node_s: float | None
    churn_success_rate: float | None
    churn_bytes_per_node_s: float | None
    moved_mean: float | None  # entries that a newcomer holds a minute after its join
    moved_per_entry_a_node: float | None  # the same, if there were as many entries as nodes


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was to be shown."""

    plan: Plan
    rows: Sequence[Row]
    latencies_ms: Mapping[str, Sequence[float]]  # by kind: of each calm lookup in the largest network, sorted


@dataclass(frozen=True, slots=True)
class Task:
    """One run."""

    plan: Plan
    is_calm: bool

    @property
    def title(self) -> str:
        """What it is, in few words."""
        return f"{self.plan.overlay}, {self.plan.nodes:,} nodes, {'calm' if self.is_calm else 'churn'}"


def tasks(plan: Plan, nodes: int) -> list[Task]:
    """Return the runs of one size: calm and with churn, for each kind of network."""
    entries = plan.entries if plan.entries != Plan().entries else max(ENTRIES_MIN, min(ENTRIES_MAX, nodes // 10))
    base = replace(plan, nodes=nodes, entries=entries, warm=True)
    calm = replace(base, churn=None, pareto=False, returning=0.0, goodbyes=0.0)
    churned = replace(base, churn=plan.churn or CHURN)
    return [Task(replace(one, overlay=overlay), one is calm) for overlay in OVERLAYS for one in (calm, churned)]


def check(plan: Plan) -> None:
    """Raise `UsageError` for what cannot be compared."""
    for name in _FIXED:
        if getattr(plan, name) != getattr(Plan(), name):
            raise UsageError(f"--{name} does not go with --compare: leave one of them away")


def join(simulation: Simulation, watch: Callable[[], None]) -> list[int]:
    """Let newcomers join a run that is over; return how many entries each holds then. `watch` is called ever again."""
    net = simulation.net
    hosts = []
    for _ in range(max(1, min(JOINS, simulation.plan.nodes // 20))):
        hosts.append(simulation.hand.add())
        _go_on(simulation, net.now + 1.0, watch)
    _go_on(simulation, net.now + SETTLING, watch)
    return [host.overlay.sizes(host.member).held_entries for host in hosts]


def row(calm: Task, report: Report, moved: list[int], churned: Report) -> Row:
    """Return what the two runs of one kind of network have shown."""
    lookups, plan = report.lookups, calm.plan
    each = mean(moved)
    return Row(
        overlay=plan.overlay,
        nodes=plan.nodes,
        is_sampled=False,
        lookups=lookups.total,
        found=lookups.found,
        hops_p50=lookups.hops.p50,
        hops_mean=lookups.hops.mean,
        latency_p50_ms=lookups.latency_ms.p50,
        latency_p99_ms=lookups.latency_ms.p99,
        queries_mean=lookups.queries.mean,
        bytes_per_node_s=report.traffic.bytes_per_node_s,
        churn_success_rate=churned.lookups.success_rate,
        churn_bytes_per_node_s=churned.traffic.bytes_per_node_s,
        moved_mean=round(each, 3),
        moved_per_entry_a_node=round(each * plan.nodes / plan.entries, 3),
    )


def sampled(seed: int, nodes: int = SAMPLED) -> Iterator[tuple[str, int, Row | None]]:
    """Count hops on sampled tables: yield the kind and how many lookups are done, and at the end of each its row."""
    ids = Ids(nodes, seed)
    for overlay in OVERLAYS:
        network, rng = KINDS[overlay](ids), Random(f"lookups {seed}")
        samples: list[Sample] = []
        for number in range(SAMPLES):
            yield overlay, number, None
            samples.append(network.look_up(NATIVE.random(rng), rng.randrange(nodes)))
        yield overlay, SAMPLES, _sampled_row(overlay, nodes, samples)


def _sampled_row(overlay: str, nodes: int, samples: list[Sample]) -> Row:
    hops = [sample.hops for sample in samples]
    return Row(
        overlay=overlay,
        nodes=nodes,
        is_sampled=True,
        lookups=len(samples),
        found=None,
        hops_p50=percentile(hops, 0.5),
        hops_mean=round(mean(hops), 6),
        latency_p50_ms=None,
        latency_p99_ms=None,
        queries_mean=round(mean([sample.queries for sample in samples]), 6),
        bytes_per_node_s=None,
        churn_success_rate=None,
        churn_bytes_per_node_s=None,
        moved_mean=None,
        moved_per_entry_a_node=None,
    )


def _go_on(simulation: Simulation, until: float, watch: Callable[[], None]) -> None:
    while simulation.go_on(10_000, until):
        watch()
