"""How many nodes a network has, as lookups of random places show it: a median, which no crowd at one place moves.

The more nodes there are, the nearer to any place are the K nearest: their distance is the K-th point of a Poisson
process, so it has a Gamma distribution whose median is K - 1/3 times the mean distance between two nodes (Chen and
Rubin 1986). The size follows from that density, as in Horowitz and Malkhi, "Estimating network size from local
information" (2003). An attacker that makes up IDs can crowd a place,
our own ID above all, so one place says little. What counts is the median over lookups of targets that we have drawn by
lot. The keyspace is cut into slots. Each slot keeps its latest sample, however many lookups fall into it (around our
own ID there are many), and the median is over the slots that were sampled last.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

from dhtd.core.ids import Id, Keyspace
from dhtd.core.messages import Contact

SLOTS: Final = 16
SETTLED: Final = 4
RECENT: Final = 9  # slots that are asked: a median of so many errs by 15 % in the mean


class NetworkSize:
    """The estimate for the network of one family."""

    __slots__ = ("_estimate", "_k", "_keyspace", "_samples")

    def __init__(self, keyspace: Keyspace, k: int) -> None:
        self._keyspace = keyspace
        self._k = k
        self._samples: dict[bytes, float] = {}  # by slot, the latest last
        self._estimate: int | None = None

    @property
    def is_settled(self) -> bool:
        """Whether so many places were sampled that one of them says little."""
        return len(self._samples) >= SETTLED

    @property
    def estimate(self) -> int | None:
        """About how many nodes there are, ourselves included; None before the first sample."""
        return self._estimate

    def measured(self, target: Id, nearest: Sequence[Contact]) -> None:
        """A lookup of a place that no stranger has chosen is over. `nearest` have answered it, the nearest first."""
        slot = (target * SLOTS // self._keyspace.size).to_bytes(1, "big")
        self._samples.pop(slot, None)
        self._samples[slot] = self._size(target, nearest)
        self._estimate = max(1, round(median(list(self._samples.values())[-RECENT:])))

    def _size(self, target: Id, nearest: Sequence[Contact]) -> float:
        """Return the size for which this distance of the K-th nearest is the median; with fewer nodes, count them."""
        k = self._k
        if len(nearest) < k:
            return len(nearest) + 1
        distance = (nearest[k - 1].id ^ target) + 1
        return max(k + 1, (k - 1 / 3) * self._keyspace.size / distance + 2 / 3)
