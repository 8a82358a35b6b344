"""Arithmetic on the circle of IDs. Distances are clockwise, and intervals too."""

from __future__ import annotations

from dataclasses import dataclass

from dhtd.core.ids import Id, Keyspace


@dataclass(frozen=True, slots=True)
class Circle:
    """The circle, seen from one node on it."""

    keyspace: Keyspace
    own: Id

    def after(self, steps: int) -> Id:
        """Return the ID so many steps after our own."""
        return Id((self.own + steps) % self.keyspace.size)

    def distance(self, id: Id, start: Id | None = None) -> int:
        """Return how far `id` is after `start`, or after our own ID."""
        return (id - (self.own if start is None else start)) % self.keyspace.size

    def way(self, id: Id) -> int:
        """Return how far `id` is after our own ID. To our own ID it is all the way round."""
        return self.distance(id) or self.keyspace.size

    def is_in(self, id: Id, start: Id, end: Id) -> bool:
        """Whether `id` is after `start`, and `end` or before it. From an ID to itself is the whole circle."""
        size = self.keyspace.size
        return 0 < ((id - start) % size or size) <= ((end - start) % size or size)
