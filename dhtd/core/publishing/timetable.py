"""When each own entry is published: one timer an entry, or one publication under way, and never both.

So entering an entry twice cannot start two chains of publications. A publication that does not end within
`publication_lasts` was stopped by a defect, and is begun anew.
"""

from __future__ import annotations

from collections.abc import Iterator

from dhtd.core.policy import Policy
from dhtd.core.records import RecordKey
from dhtd.core.timers import Timers


class Timetable:
    """The timers of own entries, and the publications under way."""

    __slots__ = ("_policy", "_publishing", "_timers")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._timers: Timers[RecordKey] = Timers()
        self._publishing: dict[RecordKey, float] = {}  # when each should have ended; the first begun is first

    def is_publishing(self, record_key: RecordKey) -> bool:
        """Whether a publication of this entry is under way."""
        return record_key in self._publishing

    def began(self, record_key: RecordKey, now: float) -> None:
        """A publication has begun: the entry has no timer until `ended`."""
        self._publishing.pop(record_key, None)
        self._publishing[record_key] = now + self._policy.publication_lasts
        self._timers.cancel(record_key)

    def ended(self, record_key: RecordKey) -> None:
        """The publication has ended."""
        del self._publishing[record_key]

    def forget(self, record_key: RecordKey) -> None:
        """Drop the entry's timer and its publication."""
        self._timers.cancel(record_key)
        self._publishing.pop(record_key, None)

    def at(self, record_key: RecordKey) -> float | None:
        """Return when the entry is published next; None without a timer."""
        return self._timers.get(record_key)

    def set(self, record_key: RecordKey, when: float) -> None:
        """Publish the entry at `when`, unless it is being published."""
        if record_key not in self._publishing:
            self._timers.set(record_key, when)

    def sooner(self, record_key: RecordKey, when: float) -> None:
        """Publish the entry at `when`, unless that is later than its timer or it is being published."""
        current = self._timers.get(record_key)
        if current is None or when < current:
            self.set(record_key, when)

    def next_timeout(self) -> float | None:
        """Return when `pop_due` has an entry."""
        return None if len(self._publishing) >= self._policy.publishing else self._timers.next()

    def pop_due(self, now: float) -> Iterator[RecordKey]:
        """Take and yield the entries to publish now, while fewer than `publishing` are under way."""
        while len(self._publishing) < self._policy.publishing:
            due = next(self._timers.pop_due(now), None)
            if due is None:
                return
            yield due

    def next_overdue(self) -> float | None:
        """Return when `overdue` has an entry."""
        return next(iter(self._publishing.values()), None)

    def overdue(self, now: float) -> list[RecordKey]:
        """Return the entries with a publication that should have ended by now."""
        return [record_key for record_key, until in self._publishing.items() if until <= now]
