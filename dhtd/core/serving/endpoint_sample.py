"""Which endpoints of a key go into an answer that has no room for all: one of each source first, then any of them.

Were they all alike, whoever enters itself on a thousand ports would hide from many lookups who serves the key on one.

To tell sources apart takes 0.1 us for each endpoint, and a key may have a thousand. So it is remembered of the keys
that were asked for of late, as long as they have the same endpoints: whoever has filled a key cannot make others pay
for it at each query.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dhtd.core.endpoint import IPV4_SIZE, Endpoint, source_group

_KEYS: Final = 128  # of which it is remembered: two for each that can be full at once, by the numbers of `Policy`


class EndpointSample:
    """Chooses, and remembers of keys with many endpoints which of these are one source's."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[Sequence[Endpoint], list[list[Endpoint]]]] = {}

    def of(self, key: bytes, endpoints: Sequence[Endpoint], count: int, lot: float) -> list[Endpoint]:
        """Return `count` of the endpoints under a packed key, as many as there are at most; others for another `lot`.

        The lot is a number from 0 to 1, which it does not reach. In front is one of each source.
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
        """Return the endpoints by source; nothing where each has one of its own.

        To compare them with those of last time costs little: they are the same objects.
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
        if len(self._known) >= _KEYS and known is None:
            del self._known[next(iter(self._known))]
        sources = list(by_source.values()) if len(by_source) < len(endpoints) else []
        self._known[key] = endpoints, sources
        return sources
