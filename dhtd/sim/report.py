"""What a simulation has shown: the keys of `dhtd simulate --json`, except those that need a real clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True, slots=True)
class Hops:
    """How many rounds of hearsay the farthest node that answered a lookup was away."""

    mean: float
    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Queries:
    """How many nodes a lookup asked."""

    mean: float
    p99: float


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles."""

    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class Lookups:
    """How lookups went. A lookup does not count if its node went away meanwhile."""

    total: int
    found: int  # those that answered with the endpoint of the machine that serves the key
    success_rate: float
    recall_at_k: float | None  # of the K live, reachable nodes nearest to the key, the part that answered the lookup
    hops: Hops
    queries: Queries
    latency_ms: Spread  # until the lookup's end
    first_ms: Spread  # until the first endpoint was known
    recovery_s: float | None  # from the end of a partition to the end of the last lookup across it that failed


@dataclass(frozen=True, slots=True)
class Traffic:
    """What nodes sent, in the duration."""

    datagrams_per_node_s: float
    bytes_per_node_s: float
    peak_datagrams_per_node_s: float  # of the busiest node in its busiest second
    renewals_per_node_s: float  # of the datagrams, the renewals of leases that arrived


@dataclass(frozen=True, slots=True)
class Table:
    """The routing tables of the live nodes, at the end."""

    size_p50: float
    stale_share: float  # the part of contacts that are no live nodes


@dataclass(frozen=True, slots=True)
class Balance:
    """Datagrams received by the reachable nodes that lived through the whole duration, against the mean.

    None if no such node has received any.
    """

    max_over_mean: float | None
    p99_over_mean: float | None


@dataclass(frozen=True, slots=True)
class Cut:
    """The entries of machines that lost their power, and how soon no lookup found them any more."""

    entries: int
    gone_p50_s: float | None  # None if there are no such entries
    gone_max_s: float | None


@dataclass(frozen=True, slots=True)
class Watches:
    """The changes under watched keys, and how soon their watchers have seen them."""

    changes: int  # that lasted
    expected: int  # times that some watcher had to see one of them
    seen_share: float | None  # the part of these that was seen; None if there are none
    seen_p50_ms: float | None  # None also if so many were not seen
    seen_p99_ms: float | None
    seen_max_ms: float | None
    wrong: int  # endpoints that a watcher was told of, and that were not so


@dataclass(frozen=True, slots=True)
class Gets:
    """How gets of values went. A get does not count if its node went away meanwhile."""

    total: int
    right: int  # those that brought the value that was put last, or a newer one
    wrong: int  # those that brought another one
    success_rate: float | None  # the part that was right; None if there were none
    latency_ms: Spread  # until the get's end
    copies_mean: float | None  # nodes that were seen to hold the value
    busiest_share: float | None  # of the gets, the part that reached the node that most of them reached
    busiest_over_mean: float | None  # what this node answered, against the mean


@dataclass(frozen=True, slots=True)
class Report:
    """One run."""

    nodes: int  # alive at the end
    seed: int
    events: int
    virtual_s: float
    lookups: Lookups
    traffic: Traffic
    table: Table
    balance: Balance
    cut: Cut
    watches: Watches
    gets: Gets


def percentile(values: Sequence[float], part: float) -> float:
    """Return the least of `values` that this part of them does not exceed (nearest rank); 0 if there are none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[max(0, ceil(part * len(ordered)) - 1)]


def spread(values: Sequence[float]) -> Spread:
    """Return the percentiles of `values`."""
    return Spread(percentile(values, 0.5), percentile(values, 0.9), percentile(values, 0.99))


def mean(values: Sequence[float]) -> float:
    """Return the mean; 0 if there are no values."""
    return sum(values) / len(values) if values else 0.0
