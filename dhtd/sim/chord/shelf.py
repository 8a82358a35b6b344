"""The records that a node holds: machines that serve keys, each for a lease.

A machine that withdraws a record leaves a withdrawal in its place. That keeps late copies out until their leases are
over.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import floor
from typing import Final, NamedTuple

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, packed
from dhtd.sim.chord.circle import Circle
from dhtd.sim.chord.messages import Copy

LEAST: Final = 1.0  # seconds that are left of a lease, so that a record is handed on
_NEWS: Final = 1.0  # seconds by which a lease must be longer to be news to other holders

Place = tuple[bytes, Endpoint]  # of a record: its packed key, and the endpoint


class _Record(NamedTuple):
    """What stands at a place."""

    until: float
    stamp: int
    is_withdrawn: bool


class Shelf:
    """Records by key."""

    def __init__(self) -> None:
        self._keys: dict[bytes, Id] = {}
        self._held: dict[bytes, dict[Endpoint, _Record]] = {}

    def __len__(self) -> int:
        """How many records there are, without the withdrawn ones."""
        return sum(not record.is_withdrawn for held in self._held.values() for record in held.values())

    def put(self, copy: Copy, now: float) -> bool:
        """Hold a record, unless a later one is there; return whether it is new, withdrawn now, or has a new lease."""
        name = packed(copy.key)
        self._keys[name] = copy.key
        held = self._held.setdefault(name, {})
        record, known = _Record(now + copy.lease, copy.stamp, copy.is_withdrawn), held.get(copy.endpoint)
        if known is not None and (record.stamp, record.until) <= (known.stamp, known.until):
            return False
        held[copy.endpoint] = record
        return known is None or record.stamp > known.stamp or record.until > known.until + _NEWS

    def at(self, place: Place, now: float) -> Copy | None:
        """Return a record by its place, to be handed on. What is about to expire is not worth a word."""
        name, endpoint = place
        record = self._held.get(name, {}).get(endpoint)
        return None if record is None or record.until < now + LEAST else self._copy(name, endpoint, record, now)

    def under(self, key: Id, now: float) -> tuple[Endpoint, ...]:
        """Return the endpoints under a key, in the order in which they came."""
        held = self._held.get(packed(key), {})
        return tuple(endpoint for endpoint, record in held.items() if record.until > now and not record.is_withdrawn)

    def within(self, circle: Circle, start: Id, end: Id, now: float) -> list[Copy]:
        """Return the records under keys after `start`, up to `end`, clockwise, to be handed on."""
        found = [
            self._copy(name, endpoint, record, now)
            for name, held in self._held.items()
            if circle.is_in(self._keys[name], start, end)
            for endpoint, record in held.items()
            if record.until >= now + LEAST
        ]
        return sorted(found, key=lambda copy: (circle.distance(copy.key, start), copy.endpoint))

    def sweep(self, now: float) -> None:
        """Drop what has expired."""
        for name, held in list(self._held.items()):
            for endpoint in [endpoint for endpoint, record in held.items() if record.until <= now]:
                del held[endpoint]
            if not held:
                del self._held[name], self._keys[name]

    def places(self) -> Iterator[tuple[Id, Place]]:
        """Yield the key and the place of each record."""
        for name, held in self._held.items():
            for endpoint in held:
                yield self._keys[name], (name, endpoint)

    def _copy(self, name: bytes, endpoint: Endpoint, record: _Record, now: float) -> Copy:
        return Copy(self._keys[name], endpoint, floor(record.until - now), record.stamp, record.is_withdrawn)
