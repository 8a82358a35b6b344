"""The endpoints in an answer to find_value: as many as there is room for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dhtd.core.codec import Named
from dhtd.core.endpoint import IPV4_SIZE, IPV6_SIZE, Endpoint
from dhtd.core.ids import Id
from dhtd.wire.native_layout import ENDPOINT_HEADS, array_head
from dhtd.wire.written import Written

_ONE: Final = array_head(1)


class EndpointArrays:
    """Writes the endpoints under keys as arrays."""

    def __init__(self) -> None:
        self._written = Written(_elements)

    def within(self, room: int, key: Id, named: Named) -> tuple[bytes, bytes, bool]:
        """Return endpoints that fit into `room` bytes, the head of their array, and whether others were left out."""
        endpoints, is_left_out = named.endpoints, False
        # 1. Mostly, all fit.
        if len(endpoints) == 1 and room >= 2 + IPV6_SIZE:
            return ENDPOINT_HEADS[len(endpoints[0])] + endpoints[0], _ONE, False
        most = max(0, room) // (2 + IPV4_SIZE)
        if len(endpoints) <= most:
            wire = self._written.of(key, endpoints)
            if len(wire) <= room:
                return wire, array_head(len(endpoints)), False
        # 2. If not, have as many chosen as may fit at best.
        if named.choose is not None:
            endpoints = named.choose(key, endpoints, most)
            is_left_out = len(endpoints) < len(named.endpoints)
        # 3. Drop the last ones until the rest fits.
        count, wire = len(endpoints), _elements(endpoints)
        while len(wire) > room:
            count -= 1
            wire, is_left_out = wire[: -2 - len(endpoints[count])], True
        return wire, array_head(count), is_left_out


def _elements(endpoints: Sequence[Endpoint]) -> bytes:
    return b"".join([ENDPOINT_HEADS[len(endpoint)] + endpoint for endpoint in endpoints])
