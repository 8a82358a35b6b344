"""Named plans: the faults that a network knows, each with what the network must achieve under it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dhtd.sim.plan import Plan
from dhtd.sim.report import Report

HOUR = 3_600.0


@dataclass(frozen=True, slots=True)
class Goal:
    """What a report must show."""

    success_rate: float = 1.0  # at least
    recall_at_k: float | None = None  # at least
    recovery: float | None = None  # seconds after the end of a partition until every lookup across it succeeds, at most
    peak: float | None = None  # datagrams that a node sends in its busiest second, at most
    gone_p50: float | None = None  # seconds until no lookup finds an entry of a machine that was cut off, at most
    gone_max: float | None = None
    seen: float | None = None  # the share of changes that the watchers of a key have seen, at least
    seen_p99: float | None = None  # milliseconds until a watcher has seen a change, at most
    got: float | None = None  # the share of gets that brought what was put last, at least
    busiest: float | None = None  # the part of gets that reaches the busiest node, at most


@dataclass(frozen=True, slots=True)
class Scenario:
    """A plan by name. Options that are given beside its name replace single numbers of it."""

    summary: str
    plan: Plan
    goal: Goal = field(default_factory=Goal)
    fixed: bool = False  # the number of nodes is the point of it

    def vary(self, **given: Any) -> Plan:
        """Return its plan with the numbers that were given."""
        return replace(self.plan, **given)

    def shortfalls(self, report: Report) -> list[str]:
        """Return in words what the report misses of the goal."""
        goal, missed = self.goal, []
        if not report.lookups.total:
            return ["no lookup has ended, so nothing is shown"]
        if report.lookups.success_rate < goal.success_rate:
            missed.append(f"success_rate is {report.lookups.success_rate:.5f}, and is to be {goal.success_rate:g}")
        recall = report.lookups.recall_at_k
        if goal.recall_at_k is not None and (recall is None or recall < goal.recall_at_k):
            missed.append(f"recall_at_k is {recall}, and is to be {goal.recall_at_k:g}")
        seen = report.watches.seen_share
        if goal.seen is not None and (seen is None or seen < goal.seen):
            missed.append(f"seen_share is {seen}, and is to be {goal.seen:g}")
        if goal.seen is not None and report.watches.wrong:
            missed.append(f"wrong is {report.watches.wrong}, and is to be 0")
        got = report.gets.success_rate
        if goal.got is not None and (got is None or got < goal.got):
            missed.append(f"gets.success_rate is {got}, and is to be {goal.got:g}")
        if report.gets.wrong:
            missed.append(f"gets.wrong is {report.gets.wrong}, and is to be 0")
        recovery = report.lookups.recovery_s
        if goal.recovery is not None and (recovery is None or recovery > goal.recovery):
            missed.append(f"recovery_s is {recovery}, and is to be {goal.recovery:g} at most")
        if goal.peak is not None and report.traffic.peak_datagrams_per_node_s > goal.peak:
            missed.append(
                f"peak_datagrams_per_node_s is {report.traffic.peak_datagrams_per_node_s:g}, "
                f"and is to be {goal.peak:g} at most"
            )
        for name, value, most in (
            ("gone_p50_s", report.cut.gone_p50_s, goal.gone_p50),
            ("gone_max_s", report.cut.gone_max_s, goal.gone_max),
            ("seen_p99_ms", report.watches.seen_p99_ms, goal.seen_p99),
            ("busiest_share", report.gets.busiest_share, goal.busiest),
        ):
            if most is not None and (value is None or value > most):
                missed.append(f"{name} is {value}, and is to be {most:g} at most")
        return missed


SCENARIOS: Mapping[str, Scenario] = {
    "calm": Scenario("no faults", Plan(), Goal(1.0, recall_at_k=0.999)),
    "lossy": Scenario(
        "5 % of datagrams lost, 1 % doubled, 5 % overtaken, and 20 % of nodes behind NAT",
        Plan(loss=0.05, duplicate=0.01, reorder=0.05, nat=0.2),
        Goal(0.999),
    ),
    "churn": Scenario(
        "sessions of 30 minutes in the mean, over six hours",
        Plan(churn=1_800.0, duration=6 * HOUR),
        Goal(0.99),
    ),
    "flash-crowd": Scenario(
        "everybody looks one key up within ten seconds",
        Plan(rush=10.0, entries=50),
        Goal(1.0),
    ),
    "partition-heals": Scenario(
        "half the network apart from the other for two hours",
        Plan(partition=(600.0, 600.0 + 2 * HOUR), duration=600.0 + 3 * HOUR, lookups=3_000),
        Goal(0.95, recovery=1_800.0),  # one entry in 256 is held on the other side only; across, the first minutes fail
    ),
    "mass-restart": Scenario(
        "all nodes restart at once, with 1,000 own entries each",
        Plan(nodes=100, restart=60.0, restored=1_000, duration=1_200.0),
        Goal(0.999, peak=1_000.0),
    ),
    "power-cut": Scenario(
        "machines with entries lose their power, one after another",
        Plan(cut=(120.0, 420.0)),
        Goal(1.0, gone_p50=50.0, gone_max=75.0),
    ),
    "watchers": Scenario(
        "keys change while they are watched, and half of the nodes nearest to each key die",
        Plan(watched=10, watchers=10, entries=20, lookups=200),
        Goal(1.0, seen=1.0, seen_p99=1_000.0),
    ),
    "hot-key": Scenario(
        "everybody gets the same value, again and again",
        Plan(values=1, gets=10_000, entries=20, lookups=200),
        Goal(1.0, got=1.0, busiest=0.7),
    ),
    "owner-away": Scenario(
        "the owners of values have been off for twelve hours, with sessions of 30 minutes",
        Plan(nodes=200, churn=1_800.0, duration=14 * HOUR, values=100, gets=1_000, away=HOUR, entries=5, lookups=200),
        Goal(0.99, got=0.99),
    ),
    "half-nat": Scenario("half of the nodes behind NAT", Plan(nat=0.5), Goal(0.99)),
    "liars": Scenario("10 % of the nodes falsify their answers", Plan(liars=0.1), Goal(0.99)),
    "eclipse": Scenario(
        "attackers in four networks have all the places nearest to each key",
        Plan(nodes=300, entries=5, lookups=300, duration=900.0, warm=True, eclipse=4),
        Goal(0.95),
    ),
    "lone-node": Scenario(
        "one node, restarted", Plan(nodes=1, entries=5, lookups=50, restart=300.0), Goal(1.0), fixed=True
    ),
    "pair": Scenario(
        "two nodes, restarted", Plan(nodes=2, entries=5, lookups=100, restart=300.0), Goal(1.0), fixed=True
    ),
    "trio": Scenario(
        "three nodes, restarted", Plan(nodes=3, entries=5, lookups=100, restart=300.0), Goal(1.0), fixed=True
    ),
}
