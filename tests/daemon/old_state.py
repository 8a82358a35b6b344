"""State files as earlier versions wrote them: rows of their own columns, and from version 3 on with hashes."""

from __future__ import annotations

import lzma
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from dhtd.core.ids import NATIVE, Keyspace
from dhtd.daemon.labels import BLANK
from dhtd.daemon.state.disk import APPLICATION_ID
from dhtd.daemon.state.rows import Sum, Writer, hash_of
from dhtd.daemon.state.saved import SavedOwn, SavedState
from dhtd.daemon.state.schemas import HASHED, SPARED, Value, schema, summed

OLD_VERSIONS: Final = (1, 2, 3, 4, 5)
_UNTIL: Final = 1_700_000_000.5  # when entries expire, in files from before leases
_FILES: Final = Path(__file__).parent / "state" / "files"


def put_real(path: Path, version: int) -> None:
    """Put a file there that the program of that time has written: see `files/README`."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(lzma.decompress((_FILES / f"version-{version}.db.xz").read_bytes()))


def write_old(path: Path, version: int, state: SavedState, keyspace: Keyspace = NATIVE) -> None:
    """Write a file of an earlier version with this in it; version 1 has no holders, and 2 nothing that they saw.

    Before version 5, none of them has labels or guards of own entries. None has values.
    """
    writer = Writer(keyspace)
    path.parent.mkdir(exist_ok=True)
    once: dict[str, Value] = {"bits": keyspace.bits}
    if state.node_id is not None:
        once["node_id"] = writer.id(state.node_id)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        execute = connection.execute

        def insert(table: str, *values: Value) -> None:
            row = (*values, hash_of(table, values)) if version >= HASHED else values
            execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)

        execute(f"PRAGMA application_id = {APPLICATION_ID}")
        execute(f"PRAGMA user_version = {version}")
        for statement in schema(version):
            execute(statement)
        execute("BEGIN")
        sums = dict.fromkeys(summed(version), Sum())
        for table, values in _rows(state, version, writer):
            insert(table, *values)
            sums[table] = sums[table].with_row(hash_of(table, values))
        if version >= HASHED:
            once |= {"serial": 1, **{f"sum {table}": str(total) for table, total in sums.items()}}
            for name in once.keys() & set(SPARED):
                insert("spare", name, once[name])
        for name, value in once.items():
            insert("meta", name, value)
        execute("COMMIT")


def _rows(state: SavedState, version: int, writer: Writer) -> Iterator[tuple[str, tuple[Value, ...]]]:
    for position, contact in enumerate(state.contacts):
        yield "contact", writer.contact(position, contact)
    for own in state.own:
        if version >= 5:
            yield "own", writer.own(SavedOwn(own, state.labels.get(own, BLANK)))
            continue
        yield "own", (writer.id(own.key), own.port) if version < 4 else (*writer.record_key(own), b"")
    for own, guard in state.guards.items() if version >= 5 else ():
        yield "guard", writer.guard(own, guard)
    for entry in state.held:
        if version >= 5:
            yield "held", writer.held(entry)
            continue
        key, kind, place, source, *_ = writer.held(entry)
        yield "held", (key, bytes(entry.record), _UNTIL) if version < 4 else (key, kind, place, source, b"", _UNTIL)
    for own, holders in state.holders.items() if version > 1 else ():
        for holder in holders:
            if version >= 4:
                yield "holder", writer.holder(own, holder)
                continue
            *_, id, endpoint, until, seen = writer.holder(own, holder)
            row = (writer.id(own.key), own.port, id, endpoint, until, seen)
            yield "holder", row if version >= HASHED else row[:-1]
