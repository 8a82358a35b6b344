"""The endpoints of keys that were asked for last, in the form of a wire: written once, while they stay the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from dhtd.core.endpoint import Endpoint
from dhtd.core.latest import Latest

_KEYS: Final = 256


class Written:
    """Writes endpoints by a function of the wire, and remembers what it has made of the latest tuples.

    Sequences are told apart by what they *are*: a tuple that is remembered stays, so nothing else has its `id`.
    """

    def __init__(self, write: Callable[[Sequence[Endpoint]], bytes]) -> None:
        self._write = write
        self._known: Latest[int, tuple[Sequence[Endpoint], bytes]] = Latest(_KEYS)

    def of(self, endpoints: Sequence[Endpoint]) -> bytes:
        """Return the wire form of these endpoints."""
        known = self._known.get(id(endpoints))
        if known is not None:
            return known[1]
        wire = self._write(endpoints)
        if type(endpoints) is tuple:  # a list could be changed
            self._known[id(endpoints)] = endpoints, wire
        return wire
