"""The tables of a state file, in each version of its format, and how a row of an earlier version reads today.

1. The ID, the contacts, the own entries, and the entries held for others.
2. The holders of entries, and of entries that were deleted, too.
3. A hash in each row, a `spare` copy of the facts that a node cannot do without, and what holders saw of our address.
4. Records of any kind: `kind`, `place` and `body` where there was a port, `source` where there was an endpoint.
5. The session and the lease of a held entry, where there was a time: a restart gives it one more lease. The `name`
   of an own entry, and the `file` that declared it; and the guards of own entries.
6. Values: own ones, and those held for others. Their tables have row IDs. In a table without, a value of 1,000 bytes
   would take a page of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Final

from dhtd.core.endpoint import Endpoint, check_port
from dhtd.core.records import Kind

Value = bytes | int | float | str | None  # what SQLite gives
Row = tuple[Value, ...]

VERSION: Final = 6  # of the format, in `user_version`
HASHED: Final = 3  # the first version with hashes
_RECORDS: Final = 4  # the first version with records of any kind
_LEASES: Final = 5  # the first version with leases, and with names and files of own entries

# The columns of the primary key come first, and the hash last, in these and in what SQLite gives.
COLUMNS: Final = {
    "meta": ("name", "value"),
    "spare": ("name", "value"),
    "contact": ("position", "id", "endpoint"),
    "own": ("key", "kind", "place", "body", "name", "file"),
    "guard": ("key", "kind", "place", "what", "every", "passed"),
    "held": ("key", "kind", "place", "source", "session", "body", "lease"),
    "holder": ("key", "kind", "place", "id", "endpoint", "until", "seen"),
    "own_value": ("key", "body", "wanted", "name"),
    "held_value": ("key", "body", "source", "until"),
}
KEYS: Final = {
    "meta": ("name",),
    "spare": ("name",),
    "contact": ("position",),
    "own": ("key", "kind", "place"),
    "guard": ("key", "kind", "place"),
    "held": ("key", "kind", "place", "source", "session"),
    "holder": ("key", "kind", "place", "id", "endpoint"),
    "own_value": ("key",),
    "held_value": ("key",),
}
ROWID: Final = ("own_value", "held_value")  # the tables whose primary key is an index beside
SUMMED: Final = (
    "own",
    "guard",
    "contact",
    "held",
    "holder",
    "own_value",
    "held_value",
)  # the tables whose sums `meta` has
SINCE: Final = {  # the version that began with a table, after the first
    "holder": 2,
    "spare": HASHED,
    "guard": 5,
    "own_value": 6,
    "held_value": 6,
}
SPARED: Final = ("bits", "node_id", "networks", "session")  # of `meta`: what `spare` has as well, on another page

# The columns of tables before a version changed them.
_COLUMNS_BEFORE: Final[dict[int, dict[str, tuple[str, ...]]]] = {
    _RECORDS: {
        "own": ("key", "port"),
        "held": ("key", "endpoint", "expires_at"),
        "holder": ("key", "port", "id", "endpoint", "until", "seen"),
    },
    _LEASES: {
        "own": ("key", "kind", "place", "body"),
        "held": ("key", "kind", "place", "source", "body", "expires_at"),
    },
}

_PEER: Final = Kind.PEER.value  # the kind of all records before version 4
_LEASE: Final = 60  # seconds: of entries from before version 5

_UNHASHED: Final = {
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
}
_HASHED: Final[dict[int, tuple[str, ...]]] = {
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
    4: (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value, hash INTEGER) WITHOUT ROWID",
        "CREATE TABLE spare (name TEXT PRIMARY KEY, value, hash INTEGER) WITHOUT ROWID",
        (
            "CREATE TABLE own (key BLOB, kind INTEGER, place BLOB, body BLOB, hash INTEGER,"
            " PRIMARY KEY (key, kind, place)) WITHOUT ROWID"
        ),
        "CREATE TABLE contact (position INTEGER PRIMARY KEY, id BLOB, endpoint BLOB, hash INTEGER)",
        (
            "CREATE TABLE held (key BLOB, kind INTEGER, place BLOB, source BLOB, body BLOB, expires_at REAL,"
            " hash INTEGER, PRIMARY KEY (key, kind, place, source)) WITHOUT ROWID"
        ),
        (
            "CREATE TABLE holder (key BLOB, kind INTEGER, place BLOB, id BLOB, endpoint BLOB, until REAL, seen BLOB,"
            " hash INTEGER, PRIMARY KEY (key, kind, place, id, endpoint)) WITHOUT ROWID"
        ),
    ),
    5: (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value, hash INTEGER) WITHOUT ROWID",
        "CREATE TABLE spare (name TEXT PRIMARY KEY, value, hash INTEGER) WITHOUT ROWID",
        (
            "CREATE TABLE own (key BLOB, kind INTEGER, place BLOB, body BLOB, name TEXT, file BLOB, hash INTEGER,"
            " PRIMARY KEY (key, kind, place)) WITHOUT ROWID"
        ),
        "CREATE TABLE contact (position INTEGER PRIMARY KEY, id BLOB, endpoint BLOB, hash INTEGER)",
        (
            "CREATE TABLE held (key BLOB, kind INTEGER, place BLOB, source BLOB, session BLOB, body BLOB,"
            " lease INTEGER, hash INTEGER, PRIMARY KEY (key, kind, place, source, session)) WITHOUT ROWID"
        ),
        (
            "CREATE TABLE holder (key BLOB, kind INTEGER, place BLOB, id BLOB, endpoint BLOB, until REAL, seen BLOB,"
            " hash INTEGER, PRIMARY KEY (key, kind, place, id, endpoint)) WITHOUT ROWID"
        ),
        (
            "CREATE TABLE guard (key BLOB, kind INTEGER, place BLOB, what TEXT, every REAL, passed INTEGER,"
            " hash INTEGER, PRIMARY KEY (key, kind, place)) WITHOUT ROWID"
        ),
    ),
}
_HASHED[6] = (
    *_HASHED[5],
    "CREATE TABLE own_value (key BLOB PRIMARY KEY, body BLOB, wanted INTEGER, name TEXT, hash INTEGER)",
    "CREATE TABLE held_value (key BLOB PRIMARY KEY, body BLOB, source BLOB, until REAL, hash INTEGER)",
)


def schema(version: int) -> tuple[str, ...]:
    """Return the statements that make the tables of this version."""
    if version >= HASHED:
        return _HASHED[version]
    return tuple(chain.from_iterable(_UNHASHED[added] for added in range(1, version + 1)))


def tables(version: int) -> list[str]:
    """Return the tables of this version."""
    return [table for table in COLUMNS if version >= SINCE.get(table, 1)]


def summed(version: int) -> list[str]:
    """Return the tables of this version whose sums `meta` has."""
    return [table for table in tables(version) if table in SUMMED]


def columns(table: str, version: int) -> tuple[str, ...]:
    """Return the columns of a table in files of this version, without the hash."""
    before = [tables[table] for changed, tables in _COLUMNS_BEFORE.items() if version < changed and table in tables]
    there = before[0] if before else COLUMNS[table]
    return tuple(column for column in there if version >= HASHED or column != "seen")


def upgraded(table: str, version: int, row: Sequence[Value]) -> Row:
    """Return how a row of this version, without its hash, reads in the newest one; raise `ValueError`."""
    if version < _RECORDS:
        row = _with_record(table, row, has_seen=version >= HASHED)
    if version < _LEASES and table == "own":
        row = (*row, None, None)
    if version < _LEASES and table == "held":
        key, kind, place, source, body, _ = row
        row = (key, kind, place, source, b"", body, _LEASE)
    return tuple(row)


def _with_record(table: str, row: Sequence[Value], *, has_seen: bool) -> Sequence[Value]:
    """Return how a row with a port or an endpoint reads with a record."""
    if table == "held":
        key, endpoint, expires_at = row
        if not isinstance(endpoint, bytes):
            raise ValueError(endpoint)
        at = Endpoint(endpoint)
        return key, _PEER, bytes(at[-2:]), at.ip, b"", expires_at
    if table not in {"own", "holder"}:
        return row
    key, port, *rest = row
    if not isinstance(port, int):
        raise ValueError(port)
    place = check_port(port).to_bytes(2, "big")
    if table == "own":
        return key, _PEER, place, b""
    return key, _PEER, place, *rest, *(() if has_seen else (b"",))
