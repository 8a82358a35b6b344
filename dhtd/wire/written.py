"""The endpoints of keys that were asked for last, in the form of a wire: written once, while they stay the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, packed
from dhtd.core.latest import Latest

_KEYS: Final = 128


class Written:
    """Writes endpoints by a function of the wire. Sequences of endpoints are told apart by what they *are*."""

    def __init__(self, write: Callable[[Sequence[Endpoint]], bytes]) -> None:
        self._write = write
        self._known: Latest[bytes, tuple[Sequence[Endpoint], bytes]] = Latest(_KEYS)

    def of(self, key: Id, endpoints: Sequence[Endpoint]) -> bytes:
        """Return the wire form of what is under `key`. A tuple of endpoints is never changed, so it is remembered."""
        found_by = packed(key)
        known = self._known.get(found_by)
        if known is not None and known[0] is endpoints:
            return known[1]
        wire = self._write(endpoints)
        if type(endpoints) is tuple:
            self._known[found_by] = endpoints, wire
        return wire
