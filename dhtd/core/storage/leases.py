"""Leases: what one machine has stored under one session lives and expires together.

So a renewal moves one number, however many records the session has. A `Wheel` tells when each lease is to be looked at:

1. A new lease is filed under the second of its expiry, or under a minute from now if that is sooner.
2. A renewal leaves it there. When its second has come, a lease that has not expired is filed anew.
3. A lease that is shortened gets a reminder at its new expiry. A reminder is never filed anew.

So each lease is in the wheel once. Reminders and leases without records stay there for a minute at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dhtd.core.endpoint import Endpoint

# A held record: its lease, its packed key, and its place under the key: a peer's endpoint. A bare tuple, since there
# may be a million.
Entry = tuple["Lease", bytes, Endpoint]


# Bytes of a session that a holder remembers, as an integer: more take more memory, and nobody guesses these.
SESSION_KEPT: Final = 7


def kept(session: bytes) -> int | None:
    """Return a session as it is remembered; None on a wire without sessions."""
    return int.from_bytes(session[:SESSION_KEPT], "big") if session else None


class Lease:
    """The records of one session, and until when they are held.

    Most leases have one record, and no dictionary. `session` is None on a wire without sessions: there, each record has
    a lease of its own.
    """

    __slots__ = ("_entries", "expires_at", "seconds", "session")

    def __init__(self, session: int | None, seconds: int, expires_at: float) -> None:
        self.session = session
        self.seconds = seconds  # that were asked for last
        self.expires_at = expires_at
        self._entries: Entry | dict[Entry, None] | None = None

    def __len__(self) -> int:
        """How many records it has."""
        entries = self._entries
        return len(entries) if isinstance(entries, dict) else int(entries is not None)

    def __iter__(self) -> Iterator[Entry]:
        """Yield its records, the first stored first."""
        entries = self._entries
        if isinstance(entries, dict):
            yield from entries
        elif entries is not None:
            yield entries

    def add(self, entry: Entry) -> None:
        """Take a new record."""
        entries = self._entries
        if entries is None:
            self._entries = entry
        elif isinstance(entries, dict):
            entries[entry] = None
        else:
            self._entries = {entries: None, entry: None}

    def drop(self, entry: Entry) -> None:
        """Let go of a record."""
        entries = self._entries
        if not isinstance(entries, dict):
            self._entries = None
            return
        del entries[entry]
        if len(entries) == 1:
            [self._entries] = entries

    def first(self) -> Entry:
        """Return the record that was stored first."""
        entries = self._entries
        assert entries is not None
        return next(iter(entries)) if isinstance(entries, dict) else entries


class Reminder:
    """A lease that was shortened, to be looked at once more."""

    __slots__ = ("lease",)

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
