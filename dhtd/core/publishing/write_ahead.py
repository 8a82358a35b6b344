"""Chosen holders of own entries, which must be on disk before the entry is sent to them.

A node that is killed must still know its holders, to have them delete the entry. But a disk that hangs must not stop an
entry for ever: an entry that nobody holds is worse than a copy that may have to expire.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from dhtd.core.messages import Contact
from dhtd.core.publishing.own_entry import OwnEntry


class Waiting(Protocol):
    """A publication that waits for the disk."""

    entry: OwnEntry

    def written(self, contacts: Iterable[Contact], now: float) -> None:
        """Ask these chosen nodes to take the entry."""


class Chosen(NamedTuple):
    """Nodes that a publication has chosen."""

    publication: Waiting
    contacts: tuple[Contact, ...]


class WriteAhead:
    """The chosen nodes that are not on disk yet. Each waits for `patience` seconds at most."""

    __slots__ = ("_fresh", "_patience", "_waiting")

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._fresh: list[Chosen] = []  # not polled yet
        self._waiting: dict[Chosen, float] = {}  # all that wait, and until when; the earliest first

    def add(self, publication: Waiting, contacts: Iterable[Contact], now: float) -> None:
        """Have these nodes wait."""
        chosen = Chosen(publication, tuple(contacts))
        self._fresh.append(chosen)
        self._waiting[chosen] = now + self._patience

    def poll(self) -> list[Chosen]:
        """Take and return what is to be written to disk."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def over(self, chosen: Chosen) -> None:
        """This is on disk, or cannot be."""
        self._waiting.pop(chosen, None)

    def next_timeout(self) -> float | None:
        """Return when `pop_due` has something."""
        return next(iter(self._waiting.values()), None)

    def pop_due(self, now: float) -> Iterator[Chosen]:
        """Take and yield what has run out of patience."""
        while self._waiting and next(iter(self._waiting.values())) <= now:
            chosen = next(iter(self._waiting))
            del self._waiting[chosen]
            yield chosen
