"""Says in the log which caps were hit, by name: in one line a while, however often they were."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from dhtd.core import caps

INTERVAL: Final = 60.0  # seconds between lines, and in each of them

# What happens in any large network, and costs nobody anything: for those who look closely.
ORDINARY: Final = frozenset(
    {
        caps.CLAIMS,
        caps.CONTACTS_PER_IP,
        caps.CONTACTS_PER_NETWORK,
        caps.CONTACTS_PER_NETWORK_IN_BUCKET,
        caps.ENTRY_HOLDERS,
        caps.LOOKUP_PER_IP,
        caps.LOOKUP_PER_NETWORK,
        caps.REPLACEMENTS,
        caps.SEARCH_CANDIDATES,
        caps.SEARCH_QUERIES,
        caps.STRANGER_PINGS,
        caps.STRANGER_RATE,
        caps.VERIFICATIONS,
    }
)

log = logging.getLogger("dhtd.caps")


class CapLog:
    """Watches the counters of caps. Asked often, it looks at them once an `INTERVAL`."""

    def __init__(self, hits: Mapping[str, int]) -> None:
        self._hits = hits
        self._seen = dict(hits)
        self._look_at = float("-inf")

    def look(self, now: float) -> None:
        """Log what was hit since the last look, if that is long enough ago."""
        if now < self._look_at:
            return
        self._look_at = now + INTERVAL
        news = {cap: hits - self._seen[cap] for cap, hits in self._hits.items() if hits != self._seen[cap]}
        self._seen = dict(self._hits)
        for level, names in ((logging.WARNING, news.keys() - ORDINARY), (logging.DEBUG, news.keys() & ORDINARY)):
            if names:
                log.log(level, "caps hit: %s", ", ".join(f"{cap} {news[cap]}" for cap in news if cap in names))
