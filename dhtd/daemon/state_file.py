"""The state file: what a node must remember across a restart, in one crash-safe SQLite database.

Its laws:

- What a method has written is on the disk when it returns. The journal is a rollback journal, and `synchronous` is
  EXTRA: while the lock is held, SQLite keeps the journal and ends a transaction by zeroing the journal's header and
  syncing that, so FULL would do; EXTRA also syncs the directory where a journal is deleted, and costs nothing here.
- One file at rest. While it is open, and after a crash, its journal lies beside it; whatever was cut short is undone
  from it when the file is next opened.
- It is locked as long as it is open, by the kernel: a second daemon is refused, and `kill -9` frees it.
- A file of an earlier version gets what it lacks when it is opened, at once or not at all.
- What is not ours (another program's database, a newer version's) is an error and stays as it is, to the byte.
- What is ours but damaged is never overwritten. Broken structure: the file is renamed and a fresh one begun, with
  nothing taken over, since a broken tree may hand out what was deleted long ago. Sound structure with rows that cannot
  be true: a copy is set aside, and the file goes on with its other rows. `set_aside` and `notice` tell.

Every method blocks. They may be called from any thread, but one at a time: the connection is not tied to a thread.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Final, Self, TypeVar, assert_never

from dhtd.core.endpoint import Endpoint, check_port
from dhtd.core.messages import Contact
from dhtd.core.metric import NATIVE, Id, Keyspace, unpacked
from dhtd.core.track import EntryKey, entry_key
from dhtd.daemon.state_disk import (
    APPLICATION_ID,
    SQLITE_ERRORS,
    VERSION,
    DamagedError,
    SqliteError,
    check_origin,
    connect,
    explain,
    identity,
    move_aside,
    prepare,
    refuse_foreign,
    reserve_aside,
)
from dhtd.daemon.turn import turn
from dhtd.errors import StateError

T = TypeVar("T")

_FIRST_SCHEMA: Final = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "CREATE TABLE contact (position INTEGER PRIMARY KEY, id BLOB, endpoint BLOB)",
    "CREATE TABLE own (key BLOB, port INTEGER, PRIMARY KEY (key, port)) WITHOUT ROWID",
    "CREATE TABLE held (key BLOB, endpoint BLOB, expires_at REAL, PRIMARY KEY (key, endpoint)) WITHOUT ROWID",
)
_HOLDERS: Final = (
    "CREATE TABLE holder (key BLOB, port INTEGER, id BLOB, endpoint BLOB, until REAL,"
    " PRIMARY KEY (key, port, id, endpoint)) WITHOUT ROWID"
)
_ADDED: Final = {2: (_HOLDERS,)}  # by the version that added them


@dataclass(frozen=True, slots=True)
class SavedEntry:
    """An entry held for another node. `expires_at` is wall clock: seconds since the epoch."""

    key: Id
    endpoint: Endpoint
    expires_at: float


@dataclass(frozen=True, slots=True)
class SavedHolder:
    """A node that may hold an entry of ours, or one that was ours, `until` then; wall clock, too."""

    contact: Contact
    until: float


@dataclass(frozen=True, slots=True)
class SavedState:
    """All that the file holds, contacts in the order in which they were saved, entries whether expired or not."""

    node_id: Id | None
    contacts: list[Contact]
    own: list[tuple[Id, int]]
    held: list[SavedEntry]
    holders: dict[EntryKey, list[SavedHolder]] = field(default_factory=dict)  # of own entries, and of former ones


@dataclass(frozen=True, slots=True)
class AddOwn:
    """This machine serves `key` on `port`."""

    key: Id
    port: int


@dataclass(frozen=True, slots=True)
class RemoveOwn:
    """This machine no longer serves `key` on these ports."""

    key: Id
    ports: Sequence[int]


@dataclass(frozen=True, slots=True)
class SetHolders:
    """These nodes may hold `key` on `port`, and no others."""

    key: Id
    port: int
    holders: Sequence[SavedHolder]


Change = AddOwn | RemoveOwn | SetHolders


class StateFile:
    """The state file, open and locked. A method that raises `StateError` has changed nothing."""

    __slots__ = ("_connection", "_identity", "_keyspace", "notice", "path", "set_aside")

    def __init__(self, path: Path, connection: sqlite3.Connection, keyspace: Keyspace) -> None:
        """For `open` only."""
        self.path = path
        self.set_aside: Path | None = None  # where `open` put a damaged file
        self.notice: str | None = None  # and what the user should be told about it
        self._connection = connection
        self._keyspace = keyspace
        self._identity = identity(path)

    @classmethod
    def open(cls, path: Path, keyspace: Keyspace = NATIVE) -> Self:
        """Open and lock the file; make it where there is none.

        Raises `StateLocked` where another process has it, `StateTooNew`, and `StateError` for what else the user has to
        put right first. Damage is no error: see `set_aside`.
        """
        path = path.absolute()
        prepare(path)
        with turn(path):
            return cls._open(path, keyspace)

    def load(self) -> SavedState:
        """Return all that the file holds."""
        try:
            return self._read()[0]
        except SQLITE_ERRORS as error:
            raise self._explained(error) from error

    def set_node_id(self, id: Id) -> None:
        """Remember the node's own ID."""
        with self._transaction() as write:
            write("INSERT OR REPLACE INTO meta VALUES ('node_id', ?)", self._keyspace.to_bytes(id))

    def networks(self) -> tuple[str, ...] | None:
        """Return the fingerprints of the network keys that the file was last used with; empty: an open network.

        None where no node has run with the file yet.
        """
        try:
            row = self._connection.execute("SELECT value FROM meta WHERE name = 'networks'").fetchone()
        except SQLITE_ERRORS as error:
            raise self._explained(error) from error
        return None if row is None else tuple(str(row[0]).split())

    def set_networks(self, fingerprints: Iterable[str], forget: Iterable[str] = ()) -> None:
        """Remember with which network keys the file is used, and empty the tables that the new network must not see."""
        with self._transaction() as write:
            write("INSERT OR REPLACE INTO meta VALUES ('networks', ?)", " ".join(fingerprints))
            for table in forget:
                assert table in ("contact", "held", "holder")
                write(f"DELETE FROM {table}")  # noqa: S608 - names of ours

    def add_own(self, key: Id, port: int) -> None:
        """Remember an own entry. Once this has returned, no crash undoes it."""
        self.apply([AddOwn(key, port)])

    def remove_own(self, key: Id, ports: Sequence[int], holders: Iterable[SetHolders] = ()) -> None:
        """Forget own entries, and remember who may hold them. Once this has returned, no crash brings them back."""
        self.apply([RemoveOwn(key, ports), *holders])

    def save_holders(self, holders: Iterable[SetHolders]) -> None:
        """Remember who may hold these entries, and that others do not."""
        self.apply(holders)

    def apply(self, changes: Iterable[Change]) -> None:
        """Make changes in their order, all or none, at the price of one: what costs is waiting for the disk."""
        with self._transaction() as write:
            for change in changes:
                key = self._keyspace.to_bytes(change.key)
                match change:
                    case AddOwn(_, port):
                        write("INSERT OR IGNORE INTO own VALUES (?, ?)", key, check_port(port))
                    case RemoveOwn(_, ports):
                        for port in ports:
                            write("DELETE FROM own WHERE key = ? AND port = ?", key, port)
                    case SetHolders(_, port, holders):
                        write("DELETE FROM holder WHERE key = ? AND port = ?", key, port)
                        for holder in holders:
                            self._write_holder(write, change.key, check_port(port), holder)
                    case _:
                        assert_never(change)

    def save_contacts(self, contacts: Sequence[Contact]) -> None:
        """Remember these contacts and no others."""
        with self._transaction() as write:
            self._write_contacts(write, contacts)

    def save_held(self, changes: Iterable[tuple[Id, Sequence[SavedEntry]]], *, whole: bool = False) -> None:
        """Remember, under each of these keys, these entries and no others; under no other key any, where it is all."""
        with self._transaction() as write:
            if whole:
                write("DELETE FROM held")
            for key, entries in changes:
                write("DELETE FROM held WHERE key = ?", self._keyspace.to_bytes(key))
                for entry in entries:
                    assert entry.key == key
                    self._write_held(write, entry)

    def close(self) -> None:
        """Let go of the file. To close it again does nothing."""
        self._connection.close()

    # Inside

    @classmethod
    def _open(cls, path: Path, keyspace: Keyspace) -> Self:
        prepare(path)  # again: whoever had the turn before may have moved the file aside, and gone
        found = identity(path)
        try:
            refuse_foreign(path)
            return cls._attach(path, keyspace)
        except DamagedError as damage:
            aside = move_aside(path, found)
            prepare(path)
            try:
                file = cls._attach(path, keyspace)
            except DamagedError as again:
                raise StateError(f"a fresh state file {path} is damaged at once ({again}): check the disk") from again
            file.set_aside = aside
            file.notice = (
                f"the state file {path} was damaged ({damage}) and is now {aside}. A fresh one was begun: this node has"
                " a new ID, and what was entered must be entered again"
            )
            return file

    @classmethod
    def _attach(cls, path: Path, keyspace: Keyspace) -> Self:
        connection: sqlite3.Connection | None = None
        try:
            connection = connect(path, "mode=rw")
            file = cls(path, connection, keyspace)
            file._begin()
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, SQLITE_ERRORS):
                raise explain(path, error) from error
            raise
        return file

    def _begin(self) -> None:
        """Lock the file, see whether it is whole, and prove that it can be written."""
        execute = self._connection.execute
        execute("PRAGMA synchronous = EXTRA")
        execute("PRAGMA fullfsync = ON")  # for macOS, whose fsync leaves data in the drive's cache
        execute("PRAGMA trusted_schema = OFF")
        execute("PRAGMA cell_size_check = ON")
        # In this order: whoever asks for the lock in the exclusive mode keeps what it has got so far while it waits for
        # the rest, so that two daemons that start at once would both fail.
        execute("BEGIN EXCLUSIVE")
        execute("PRAGMA locking_mode = EXCLUSIVE")
        execute("ROLLBACK")  # which keeps the lock, and nothing else: SQLite has begun to correct the header
        version = check_origin(self.path, self._connection)
        if version is not None:
            self._check(version)
        execute("PRAGMA journal_mode = DELETE")  # which writes, where somebody has chosen another one
        if version is None:
            self._create()
        else:
            self._upgrade(version)
            self._sift()
        with self._transaction() as write:  # a read-only directory or a full disk shows now, not at the first enter
            write(f"PRAGMA user_version = {VERSION}")

    def _create(self) -> None:
        with self._transaction() as write:
            write(f"PRAGMA application_id = {APPLICATION_ID}")
            write(f"PRAGMA user_version = {VERSION}")
            for statement in _schema(VERSION):
                write(statement)
            write("INSERT INTO meta VALUES ('bits', ?)", self._keyspace.bits)

    def _upgrade(self, version: int) -> None:
        """Add to a file of this version what has been added since."""
        if version < VERSION:
            with self._transaction() as write:
                for statement in _schema(VERSION)[len(_schema(version)) :]:
                    write(statement)
                write(f"PRAGMA user_version = {VERSION}")

    def _check(self, version: int) -> None:
        """Raise where the file is damaged, or not for us; write nothing."""
        [complaint] = self._connection.execute("PRAGMA integrity_check(1)").fetchone()
        if complaint != "ok":
            raise DamagedError(" ".join(complaint.split()))
        made = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite@_%' ESCAPE '@'"
        if sorted(map(str, chain.from_iterable(self._connection.execute(made)))) != sorted(_schema(version)):
            raise DamagedError("its tables are not those that dhtd makes")  # a trigger could undo what was acknowledged
        bits = self._connection.execute("SELECT value FROM meta WHERE name = 'bits'").fetchone()
        if bits is None or not isinstance(bits[0], int):
            raise DamagedError("it does not say how wide its IDs are")
        if bits[0] != self._keyspace.bits:
            raise StateError(
                f"the state file {self.path} is of a network whose IDs have {bits[0]} bits, not {self._keyspace.bits}:"
                " give this daemon a file of its own with --instance or --state"
            )

    def _sift(self) -> None:
        """Leave out the rows that cannot be true."""
        state, bad = self._read()
        if bad:
            self._mend(state, bad)

    def _mend(self, state: SavedState, bad: int) -> None:
        """Set a copy of the file aside and keep what is in `state`."""
        try:
            aside = reserve_aside(self.path)
        except OSError as error:
            raise StateError(f"the damaged state file {self.path} cannot be copied: {error}") from error
        try:
            with closing(connect(aside, "mode=rw")) as copy:
                self._connection.backup(copy)
        except SQLITE_ERRORS:
            aside.unlink()
            raise
        with self._transaction() as write:
            write("DELETE FROM own")
            write("DELETE FROM held")
            write("DELETE FROM holder")
            write("DELETE FROM meta WHERE name = 'node_id'")
            if state.node_id is not None:
                write("INSERT INTO meta VALUES ('node_id', ?)", self._keyspace.to_bytes(state.node_id))
            self._write_contacts(write, state.contacts)
            for key, port in state.own:
                write("INSERT INTO own VALUES (?, ?)", self._keyspace.to_bytes(key), port)
            for entry in state.held:
                self._write_held(write, entry)
            for (packed_key, port), holders in state.holders.items():
                for holder in holders:
                    self._write_holder(write, unpacked(packed_key), port, holder)
        self.set_aside = aside
        self.notice = (
            f"the state file {self.path} had {bad} impossible {'row' if bad == 1 else 'rows'}: a copy of it is now"
            f" {aside}, and the rest was kept"
        )

    def _read(self) -> tuple[SavedState, int]:
        """Return what the file holds and how many rows cannot be true."""
        bad = 0

        def rows(make: Callable[..., T], columns: str, table: str) -> list[T]:
            nonlocal bad
            made: list[T] = []
            for row in self._connection.execute(f"SELECT {columns} FROM {table}"):  # noqa: S608 - names of ours
                try:
                    made.append(make(*row))
                except ValueError:
                    bad += 1
            return made

        holders: dict[EntryKey, list[SavedHolder]] = {}
        for own, holder in rows(self._holder, "key, port, id, endpoint, until", "holder"):
            holders.setdefault(own, []).append(holder)
        node_ids = rows(self._id, "value", "meta WHERE name = 'node_id'")
        state = SavedState(
            node_ids[0] if node_ids else None,
            rows(self._contact, "id, endpoint", "contact ORDER BY position"),
            rows(self._own, "key, port", "own"),
            rows(self._held, "key, endpoint, expires_at", "held"),
            holders,
        )
        return state, bad

    def _id(self, value: object) -> Id:
        return self._keyspace.from_bytes(_blob(value))

    def _contact(self, id: object, endpoint: object) -> Contact:
        return Contact(self._id(id), Endpoint(_blob(endpoint)))

    def _own(self, key: object, port: object) -> tuple[Id, int]:
        if not isinstance(port, int):
            raise ValueError(port)
        return self._id(key), check_port(port)

    def _held(self, key: object, endpoint: object, expires_at: object) -> SavedEntry:
        return SavedEntry(self._id(key), Endpoint(_blob(endpoint)), _time(expires_at))

    def _holder(
        self, key: object, port: object, id: object, endpoint: object, until: object
    ) -> tuple[EntryKey, SavedHolder]:
        return entry_key(*self._own(key, port)), SavedHolder(self._contact(id, endpoint), _time(until))

    def _write_contacts(self, write: Callable[..., None], contacts: Sequence[Contact]) -> None:
        write("DELETE FROM contact")
        for position, contact in enumerate(contacts):
            id = self._keyspace.to_bytes(contact.id)
            write("INSERT INTO contact VALUES (?, ?, ?)", position, id, bytes(contact.endpoint))

    def _write_held(self, write: Callable[..., None], entry: SavedEntry) -> None:
        assert math.isfinite(entry.expires_at)
        key = self._keyspace.to_bytes(entry.key)
        write("INSERT OR REPLACE INTO held VALUES (?, ?, ?)", key, bytes(entry.endpoint), entry.expires_at)

    def _write_holder(self, write: Callable[..., None], key: Id, port: int, holder: SavedHolder) -> None:
        assert math.isfinite(holder.until)
        contact, to_bytes = holder.contact, self._keyspace.to_bytes
        values = (to_bytes(key), port, to_bytes(contact.id), bytes(contact.endpoint), holder.until)
        write("INSERT OR REPLACE INTO holder VALUES (?, ?, ?, ?, ?)", *values)

    @contextmanager
    def _transaction(self) -> Iterator[Callable[..., None]]:
        """Yield what executes a statement; make all of them durable at the end, or none."""
        connection = self._connection

        def write(statement: str, *values: object) -> None:
            connection.execute(statement, values)

        try:
            connection.execute("BEGIN IMMEDIATE")
            yield write
            if identity(self.path) != self._identity:
                raise StateError(
                    f"the state file {self.path} was moved, deleted or replaced under the running dhtd: nothing more"
                    " can be saved; restart dhtd"
                )
            connection.execute("COMMIT")
        except BaseException as error:
            with suppress(*SQLITE_ERRORS):
                connection.rollback()
            if isinstance(error, SQLITE_ERRORS):
                raise self._explained(error) from error
            raise

    def _explained(self, error: SqliteError) -> Exception:
        if isinstance(error, sqlite3.ProgrammingError):
            return error  # misuse, such as writing after close()
        explained = explain(self.path, error)
        if isinstance(explained, DamagedError):
            return StateError(
                f"the state file {self.path} is damaged ({explained}): nothing more can be saved; restart dhtd, which"
                " then sets the file aside"
            )
        return explained


def _schema(version: int) -> tuple[str, ...]:
    return (*_FIRST_SCHEMA, *chain.from_iterable(_ADDED[added] for added in range(2, version + 1)))


def _time(value: object) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(value)
    return float(value)


def _blob(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError(value)
    return value
