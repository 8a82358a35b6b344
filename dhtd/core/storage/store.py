"""Records that this node holds for others, under their keys, each with its lease.

A peer's address is the source of the datagram that stored it, so nobody can announce another machine. Only the session
that stored a record can renew or remove it. Two sessions may store the same endpoint: two machines behind one NAT, or
one that has lost its state file. Then both have a record of their own.

Records of expired leases are never part of an answer. `sweep` drops them.

Quotas bound a source, a key, and the whole store. A new record that meets one is treated in this order:

1. Expired records go first.
2. A source at its quota is refused any new record.
3. Under a key at its quota, the source with most records there loses one to a source with fewer.
4. In a full store, the source with most records loses one to a source with fewer.

The record that was stored first is evicted. If its source would then hold fewer than the newcomer, the newcomer is
refused instead. So one source cannot keep out another, however much it sends: a source without records is refused only
if each record of the full key, or of the full store, has a source of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, KeysView
from math import floor
from typing import Final

from dhtd.core.counters import STORE_ENTRIES, STORE_ENTRIES_PER_KEY, STORE_ENTRIES_PER_SOURCE
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, packed, unpacked
from dhtd.core.latest import Latest
from dhtd.core.policy import Policy
from dhtd.core.records import Peer, RecordKey
from dhtd.core.storage.changed_keys import ChangedKeys
from dhtd.core.storage.held_record import HeldRecord
from dhtd.core.storage.leases import SESSION_KEPT, Entry, Lease, Reminder, kept
from dhtd.core.storage.listed import KEPT, NOBODY, Listed, list_live
from dhtd.core.storage.outcomes import EVICTED_BY, REFUSED_BY, STORED, QuotaReached, Stored
from dhtd.core.storage.seeds import Seeds
from dhtd.core.storage.sources import Crowds, Sources
from dhtd.core.storage.wheel import Wheel

SWEPT: Final = 256  # records that one `sweep` looks at, at most: a full store of one age takes 0.6 s


class HeldRecords:
    """The held records, by packed key: strangers choose keys, and could make integers collide.

    A node may hold a million. So each record is one tuple, and most keys have one record, and no dictionary. Where a
    key has more, they are found by place: an endpoint, with the session behind it where another one has the same.
    """

    __slots__ = (
        "_crowds",
        "_doubles",
        "_expiring",
        "_held",
        "_listed",
        "_policy",
        "_seeds",
        "_size",
        "_sources",
        "_until",
        "_wheel",
        "changed",
        "filled_at",
        "is_crowded",
    )

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._held: dict[bytes, Entry | dict[bytes, Entry]] = {}
        self._doubles = 0  # records with a session in their place
        self._sources = Sources()
        self._crowds = Crowds(policy.store_entries_per_key)
        self._wheel: Wheel[Lease | Reminder] = Wheel()
        self._expiring: Lease | Reminder | None = None  # it has expired, and some of its records are dropped already
        self._until = 0.0  # the latest expiry: an object that many leases share
        self._listed: Latest[bytes, Listed] = Latest(KEPT)  # what is under the latest keys
        self._seeds = Seeds()
        self._size = 0
        self.filled_at = float("-inf")  # when it was last empty, and took a record
        self.changed = ChangedKeys(2 * policy.store_entries)  # to be saved
        self.is_crowded = not policy.store_entries  # whether `refuses_newcomer` is worth a call

    def __len__(self) -> int:
        """How many records are held, with expired ones that are not swept yet."""
        return self._size

    def __iter__(self) -> Iterator[HeldRecord]:
        """Yield each held record."""
        for key in self._held:
            yield from self._entries(unpacked(key), key)

    def __contains__(self, record_key: RecordKey) -> bool:
        """Whether some session has this record here, expired or not."""
        return any(entry[2] == record_key.place for entry in self._records(record_key.packed_key))

    def keys(self) -> KeysView[bytes]:
        """Return the packed keys with held records: what there is at each moment."""
        return self._held.keys()

    # Stores and renewals

    def put(
        self, key: Id, endpoint: Endpoint, session: bytes, lease: int, now: float, *, is_seed: bool = False
    ) -> Stored | QuotaReached:
        """Hold a peer at `endpoint` under `key`, and all records of its session, for `lease` seconds from now.

        Without a session, on a wire that has none, hold this record for `store_expiry` seconds.
        """
        seconds = lease if session else int(self._policy.store_expiry)
        outcome = self._hold(packed(key), endpoint, kept(session), seconds, now)
        (self._seeds.add if is_seed and isinstance(outcome, Stored) else self._seeds.discard)(packed(key), endpoint)
        return outcome

    def restore(self, held: HeldRecord, now: float) -> Stored | QuotaReached:
        """Hold a record of an earlier run for one lease of grace: its owner may have renewed it since it was saved.

        It shortens no lease. It is on disk, so a change is only what does not fit, and what gives way to it.
        """
        return self._hold(packed(held.key), held.record.endpoint, kept(held.session), held.lease, now, restored=True)

    def renew(self, ip: bytes, session: bytes, seconds: int, now: float) -> int:
        """Hold the records of a session at this address for so long from now; return how many these are."""
        lease = self._sources.lease(ip, kept(session))
        if lease is None:
            return 0
        held = len(lease)
        self._prolong(lease, seconds, now)
        # With no time left, drop them: the next store would bring them back. `sweep` drops what is too much for once.
        for _ in range(0 if seconds else min(held, SWEPT)):
            self._remove(lease.first())
        return held

    def remove(self, key: Id, endpoint: Endpoint, session: bytes) -> bool:
        """Drop the peer that this session has stored; return whether it was there."""
        entry = self._find(packed(key), endpoint, kept(session))
        if entry is not None:
            self._remove(entry)
        return entry is not None

    # Answers

    def listed(self, key: Id, now: float) -> Listed:
        """Return the endpoints of the peers under `key` that have not expired: the same list while it is true."""
        held = self._held.get(found_by := packed(key))
        if held is None:
            return NOBODY
        listed = self._listed.get(found_by)
        if listed is None or listed.until <= now:
            listed = self._listed[found_by] = list_live(self._records(found_by), now)
        return listed

    def get(self, key: Id, now: float) -> list[Endpoint]:
        """Return them as a list."""
        return list(self.listed(key, now).endpoints)

    def seeds(self, key: Id) -> Collection[Endpoint]:
        """Return the endpoints of the peers under `key` that have all of what it stands for, expired or not."""
        return self._seeds.of(packed(key))

    def held(self, key: Id) -> list[HeldRecord]:
        """Return the records under `key`."""
        return self._entries(key, packed(key))

    def refuses_newcomer(self, key: Id, ip: bytes, now: float) -> bool:
        """Whether a record under `key` from this address would be refused, and would be the first from there.

        A source with records here may want to renew or withdraw them. O(1), but for expired records.
        """
        if self._sources.size(ip):
            return False
        self.sweep(now)
        if self._size >= self._policy.store_entries and not self._sources.shares.has_more_than_fair:
            return True
        crowd = self._crowds.get(packed(key))
        is_full = crowd is not None and len(self._records(packed(key))) >= self._policy.store_entries_per_key
        return is_full and crowd is not None and crowd.loser(ip) is None

    # Expiry

    def sweep(self, now: float) -> bool:
        """Look at some leases, and drop some expired records. Return whether there may be more of them.

        Strangers can make many expire at once, so the rest is left to the next call.
        """
        for _ in range(SWEPT):
            # Take the next lease that is due, unless one is half dropped.
            item = self._expiring or self._wheel.pop(now)
            if item is None:
                return False
            self._expiring = None
            lease = item.lease if isinstance(item, Reminder) else item
            # Its records were withdrawn.
            if not lease:
                continue
            # It was renewed.
            if lease.expires_at > now:
                if item is lease:
                    self._wheel.file(lease, lease.expires_at, now)
                continue
            # It has expired: drop one record, and go on with the next one.
            self._expiring = item
            self._remove(lease.first())
        return True

    # Inside

    def _entries(self, key: Id, found_by: bytes) -> list[HeldRecord]:
        held = []
        for lease, _, endpoint in self._records(found_by):
            session = b"" if lease.session is None else lease.session.to_bytes(SESSION_KEPT, "big")
            held.append(HeldRecord(key, Peer(endpoint), lease.expires_at, lease.seconds, session))
        return held

    def _records(self, key: bytes) -> Collection[Entry]:
        held = self._held.get(key, {})
        return (held,) if isinstance(held, tuple) else held.values()

    def _find(self, key: bytes, endpoint: Endpoint, session: int | None) -> Entry | None:
        """Return the record that this session has under the key, if it has one."""
        held = self._held.get(key)
        if isinstance(held, dict):
            entry = held.get(endpoint)
            if entry is None or entry[0].session != session:
                entry = held.get(_double(endpoint, session)) if self._doubles else None
            return entry
        return held if held is not None and held[2] == endpoint and held[0].session == session else None

    def _hold(
        self, key: bytes, endpoint: Endpoint, session: int | None, seconds: int, now: float, *, restored: bool = False
    ) -> Stored | QuotaReached:
        # A known record is renewed. Its lease on disk is changed if it is another one.
        entry = self._find(key, endpoint, session)
        if entry is not None and restored:
            return STORED
        if entry is not None:
            if entry[0].seconds != seconds:
                self.changed.note(key)
            self._prolong(entry[0], seconds, now)
            return STORED
        # A new one needs room: of expired records first, and then of a source with more.
        outcome = STORED
        used_up = self._used_up(key, endpoint)
        if used_up is not None:
            self.sweep(now)
            used_up = self._used_up(key, endpoint)
        if used_up is not None:
            loser = self._loser(used_up, key, endpoint)
            if loser is None:
                if restored:
                    self.changed.note(key)
                return REFUSED_BY[used_up]
            self._remove(loser)
            outcome = EVICTED_BY[used_up]
        # It joins the others of its session.
        lease = self._sources.lease(endpoint[:-2], session)
        if lease is None:
            lease = Lease(session, seconds, self._expiry(seconds, now))
            self._wheel.file(lease, lease.expires_at, now)
        elif not restored or now + seconds > lease.expires_at:
            self._prolong(lease, seconds, now)
        entry = self._keep(lease, key, endpoint)
        self.filled_at = self.filled_at if self._size else now
        self._size += 1
        self._listed.pop(key, None)
        self._sources.add(entry)
        self._crowds.add(entry, self._records(key))
        self.is_crowded = bool(self._crowds) or self._size >= self._policy.store_entries
        if not restored:
            self.changed.note(key)
        return outcome

    def _prolong(self, lease: Lease, seconds: int, now: float) -> None:
        expires_at = self._expiry(seconds, now)
        if expires_at < lease.expires_at:
            self._wheel.file(Reminder(lease), expires_at, now)
        if not now < lease.expires_at <= expires_at:  # its records are back, or go sooner
            self._listed.clear()
        lease.expires_at, lease.seconds = expires_at, seconds

    def _expiry(self, seconds: int, now: float) -> float:
        """Return when a lease of so many seconds ends. It ends on a full second, so that leases share the object."""
        until = float(floor(now + seconds))
        self._until = self._until if until == self._until else until
        return self._until

    def _keep(self, lease: Lease, key: bytes, endpoint: Endpoint) -> Entry:
        """Put a new record beside the others under its key. One object is the key in all of them."""
        held = self._held.get(key)
        if held is None:
            entry = self._held[key] = (lease, key, endpoint)
            return entry
        if isinstance(held, tuple):
            held = self._held[key] = {held[2]: held}
        place: bytes = endpoint
        if endpoint in held:
            place = _double(endpoint, lease.session)
            self._doubles += 1
        entry = held[place] = (lease, next(iter(held.values()))[1], endpoint)
        return entry

    def _remove(self, entry: Entry) -> None:
        lease, key, endpoint = entry
        held = self._held[key]
        if isinstance(held, tuple):
            del self._held[key]
        else:
            place: bytes = endpoint
            if held.get(endpoint) is not entry:
                place = _double(endpoint, lease.session)
                self._doubles -= 1
            del held[place]
            if len(held) == 1:
                [(place, left)] = held.items()
                self._held[key] = left
                self._doubles -= len(place) > len(left[2])
        self._size -= 1
        self._seeds.discard(key, endpoint)
        self._listed.pop(key, None)
        self._sources.drop(entry)
        self._crowds.drop(entry, len(self._records(key)))
        self.is_crowded = bool(self._crowds) or self._size >= self._policy.store_entries
        self.changed.note(key)

    def _used_up(self, key: bytes, endpoint: Endpoint) -> str | None:
        """Return the quota that leaves no room for another record, if one does."""
        if self._sources.size(endpoint[:-2]) >= self._policy.store_entries_per_source:
            return STORE_ENTRIES_PER_SOURCE
        if len(self._records(key)) >= self._policy.store_entries_per_key:
            return STORE_ENTRIES_PER_KEY
        if self._size >= self._policy.store_entries:
            return STORE_ENTRIES
        return None

    def _loser(self, used_up: str, key: bytes, endpoint: Endpoint) -> Entry | None:
        """Return the record that gives way to another one under this key and from this endpoint, if one does."""
        if used_up == STORE_ENTRIES_PER_SOURCE:
            return None
        pool = self._crowds[key] if used_up == STORE_ENTRIES_PER_KEY else self._sources
        return pool.loser(endpoint.ip)


def _double(endpoint: Endpoint, session: int | None) -> bytes:
    """Return the place of a record with an endpoint that another session has under the same key."""
    return endpoint if session is None else endpoint + session.to_bytes(SESSION_KEPT, "big")
