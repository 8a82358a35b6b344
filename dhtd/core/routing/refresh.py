"""Which buckets are stale, and what to look up in them (Kademlia section 2.3, BEP 5 "Routing Table").

Lookups of random places also show how large the network is (`network_size`). When our own neighbourhood becomes denser,
either the network grows, or attackers crowd us; only other places tell. So each time that it becomes denser by half, a
few of these lookups follow. After many in an hour they come more slowly, so that attackers that crowd us again and
again cause few queries.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from dhtd.core.ids import Id, random_between
from dhtd.core.policy import Policy
from dhtd.core.routing.table import Bucket, RoutingTable

if TYPE_CHECKING:
    from random import Random


_HOUR: Final = 3_600.0
_FEW: Final = 16  # samples
_SAMPLED: Final = 5 * _FEW  # with so many in an hour the pause is as long as it gets


class Refresher:
    """Watches the ages of buckets. While a refresh is under way, none is due: they are never urgent."""

    __slots__ = (
        "_density",
        "_due",
        "_due_samples",
        "_policy",
        "_rng",
        "_sample_at",
        "_sampled",
        "_table",
        "under_way",
    )

    def __init__(self, table: RoutingTable, rng: Random, policy: Policy) -> None:
        self._table = table
        self._density: int | None = None  # of our neighbourhood, as it was sampled for; None until we have joined
        self._due_samples = 0
        self._sample_at: float | None = None
        self._sampled: deque[float] = deque(maxlen=_SAMPLED)  # when the latest samples were taken
        self._rng = rng
        self._policy = policy
        self._due: float | None = None  # no bucket turns stale before; None is unknown
        self.under_way = 0  # refreshes; the membership counts them

    def next_timeout(self) -> float | None:
        """Return when a bucket may turn stale; None without contacts to ask, or while a refresh is under way.

        The answer is never too late, but too early if a bucket has been active since: this is asked after each
        datagram, and does not look at the buckets again.
        """
        if self.under_way or not len(self._table):
            return None
        if self._due is None:
            self._due = self._stalest().activity + self._policy.bucket_refresh
        return self._due if self._sample_at is None else min(self._due, self._sample_at)

    def joined(self, density: int) -> None:
        """Our neighbourhood is as dense as in a network of so many nodes."""
        self._density = density

    def is_news(self, density: int) -> bool:
        """Whether our neighbourhood has become so dense that samples are due."""
        return self._density is not None and 2 * density >= 3 * self._density and self._policy.size_samples > 0

    def neighbourhood_has(self, density: int, now: float) -> None:
        """Our neighbourhood is as dense as in a network of so many nodes now: take samples if that is news."""
        if not self.is_news(density):
            return
        self._density = density
        self._due_samples = self._policy.size_samples
        if self._sample_at is None:
            self._sample_at = now + self._pause(now)

    def next_target(self, now: float) -> Id | None:
        """Return a random ID in the range of the stalest bucket, if it is stale; the bucket counts as active then."""
        due = self.next_timeout()
        if due is None or now < due:
            return None
        if self._sample_at is not None and now >= self._sample_at:
            return self._sample(now)
        self._due = None
        bucket = self._stalest()
        if now < bucket.activity + self._policy.bucket_refresh:
            return None
        bucket.activity = now
        return random_between(self._rng, bucket.low, bucket.high)

    def slept(self) -> None:
        """The buckets are older than they were: look at them again."""
        self._due = None

    def expire_far_buckets(self, now: float) -> None:
        """Make stale each bucket farther than our nearest neighbour: a node that joins asks about them all."""
        nearest = min((contact.id ^ self._table.own_id for contact in self._table), default=0)
        for bucket in self._table.buckets:
            if self._is_farther(bucket, nearest):
                bucket.activity = min(bucket.activity, now - self._policy.bucket_refresh)
        self._due = None

    def _sample(self, now: float) -> Id:
        """Return any ID, and set the time of the next sample."""
        self._sampled.append(now)
        self._due_samples -= 1
        self._sample_at = now + self._pause(now) if self._due_samples else None
        return random_between(self._rng, self._table.buckets[0].low, self._table.buckets[-1].high)

    def _pause(self, now: float) -> float:
        """Return the seconds until the next sample: four times as long for each few that were taken in an hour."""
        lately = sum(now - taken < _HOUR for taken in self._sampled)
        pause = self._policy.size_pause * (1 << 2 * (lately // _FEW))
        return min(pause, self._policy.bucket_refresh) * self._rng.uniform(0.75, 1.0)

    def _stalest(self) -> Bucket:
        return min(self._table.buckets, key=lambda bucket: bucket.activity)

    def _is_farther(self, bucket: Bucket, distance: int) -> bool:
        span = bucket.high - bucket.low
        return (bucket.low ^ self._table.own_id) & ~span > distance
