"""The connection to a state file: opened and locked, with transactions that take place as a whole or not at all.

After a COMMIT that failed, SQLite may have parts of the transaction in its memory and in the file. So the file is
opened anew, which plays back the journal. The serial number in it then tells whether the transaction took place.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dhtd.core.ids import Keyspace
from dhtd.daemon.state.changes import Image, put_back
from dhtd.daemon.state.directory_lock import turn
from dhtd.daemon.state.disk import SQLITE_ERRORS, DamagedError, SqliteError, connect, explain, identity, sync_directory
from dhtd.daemon.state.ledger import Ledger, facts, said_sums
from dhtd.daemon.state.rows import RowReader, Sum, Writer
from dhtd.daemon.state.schemas import Value
from dhtd.errors import StateError

log = logging.getLogger("dhtd.state")


class UnknownError(StateError):
    """A transaction has failed, and the file cannot be read to tell whether it took place."""


class StateConnection:
    """A locked database, and the facts about it."""

    def __init__(self, path: Path, keyspace: Keyspace) -> None:
        """Open nothing yet."""
        self.path = path
        self._keyspace = keyspace
        self._reader, self._writer = RowReader(keyspace), Writer(keyspace)
        self._parameters = "mode=rw"
        self._connected: sqlite3.Connection | None = None
        self._is_closed = False
        self._sums: dict[str, Sum] = {}
        self._serial = 0  # the number of the last transaction
        self._undo: Image = {}  # refused changes that may be in the file all the same: how it was before them
        self._lock = threading.RLock()
        self._identity = identity(path)

    def close(self) -> None:
        """Let go of the file. A second call does nothing."""
        self._is_closed = True
        self._disconnect()

    def _connect(self) -> sqlite3.Connection:
        """Open and lock the file, which undoes a transaction that was cut short."""
        connection = self._connected = connect(self.path, self._parameters)
        execute = connection.execute
        # EXTRA syncs the directory where a journal is deleted, and fails where that cannot be done.
        execute(f"PRAGMA synchronous = {'EXTRA' if self._syncs_directories() else 'FULL'}")
        execute("PRAGMA fullfsync = ON")  # for macOS, whose fsync leaves data in the drive's cache
        execute("PRAGMA trusted_schema = OFF")
        execute("PRAGMA cell_size_check = ON")
        # In this order: in the exclusive mode, a daemon would keep a part of the lock while it waits for the rest, and
        # two daemons that start at once would both fail.
        execute("BEGIN EXCLUSIVE")
        execute("PRAGMA locking_mode = EXCLUSIVE")
        execute("ROLLBACK")  # keeps the lock, and undoes what SQLite has begun to correct in the header
        return connection

    def _syncs_directories(self) -> bool:
        try:
            return sync_directory(self.path.parent)
        except OSError as error:
            raise StateError(f"the directory of the state file {self.path} cannot be written: {error}") from error

    def _disconnect(self) -> None:
        connection, self._connected = self._connected, None
        if connection is not None:
            connection.close()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except SQLITE_ERRORS as error:
                raise self._explained(error) from error

    @property
    def _connection(self) -> sqlite3.Connection:
        """The connection, made again where it had to be given up."""
        if self._connected is None:
            if self._is_closed:
                raise sqlite3.ProgrammingError("the state file is closed")
            self._connect_again()
        assert self._connected is not None
        return self._connected

    @contextmanager
    def _transaction(self) -> Iterator[Ledger]:
        """Yield a ledger to write with; make all of it durable at the end, or nothing."""
        with self._lock:
            try:
                connection = self._connection
            except SQLITE_ERRORS as error:
                raise self._explained(error) from error
            ledger = Ledger(connection, self._sums)
            serial = self._serial + 1
            is_committing = False
            try:
                connection.execute("BEGIN IMMEDIATE")
                put_back(ledger, self._undo)
                yield ledger
                self._check_place()
                ledger.close(self._sums)
                ledger.set("serial", serial)
                is_committing = True
                connection.execute("COMMIT")
            except BaseException as error:
                if not self._is_made(error, serial, is_committing=is_committing):
                    if isinstance(error, SQLITE_ERRORS):
                        raise self._explained(error) from error
                    raise
            self._sums, self._serial, self._undo = ledger.sums, serial, {}

    def _is_made(self, error: BaseException, serial: int, *, is_committing: bool) -> bool:
        """Roll back a transaction that has failed; return whether it took place all the same."""
        connection = self._connected
        assert connection is not None
        has_failed = is_committing or (getattr(error, "sqlite_errorcode", 0) & 0xFF) == sqlite3.SQLITE_IOERR
        try:
            connection.rollback()
        except SQLITE_ERRORS:
            has_failed = True
        if not has_failed:
            return False
        self._disconnect()
        complaint = f"the state file {self.path}: {error} ({getattr(error, 'sqlite_errorname', type(error).__name__)})"
        try:
            there = facts(self._connection).get("serial")
        except (*SQLITE_ERRORS, StateError):
            raise UnknownError(
                f"{complaint}. The file cannot be read again: whether the change is in it is unknown, and it is undone"
                " as soon as the disk works; check the disk and its log"
            ) from error
        if there != serial:
            return False
        log.warning("%s. The change is in the file all the same, and counts as made; check the disk", complaint)
        return True

    def _connect_again(self) -> None:
        """Open and lock the same file again. It is our turn, so nobody else can have it meanwhile."""
        with turn(self.path):
            self._check_place()
            try:
                connection = self._connect()
                self._know(facts(connection))
            except BaseException:
                self._disconnect()
                raise

    def _know(self, once: Mapping[str, Value]) -> None:
        """Take over what the file says of itself."""
        self._sums = said_sums(once)
        serial = once.get("serial")
        self._serial = serial if isinstance(serial, int) else 0

    def _check_place(self) -> None:
        if identity(self.path) != self._identity:
            raise StateError(
                f"the state file {self.path} was moved, deleted or replaced under the running dhtd: nothing more"
                " can be saved; restart dhtd"
            )

    def _explained(self, error: SqliteError) -> Exception:
        if isinstance(error, sqlite3.ProgrammingError):
            return error  # misuse, such as writing after close()
        explained = explain(self.path, error)
        if isinstance(explained, DamagedError):
            return StateError(
                f"the state file {self.path} is damaged ({explained}): nothing more can be saved; restart dhtd, which"
                " then sets the file aside and keeps what is sound of it"
            )
        return explained
