"""What touches all own entries at once: a network is reached, the machine slept, or it has moved."""

from __future__ import annotations

from dhtd.core.policy import Policy
from dhtd.core.publishing.own_entry import OwnEntry
from dhtd.core.publishing.own_records import OwnRecords


class Upheavals:
    """Has the entries published soon, spread over `startup_spread`."""

    __slots__ = ("_moved_at", "_policy", "_records")

    def __init__(self, records: OwnRecords, policy: Policy) -> None:
        self._records = records
        self._policy = policy
        self._moved_at = float("-inf")  # when the last move was, or is to be, answered

    def joined(self, family: int, now: float) -> None:
        """The network of a family is reached, at start or after an outage: publish soon what no node there holds."""

        def visit(entry: OwnEntry) -> bool:
            self.may_reach(entry, family, now)
            return True

        self._records.visit_all(visit, now)

    def may_reach(self, entry: OwnEntry, family: int, now: float) -> None:
        """The network of a family can be reached: publish an entry soon that no node there holds."""
        if not entry.replicas_of(family):
            entry.joined.add(family)
            entry.failures = 0  # the outage has caused them
            self._records.sooner(entry, self._records.soon(now))

    def slept(self, seconds: float, now: float) -> None:
        """Take all publications as so much older, and publish soon what is due by that.

        A node that must have dropped an entry since is no replica any more.
        """
        records = self._records

        def visit(entry: OwnEntry) -> bool:
            if entry.published_at is not None:
                if entry.published_at > now:
                    return True  # published after the sleep
                entry.published_at -= seconds
                if now - entry.published_at >= self._policy.store_expiry:
                    entry.replicas = ()
            when = records.next_publication(entry)
            if when is not None:
                records.sooner(entry, max(when - seconds, records.soon(now)))
            return True

        records.visit_all(visit, now)

    def moved(self, now: float) -> None:
        """This machine's address has changed: publish all entries soon, since their holders name the old address.

        That begins `move_gap` after the last time at the earliest. So a stranger that makes us believe in one address
        after another gets no more than that out of it.
        """
        if self._moved_at <= now:  # else the last move is still to be answered, and that will do for this one
            self._moved_at = max(now, self._moved_at + self._policy.move_gap)
        moved_at = self._moved_at

        def visit(entry: OwnEntry) -> bool:
            when = self._records.soon(moved_at)
            if self._records.is_publishing(entry):
                entry.again_at = when
            else:
                self._records.sooner(entry, when)
            return True

        self._records.visit_all(visit, now)
