"""What the state file holds: as values, and as rows of its tables.

Each row ends with a hash of its other columns, and `meta` has the sum of the hashes of each other table. So a row that
a disk or a memory has changed is noticed, and so is one that is gone, or that has come back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain
from struct import Struct
from typing import Final

from dhtd.core.endpoint import Endpoint, check_port
from dhtd.core.ids import Id, Keyspace
from dhtd.core.messages import Contact
from dhtd.core.publishing.sightings import Seen
from dhtd.core.records import Peer, Record, RecordKey

Value = bytes | int | float | str | None  # what SQLite gives

# The columns of the primary key come first, and the hash last, in these and in what SQLite gives.
COLUMNS: Final = {
    "meta": ("name", "value"),
    "spare": ("name", "value"),
    "contact": ("position", "id", "endpoint"),
    "own": ("key", "port"),
    "held": ("key", "endpoint", "expires_at"),
    "holder": ("key", "port", "id", "endpoint", "until", "seen"),
}
KEYS: Final = {
    "meta": ("name",),
    "spare": ("name",),
    "contact": ("position",),
    "own": ("key", "port"),
    "held": ("key", "endpoint"),
    "holder": ("key", "port", "id", "endpoint"),
}
SUMMED: Final = ("own", "contact", "held", "holder")  # the tables whose sums `meta` has
SPARED: Final = ("bits", "node_id", "networks")  # of `meta`: what `spare` has as well, on another page

_SCHEMAS: Final = {
    1: (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
        "CREATE TABLE contact (position INTEGER PRIMARY KEY, id BLOB, endpoint BLOB)",
        "CREATE TABLE own (key BLOB, port INTEGER, PRIMARY KEY (key, port)) WITHOUT ROWID",
        "CREATE TABLE held (key BLOB, endpoint BLOB, expires_at REAL, PRIMARY KEY (key, endpoint)) WITHOUT ROWID",
    ),
    2: (
        (
            "CREATE TABLE holder (key BLOB, port INTEGER, id BLOB, endpoint BLOB, until REAL,"
            " PRIMARY KEY (key, port, id, endpoint)) WITHOUT ROWID"
        ),
    ),
    3: (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value, hash INTEGER) WITHOUT ROWID",
        "CREATE TABLE spare (name TEXT PRIMARY KEY, value, hash INTEGER) WITHOUT ROWID",
        "CREATE TABLE own (key BLOB, port INTEGER, hash INTEGER, PRIMARY KEY (key, port)) WITHOUT ROWID",
        "CREATE TABLE contact (position INTEGER PRIMARY KEY, id BLOB, endpoint BLOB, hash INTEGER)",
        (
            "CREATE TABLE held (key BLOB, endpoint BLOB, expires_at REAL, hash INTEGER,"
            " PRIMARY KEY (key, endpoint)) WITHOUT ROWID"
        ),
        (
            "CREATE TABLE holder (key BLOB, port INTEGER, id BLOB, endpoint BLOB, until REAL, seen BLOB, hash INTEGER,"
            " PRIMARY KEY (key, port, id, endpoint)) WITHOUT ROWID"
        ),
    ),
}
HASHED: Final = 3  # the first version with hashes

_FLOAT: Final = Struct(">d")


@dataclass(frozen=True, slots=True)
class SavedRecord:
    """An entry held for another node. `expires_at` is in seconds of the file's time: see `dhtd.daemon.timeline`."""

    key: Id
    record: Record
    expires_at: float

    @property
    def record_key(self) -> RecordKey:
        """What the entry is found by."""
        return RecordKey.of(self.key, self.record)


@dataclass(frozen=True, slots=True)
class SavedHolder:
    """A node that may hold an entry of ours, or one that was ours, `until` then; in the file's time, too.

    `seen`: from where the stores came, as it has seen it, see `dhtd.core.publishing.sightings`.
    Files before version 3 do not say.
    """

    contact: Contact
    until: float
    seen: Seen = ()


@dataclass(frozen=True, slots=True)
class SavedState:
    """All that the file holds, contacts in the order in which they were saved, entries whether expired or not."""

    node_id: Id | None
    contacts: list[Contact]
    own: list[RecordKey]
    held: list[SavedRecord]
    holders: dict[RecordKey, list[SavedHolder]] = field(default_factory=dict)  # of own entries, and of former ones


def schema(version: int) -> tuple[str, ...]:
    """Return the statements that make the tables of this version."""
    if version >= HASHED:
        return _SCHEMAS[HASHED]
    return tuple(chain.from_iterable(_SCHEMAS[added] for added in range(1, version + 1)))


def columns(table: str, version: int) -> tuple[str, ...]:
    """Return the columns of a table in files of this version, without the hash."""
    return tuple(column for column in COLUMNS[table] if version >= HASHED or column != "seen")


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

    def own(self, key: Value, port: Value) -> RecordKey:
        """Return an own entry."""
        if not isinstance(port, int):
            raise ValueError(port)
        return RecordKey.of(self.id(key), Peer.on(check_port(port)))

    def held(self, key: Value, endpoint: Value, expires_at: Value) -> SavedRecord:
        """Return a held entry."""
        return SavedRecord(self.id(key), Peer(Endpoint(_blob(endpoint))), _time(expires_at))

    def holder(
        self, key: Value, port: Value, id: Value, endpoint: Value, until: Value, seen: Value = b""
    ) -> tuple[RecordKey, SavedHolder]:
        """Return an entry, and who may hold it."""
        contact = self.contact(id, endpoint)
        return self.own(key, port), SavedHolder(contact, _time(until), _seen(contact.endpoint, _blob(seen)))


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

    def own(self, record_key: RecordKey) -> tuple[Value, ...]:
        """Return a row of `own`; raise `InvalidPort`."""
        return self.id(record_key.key), check_port(record_key.port)

    def held(self, entry: SavedRecord) -> tuple[Value, ...]:
        """Return a row of `held`."""
        return self.id(entry.key), bytes(entry.record), _real(entry.expires_at)

    def holder(self, record_key: RecordKey, holder: SavedHolder) -> tuple[Value, ...]:
        """Return a row of `holder`; raise `InvalidPort`."""
        contact = holder.contact
        seen = b"".join(ip + _FLOAT.pack(until) for ip, until in holder.seen)
        return *self.own(record_key), self.id(contact.id), bytes(contact.endpoint), _real(holder.until), seen


def _seen(holder: Endpoint, data: bytes) -> Seen:
    """Return what the file has of where stores came from: an IP address of the holder's family and a time, each."""
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


def _blob(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError(value)
    return value
