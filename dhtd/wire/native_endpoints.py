"""The endpoints in an answer to find_value: as many as there is room for."""

from __future__ import annotations

from collections.abc import Sequence

from dhtd.core.codec import Named
from dhtd.core.endpoint import IPV4_SIZE, IPV6_SIZE, Endpoint
from dhtd.core.ids import Id
from dhtd.wire.native_layout import ENDPOINT_HEADS, array_head


def array(endpoints: Sequence[Endpoint]) -> bytes:
    """Return endpoints as an array."""
    return array_head(len(endpoints)) + _elements(endpoints)


def within(room: int, key: Id, named: Named) -> tuple[bytes, bool]:
    """Return an array of endpoints with at most `room` bytes behind its head, and whether others were left out."""
    endpoints, is_left_out = named.endpoints, False
    # 1. If perhaps not all fit, have as many chosen as may fit at best.
    if named.choose is not None and len(endpoints) * (2 + IPV6_SIZE) > room:
        endpoints = named.choose(key, endpoints, max(0, room) // (2 + IPV4_SIZE))
        is_left_out = len(endpoints) < len(named.endpoints)
    # 2. Drop the last ones until the rest fits.
    count, wire = len(endpoints), _elements(endpoints)
    while len(wire) > room and count:
        count -= 1
        wire, is_left_out = wire[: -2 - len(endpoints[count])], True
    return array_head(count) + wire, is_left_out


def _elements(endpoints: Sequence[Endpoint]) -> bytes:
    return b"".join([ENDPOINT_HEADS[len(endpoint)] + endpoint for endpoint in endpoints])
