"""The state-file loader: any content is a state, is set aside and reported, or is a clear error.

The first byte says what the rest is: the file itself; changes to the bytes of a good one; rows to put into one; a
journal left beside one. In all cases this holds:

- opening gives a state file or a `StateError` of one line, and nothing else;
- an error leaves the file as it was, to the byte; a damaged file is kept, whole, at the reported place;
- an opened file can be written, and read again as it was written, by this process and by the next.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Final

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import Contact
from dhtd.core.records import DATA_MAX, Immutable, Mutable, Peer
from dhtd.core.storage.packed_value import pack, unpack
from dhtd.daemon.state import disk as state_disk
from dhtd.daemon.state.file import (
    AddOwn,
    KeepValue,
    SavedHeldValue,
    SavedHolder,
    SavedOwnValue,
    SavedRecord,
    SavedState,
    SetHolders,
    StateFile,
)
from dhtd.daemon.state.rows import hash_of
from dhtd.daemon.state.schemas import COLUMNS, Value
from dhtd.errors import StateError
from tests.fuzz.reader import Reader
from tests.fuzz.target import Target
from tests.records import KEPT, own_key

SMALL_PAGE: Final = 512  # bytes; with SQLite's usual ones, a change seldom meets anything
ROWS_MAX: Final = 16

_MEMORY: Final = Path("/dev/shm")
_KEY: Final = Id(5)
_ENTRY: Final = SavedRecord(_KEY, Peer(Endpoint.of("192.0.2.1", 80)), 3_600, KEPT)
_HOLDER: Final = SavedHolder(Contact(_KEY, _ENTRY.record.endpoint), 2e9, ((_ENTRY.record.endpoint.ip, 2e9),))
_OWN_VALUE: Final = SavedOwnValue(_KEY, Immutable(b"text"), 1, "note")
_HELD_VALUE: Final = SavedHeldValue(_KEY, Mutable(bytes(32), b"salt", 7, b"text", bytes(64)), bytes(4), 2e9)
_COLUMNS: Final = {table: len(columns) + 1 for table, columns in COLUMNS.items()}


def check(data: bytes) -> None:
    """Lay the file out, open it, and hold the result to the laws."""
    state_disk.BUSY_TIMEOUT = 0.0  # type: ignore[misc] # nobody else is there to be waited for
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as place:
        path = Path(place) / "state.db"
        reader = Reader(data)
        reader.one_of(_KINDS)(reader, path)
        _check_file(path)


def _check_file(path: Path) -> None:
    before = path.read_bytes()
    has_journal = Path(f"{path}-journal").exists()
    opened: StateFile | StateError
    try:
        opened = StateFile.open(path)
    except StateError as error:
        opened = error
    if isinstance(opened, StateError):
        assert "\n" not in str(opened), opened
        # A journal may have been played back before the file was seen to be another program's.
        assert path.read_bytes() == before or has_journal, "it is refused, and changed"
        return
    with contextlib.closing(opened) as file:
        state = file.load()  # it mends late finds
        if file.set_aside is None:
            assert file.notice is None
        else:
            assert file.notice is not None
            assert str(file.set_aside) in file.notice
            assert file.set_aside.parent == path.parent
            assert file.set_aside.read_bytes() == before or _is_copy(file.set_aside) or has_journal, "not kept whole"
        _check_state(state)
        file.apply([])
        file.set_node_id(_KEY)
        file.add_own(AddOwn(own_key(_KEY, 80)))
        file.save_contacts([Contact(_KEY, _ENTRY.record.endpoint)])
        file.save_held([(_KEY, [_ENTRY])])
        file.save_holders([SetHolders(own_key(_KEY, 80), [_HOLDER])])
        file.apply([KeepValue(_OWN_VALUE)])
        file.save_held_values([(_KEY, _HELD_VALUE)])
        saved = file.load()
    assert saved.node_id == _KEY
    assert set(saved.own) == {*state.own, own_key(_KEY, 80)}
    assert saved.contacts == [Contact(_KEY, _ENTRY.record.endpoint)]
    assert saved.held.count(_ENTRY) == 1
    assert [entry for entry in saved.held if entry.key != _KEY] == [entry for entry in state.held if entry.key != _KEY]
    assert saved.holders == {**state.holders, own_key(_KEY, 80): [_HOLDER]}
    assert set(saved.own_values) == {_OWN_VALUE, *(own for own in state.own_values if own.key != _KEY)}
    assert set(saved.held_values) == {_HELD_VALUE, *(held for held in state.held_values if held.key != _KEY)}
    with contextlib.closing(StateFile.open(path)) as again:
        assert again.set_aside is None, again.notice
        assert again.load() == saved, "the next process reads something else"


def _check_state(state: SavedState) -> None:
    """Check that the node can be given every value."""
    for id in (state.node_id, *(contact.id for contact in state.contacts), *(own.key for own in state.own)):
        assert id is None or 0 <= id < NATIVE.size
    for own in (*state.own, *state.holders):
        assert 1 <= own.port <= 65_535
    for held in state.held:
        assert 0 <= held.key < NATIVE.size
        str(held.record.endpoint)
    for own, holders in state.holders.items():
        assert 0 <= own.key < NATIVE.size
        for holder in holders:
            assert 0 <= holder.contact.id < NATIVE.size
            str(holder.contact.endpoint)
            assert all(len(ip) == len(holder.contact.endpoint.ip) for ip, _ in holder.seen)
    values = {own.key: own.value for own in state.own_values} | {held.key: held.value for held in state.held_values}
    for key, value in values.items():
        assert 0 <= key < NATIVE.size
        assert unpack(pack(value)) == value
        assert len(value.data) <= DATA_MAX


def _is_copy(path: Path) -> bool:
    """Whether it is a sound database, such as a copy without the impossible rows."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",))


