"""Counts what a simulation shows, while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Handle, LookupDone
from dhtd.core.ids import Id
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from dhtd.sim.overlay import Member
from dhtd.sim.plan import Plan
from dhtd.sim.report import (
    Balance,
    Cut,
    Gets,
    Hops,
    Lookups,
    Queries,
    Report,
    Table,
    Traffic,
    Watches,
    mean,
    percentile,
    spread,
)

Asking = tuple[Member, Handle]


@dataclass(frozen=True, slots=True)
class LookupOutcome:
    """How one lookup has ended."""

    at: float  # virtual seconds
    is_found: bool
    recall: float | None
    hops: int
    queries: int
    seconds: float
    across: bool


class Tally:
    """The figures of one run."""

    def __init__(self, net: Network, plan: Plan) -> None:
        self._net = net
        self._plan = plan
        self.asked = 0
        self.found = 0
        self.outcomes: list[LookupOutcome] = []
        self.healed_at: float | None = None
        self.ended = 0  # lookups that were begun, and have ended; also those that are forgotten
        self.forgotten_found = 0  # lookups, of a run without an end
        self._firsts: dict[Asking, float] = {}
        self.first_seconds: list[float] = []  # of each lookup that found something, until it did
        self._population = 0
        self._counted_at = 0.0
        self._node_seconds = 0.0
        self._began: dict[Host, int] = {}  # the hosts that were there, and what each had received
        self._datagrams = 0
        self._bytes = 0
        self._renewals = 0

    def begin(self, live: Sequence[Host]) -> None:
        """The network stands: traffic counts from now on."""
        self.population_changed(len(live))
        self._node_seconds = 0.0
        self._datagrams, self._bytes = self._net.datagrams, self._net.bytes
        self._renewals = self._renewals_so_far()
        self._began = {host: host.received for host in live}
        for host in live:
            host.peak = 0

    def population_changed(self, live: int) -> None:
        """So many nodes are alive from now on."""
        now = self._net.now
        self._node_seconds += self._population * (now - self._counted_at)
        self._population, self._counted_at = live, now

    def nothing_to_ask(self) -> None:
        """A lookup was planned, and no entry is acknowledged: it counts as failed."""
        self.asked += 1
        self.outcomes.append(LookupOutcome(self._net.now, False, None, 0, 0, 0.0, False))

    def first_answer(self, asking: Asking, elapsed: float) -> None:
        """A lookup knows an endpoint. It may have known one before."""
        self._firsts.setdefault(asking, elapsed)

    def lookup_done(
        self, asking: Asking, done: LookupDone, expected: Endpoint, nearest: Sequence[Id], *, across: bool
    ) -> None:
        """A lookup has ended. It should have found `expected`, and should have reached the `nearest` nodes."""
        is_found = expected in done.endpoints
        self.found += is_found
        self.ended += 1
        first = self._firsts.pop(asking, None)
        if first is not None:
            self.first_seconds.append(first)
        reached = {contact.id for contact in done.closest}
        recall = sum(id in reached for id in nearest) / len(nearest) if nearest else None
        stats = done.stats
        self.outcomes.append(
            LookupOutcome(self._net.now, is_found, recall, stats.hops, stats.queries, stats.elapsed, across)
        )

    def abandoned(self, asking: Asking) -> None:
        """A lookup has no end: its node is gone. It does not count."""
        self.asked -= 1
        self._firsts.pop(asking, None)

    def keep_latest(self, most: int) -> None:
        """Forget all but the latest lookups once there are twice as many: a run without an end has a bound."""
        if len(self.outcomes) < 2 * most:
            return
        gone = self.outcomes[:-most]
        found = sum(outcome.is_found for outcome in gone)
        del self.outcomes[:-most], self.first_seconds[:-most]
        self.asked -= len(gone)
        self.found -= found
        self.forgotten_found += found

    def report(self, live: Sequence[Host], cut: Cut, watches: Watches, gets: Gets) -> Report:
        """Return the figures: those of the hosts that are alive are counted here."""
        net = self._net
        self.population_changed(self._population)
        return Report(
            nodes=len(live),
            seed=self._plan.seed,
            events=net.schedule.events,
            virtual_s=round(net.now, 6),
            lookups=self._lookups(),
            traffic=self._traffic(live),
            table=self._table(live),
            balance=self._balance(live),
            cut=cut,
            watches=watches,
            gets=gets,
        )

    def _lookups(self) -> Lookups:
        outcomes = self.outcomes
        recalls = [outcome.recall for outcome in outcomes if outcome.recall is not None]
        hops = [outcome.hops for outcome in outcomes]
        queries = [outcome.queries for outcome in outcomes]
        return Lookups(
            total=len(outcomes),
            found=self.found,
            success_rate=_rounded(self.found / len(outcomes)) if outcomes else 0.0,
            recall_at_k=_rounded(mean(recalls)) if recalls else None,
            hops=Hops(
                _rounded(mean(hops)),
                percentile(hops, 0.5),
                percentile(hops, 0.9),
                percentile(hops, 0.99),
                max(hops, default=0),
            ),
            queries=Queries(_rounded(mean(queries)), percentile(queries, 0.99)),
            latency_ms=spread([_milliseconds(outcome.seconds) for outcome in outcomes]),
            first_ms=spread([_milliseconds(first) for first in self.first_seconds]),
            recovery_s=self._recovery(),
        )

    def _recovery(self) -> float | None:
        if self.healed_at is None:
            return None
        failed = [outcome.at - self.healed_at for outcome in self.outcomes if outcome.across and not outcome.is_found]
        return _rounded(max(failed, default=0.0))

    def _traffic(self, live: Sequence[Host]) -> Traffic:
        seconds = self._node_seconds
        return Traffic(
            datagrams_per_node_s=_rounded((self._net.datagrams - self._datagrams) / seconds) if seconds else 0.0,
            bytes_per_node_s=_rounded((self._net.bytes - self._bytes) / seconds) if seconds else 0.0,
            peak_datagrams_per_node_s=max((host.peak for host in live), default=0),
            renewals_per_node_s=_rounded((self._renewals_so_far() - self._renewals) / seconds) if seconds else 0.0,
        )

    def _renewals_so_far(self) -> int:
        return self._net.renewals_gone + sum(host.renewals for host in self._net.hosts)

    def _table(self, live: Sequence[Host]) -> Table:
        sizes, stale = [], 0
        for host in live:
            known = self._net.overlay.contacts(host.member)
            sizes.append(len(known))
            for contact in known:
                there = self._net.at(contact.endpoint)
                stale += there is None or not there.alive or there.id != contact.id
        contacts = sum(sizes)
        return Table(median(sizes) if sizes else 0, _rounded(stale / contacts) if contacts else 0.0)

    def _balance(self, live: Sequence[Host]) -> Balance:
        received = [host.received - self._began[host] for host in live if host in self._began and host.nat is None]
        average = mean(received)
        if not average:
            return Balance(None, None)
        return Balance(_rounded(max(received) / average), _rounded(percentile(received, 0.99) / average))


def _rounded(value: float) -> float:
    return round(value, 6)


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 3)
