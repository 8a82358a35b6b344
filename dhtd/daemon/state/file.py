"""The state file: the memory of a node across restarts, in one crash-safe SQLite database.

Its laws:

- A change is on the disk when its method returns. The journal is a rollback journal. `synchronous` is EXTRA, though
  FULL would do: while the lock is held, SQLite keeps the journal, zeroes its header at the end of a transaction, and
  syncs that. EXTRA also syncs the directory where a journal is deleted, and costs nothing here.
- A change that a method has refused is not in the file, now and after a restart. If a COMMIT fails, the file is read
  again, and its content decides. If not even that works, the next change that works undoes the refused one.
- The file is one file at rest. While it is open, and after a crash, its journal lies beside it. The next opening undoes
  a transaction that was cut short.
- The kernel locks the file as long as it is open: a second daemon is refused, and `kill -9` frees the lock. On a file
  system without locks, `warnings` says so.
- A file of an earlier version is upgraded when it is opened, at once or not at all.
- A foreign file (another program's database, or a newer version's) is an error, and stays as it is to the byte.
- A damaged file is never overwritten: it is set aside, and its sound part goes on. Each row has a hash, and each table
  a sum of these, so no changed and no lost row passes unnoticed. `damage` tells.

Every method blocks. Any thread may call them; calls wait for each other.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Self

from dhtd.core.ids import NATIVE, Id, Keyspace
from dhtd.core.messages import SESSION_SIZE, Contact
from dhtd.core.records import RecordKey
from dhtd.daemon.labels import BLANK
from dhtd.daemon.state.changes import (
    AddOwn,
    Change,
    DropValue,
    Image,
    KeepValue,
    RemoveOwn,
    SetGuard,
    SetHolders,
    image,
    make,
)
from dhtd.daemon.state.connection import UnknownError
from dhtd.daemon.state.copy import unnamed_copy
from dhtd.daemon.state.directory_lock import turn
from dhtd.daemon.state.disk import (
    SQLITE_ERRORS,
    DamagedError,
    check_origin,
    discard_empty,
    explain,
    has_locks,
    identity,
    prepare,
    put_in_place,
    refuse_foreign,
    replacement,
)
from dhtd.daemon.state.held_contents import HeldContents
from dhtd.daemon.state.ledger import facts
from dhtd.daemon.state.salvage import Damage, salvage
from dhtd.daemon.state.saved import (
    HELD,
    SavedGuard,
    SavedHeldValue,
    SavedHolder,
    SavedOwn,
    SavedOwnValue,
    SavedRecord,
    SavedState,
)
from dhtd.daemon.state.schemas import Value
from dhtd.errors import StateError, StateLocked

__all__ = [
    "AddOwn",
    "Change",
    "DropValue",
    "KeepValue",
    "RemoveOwn",
    "SavedGuard",
    "SavedHeldValue",
    "SavedHolder",
    "SavedOwn",
    "SavedOwnValue",
    "SavedRecord",
    "SavedState",
    "SetGuard",
    "SetHolders",
    "StateFile",
]  # fmt: skip


class StateFile(HeldContents):
    """The state file, open and locked. A method that raises `StateError` has changed nothing."""

    def __init__(self, path: Path, keyspace: Keyspace) -> None:
        """For `open` only."""
        super().__init__(path, keyspace)
        self.warnings: list[str] = []  # what else than damage the user should know

    @classmethod
    def open(cls, path: Path, keyspace: Keyspace = NATIVE) -> Self:
        """Open and lock the file; make it where there is none.

        Raises `StateLocked` where another process has it, `StateTooNew`, and `StateError` for what else the user has to
        put right first. Damage is no error: see `damage`.
        """
        path = path.absolute()
        is_new = not os.path.lexists(path)
        warnings = prepare(path)
        with turn(path):
            try:
                file = cls._open(path, keyspace)
            except StateLocked:
                raise
            except StateError:
                if is_new:
                    discard_empty(path)
                raise
        file.warnings[:0] = warnings
        return file

    @property
    def set_aside(self) -> Path | None:
        """Where a damaged file, or a copy of it, was put."""
        return None if self.damage is None else self.damage.set_aside

    @property
    def notice(self) -> str | None:
        """What the user should be told about damage."""
        return None if self.damage is None else self.damage.notice(self.path)

    def notices(self) -> list[str]:
        """Return all that the user should be told."""
        return ([] if self.notice is None else [self.notice]) + self.warnings

    def load(self) -> SavedState:
        """Return all that the file holds."""
        holders: dict[RecordKey, list[SavedHolder]] = {}
        for some in self.holders():
            for record_key, holder in some:
                holders.setdefault(record_key, []).append(holder)
        entries, held = list(chain(*self.own())), list(chain(*self.held()))
        own = [each.record_key for each in entries]
        labels = {each.record_key: each.label for each in entries if each.label != BLANK}
        values, held_values = list(chain(*self.own_values())), list(chain(*self.held_values()))
        return SavedState(
            self.node_id(), self.contacts(), own, held, holders, labels, self.guards(), values, held_values
        )

    def copy(self) -> BinaryIO:
        """Return a copy of the file as it is now: another state file, without a name, and gone when it is closed."""
        with self._reading() as connection:
            return unnamed_copy(self.path, connection)

    def node_id(self) -> Id | None:
        """Return the node's own ID."""
        value = self.fact("node_id")
        return None if value is None else self._reader.id(value)

    def node_id6(self) -> Id | None:
        """Return its ID in the network of IPv6, if a node of both families had one that follows from its address."""
        value = self.fact("node_id6")
        return self._reader.id(value) if self._is_id(value) else None

    def session(self) -> bytes | None:
        """Return the secret under which holders keep own entries; None where there is none, or none that can be one."""
        value = self.fact("session")
        return value if isinstance(value, bytes) and len(value) == SESSION_SIZE else None

    def contacts(self) -> list[Contact]:
        """Return the contacts, in the order in which they were saved."""
        return list(chain(*self._slices("contact", self._reader.contact_at)))

    def own(self) -> Iterator[list[SavedOwn]]:
        """Yield the own entries, some at a time, in the order of their keys. Others may change them in between."""
        return self._slices("own", self._reader.own)

    def guards(self) -> dict[RecordKey, SavedGuard]:
        """Return the guards of own entries."""
        return dict(chain(*self._slices("guard", self._reader.guard)))

    def own_values(self) -> Iterator[list[SavedOwnValue]]:
        """Yield the own values in the same way."""
        return self._slices("own_value", self._reader.own_value)

    def holders(self) -> Iterator[list[tuple[RecordKey, SavedHolder]]]:
        """Yield entries and their holders in the same way."""
        return self._slices("holder", self._reader.holder)

    def of_key(self, key: Id) -> tuple[list[SavedOwn], list[tuple[RecordKey, SavedHolder]]]:
        """Return the own entries of one key, and the holders of its entries."""
        where, values = "WHERE key = ?", (self._writer.id(key),)
        own = self._made("own", self._reader.own, where, values)
        return own, self._made("holder", self._reader.holder, where, values)

    def fact(self, name: str) -> Value:
        """Return a fact, which the file has once; None if it is missing."""
        with self._reading() as connection:
            return facts(connection).get(name)

    def set_fact(self, name: str, value: Value) -> None:
        """Remember a fact."""
        with self._transaction() as ledger:
            ledger.set(name, value)

    def set_node_id(self, id: Id) -> None:
        """Remember the node's own ID."""
        self.set_fact("node_id", self._writer.id(id))

    def set_node_id6(self, id: Id) -> None:
        """Remember its ID in the network of IPv6."""
        self.set_fact("node_id6", self._writer.id(id))

    def networks(self) -> tuple[str, ...] | None:
        """Return the fingerprints of the network keys that the file was last used with; empty: an open network.

        None where no node has run with the file yet.
        """
        value = self.fact("networks")
        return None if value is None else tuple(str(value).split())

    def set_networks(self, fingerprints: Iterable[str], forget: Iterable[str] = ()) -> None:
        """Remember with which network keys the file is used, and empty the tables that the new network must not see."""
        with self._transaction() as ledger:
            ledger.set("networks", " ".join(fingerprints))
            for table in forget:
                assert table in ("contact", "held", "held_value", "holder")
                ledger.drop(table)

    def add_own(self, *entries: AddOwn) -> None:
        """Remember own entries, all or none. Once this has returned, no crash undoes it."""
        self.apply(entries)

    def remove_own(self, record_keys: Sequence[RecordKey], holders: Iterable[SetHolders] = ()) -> None:
        """Forget own entries, and remember their holders. Once this has returned, no crash brings them back."""
        self.apply([RemoveOwn(record_keys), *holders])

    def forget_held(self) -> None:
        """Forget own entries that processes or connections held: these are gone. The holders are remembered."""
        gone = [record_key for record_key, guard in self.guards().items() if guard == HELD]
        if gone:
            self.remove_own(gone)

    def save_holders(self, holders: Iterable[SetHolders]) -> None:
        """Remember these holders of these entries, and no others."""
        self.apply(holders)

    def apply(self, changes: Iterable[Change]) -> None:
        """Make changes in their order, all or none, at the price of one: what costs is waiting for the disk."""
        changes = list(changes)
        with self._lock:
            before: Image = {}
            try:
                with self._transaction() as ledger:
                    before = image(ledger, changes, self._writer)
                    for change in changes:
                        make(ledger, change, self._writer)
            except UnknownError:
                self._undo = {**before, **self._undo}
                raise

    def save_contacts(self, contacts: Sequence[Contact]) -> None:
        """Remember these contacts and no others."""
        with self._transaction() as ledger:
            ledger.drop("contact")
            for position, contact in enumerate(contacts):
                ledger.put("contact", self._writer.contact(position, contact))

    @property
    def is_unsettled(self) -> bool:
        """Whether a refused change may be in the file all the same."""
        return bool(self._undo)

    def settle(self) -> None:
        """Undo refused changes that may be in the file all the same."""
        if self._undo:
            with self._transaction():
                pass

    # Opening

    @classmethod
    def _open(cls, path: Path, keyspace: Keyspace) -> Self:
        prepare(path)  # again: the daemon that had the turn before may have moved the file aside, and gone
        found = identity(path)
        try:
            refuse_foreign(path)
            return cls._attach(path, keyspace)
        except DamagedError as damage:
            try:
                kept = cls._replace(path, found, keyspace, str(damage))
                prepare(path)
                file = cls._attach(path, keyspace)
            except DamagedError as again:
                raise StateError(f"a fresh state file {path} is damaged at once ({again}): check the disk") from again
            file.damage = kept
            return file

    @classmethod
    def _replace(cls, path: Path, found: tuple[int, int] | None, keyspace: Keyspace, reason: str) -> Damage:
        """Set a damaged file aside, and put a fresh one with what is sound of it into its place."""
        with replacement(path, found) as fresh:
            sound = salvage(path.read_bytes(), fresh, keyspace)
            if sound.state.node_id is None and not any(sound.kept.values()):
                sound.facts.clear()
            prepare(fresh)
            file = cls(fresh, keyspace)
            with closing(file):
                file._attach_to(check=False)
                with file._transaction() as ledger:
                    file._fill(ledger, sound.state, sound.facts)
            aside = put_in_place(fresh, path)
        return Damage(reason, aside, sound.state.node_id is None, sound.kept, sound.lost)

    @classmethod
    def _attach(cls, path: Path, keyspace: Keyspace) -> Self:
        file = cls(path, keyspace)
        try:
            file._attach_to(check=True)
        except StateLocked:
            if has_locks(path):
                raise
            file._parameters = "mode=rw&vfs=unix-none"
            file.warnings.append(
                f"the file system of the state file {path} has no locks: nothing keeps a second dhtd from using the"
                " same file"
            )
            file._attach_to(check=True)
        return file

    def _attach_to(self, *, check: bool) -> None:
        try:
            connection = self._connect()
            version = check_origin(self.path, connection)
            if version is not None and check:
                self._check(connection, version)
            connection.execute("PRAGMA journal_mode = DELETE")  # which writes, where somebody has chosen another one
            self._begin(connection, version)
        except BaseException as error:
            self._disconnect()
            if isinstance(error, SQLITE_ERRORS):
                raise explain(self.path, error) from error
            raise
