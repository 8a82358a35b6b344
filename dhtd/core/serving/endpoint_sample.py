"""The endpoints of a key that go into an answer without room for all: one of each source first, then any of them.

Without that order, a machine that enters itself on a thousand ports would hide the others from many lookups.

To tell sources apart takes 0.1 us for each endpoint, and a key may have a thousand. So the result is remembered for the
keys that were asked for last, as long as their endpoints stay the same: a full key does not cost us that at each query.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dhtd.core.endpoint import IPV4_SIZE, Endpoint, source_group
from dhtd.core.latest import Latest

_KEYS: Final = 128  # that are remembered: two for each that can be full at once, by the numbers of `Policy`


class EndpointSample:
    """Chooses endpoints, and remembers for each key which of them are one source's."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: Latest[bytes, tuple[Sequence[Endpoint], list[list[Endpoint]]]] = Latest(_KEYS)

    def of(self, key: bytes, endpoints: Sequence[Endpoint], count: int, lot: float) -> list[Endpoint]:
        """Return `count` of the endpoints under a packed key, or all if there are fewer; others for another `lot`.

        The lot is a number below 1, from 0 on. One endpoint of each source comes first.
        """
        sources = self._sources(key, endpoints)
        first, begin = int(lot * len(endpoints)), int(lot * len(sources))
        others = [*endpoints[first:], *endpoints[:first]][:count]
        if not sources:
            return others
        in_front = [each[first % len(each)] for each in (sources[begin:] + sources[:begin])[:count]]
        chosen = set(in_front)
        return [*in_front, *(endpoint for endpoint in others if endpoint not in chosen)][:count]

    def _sources(self, key: bytes, endpoints: Sequence[Endpoint]) -> list[list[Endpoint]]:
        """Return the endpoints by source; nothing if each has a source of its own.

        The comparison with the endpoints of last time costs little: they are the same objects.
        """
        known = self._known.get(key)
        if known is not None and known[0] == endpoints:
            return known[1]
        by_source: dict[bytes, list[Endpoint]] = {}
        for endpoint in endpoints:
            source = endpoint[:4] if len(endpoint) == IPV4_SIZE else source_group(endpoint[:-2])  # IPv4 without a call
            if source in by_source:
                by_source[source].append(endpoint)
            else:
                by_source[source] = [endpoint]
        sources = list(by_source.values()) if len(by_source) < len(endpoints) else []
        self._known[key] = endpoints, sources
        return sources
