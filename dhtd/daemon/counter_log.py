"""Logs the trouble that the counters show: one line of each kind a minute, however much it is."""

from __future__ import annotations

import logging
from typing import Final

from dhtd.core import counters
from dhtd.core.counters import Counters
from dhtd.words import count

INTERVAL: Final = 60.0  # seconds between lines of one kind, and covered by each line

# Caps that are hit in any large network, and cost nobody anything: logged at debug level.
ORDINARY: Final = frozenset(
    {
        counters.CLAIMS,
        counters.CONTACTS_PER_IP,
        counters.CONTACTS_PER_NETWORK,
        counters.CONTACTS_PER_NETWORK_IN_BUCKET,
        counters.ENTRY_HOLDERS,
        counters.LOOKUP_PER_IP,
        counters.LOOKUP_PER_NETWORK,
        counters.REPLACEMENTS,
        counters.SEARCH_CANDIDATES,
        counters.SEARCH_QUERIES,
        counters.STRANGER_PINGS,
        counters.STRANGER_RATE,
        counters.VERIFICATIONS,
    }
)

log = logging.getLogger("dhtd.watch")


class CounterLog:
    """Watches the counters of a node. It may be asked often, and looks at them once an `INTERVAL`."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._seen = dict(counters.caps_hit)
        self._own_id_claimed = counters.own_id_claimed
        self._look_at = float("-inf")

    def look(self, now: float) -> None:
        """Log the trouble since the last look, if that is long enough ago."""
        if now < self._look_at:
            return
        self._look_at = now + INTERVAL
        hits = self._counters.caps_hit
        news = {cap: hit - self._seen[cap] for cap, hit in hits.items() if hit != self._seen[cap]}
        self._seen = dict(hits)
        for level, names in ((logging.WARNING, news.keys() - ORDINARY), (logging.DEBUG, news.keys() & ORDINARY)):
            if names:
                log.log(level, "caps hit: %s", ", ".join(f"{cap} {news[cap]}" for cap in news if cap in names))
        claimed, self._own_id_claimed = self._own_id_claimed, self._counters.own_id_claimed
        if self._own_id_claimed != claimed:
            log.warning(
                "this node's ID was used by others, %s: does another node run on a copy of its state file?",
                count(self._own_id_claimed - claimed, "time"),
            )