# Kinds of files


def _raw(reader: Reader, path: Path) -> None:
    path.write_bytes(reader.rest())


def _changed(reader: Reader, path: Path) -> None:
    """Lay out a good file with other bytes here and there, and perhaps cut off."""
    content = bytearray(_good(reader.number() % 3))
    while not reader.is_over:
        at, new = reader.number(2) % len(content), reader.some(32)
        content[at : at + len(new)] = new
    path.write_bytes(content)


def _cut(reader: Reader, path: Path) -> None:
    content = _good(reader.number() % 3)
    path.write_bytes(content[: reader.number(2) % (len(content) + 1)] + reader.rest())


def _rows(reader: Reader, path: Path) -> None:
    """Lay out a sound file with rows of any values."""
    path.write_bytes(_good(reader.number() % 3))
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for _ in range(ROWS_MAX):
            if reader.is_over:
                break
            table = reader.one_of(tuple(_COLUMNS))
            values = [_value(reader) for _ in range(_COLUMNS[table])]
            if table in {"meta", "spare"} and reader.number() % 4:
                values[0] = reader.one_of(("node_id", "bits", "serial", "sum own", "networks"))
            if reader.number() % 2:
                values[-1] = hash_of(table, values[:-1])
            with contextlib.suppress(sqlite3.IntegrityError):
                marks = ",".join("?" * len(values))
                connection.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", values)


def _value(reader: Reader) -> Value:
    kind = reader.number() % 9
    match kind:
        case 0:
            return None
        case 1:
            return int.from_bytes(reader.take(8), "big", signed=True)
        case 2:
            return reader.one_of((0.0, -1.0, 1e308, float("inf"), float("-inf"), 2e9, 1.5))
        case 3:
            return reader.some(40).decode("utf-8", "replace")
        case 4:
            return reader.take(32)
        case 5:
            return reader.take(6)
        case 6:
            return reader.number(2)
        case 7:
            return bytes([2 + reader.number() % 2]) + reader.some(255)
        case _:
            return reader.some(40)


def _journal(reader: Reader, path: Path) -> None:
    """Lay out a good file with a journal from a possible crash."""
    path.write_bytes(_good(reader.number() % 3))
    header = bytes.fromhex("d9d505f920a163d7") if reader.number() % 4 else b""
    Path(f"{path}-journal").write_bytes(header + reader.rest())


