"""The lookups of clients, counted by their time and their queries."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final

from dhtd.core.events import LookupStats

TIMES_MS: Final = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)
QUERIES: Final = (0, 1, 2, 4, 8, 16, 32, 64, 128)
REST: Final = "+Inf"  # the bucket above the last bound, by the name that it has in Prometheus


def _empty(bounds: tuple[int, ...]) -> dict[str, int]:
    return {**{str(bound): 0 for bound in bounds}, REST: 0}


@dataclass(slots=True)
class LookupCounters:
    """Lookups that have ended; a part of section `network` of `dht info`.

    A bucket counts those up to its bound, which is its name, and above the bound before.
    """

    lookups: int = 0
    lookup_ms: dict[str, int] = field(default_factory=lambda: _empty(TIMES_MS))  # until the end
    lookup_ms_sum: float = 0.0
    lookup_first_ms: dict[str, int] = field(default_factory=lambda: _empty(TIMES_MS))  # until the first endpoint
    lookup_first_ms_sum: float = 0.0
    lookup_queries: dict[str, int] = field(default_factory=lambda: _empty(QUERIES))
    lookup_queries_sum: int = 0

    def ended(self, stats: LookupStats) -> None:
        """Count a lookup."""
        self.lookups += 1
        self.lookup_ms_sum += _add(self.lookup_ms, TIMES_MS, 1_000 * stats.elapsed)
        if stats.first is not None:
            self.lookup_first_ms_sum += _add(self.lookup_first_ms, TIMES_MS, 1_000 * stats.first)
        _add(self.lookup_queries, QUERIES, stats.queries)
        self.lookup_queries_sum += stats.queries


def _add(buckets: dict[str, int], bounds: tuple[int, ...], value: float) -> float:
    place = bisect_left(bounds, value)
    buckets[REST if place == len(bounds) else str(bounds[place])] += 1
    return round(value, 3)
