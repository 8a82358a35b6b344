"""The figures of a run while it goes on: of the lookups that have ended, and of the latest seconds."""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

from dhtd.core.events import LookupStats
from dhtd.sim.report import percentile

LATEST: Final = 1_000  # lookups, for the percentiles
WINDOW: Final = 10.0  # virtual seconds, for what happens in one


class Figures:
    """Figures of lookups."""

    def __init__(self) -> None:
        self.hops: Counter[int] = Counter()
        self._elapsed_ms: deque[float] = deque(maxlen=LATEST)
        self._queries = 0
        self._counted: deque[tuple[float, int]] = deque([(0.0, 0)])  # at which virtual time there were how many

    def ended(self, stats: LookupStats) -> None:
        """A lookup has ended."""
        self.hops[stats.hops] += 1
        self._elapsed_ms.append(1000 * stats.elapsed)
        self._queries += stats.queries

    def look(self, now: float) -> None:
        """Note how many queries there were by now."""
        if now > self._counted[-1][0]:
            self._counted.append((now, self._queries))
        while len(self._counted) > 2 and self._counted[1][0] <= now - WINDOW:
            self._counted.popleft()

    def told(self) -> dict[str, object]:
        """Return the figures. The percentiles are of the latest lookups."""
        latest = list(self._elapsed_ms)
        (begin, before), (end, after) = self._counted[0], self._counted[-1]
        return {
            "p50_ms": round(percentile(latest, 0.5), 3) if latest else None,
            "p99_ms": round(percentile(latest, 0.99), 3) if latest else None,
            "hops": {str(hops): count for hops, count in sorted(self.hops.items())},
            "queries_s": round((after - before) / (end - begin), 1) if end > begin else 0.0,
        }
