"""What a query asks for beside its request: fewer endpoints, how many there are, or a sample of keys (BEP 33, 51)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dhtd.core.codec import Named, Sample
from dhtd.core.ids import Id, unpacked
from dhtd.core.messages import FindNode, FindValue, Query
from dhtd.core.policy import Policy
from dhtd.core.storage.store import HeldRecords

if TYPE_CHECKING:
    from random import Random


class Asides:
    """Answers to options of queries, on a wire that has some."""

    __slots__ = ("_keys", "_policy", "_rng", "_store", "_until")

    def __init__(self, store: HeldRecords, policy: Policy, rng: Random) -> None:
        self._store = store
        self._policy = policy
        self._rng = rng
        self._keys: list[Id] = []  # the sample, and until when it is the same
        self._until = float("-inf")

    def slept(self, seconds: float) -> None:
        """Take the sample as so much older."""
        self._until -= seconds

    def named(self, query: Query, named: Named, now: float) -> Named:
        """Return what an answer to this query names; without its options that would be `named`."""
        request, options = query.request, query.options
        if isinstance(request, FindNode):
            return self._sampled(now) if options.samples else named
        if not isinstance(request, FindValue) or not (options.scrapes or options.no_seeds):
            return named
        seeds = self._store.seeds(request.key)
        if options.scrapes:
            return named._replace(seeds=seeds)
        return named._replace(endpoints=[endpoint for endpoint in named.endpoints if endpoint not in seeds])

    def _sampled(self, now: float) -> Named:
        """Return some keys with records here. They are the same for all, so that nobody learns more by asking twice."""
        keys = self._store.keys()
        if now >= self._until:
            some = self._rng.sample(list(keys), min(len(keys), self._policy.sample_keys))
            self._keys, self._until = [unpacked(key) for key in some], now + self._policy.sample_interval
        return Named(sample=Sample(self._keys, len(keys), int(self._until - now)))
