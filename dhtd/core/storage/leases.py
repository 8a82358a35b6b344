"""Leases: what one machine has stored under one session lives and expires together.

So a renewal moves one number, however many records the session has. A wheel of seconds tells when each lease is to be
looked at (a hashed timing wheel; Varghese and Lauck 1987):

1. A new lease is filed under the second of its expiry, or under a minute from now if that is sooner.
2. A renewal leaves it there. When its second has come, a lease that has not expired is filed anew.
3. A lease that is shortened gets a reminder at its new expiry. A reminder is never filed anew.

So each lease is in the wheel once. Reminders and leases without records stay there for a minute at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, floor
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


_AHEAD: Final = 60  # seconds: no lease is filed farther ahead
_SLOTS: Final = 128  # a second each; twice as many as are ahead, for a wheel that is looked at late


class Wheel:
    """The leases, by the second in which each is looked at."""

    __slots__ = ("_due", "_second", "_slots")

    def __init__(self) -> None:
        self._slots: list[list[Lease | Reminder]] = [[] for _ in range(_SLOTS)]
        self._second = 0  # the first one that was not looked at
        self._due: list[Lease | Reminder] = []  # of the second before

    def file(self, item: Lease | Reminder, expires_at: float, now: float) -> None:
        """Have this looked at when it expires, or after a minute."""
        second = ceil(min(expires_at, now + _AHEAD))
        self._slots[max(second, self._second) % _SLOTS].append(item)

    def pop(self, now: float) -> Lease | Reminder | None:
        """Take and return what is to be looked at by `now`, in the order of seconds; None at the end of it."""
        if not self._due:
            last = floor(now)
            # After a long pause, one round past all slots is enough.
            self._second = max(self._second, last - _SLOTS + 1)
            while not self._due:
                if self._second > last:
                    return None
                slot = self._second % _SLOTS
                self._due, self._slots[slot] = self._slots[slot], self._due
                self._second += 1
        return self._due.pop()
