"""What waits until it is written down: who is to hold an own entry, before the entry is sent there.

A node that was killed would not know who has its entry, to have it deleted there. But the entry must not wait for ever
for a disk that hangs: what nobody holds is worse than what may have to expire.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from dhtd.core.messages import Contact
from dhtd.core.publishing.own_entry import OwnEntry


class Waiting(Protocol):
    """Who waits."""

    entry: OwnEntry

    def written(self, contacts: Iterable[Contact], now: float) -> None:
        """Ask those who were chosen to take the entry."""


class Chosen(NamedTuple):
    """Who is to hold an entry, and must be written down first."""

    publication: Waiting
    contacts: tuple[Contact, ...]


class WriteAhead:
    """Those that were chosen and are not written down, each for `patience` seconds at most."""

    __slots__ = ("_fresh", "_patience", "_waiting")

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._fresh: list[Chosen] = []  # not taken by whoever writes them down
        self._waiting: dict[Chosen, float] = {}  # and until when, those included; the earliest first

    def add(self, publication: Waiting, contacts: Iterable[Contact], now: float) -> None:
        """Have these wait."""
        chosen = Chosen(publication, tuple(contacts))
        self._fresh.append(chosen)
        self._waiting[chosen] = now + self._patience

    def poll(self) -> list[Chosen]:
        """Take and return what is to be written down."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def over(self, chosen: Chosen) -> None:
        """This is written down, or cannot be."""
        self._waiting.pop(chosen, None)

    def next_timeout(self) -> float | None:
        """Return when `pop_due` has something."""
        return next(iter(self._waiting.values()), None)

    def pop_due(self, now: float) -> Iterator[Chosen]:
        """Take and yield what has waited for too long."""
        while self._waiting and next(iter(self._waiting.values())) <= now:
            chosen = next(iter(self._waiting))
            del self._waiting[chosen]
            yield chosen
