"""What a simulation is to do: how large a network, what happens to it, and what is asked of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite

from dhtd.core.policy import DEFAULT, Policy
from dhtd.errors import UsageError
from dhtd.sim.links import LinkModels

NODES_MAX = 1_000_000
ECLIPSE_MAX = 1_024
OVERLAYS = ("kademlia", "chord")

# What is about the Kademlia node: its values and watches, attacks on it, and nodes that ask without being asked.
KADEMLIA_ONLY = (
    *("nat", "liars", "eclipse", "closest", "late", "site", "undefended"),
    *("watched", "values", "gets", "away", "uncached"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run. Times are in seconds. Those of later events count from the moment when the network stands."""

    nodes: int = 1_000
    entries: int = 100  # own entries in all; another machine's replaces those of a machine that goes
    lookups: int = 1_000  # spread over the duration, each by any node, of an entry that should be found
    duration: float = 600.0
    seed: int = 1
    overlay: str = "kademlia"  # one of `OVERLAYS`
    warm: bool = False  # the nodes know each other, as after a long life, instead of joining one by one

    # Links
    loss: float = 0.0  # the part of datagrams that are lost
    duplicate: float = 0.0  # that arrive twice
    reorder: float = 0.0  # that are overtaken
    partition: tuple[float, float] | None = None  # from when to when each half of the network cannot reach the other

    # Nodes
    nat: float = 0.0  # the part of nodes that can ask, but not be asked
    liars: float = 0.0  # the part of nodes that falsify their answers
    churn: float | None = None  # the mean length of a session: then the machine goes, and another comes
    pareto: bool = False  # sessions of a Pareto distribution (shape 2), most short and some very long; else exponential
    returning: float = 0.0  # the part of machines that come back from their state file a minute later instead
    goodbyes: float = 0.0  # the part of machines that go for good and say goodbye first: their entries are withdrawn
    jumps: float = 0.0  # the part of clocks that jump ahead by up to two hours, once
    restart: float | None = None  # when all nodes are killed and started again from their state files, at once
    cut: tuple[float, float] | None = None  # from when to when half of the machines with entries lose their power
    watched: int = 0  # keys that are watched while they change, and while half of the nodes nearest to them die
    watchers: int = 0  # of each of these keys
    values: int = 0  # data that machines put
    gets: int = 0  # of any of these
    away: float | None = None  # when all machines with values go off for good; then gets begin twelve hours later
    uncached: bool = False  # what was got is not handed to nodes on the way
    restored: int = 0  # own entries that each node then finds in its state file, beside those of this run

    # Attackers of each entry's key: they have all the places nearest to it, name only each other, and claim to hold
    # what they are given
    eclipse: int = 0  # the networks that the attackers of each key have, two places in a lookup each; 0 is none
    closest: bool = False  # they are far nearer to the key than all others; else just a little
    late: bool = False  # they come when the entry has been published; else before
    site: bool = False  # all is IPv6, and the networks of a key's attackers are /64s of one /48
    undefended: bool = False  # nodes know no region, and a /48 is no party

    rush: float | None = None  # all entries are under one key, and all lookups come within so many seconds

    @property
    def links(self) -> LinkModels:
        """The links between the nodes."""
        return LinkModels(loss=self.loss, duplicate=self.duplicate, reorder=self.reorder)

    @property
    def policy(self) -> Policy:
        """What the nodes do."""
        policy = replace(DEFAULT, caches=0) if self.uncached else DEFAULT
        return replace(policy, region=0.0, site_share=0) if self.undefended else policy

    def check(self) -> None:
        """Raise `UsageError` if the numbers make no sense."""
        _within("--nodes", self.nodes, 1, NODES_MAX)
        _within("--entries", self.entries, 1, 10_000_000)
        _within("--lookups", self.lookups, 0, 10_000_000)
        _within("--duration", self.duration, 10, 30 * 86_400)
        _within("--values", self.values, 0, 100_000)
        _within("--gets", self.gets, 0, 10_000_000)
        _within("--loss", self.loss, 0, 0.9)
        _within("--duplicate", self.duplicate, 0, 1)
        _within("--reorder", self.reorder, 0, 1)
        _within("--nat", self.nat, 0, 0.95)
        _within("--liars", self.liars, 0, 0.95)
        _within("--returning", self.returning, 0, 1)
        _within("--goodbyes", self.goodbyes, 0, 1)
        _within("--jumps", self.jumps, 0, 1)
        _within("--eclipse", self.eclipse, 0, ECLIPSE_MAX)
        if self.overlay not in OVERLAYS:
            raise UsageError(f"no overlay {self.overlay!r}; there are: {', '.join(OVERLAYS)}")
        if self.overlay != "kademlia":
            for name in KADEMLIA_ONLY:
                if getattr(self, name):
                    raise UsageError(
                        f"--{name} is about Kademlia nodes: leave it away, or leave --overlay {self.overlay} away"
                    )
        if self.churn is not None:
            _within("--churn", self.churn, 1, 30 * 86_400)
        if self.partition is not None:
            begin, end = self.partition
            if not 0 <= begin < end <= self.duration:
                raise UsageError(
                    f"--partition {begin:g},{end:g}: give two times in seconds, the first before the second, "
                    f"and neither after the --duration of {self.duration:g}"
                )


def _within(option: str, value: float, low: float, high: float) -> None:
    if not (isfinite(value) and low <= value <= high):
        raise UsageError(f"{option} {value:.15g}: give a number from {low:.15g} to {high:.15g}")
