"""Records that this node holds for others, under their keys, each with its expiry.

A peer's address is the source of the datagram that stored it, so nobody can announce another machine. Expired records
are never part of an answer. `sweep` drops them.

Quotas bound a source, a key, and the whole store. A new record that meets one is treated in this order:

1. Expired records go first.
2. A source at its quota is refused any new record.
3. Under a key at its quota, the source with most records there loses one to a source with fewer.
4. In a full store, the source with most records loses one to a source with fewer.

The record that expires first is evicted. If its source would then hold fewer than the newcomer, the newcomer is refused
instead. So one source cannot keep out another, however much it sends: a source without records is refused only if each
record of the full key, or of the full store, has a source of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final

from dhtd.core.counters import STORE_ENTRIES, STORE_ENTRIES_PER_KEY, STORE_ENTRIES_PER_SOURCE
from dhtd.core.endpoint import Endpoint, Scope, scope_of
from dhtd.core.ids import Id, packed, unpacked
from dhtd.core.policy import Policy
from dhtd.core.records import Peer, Record, RecordKey
from dhtd.core.storage.fair_shares import Entry, FairShares


@dataclass(frozen=True, slots=True)
class Stored:
    """The record is held. If a quota was used up, another one was evicted for it."""

    evicted_by: str | None = None  # the name of the quota


@dataclass(frozen=True, slots=True)
class QuotaReached:
    """The record is not held: a quota is used up, and no other source has more of it."""

    cap: str
    text: str


@dataclass(frozen=True, slots=True)
class HeldRecord:
    """A record that is held under a key. Times are `now` times."""

    key: Id
    record: Record
    expires_at: float

    @property
    def record_key(self) -> RecordKey:
        """What it is found by."""
        return RecordKey.of(self.key, self.record)


_STORED = Stored()
_EVICTED_BY = {cap: Stored(cap) for cap in (STORE_ENTRIES_PER_KEY, STORE_ENTRIES)}
_REFUSED_BY = {
    STORE_ENTRIES_PER_SOURCE: QuotaReached(STORE_ENTRIES_PER_SOURCE, "too many entries from this address"),
    STORE_ENTRIES_PER_KEY: QuotaReached(STORE_ENTRIES_PER_KEY, "too many entries under this key"),
    STORE_ENTRIES: QuotaReached(STORE_ENTRIES, "store is full"),
}
SWEPT: Final = 256  # records that one `sweep` looks at, at most: a full store of one age takes 0.6 s
_SLACK = 64  # forgotten records in the queue, which are not worth a rebuild


class HeldRecords:
    """The held records, by packed key: strangers choose keys, and could make integers collide.

    A node may hold a million. So each record is one tuple, which lies in the queue of expiries as well. Most keys have
    one record, and no dictionary of records by place.
    """

    __slots__ = (
        "_changed",
        "_crowds",
        "_held",
        "_local",
        "_policy",
        "_private",
        "_queue",
        "_shares",
        "_size",
        "is_crowded",
    )

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._held: dict[bytes, Entry | dict[bytes, Entry]] = {}
        self._queue: list[Entry] = []  # a heap: the same records, and some that were renewed or removed since
        self._local: Counter[bytes] = Counter()  # loopback and link-local endpoints, by key
        self._private = 0  # private endpoints; on a LAN that is all
        self._size = 0
        self._shares = FairShares(self._current)
        self._crowds: dict[bytes, FairShares] = {}  # of keys at their quota, and until they are half full
        self._changed: set[bytes] | None = set()  # None: so many that saving all is easier
        self.is_crowded = not policy.store_entries  # whether `refuses_newcomer` is worth a call

    def __len__(self) -> int:
        """How many records are held, with expired ones that are not swept yet."""
        return self._size

    def __iter__(self) -> Iterator[HeldRecord]:
        """Yield each held record."""
        for key in self._held:
            yield from self._entries(unpacked(key), key)

    def __contains__(self, record_key: RecordKey) -> bool:
        """Whether this record is held, expired or not."""
        return self._record(record_key.packed_key, record_key.place) is not None

    def keys(self) -> list[bytes]:
        """Return the packed keys with held records."""
        return list(self._held)

    def put(self, key: Id, endpoint: Endpoint, now: float) -> Stored | QuotaReached:
        """Hold a peer at `endpoint` under `key` for `store_expiry` seconds from now."""
        return self._hold((now + self._policy.store_expiry, packed(key), endpoint), now)

    def restore(self, entry: HeldRecord, now: float) -> Stored | QuotaReached | None:
        """Hold a record of an earlier run until its own expiry; return None where it has expired."""
        if entry.expires_at <= now:
            return None
        return self._hold((entry.expires_at, packed(entry.key), entry.record.endpoint), now)

    def remove(self, key: Id, endpoint: Endpoint) -> bool:
        """Drop the peer at `endpoint`; return whether it was there."""
        return self._remove(packed(key), endpoint)

    def get(self, key: Id, now: float) -> list[Endpoint]:
        """Return the endpoints of the peers under `key` that have not expired."""
        held = self._held.get(packed(key))
        if held is None:
            return []
        if isinstance(held, tuple):
            return [held[2]] if held[0] > now else []
        return [endpoint for expires_at, _, endpoint in held.values() if expires_at > now]

    def is_scoped(self, key: Id, asked_by: Endpoint) -> bool:
        """Whether some endpoints under `key` may mean another machine, or none, to the node at `asked_by`."""
        if self._private and scope_of(asked_by) is Scope.PUBLIC:
            return True
        return bool(self._local) and packed(key) in self._local

    def held(self, key: Id) -> list[HeldRecord]:
        """Return the records under `key`."""
        return self._entries(key, packed(key))

    def refuses_newcomer(self, key: Id, ip: bytes, now: float) -> bool:
        """Whether a record under `key` from this address would be refused, and would be the first from there.

        A source with records here may want to renew or withdraw them. O(1), but for expired records.
        """
        if self._shares.size(ip):
            return False
        self.sweep(now)
        if self._size >= self._policy.store_entries and not self._shares.has_more_than_fair:
            return True
        found_by = packed(key)
        crowd = self._crowds.get(found_by)
        is_full = crowd is not None and len(self._records(found_by)) >= self._policy.store_entries_per_key
        return is_full and crowd is not None and crowd.loser(ip) is None

    def has_expired(self, now: float) -> bool:
        """Whether `sweep` has anything to do."""
        return bool(self._queue) and self._queue[0][0] <= now

    def sweep(self, now: float) -> int:
        """Drop some expired records; return how many. Strangers can make many expire at once.

        Records that stay cost nothing, since refusals call this, too.
        """
        expired = 0
        for _ in range(SWEPT):
            if not self.has_expired(now):
                break
            record = heappop(self._queue)
            _, key, endpoint = record
            if self._current(record) is record:
                self._remove(key, endpoint)
                expired += 1
        return expired

    @property
    def changes(self) -> int:
        """How many keys `take_changes` would return; 0 if it would return None."""
        return 0 if self._changed is None else len(self._changed)

    def take_changes(self, most: int | None = None) -> set[bytes] | None:
        """Take and return the packed keys with changed records, to be saved: `most` of them, if given.

        None means more than twice as many as may be held at once: then all held records are to be saved anew.
        """
        if most is not None and self._changed is not None and len(self._changed) > most:
            return {self._changed.pop() for _ in range(most)}
        changed, self._changed = self._changed, set()
        return changed

    def mark_changed(self, keys: set[bytes] | None) -> None:
        """Have these keys among the next changes again: they could not be saved."""
        if keys is None:
            self._changed = None
        for key in keys or ():
            self._note_change(key)

    def _entries(self, key: Id, found_by: bytes) -> list[HeldRecord]:
        return [HeldRecord(key, Peer(endpoint), expires_at) for expires_at, _, endpoint in self._records(found_by)]

    def _remove(self, key: bytes, endpoint: Endpoint) -> bool:
        record = self._record(key, endpoint)
        if record is None:
            return False
        held = self._held[key]
        if isinstance(held, tuple):
            del self._held[key]
        else:
            del held[endpoint]
            if len(held) == 1:
                [self._held[key]] = held.values()
        self._size -= 1
        self._note_scope(key, endpoint, -1)
        self._shares.drop(record)
        crowd = self._crowds.get(key)
        if crowd is not None:
            crowd.drop(record)
            if len(self._records(key)) <= self._policy.store_entries_per_key // 2:
                del self._crowds[key]
        self.is_crowded = bool(self._crowds) or self._size >= self._policy.store_entries
        self._note_change(key)
        return True

    def _note_scope(self, key: bytes, endpoint: Endpoint, count: int) -> None:
        scope = scope_of(endpoint)
        if scope is Scope.PRIVATE:
            self._private += count
        elif scope is not Scope.PUBLIC:
            self._local[key] += count
            if not self._local[key]:
                del self._local[key]

    def _records(self, key: bytes) -> Collection[Entry]:
        held = self._held.get(key)
        if held is None:
            return ()
        return (held,) if isinstance(held, tuple) else held.values()

    def _record(self, key: bytes, place: bytes) -> Entry | None:
        held = self._held.get(key)
        if isinstance(held, dict):
            return held.get(place)
        return held if held is not None and held[2] == place else None

    def _current(self, record: Entry) -> Entry | None:
        return self._record(record[1], record[2])

    def _hold(self, record: Entry, now: float) -> Stored | QuotaReached:
        _, key, endpoint = record
        outcome = _STORED
        old = self._record(key, endpoint)
        # A known record is renewed.
        if old is not None:
            record = self._keep((record[0], *old[1:]))  # the key and the endpoint are objects that are there already
            self._shares.renew(old, record)
            if key in self._crowds:
                self._crowds[key].renew(old, record)
        # A new one needs room: of expired records first, and then of a source with more.
        else:
            used_up = self._used_up(key, endpoint)
            if used_up is not None and self.has_expired(now):
                self.sweep(now)
                used_up = self._used_up(key, endpoint)
            if used_up is not None:
                loser = self._loser(used_up, key, endpoint)
                if loser is None:
                    return _REFUSED_BY[used_up]
                self._remove(*loser[1:])
                outcome = _EVICTED_BY[used_up]
            self._size += 1
            self._note_scope(key, endpoint, 1)
            record = self._keep(record)
            self._shares.add(record)
            self._note_crowd(record)
        self._note_change(key)
        return outcome

    def _keep(self, record: Entry) -> Entry:
        """Put a record in, or in place of an older one; return it as it is kept."""
        # Put it beside the others under its key. One object is the key in all their records.
        expires_at, key, endpoint = record
        held = self._held.get(key)
        if isinstance(held, dict):
            known = next(iter(held.values()))[1]
            record = held[endpoint] = (expires_at, known, endpoint)
        elif held is None or held[2] == endpoint:
            self._held[key] = record
        else:
            record = (expires_at, held[1], endpoint)
            self._held[key] = {held[2]: held, endpoint: record}
        # Queue its expiry. Forgotten records in the queue are dropped once they are half of it.
        heappush(self._queue, record)
        if len(self._queue) > 2 * self._size + _SLACK:
            self._queue = [record for key in self._held for record in self._records(key)]
            heapify(self._queue)
        return record

    def _note_crowd(self, record: Entry) -> None:
        """Count a new record under a key that is or becomes full, and note whether anything is full."""
        key, policy = record[1], self._policy
        if key in self._crowds:
            self._crowds[key].add(record)
        elif len(self._records(key)) >= policy.store_entries_per_key:
            crowd = self._crowds[key] = FairShares(self._current)
            for each in self._records(key):
                crowd.add(each)
        self.is_crowded = bool(self._crowds) or self._size >= policy.store_entries

    def _note_change(self, key: bytes) -> None:
        """Have the key among the next changes. These include keys without records, and need a bound of their own."""
        if self._changed is not None:
            self._changed.add(key)
            if len(self._changed) > 2 * self._policy.store_entries + _SLACK:
                self._changed = None

    def _used_up(self, key: bytes, endpoint: Endpoint) -> str | None:
        """Return the quota that leaves no room for another record, if one does."""
        policy = self._policy
        if self._shares.size(endpoint[:-2]) >= policy.store_entries_per_source:
            return STORE_ENTRIES_PER_SOURCE
        if len(self._records(key)) >= policy.store_entries_per_key:
            return STORE_ENTRIES_PER_KEY
        if self._size >= policy.store_entries:
            return STORE_ENTRIES
        return None

    def _loser(self, used_up: str, key: bytes, endpoint: Endpoint) -> Entry | None:
        """Return the record that gives way to another one under this key and from this endpoint, if one does."""
        if used_up == STORE_ENTRIES_PER_SOURCE:
            return None
        pool = self._crowds[key] if used_up == STORE_ENTRIES_PER_KEY else self._shares
        return pool.loser(endpoint.ip)
