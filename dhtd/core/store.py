"""Entries that this node holds for others: a key and the endpoints that entered it, each with its expiry.

The endpoint's IP is the source of the datagram that stored it, so nobody can announce another machine. Expired entries
are never answered with, and are dropped by `sweep`. Quotas bound the whole, a key, and a source.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dhtd.core.endpoint import Endpoint, source_group
from dhtd.core.metric import Id
from dhtd.core.policy import Policy
from dhtd.core.timers import Timers


@dataclass(frozen=True, slots=True)
class Stored:
    """The entry is held."""


@dataclass(frozen=True, slots=True)
class QuotaReached:
    """The entry is not held: a quota is used up."""

    text: str


@dataclass(frozen=True, slots=True)
class HeldEntry:
    """One endpoint under one key; times are `now` times."""

    key: Id
    endpoint: Endpoint
    expires_at: float


class Store:
    """Held entries by key."""

    __slots__ = ("_changed", "_deadlines", "_expiries", "_policy", "_size", "_source_sizes")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._expiries: dict[Id, dict[Endpoint, float]] = {}
        self._deadlines: Timers[tuple[Id, Endpoint]] = Timers()  # the same expiries, for `sweep`
        self._size = 0
        self._source_sizes: dict[bytes, int] = {}
        self._changed: set[Id] = set()

    def __len__(self) -> int:
        """How many entries are held, expired ones that were not swept yet included."""
        return self._size

    def __iter__(self) -> Iterator[HeldEntry]:
        """Yield each held entry."""
        for key, expiries in self._expiries.items():
            for endpoint, expires_at in expiries.items():
                yield HeldEntry(key, endpoint, expires_at)

    def put(self, key: Id, endpoint: Endpoint, now: float) -> Stored | QuotaReached:
        """Hold `endpoint` under `key` for `store_expiry` seconds from now."""
        return self.restore(HeldEntry(key, endpoint, now + self._policy.store_expiry), now)

    def restore(self, entry: HeldEntry, now: float) -> Stored | QuotaReached:
        """Hold an entry until its own expiry."""
        expiries = self._expiries.get(entry.key, {})
        if entry.endpoint not in expiries:
            refusal = self._refusal(entry, len(expiries))
            if refusal is not None and self.sweep(now):
                expiries = self._expiries.get(entry.key, {})
                refusal = self._refusal(entry, len(expiries))
            if refusal is not None:
                return refusal
            group = source_group(entry.endpoint.ip)
            self._source_sizes[group] = self._source_sizes.get(group, 0) + 1
            self._size += 1
        self._expiries.setdefault(entry.key, expiries)[entry.endpoint] = entry.expires_at
        self._deadlines.set((entry.key, entry.endpoint), entry.expires_at)
        self._changed.add(entry.key)
        return Stored()

    def remove(self, key: Id, endpoint: Endpoint) -> bool:
        """Drop an entry; return whether it was there."""
        expiries = self._expiries.get(key)
        if expiries is None or expiries.pop(endpoint, None) is None:
            return False
        if not expiries:
            del self._expiries[key]
        self._deadlines.cancel((key, endpoint))
        group = source_group(endpoint.ip)
        self._source_sizes[group] -= 1
        if not self._source_sizes[group]:
            del self._source_sizes[group]
        self._size -= 1
        self._changed.add(key)
        return True

    def get(self, key: Id, now: float) -> list[Endpoint]:
        """Return the endpoints under `key` that have not expired."""
        expiries = self._expiries.get(key)
        return [] if expiries is None else [endpoint for endpoint, at in expiries.items() if at > now]

    def held(self, key: Id) -> list[HeldEntry]:
        """Return the entries under `key`."""
        return [HeldEntry(key, endpoint, at) for endpoint, at in self._expiries.get(key, {}).items()]

    def sweep(self, now: float) -> int:
        """Drop expired entries; return how many. Costs nothing for those that stay: refusals ask for it, too."""
        expired = list(self._deadlines.pop_due(now))
        for key, endpoint in expired:
            self.remove(key, endpoint)
        return len(expired)

    def take_changes(self) -> set[Id]:
        """Return the keys whose entries have changed since the last call, for whoever saves them."""
        changed, self._changed = self._changed, set()
        return changed

    def mark_changed(self, keys: set[Id]) -> None:
        """Have these keys among the next changes again: they could not be saved."""
        self._changed |= keys

    def _refusal(self, entry: HeldEntry, under_key: int) -> QuotaReached | None:
        if self._size >= self._policy.store_entries:
            return QuotaReached("store is full")
        if under_key >= self._policy.store_entries_per_key:
            return QuotaReached("too many entries under this key")
        from_source = self._source_sizes.get(source_group(entry.endpoint.ip), 0)
        if from_source >= self._policy.store_entries_per_source:
            return QuotaReached("too many entries from this address")
        return None