def _schema(reader: Reader, path: Path) -> None:
    """Lay out a database with our mark and other tables, or with our tables and other marks."""
    statements = (
        "DROP TABLE own",
        "DROP TABLE meta",
        "ALTER TABLE held RENAME COLUMN key TO other",
        "ALTER TABLE contact ADD COLUMN more",
        "CREATE TABLE stranger (a, b)",
        "CREATE VIEW seen AS SELECT * FROM own",
        "CREATE TRIGGER pulled AFTER INSERT ON own BEGIN DELETE FROM own; END",
        "CREATE UNIQUE INDEX found ON held (expires_at)",
        "DELETE FROM meta WHERE name = 'bits'",
        "UPDATE meta SET value = 160 WHERE name = 'bits'",
        "UPDATE meta SET value = 'wide' WHERE name = 'bits'",
        f"PRAGMA user_version = {reader.number()}",
        f"PRAGMA application_id = {reader.number(4) & 0x7FFFFFFF}",
        "PRAGMA journal_mode = WAL",
        "PRAGMA encoding = 'UTF-16le'",
        "PRAGMA auto_vacuum = FULL",
        "VACUUM",
        "DROP TABLE holder",
        "DROP TABLE spare",
        "DELETE FROM spare",
        "UPDATE own SET port = port + 1",
        "DELETE FROM own",
        "DROP TABLE own_value",
        "UPDATE held_value SET body = x'02'",
        "UPDATE meta SET value = '5 x' WHERE name = 'sum own'",
    )
    path.write_bytes(_good(reader.number() % 3))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for _ in range(ROWS_MAX):
            if reader.is_over:
                break
            with contextlib.suppress(sqlite3.Error):
                connection.execute(reader.one_of(statements))


_KINDS: Final[tuple[Callable[[Reader, Path], None], ...]] = (_raw, _changed, _cut, _rows, _journal, _schema)


@cache
def _good(number: int) -> bytes:
    """Return the bytes of a good file: a fresh one, one with content, one with more than fits into a page."""
    rng = Random(number)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "state.db"
        with contextlib.closing(StateFile.open(path)) as file:
            file.set_node_id(NATIVE.random(rng))
            for _ in range((0, 2, 20)[number]):
                key = NATIVE.random(rng)
                file.add_own(AddOwn(own_key(key, rng.randint(1, 65_535))))
                file.save_held(
                    [(key, [SavedRecord(key, Peer(Endpoint.of("192.0.2.9", 1 + rng.randrange(99))), 3_600, KEPT)])]
                )
                file.save_holders(
                    [SetHolders(own_key(key, 80), [SavedHolder(Contact(key, _ENTRY.record.endpoint), 2e9)])]
                )
                file.apply([KeepValue(replace(_OWN_VALUE, key=key))])
                file.save_held_values([(key, replace(_HELD_VALUE, key=key))])
            file.save_contacts([Contact(NATIVE.random(rng), Endpoint.of("192.0.2.7", 9)) for _ in range(number * 5)])
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA page_size = {SMALL_PAGE}")
            connection.execute("VACUUM")
        return path.read_bytes()


def _seeds() -> Iterator[bytes]:
    rng = Random(3)
    yield b""
    yield b"\0SQLite format 3\0"
    yield b"\0" + _good(0)
    for kind in range(1, len(_KINDS)):
        for number in range(3):
            yield bytes([kind, number])
            yield bytes([kind, number]) + rng.randbytes(40)
    for at in (0, 16, 18, 24, 28, 44, 56, 60, 68, 96, 100, 103, 105):  # fields of the header, and of the first page
        yield bytes([1, 1]) + at.to_bytes(2, "big") + b"\4" + rng.randbytes(4)
    for statement in range(25):
        yield bytes([5, 2, 0, 0, 0, 7, 1, statement])
    yield bytes([5, 1, 0, 0, 0, 7, 2, 17, 11])  # the content of version 1


TARGET: Final = Target("state", "the state file's loader", check, _seeds, 8_192)
