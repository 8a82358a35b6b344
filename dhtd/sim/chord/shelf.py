"""The records that a node holds: machines that serve keys, each for a lease."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, packed
from dhtd.sim.chord.circle import Circle

LEAST: Final = 1.0  # seconds that are left of a lease, so that a record is handed on

Place = tuple[bytes, Endpoint]  # of a record: its packed key, and the endpoint


class Shelf:
    """Records by key."""

    def __init__(self) -> None:
        self._keys: dict[bytes, Id] = {}
        self._held: dict[bytes, dict[Endpoint, float]] = {}  # until when

    def __len__(self) -> int:
        """How many records there are."""
        return sum(map(len, self._held.values()))

    def put(self, key: Id, endpoint: Endpoint, until: float) -> Place:
        """Hold a record until then, or longer if it is held for longer already; return its place."""
        name = packed(key)
        self._keys[name] = key
        held = self._held.setdefault(name, {})
        held[endpoint] = max(held.get(endpoint, until), until)
        return name, endpoint

    def until(self, key: Id, endpoint: Endpoint) -> float | None:
        """Return until when a record is held."""
        return self._held.get(packed(key), {}).get(endpoint)

    def at(self, place: Place, now: float) -> tuple[Id, Endpoint, float] | None:
        """Return a record by its place: key, endpoint, and the seconds that are left."""
        name, endpoint = place
        until = self._held.get(name, {}).get(endpoint)
        return None if until is None or until <= now else (self._keys[name], endpoint, until - now)

    def under(self, key: Id, now: float) -> tuple[Endpoint, ...]:
        """Return the endpoints under a key, in the order in which they came."""
        return tuple(endpoint for endpoint, until in self._held.get(packed(key), {}).items() if until > now)

    def within(self, circle: Circle, start: Id, end: Id, now: float) -> list[tuple[Id, Endpoint, float]]:
        """Return the records under keys after `start`, up to `end`: key, endpoint and seconds left, clockwise.

        What is about to expire is not worth a word.
        """
        found = [
            (self._keys[name], endpoint, until - now)
            for name, held in self._held.items()
            if circle.is_in(self._keys[name], start, end)
            for endpoint, until in held.items()
            if until - now >= LEAST
        ]
        return sorted(found, key=lambda record: (circle.distance(record[0], start), record[1]))

    def sweep(self, now: float) -> None:
        """Drop what has expired."""
        for name, held in list(self._held.items()):
            for endpoint in [endpoint for endpoint, until in held.items() if until <= now]:
                del held[endpoint]
            if not held:
                del self._held[name], self._keys[name]

    def places(self) -> Iterator[tuple[Id, Place]]:
        """Yield the key and the place of each record."""
        for name, held in self._held.items():
            for endpoint in held:
                yield self._keys[name], (name, endpoint)
