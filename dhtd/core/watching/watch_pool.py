"""Watches that share room: those of one key, or all that are held. Each source has a fair share of it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from dhtd.core.endpoint import source_group
from dhtd.core.storage.fair_shares import FairShares

W = TypeVar("W", bound=Hashable)


class WatchPool(Generic[W]):
    """Watches by source, which is found by the address."""

    __slots__ = ("_shares", "_sources", "watches")

    def __init__(self) -> None:
        self.watches: dict[W, None] = {}
        self._shares = FairShares()
        self._sources: dict[bytes, dict[W, None]] = {}

    def of(self, ip: bytes) -> int:
        """Return how many watches a source has here."""
        return len(self._sources.get(source_group(ip), ()))

    def add(self, watch: W, ip: bytes) -> None:
        """There is a new watch."""
        source = source_group(ip)
        of_source = self._sources.setdefault(source, {})
        self._shares.resize(source, len(of_source), len(of_source) + 1)
        of_source[watch] = self.watches[watch] = None

    def drop(self, watch: W, ip: bytes) -> None:
        """A watch is over."""
        source = source_group(ip)
        of_source = self._sources[source]
        self._shares.resize(source, len(of_source), len(of_source) - 1)
        del of_source[watch], self.watches[watch]
        if not of_source:
            del self._sources[source]

    def loser(self, ip: bytes) -> W | None:
        """Return the watch that gives way to a new one of a source, if one does: the oldest of the other source."""
        source = self._shares.loser(self.of(ip))
        return None if source is None else next(iter(self._sources[source]))
