"""Which own entries a node matters to: those whose key is no farther from it than their farthest holder is.

A contact that is new, or lost, concerns few of them, and there may be 65,536. So entries lie in classes by how far
their holders reach, rounded up to a power of two, and in a class by the bits of the key above that. An entry that may
be concerned shares these bits with the node: one look in each class finds it, among at most as many others.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Generic, Protocol, TypeVar

from dhtd.core.ids import Id, packed


class HasKey(Protocol):
    """Anything that is entered somewhere."""

    key: Id


E = TypeVar("E", bound=HasKey)


class Nearby(Generic[E]):
    """Entries, each with its reach: how far from its key nodes matter to it; None is any distance."""

    __slots__ = ("_classes", "_everywhere", "_reaches")

    def __init__(self) -> None:
        self._reaches: dict[E, int | None] = {}
        self._everywhere: dict[E, None] = {}
        self._classes: list[dict[bytes, dict[E, None]]] = []  # by the bits of the reach

    def add(self, entry: E, reach: int | None) -> None:
        """Put an entry in, in place of itself."""
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
        """Yield the entries to which any node matters. They may be taken out meanwhile."""
        yield from list(self._everywhere)

    def of(self, id: Id) -> Iterator[E]:
        """Yield the entries to which a node of this ID matters. They may be taken out meanwhile."""
        for entries in self._groups(id):
            for entry in list(entries):
                if self._matters(entry, id):
                    yield entry

    def some(self, id: Id, most: int) -> Iterator[E]:
        """Yield so many of them at most, without a copy of all: none may be taken out meanwhile."""
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
