"""Which buckets are stale, and what to look up in them (Kademlia section 2.3, BEP 5 "Routing Table")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dhtd.core.metric import Id, random_between
from dhtd.core.policy import Policy
from dhtd.core.routing_table import Bucket, RoutingTable

if TYPE_CHECKING:
    from random import Random


class Refresher:
    """Watches the ages of buckets. It begins none while one is under way: they are never urgent."""

    __slots__ = ("_due", "_policy", "_rng", "_table", "under_way")

    def __init__(self, table: RoutingTable, rng: Random, policy: Policy) -> None:
        self._table = table
        self._rng = rng
        self._policy = policy
        self._due: float | None = None  # no bucket turns stale before; None is unknown
        self.under_way = 0  # refreshes; counted by whoever runs them

    def next_timeout(self) -> float | None:
        """Return when a bucket may turn stale; None where there is nobody to ask, or a refresh is under way.

        Never too late, but too early where a bucket has been active since: asked after each datagram, this does not
        look at the buckets again.
        """
        if self.under_way or not len(self._table):
            return None
        if self._due is None:
            self._due = self._stalest().activity + self._policy.bucket_refresh
        return self._due

    def next_target(self, now: float) -> Id | None:
        """Return a random ID in the range of the stalest bucket, if it is stale; the bucket counts as active then."""
        due = self.next_timeout()
        if due is None or now < due:
            return None
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

    def _stalest(self) -> Bucket:
        return min(self._table.buckets, key=lambda bucket: bucket.activity)

    def _is_farther(self, bucket: Bucket, distance: int) -> bool:
        span = bucket.high - bucket.low
        return (bucket.low ^ self._table.own_id) & ~span > distance
