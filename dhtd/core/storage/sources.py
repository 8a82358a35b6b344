"""Held records by their source: the leases of each machine, and the records of each source under a crowded key.

A source is an IPv4 address, or a network of IPv6 (see `source_group`). A lease is bound to one exact address.
"""

from __future__ import annotations

from collections.abc import Collection

from dhtd.core.endpoint import source_group
from dhtd.core.storage.fair_shares import FairShares
from dhtd.core.storage.leases import SESSION_KEPT, Entry, Lease


class _Several:
    """The leases of a source with more than one, by address and session."""

    __slots__ = ("leases", "size")

    def __init__(self, first: Lease) -> None:
        self.leases = {_name(first.first()): first}
        self.size = len(first)  # records of all of them


class Sources:
    """All held records, by source. Most sources have one lease, and most leases one record."""

    __slots__ = ("_sources", "shares")

    def __init__(self) -> None:
        self.shares = FairShares()
        self._sources: dict[bytes, Lease | _Several] = {}

    def size(self, ip: bytes) -> int:
        """Return how many records the source at this address has."""
        found = self._sources.get(_source(ip))
        if found is None:
            return 0
        return found.size if isinstance(found, _Several) else len(found)

    def lease(self, ip: bytes, session: int | None) -> Lease | None:
        """Return the lease of a session at exactly this address; None without a session."""
        if session is None:
            return None
        found = self._sources.get(_source(ip))
        if isinstance(found, _Several):
            return found.leases.get(_named(ip, session))
        if found is None or found.session != session or found.first()[2][:-2] != ip:
            return None
        return found

    def add(self, entry: Entry) -> None:
        """The pool has taken a new record; its lease may be new as well."""
        lease, _, endpoint = entry
        source = _source(endpoint[:-2])
        found = self._sources.get(source)
        if found is None:
            before = 0
            self._sources[source] = lease
        elif found is lease:
            before = len(lease)
        else:
            several = found if isinstance(found, _Several) else _Several(found)
            self._sources[source] = several
            before = several.size
            several.size += 1
            several.leases[_name(entry)] = lease
        lease.add(entry)
        self.shares.resize(source, before, before + 1)

    def drop(self, entry: Entry) -> None:
        """The pool has dropped a record."""
        lease, _, endpoint = entry
        source = _source(endpoint[:-2])
        found = self._sources[source]
        lease.drop(entry)
        if isinstance(found, _Several):
            found.size -= 1
            size = found.size
            if not len(lease):
                del found.leases[_name(entry)]
                if len(found.leases) == 1:
                    [self._sources[source]] = found.leases.values()
        else:
            size = len(lease)
            if not size:
                del self._sources[source]
        self.shares.resize(source, size + 1, size)

    def loser(self, ip: bytes) -> Entry | None:
        """Return the record that gives way to a new one from this address, if one does. Changes nothing."""
        source = self.shares.loser(self.size(ip))
        if source is None:
            return None
        found = self._sources[source]
        lease = next(iter(found.leases.values())) if isinstance(found, _Several) else found
        return lease.first()


class Crowd:
    """The records under one key, by source."""

    __slots__ = ("_sources", "shares")

    def __init__(self) -> None:
        self.shares = FairShares()
        self._sources: dict[bytes, dict[Entry, None]] = {}

    def add(self, entry: Entry) -> None:
        """The key has a new record."""
        source = _source(entry[2][:-2])
        entries = self._sources.setdefault(source, {})
        self.shares.resize(source, len(entries), len(entries) + 1)
        entries[entry] = None

    def drop(self, entry: Entry) -> None:
        """The key has lost a record."""
        source = _source(entry[2][:-2])
        entries = self._sources[source]
        self.shares.resize(source, len(entries), len(entries) - 1)
        del entries[entry]
        if not entries:
            del self._sources[source]

    def loser(self, ip: bytes) -> Entry | None:
        """Return the record that gives way to a new one from this address, if one does. Changes nothing."""
        source = self.shares.loser(len(self._sources.get(_source(ip), ())))
        return None if source is None else next(iter(self._sources[source]))


class Crowds(dict[bytes, Crowd]):
    """The crowds of keys at their quota, and until they are half full, by packed key."""

    __slots__ = ("_quota",)

    def __init__(self, quota: int) -> None:
        """`quota`: records under one key."""
        super().__init__()
        self._quota = quota

    def add(self, entry: Entry, records: Collection[Entry]) -> None:
        """A key has a new record, and these in all."""
        key = entry[1]
        if key in self:
            self[key].add(entry)
        elif len(records) >= self._quota:
            crowd = self[key] = Crowd()
            for each in records:
                crowd.add(each)

    def drop(self, entry: Entry, left: int) -> None:
        """A key has lost a record, and has so many left."""
        crowd = self.get(entry[1])
        if crowd is not None:
            crowd.drop(entry)
            if left <= self._quota // 2:
                del self[entry[1]]


def _source(ip: bytes) -> bytes:
    return ip if len(ip) == 4 else source_group(ip)


def _named(ip: bytes, session: int) -> bytes:
    return ip + session.to_bytes(SESSION_KEPT, "big")


def _name(entry: Entry) -> bytes:
    """Return what the lease of this record is found by. Where it has no session, it has this record alone."""
    lease, key, endpoint = entry
    return endpoint + key if lease.session is None else _named(endpoint[:-2], lease.session)
