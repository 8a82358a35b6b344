"""The own entries that no node took when they were last published, and when to tell the owner of them."""

from __future__ import annotations

from dhtd.core.publishing.own_entry import OwnEntry


class Untaken:
    """Counts untaken entries by what their nodes did: some answered and all refused, or none answered."""

    __slots__ = ("_notice_at", "_pause", "_refused", "_unanswered")

    def __init__(self, pause: float) -> None:
        self._refused: dict[OwnEntry, None] = {}
        self._unanswered: dict[OwnEntry, None] = {}
        self._notice_at: dict[bool, float] = {}  # by whether they were refused
        self._pause = pause  # seconds between two notices of one kind, at least

    @property
    def refused(self) -> int:
        """How many entries were refused by all nodes that answered."""
        return len(self._refused)

    @property
    def unanswered(self) -> int:
        """How many entries got no answer."""
        return len(self._unanswered)

    def is_refused(self, entry: OwnEntry) -> bool:
        """Whether all nodes that answered have refused this entry."""
        return entry in self._refused

    def add(self, entry: OwnEntry, *, refused: bool) -> None:
        """No node took this entry."""
        (self._refused if refused else self._unanswered)[entry] = None

    def drop(self, entry: OwnEntry) -> None:
        """Count this entry no longer: it was published again, or deleted."""
        self._refused.pop(entry, None)
        self._unanswered.pop(entry, None)

    def is_notice_due(self, now: float, *, refused: bool) -> bool:
        """Whether to tell the owner now. A True sets when the next notice of this kind is due."""
        if now < self._notice_at.get(refused, now):
            return False
        self._notice_at[refused] = now + self._pause
        return True
