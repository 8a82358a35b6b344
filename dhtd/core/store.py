"""Entries that this node holds for others: a key and the endpoints that entered it, each with its expiry.

The endpoint's IP is the source of the datagram that stored it, so nobody can announce another machine. Expired entries
are never answered with, and are dropped by `sweep`. Quotas bound the whole, a key, and a source.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from dhtd.core.endpoint import Endpoint, source_group
from dhtd.core.metric import Id
from dhtd.core.policy import Policy


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


_Record = tuple[float, Id, Endpoint]  # a held entry as it is kept: when it expires, its key and its endpoint

_STORED = Stored()
_SLACK = 64  # forgotten records in the queue that are not worth a rebuild


class Store:
    """Held entries by key.

    A node may hold a million. So each is one tuple, which lies in the queue of expiries as well; and most keys have one
    endpoint, to which no dictionary of endpoints is made.
    """

    __slots__ = ("_changed", "_held", "_policy", "_queue", "_size", "_source_sizes")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._held: dict[Id, _Record | dict[Endpoint, _Record]] = {}
        self._queue: list[_Record] = []  # a heap: the same records, and those that were renewed or removed since
        self._size = 0
        self._source_sizes: dict[bytes, int] = {}
        self._changed: set[Id] = set()

    def __len__(self) -> int:
        """How many entries are held, expired ones that were not swept yet included."""
        return self._size

    def __iter__(self) -> Iterator[HeldEntry]:
        """Yield each held entry."""
        for key in self._held:
            yield from self.held(key)

    def put(self, key: Id, endpoint: Endpoint, now: float) -> Stored | QuotaReached:
        """Hold `endpoint` under `key` for `store_expiry` seconds from now."""
        return self._hold((now + self._policy.store_expiry, key, endpoint), now)

    def restore(self, entry: HeldEntry, now: float) -> Stored | QuotaReached:
        """Hold an entry until its own expiry."""
        return self._hold((entry.expires_at, entry.key, entry.endpoint), now)

    def remove(self, key: Id, endpoint: Endpoint) -> bool:
        """Drop an entry; return whether it was there."""
        if self._record(key, endpoint) is None:
            return False
        held = self._held[key]
        if isinstance(held, tuple):
            del self._held[key]
        else:
            del held[endpoint]
            if len(held) == 1:
                [self._held[key]] = held.values()
        group = source_group(endpoint.ip)
        self._source_sizes[group] -= 1
        if not self._source_sizes[group]:
            del self._source_sizes[group]
        self._size -= 1
        self._changed.add(key)
        return True

    def get(self, key: Id, now: float) -> list[Endpoint]:
        """Return the endpoints under `key` that have not expired."""
        held = self._held.get(key)
        if held is None:
            return []
        if isinstance(held, tuple):
            return [held[2]] if held[0] > now else []
        return [endpoint for expires_at, _, endpoint in held.values() if expires_at > now]

    def held(self, key: Id) -> list[HeldEntry]:
        """Return the entries under `key`."""
        return [HeldEntry(key, endpoint, expires_at) for expires_at, _, endpoint in self._records(key)]

    def sweep(self, now: float) -> int:
        """Drop expired entries; return how many. Costs nothing for those that stay: refusals ask for it, too."""
        expired = 0
        while self._queue and self._queue[0][0] <= now:
            record = heappop(self._queue)
            _, key, endpoint = record
            if self._record(key, endpoint) is record:
                self.remove(key, endpoint)
                expired += 1
        return expired

    def take_changes(self) -> set[Id]:
        """Return the keys whose entries have changed since the last call, for whoever saves them."""
        changed, self._changed = self._changed, set()
        return changed

    def mark_changed(self, keys: set[Id]) -> None:
        """Have these keys among the next changes again: they could not be saved."""
        self._changed |= keys

    def _records(self, key: Id) -> Collection[_Record]:
        held = self._held.get(key)
        if held is None:
            return ()
        return (held,) if isinstance(held, tuple) else held.values()

    def _record(self, key: Id, endpoint: Endpoint) -> _Record | None:
        held = self._held.get(key)
        if isinstance(held, dict):
            return held.get(endpoint)
        return held if held is not None and held[2] == endpoint else None

    def _hold(self, record: _Record, now: float) -> Stored | QuotaReached:
        _, key, endpoint = record
        if self._record(key, endpoint) is None:
            refusal = self._refusal(key, endpoint)
            if refusal is not None and self.sweep(now):
                refusal = self._refusal(key, endpoint)
            if refusal is not None:
                return refusal
            group = source_group(endpoint.ip)
            self._source_sizes[group] = self._source_sizes.get(group, 0) + 1
            self._size += 1
        self._keep(record)
        self._changed.add(key)
        return _STORED

    def _keep(self, record: _Record) -> None:
        """Put a record in, in place of an older one of the same endpoint."""
        expires_at, key, endpoint = record
        held = self._held.get(key)
        if isinstance(held, dict):
            known = next(iter(held.values()))[1]  # one object for the key in all its records
            record = held[endpoint] = (expires_at, known, endpoint)
        elif held is None or held[2] == endpoint:
            self._held[key] = record
        else:
            record = (expires_at, held[1], endpoint)
            self._held[key] = {held[2]: held, endpoint: record}
        heappush(self._queue, record)
        if len(self._queue) > 2 * self._size + _SLACK:
            self._queue = [record for key in self._held for record in self._records(key)]
            heapify(self._queue)

    def _refusal(self, key: Id, endpoint: Endpoint) -> QuotaReached | None:
        if self._size >= self._policy.store_entries:
            return QuotaReached("store is full")
        if len(self._records(key)) >= self._policy.store_entries_per_key:
            return QuotaReached("too many entries under this key")
        from_source = self._source_sizes.get(source_group(endpoint.ip), 0)
        if from_source >= self._policy.store_entries_per_source:
            return QuotaReached("too many entries from this address")
        return None
