"""The own entries to which a node matters: their keys are no farther from it than from their farthest holder.

A new or lost contact matters to few entries, and there may be 65,536. So entries lie in classes by the reach of their
holders, rounded up to a power of two, and within a class by the bits of the key above that. An entry to which the node
may matter shares these bits with it. So one look into each class finds the entry, among at most as many others.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Generic, Protocol, TypeVar

from dhtd.core.ids import Id, packed


class HasKey(Protocol):
    """An entry under a key."""

    key: Id


E = TypeVar("E", bound=HasKey)


class Nearby(Generic[E]):
    """Entries, each with its reach: the distance from its key up to which nodes matter to it. None is any distance."""

    __slots__ = ("_classes", "_everywhere", "_reaches")

    def __init__(self) -> None:
        self._reaches: dict[E, int | None] = {}
        self._everywhere: dict[E, None] = {}
        self._classes: list[dict[bytes, dict[E, None]]] = []  # by the bits of the reach

    def add(self, entry: E, reach: int | None) -> None:
        """Put an entry in, or change its reach."""
        self.remove(entry)
        self._reaches[entry] = reach
        if reach is None:
            self._everywhere[entry] = None
            return
        bits = reach.bit_length()
        while len(self._classes) <= bits:
            self._classes.append({})
        self._classes[bits].setdefault(_above(entry.key, bits), {})[entry] = None

    def remove(self, entry: E) -> None:
        """Take an entry out, if it is in."""
        if entry not in self._reaches:
            return
        reach = self._reaches.pop(entry)
        if reach is None:
            del self._everywhere[entry]
            return
        bits = reach.bit_length()
        entries = self._classes[bits][_above(entry.key, bits)]
        del entries[entry]
        if not entries:
            del self._classes[bits][_above(entry.key, bits)]

    def anywhere(self) -> Iterator[E]:
        """Yield the entries to which every node matters. They may be taken out meanwhile."""
        yield from list(self._everywhere)

    def of(self, id: Id) -> Iterator[E]:
        """Yield the entries to which a node of this ID matters. They may be taken out meanwhile."""
        for entries in self._groups(id):
            for entry in list(entries):
                if self._matters(entry, id):
                    yield entry

    def some(self, id: Id, most: int) -> Iterator[E]:
        """Yield so many of them at most, without a copy of all. None may be taken out meanwhile."""
        every = (entry for entries in self._groups(id) for entry in entries if self._matters(entry, id))
        return islice(every, most)

    def _groups(self, id: Id) -> Iterator[dict[E, None]]:
        yield self._everywhere
        for bits, entries in enumerate(self._classes):
            group = entries.get(_above(id, bits)) if entries else None
            if group is not None:
                yield group

    def _matters(self, entry: E, id: Id) -> bool:
        if entry not in self._reaches:
            return False
        reach = self._reaches[entry]
        return reach is None or id ^ entry.key <= reach


def _above(id: Id, bits: int) -> bytes:
    return packed(Id(id >> bits))
