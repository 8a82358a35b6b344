"""The contents of the state file, as values and as rows of its tables.

Each row ends with a hash of its other columns, and `meta` has the sum of the hashes of each other table. So a row that
a disk or a memory has changed is noticed, and so is one that is gone, or that has come back.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct
from typing import Final

from dhtd.core.endpoint import Endpoint, check_port
from dhtd.core.ids import Id, Keyspace
from dhtd.core.messages import LEASE_MAX, Contact
from dhtd.core.publishing.sightings import Seen
from dhtd.core.records import DATA_MAX, SALT_MAX, SEQ_MAX, Immutable, Kind, Peer, RecordKey
from dhtd.core.records import Value as CoreValue
from dhtd.core.storage.leases import SESSION_KEPT
from dhtd.core.storage.packed_value import pack, unpack
from dhtd.daemon.labels import Label
from dhtd.daemon.state.saved import HELD, SavedGuard, SavedHeldValue, SavedHolder, SavedOwn, SavedOwnValue, SavedRecord
from dhtd.daemon.state.schemas import Value
from dhtd.service.checks import parse_check
from dhtd.service.params import check_every

_FLOAT: Final = Struct(">d")
_PEER: Final = Kind.PEER.value
_SESSION_SIZES: Final = (0, SESSION_KEPT)  # an entry of a wire without sessions has none
_SOURCE_SIZES: Final = (4, 8, 16)  # see `source_group`


def hash_of(table: str, values: Sequence[Value]) -> int:
    """Return the hash of a row, as SQLite has integers: 64 bits, signed."""
    digest = blake2b(b"".join(map(_encoded, values)), digest_size=8, person=table.encode())
    return int.from_bytes(digest.digest(), "big", signed=True)


def is_whole(table: str, row: Sequence[Value]) -> bool:
    """Whether a row, its hash last, is as it was written."""
    return hash_of(table, row[:-1]) == row[-1]


def _encoded(value: Value) -> bytes:
    if isinstance(value, bytes):
        return b"b%d:%b" % (len(value), value)
    if isinstance(value, int):
        return b"i%d;" % value
    if isinstance(value, float):
        return b"f" + _FLOAT.pack(value)
    if isinstance(value, str):
        return b"t" + _encoded(value.encode("utf-8", "surrogateescape"))
    return b"n"


# The sum of a table: so many rows, and the sum of their hashes


@dataclass(frozen=True, slots=True)
class Sum:
    """What `meta` has of another table."""

    rows: int = 0
    total: int = 0  # of the hashes, in 64 bits

    def with_row(self, hashed: int) -> Sum:
        """Return the sum with one more row."""
        return Sum(self.rows + 1, (self.total + hashed) % 2**64)

    def without(self, other: Sum) -> Sum:
        """Return the sum without these rows."""
        return Sum(self.rows - other.rows, (self.total - other.total) % 2**64)

    def __str__(self) -> str:
        """Return the text of it, as `meta` has it."""
        return f"{self.rows} {self.total:016x}"

    @classmethod
    def parse(cls, text: Value) -> Sum:
        """Read such a text; raise `ValueError`."""
        if not isinstance(text, str):
            raise ValueError(text)
        rows, total = text.split(" ")
        return cls(int(rows), int(total, 16))


# SQLite's sum of whole hashes would overflow, which is an error there.
SUM_COLUMNS: Final = "count(*), sum(hash & 4294967295), sum((hash >> 32) & 4294967295)"


def sum_of(row: Sequence[Value]) -> Sum:
    """Return the sum that `SUM_COLUMNS` give."""
    rows, low, high = (int(value or 0) for value in row)
    return Sum(rows, (low + (high << 32)) % 2**64)


# What rows mean. Each raises `ValueError` where a value cannot be.


class RowReader:
    """Makes values of rows. Contacts that come again and again are one object: of 500,000 rows they are most."""

    __slots__ = ("_contacts", "_keyspace")

    def __init__(self, keyspace: Keyspace) -> None:
        self._keyspace = keyspace
        self._contacts: dict[tuple[Value, Value], Contact] = {}

    def id(self, value: Value) -> Id:
        """Return an ID."""
        return self._keyspace.from_bytes(_blob(value))

    def contact(self, id: Value, endpoint: Value) -> Contact:
        """Return a contact."""
        known = self._contacts.get((id, endpoint))
        if known is None:
            if len(self._contacts) >= _CONTACTS_MAX:
                self._contacts.clear()
            known = self._contacts[id, endpoint] = Contact(self.id(id), Endpoint(_blob(endpoint)))
        return known

    def contact_at(self, position: Value, id: Value, endpoint: Value) -> Contact:
        """Return a contact of the routing table."""
        return self.contact(id, endpoint)

    def own(self, key: Value, kind: Value, place: Value, body: Value, name: Value, file: Value) -> SavedOwn:
        """Return an own entry."""
        _check_empty(body)
        label = Label(None if name is None else _text(name), None if file is None else os.fsdecode(_blob(file)))
        return SavedOwn(self._record_key(key, kind, place), label)

    def guard(
        self, key: Value, kind: Value, place: Value, what: Value, every: Value, passed: Value
    ) -> tuple[RecordKey, SavedGuard]:
        """Return an own entry, and its guard."""
        if not isinstance(what, str) or passed not in {0, 1}:
            raise ValueError(what)
        guard = SavedGuard(what, _time(every), bool(passed))
        if guard != HELD:
            parse_check(what)
            check_every(guard.every)
        return self._record_key(key, kind, place), guard

    def held(
        self, key: Value, kind: Value, place: Value, source: Value, session: Value, body: Value, lease: Value
    ) -> SavedRecord:
        """Return a held entry."""
        _check_peer(kind)
        _check_empty(body)
        peer = Peer(Endpoint(_blob(source) + _port(place)))
        return SavedRecord(self.id(key), peer, _lease(lease), _session(session))

    def holder(
        self, key: Value, kind: Value, place: Value, id: Value, endpoint: Value, until: Value, seen: Value
    ) -> tuple[RecordKey, SavedHolder]:
        """Return an entry, and a node that may hold it."""
        contact = self.contact(id, endpoint)
        holder = SavedHolder(contact, _time(until), _seen(contact.endpoint, _blob(seen)))
        return self._record_key(key, kind, place), holder

    def own_value(self, key: Value, body: Value, wanted: Value, name: Value) -> SavedOwnValue:
        """Return an own value."""
        if not isinstance(wanted, int) or wanted < 0:
            raise ValueError(wanted)
        return SavedOwnValue(self.id(key), _value(body), wanted, None if name is None else _text(name))

    def held_value(self, key: Value, body: Value, source: Value, until: Value) -> SavedHeldValue:
        """Return a held value."""
        if len(_blob(source)) not in _SOURCE_SIZES:
            raise ValueError(source)
        return SavedHeldValue(self.id(key), _value(body), _blob(source), _time(until))

    def _record_key(self, key: Value, kind: Value, place: Value) -> RecordKey:
        _check_peer(kind)
        return RecordKey.of(self.id(key), Peer.on(check_port(int.from_bytes(_port(place), "big"))))


_CONTACTS_MAX: Final = 4096


class Writer:
    """Makes rows of values, without their hashes."""

    __slots__ = ("_keyspace",)

    def __init__(self, keyspace: Keyspace) -> None:
        self._keyspace = keyspace

    def id(self, id: Id) -> bytes:
        """Return an ID as the file has it."""
        return self._keyspace.to_bytes(id)

    def contact(self, position: int, contact: Contact) -> tuple[Value, ...]:
        """Return a row of `contact`."""
        return position, self.id(contact.id), bytes(contact.endpoint)

    def record_key(self, record_key: RecordKey) -> tuple[Value, ...]:
        """Return the columns by which `own` and `holder` find an entry; raise `InvalidPort`."""
        check_port(record_key.port)
        return self.id(record_key.key), record_key.kind.value, record_key.place

    def own(self, own: SavedOwn) -> tuple[Value, ...]:
        """Return a row of `own`; raise `InvalidPort`."""
        name, file = own.label
        return *self.record_key(own.record_key), b"", name, None if file is None else os.fsencode(file)

    def guard(self, record_key: RecordKey, guard: SavedGuard) -> tuple[Value, ...]:
        """Return a row of `guard`; raise `InvalidPort`."""
        return *self.record_key(record_key), guard.what, _real(guard.every), int(guard.passed)

    def held(self, entry: SavedRecord) -> tuple[Value, ...]:
        """Return a row of `held`."""
        peer = entry.record
        assert 0 <= entry.lease <= LEASE_MAX
        assert len(entry.session) in _SESSION_SIZES
        return self.id(entry.key), _PEER, bytes(peer[-2:]), bytes(peer[:-2]), entry.session, b"", entry.lease

    def holder(self, record_key: RecordKey, holder: SavedHolder) -> tuple[Value, ...]:
        """Return a row of `holder`; raise `InvalidPort`."""
        contact = holder.contact
        seen = b"".join(ip + _FLOAT.pack(until) for ip, until in holder.seen)
        at = bytes(contact.endpoint)
        return *self.record_key(record_key), self.id(contact.id), at, _real(holder.until), seen

    def own_value(self, own: SavedOwnValue) -> tuple[Value, ...]:
        """Return a row of `own_value`."""
        return self.id(own.key), pack(own.value), own.wanted, own.name

    def held_value(self, held: SavedHeldValue) -> tuple[Value, ...]:
        """Return a row of `held_value`."""
        assert len(held.source) in _SOURCE_SIZES
        return self.id(held.key), pack(held.value), held.source, _real(held.until)


def _check_peer(kind: Value) -> None:
    if kind != _PEER:
        raise ValueError(kind)


def _check_empty(body: Value) -> None:
    if body != b"":
        raise ValueError(body)


def _value(body: Value) -> CoreValue:
    value = unpack(_blob(body))
    if len(value.data) > DATA_MAX:
        raise ValueError(body)
    if not isinstance(value, Immutable) and (len(value.salt) > SALT_MAX or value.seq > SEQ_MAX):
        raise ValueError(body)
    return value


def _session(value: Value) -> bytes:
    session = _blob(value)
    if len(session) not in _SESSION_SIZES:
        raise ValueError(session)
    return session


def _lease(value: Value) -> int:
    if not isinstance(value, int) or not 0 <= value <= LEASE_MAX:
        raise ValueError(value)
    return value


def _port(place: Value) -> bytes:
    port = _blob(place)
    if len(port) != 2:
        raise ValueError(port)
    return port


def _seen(holder: Endpoint, data: bytes) -> Seen:
    """Return what a holder saw of our address: IP addresses of its family, each with a time."""
    width = len(holder.ip)
    size = width + _FLOAT.size
    if len(data) % size:
        raise ValueError(data)
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return tuple((part[:width], _time(_FLOAT.unpack(part[width:])[0])) for part in parts)


def _real(seconds: float) -> float:
    """Return a number as SQLite gives it back: it knows no zero below zero."""
    assert math.isfinite(seconds)
    return float(seconds) + 0.0


def _time(value: Value) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(value)
    return float(value)


def _text(value: Value) -> str:
    if not isinstance(value, str):
        raise ValueError(value)
    return value


def _blob(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError(value)
    return value
