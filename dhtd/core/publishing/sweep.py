"""Records that have expired are dropped: some at a time, so that other work has its turn."""

from __future__ import annotations

from typing import Final

from dhtd.core.policy import Policy
from dhtd.core.publishing.pending_withdrawals import PendingWithdrawals
from dhtd.core.storage.store import HeldRecords

_PAUSE: Final = 0.01  # seconds, where much has expired
_WATCHED: Final = 1.0  # seconds, where somebody watches: an end is to be noticed soon
_EMPTY: Final = 300.0  # seconds, where nothing may expire: it wakes nobody for nothing


class Sweep:
    """Drops records that are held for others, and withdrawals that no holder needs any more."""

    __slots__ = ("_at", "_interval", "_is_left", "_store", "_watched", "_withdrawals")

    def __init__(self, policy: Policy, store: HeldRecords, withdrawals: PendingWithdrawals, now: float) -> None:
        self._interval = policy.store_sweep
        self._store = store
        self._withdrawals = withdrawals
        self._at = now + policy.store_sweep
        self._is_left = False  # there was more than the last turn could drop
        self._watched = store.changed.watched

    def next_timeout(self) -> float:
        """Return when `go_on` has something to do."""
        if self._is_left:
            return self._at
        if len(self._store):
            at = max(self._at, self._store.filled_at + self._interval)
            return at - self._interval + _WATCHED if len(self._watched) and self._interval > _WATCHED else at
        if self._withdrawals.by_record:
            return max(self._at, self._withdrawals.first_until())
        return self._at - self._interval + _EMPTY

    def go_on(self, now: float) -> None:
        """Drop what has expired: some of it now, the rest bit by bit."""
        if now >= self.next_timeout():
            self._at, self._is_left = now + self._interval, False  # also if a defect stops this
            is_left = self._store.sweep(now)
            self._is_left = self._withdrawals.sweep(now) or is_left
            if self._is_left:
                self._at = now + _PAUSE
