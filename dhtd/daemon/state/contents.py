"""The contents of an open state file: made, upgraded, checked, mended, and read some at a time.

- Opening makes the tables of a new file, upgrades a file of an earlier version, or checks the sums of a present one.
- Each row is checked when it is read. If one is not as it was written, the file is mended: a copy is set aside, and the
  sound rows stay.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Final, TypeVar

from dhtd.config.networks import NETWORKS
from dhtd.core.ids import Keyspace
from dhtd.daemon.labels import BLANK
from dhtd.daemon.state.connection import StateConnection
from dhtd.daemon.state.disk import APPLICATION_ID, DamagedError, copy_aside
from dhtd.daemon.state.ledger import Ledger, facts, make_tables, rows, said_sums, true_sums
from dhtd.daemon.state.rows import Sum, is_whole
from dhtd.daemon.state.salvage import Damage
from dhtd.daemon.state.saved import SavedOwn, SavedState
from dhtd.daemon.state.schemas import (
    COLUMNS,
    HASHED,
    KEYS,
    SPARED,
    SUMMED,
    VERSION,
    Row,
    Value,
    columns,
    schema,
    tables,
    upgraded,
)
from dhtd.errors import StateError

log = logging.getLogger("dhtd.state")

T = TypeVar("T")

SLICE: Final = 512  # rows that are read at once: some milliseconds


class _UnsoundError(Exception):
    """A file of an earlier version has a row that cannot be true."""


class StateContents(StateConnection):
    """The tables of a state file."""

    def __init__(self, path: Path, keyspace: Keyspace) -> None:
        """Open nothing yet."""
        super().__init__(path, keyspace)
        self.damage: Damage | None = None  # the damage that was found since the file was opened

    def _begin(self, connection: sqlite3.Connection, version: int | None) -> None:
        """Make, upgrade or mend the tables, and prove that the file can be written."""
        if version is None:
            self._create(connection)
        elif version < VERSION:
            self._upgrade(version)
        else:
            self._know(facts(connection))
            reason = self._complaint(connection, version)
            if reason is not None:
                self._mend(reason)
        with self._transaction() as ledger:  # a read-only directory or a full disk shows now, not at the first enter
            ledger.connection.execute(f"PRAGMA user_version = {VERSION}")

    def _create(self, connection: sqlite3.Connection) -> None:
        self._sums = dict.fromkeys(SUMMED, Sum())
        with self._transaction() as ledger:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            make_tables(connection, VERSION)
            ledger.set("bits", self._keyspace.bits)
            ledger.close({})

    def _upgrade(self, version: int) -> None:
        """Bring a file of an earlier version up to date, at once or not at all. Rows that cannot be true are left out.

        Rows are read one by one, since those of a full file do not fit into the memory of a small machine.
        """
        connection = self._connection
        # See what the file has once, and whether all of it is as it was written.
        reason = None
        if version < HASHED:
            once = {name: value for name, value in _unhashed_facts(connection).items() if name in SPARED}
        else:
            once = facts(connection)
            self._know(once)
            reason = self._complaint(connection, version)
        # Where something is wrong, set the file aside as it was. The rows tell while they are copied.
        if once.get("node_id") is not None and not self._is_id(once["node_id"]):
            reason = reason or "its ID cannot be one"
        aside = None if reason is None else self._set_aside(connection)
        try:
            lost = self._rebuild(version, once, tolerant=aside is not None)
        except _UnsoundError:
            aside = self._set_aside(connection)
            lost = self._rebuild(version, once, tolerant=True)
            reason = _impossible(sum(lost.values()))
        with suppress(sqlite3.Error):  # so that the first page is that of a new file, which can stand in for it
            connection.execute("VACUUM")
        if reason is not None:
            self.damage = Damage(reason, aside, not self._is_id(once.get("node_id")), lost={**lost})

    def _rebuild(self, version: int, once: Mapping[str, Value], *, tolerant: bool) -> dict[str, int]:
        """Build the tables of today from those of this version, and drop these; a crash leaves the one or the other.

        Return how many rows of each table are lost. Raises `_UnsoundError` for the first one, unless `tolerant`.
        """
        said, lost = said_sums(once), {}
        self._sums = dict.fromkeys(SUMMED, Sum())
        with self._transaction() as ledger:
            connection = ledger.connection
            # Make room for the names of the new tables.
            for table in tables(version):
                connection.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
            make_tables(connection, VERSION)
            connection.execute(f"PRAGMA user_version = {VERSION}")
            # Copy what the file has once.
            ledger.set("bits", self._keyspace.bits)
            ledger.close({})
            _set_facts(ledger, once)
            if self._is_id(once.get("node_id")):
                ledger.set("node_id", once["node_id"])
            # Copy the rows that are sound.
            for table in tables(version):
                if table not in SUMMED:
                    continue
                unsound = 0
                for row in self._upgraded(connection, table, version):
                    if row is not None:
                        ledger.put(table, row)
                    elif tolerant:
                        unsound += 1
                    else:
                        raise _UnsoundError
                kept = ledger.sums[table].rows
                missing = max(kept + unsound, said[table].rows if table in said else 0) - kept
                if missing:
                    lost[table] = missing
            for table in tables(version):
                connection.execute(f"DROP TABLE old_{table}")
        return lost

    def _upgraded(self, connection: sqlite3.Connection, table: str, version: int) -> Iterator[Row | None]:
        """Yield each row of an old table as it reads today; None where it cannot be true."""
        there, make, is_hashed = columns(table, version), self._makers()[table], version >= HASHED
        names = ", ".join((*there, "hash") if is_hashed else there)
        for row in connection.execute(f"SELECT {names} FROM old_{table} ORDER BY {there[0]}"):  # noqa: S608
            today = None
            with suppress(ValueError):
                if not is_hashed or is_whole(table, row):
                    values = upgraded(table, version, row[: len(there)])
                    make(*values)
                    today = values
            yield today

    def _check(self, connection: sqlite3.Connection, version: int) -> None:
        """Raise if the file is damaged, or of another network; write nothing."""
        [complaint] = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if complaint != "ok":
            raise DamagedError(" ".join(complaint.split()))
        made = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite@_%' ESCAPE '@'"
        if sorted(map(str, chain.from_iterable(connection.execute(made)))) != sorted(schema(version)):
            raise DamagedError("its tables are not those that dhtd makes")  # a trigger could undo what was acknowledged
        once = _unhashed_facts(connection) if version < HASHED else facts(connection)
        bits = once.get("bits")
        if not isinstance(bits, int):
            raise DamagedError("it does not say how wide its IDs are")
        if bits != self._keyspace.bits:
            names = (f"say --network {each.name}, or " for each in NETWORKS.values() if each.keyspace.bits == bits)
            raise StateError(
                f"the state file {self.path} is of a network whose IDs have {bits} bits, not {self._keyspace.bits}:"
                f" {next(names, '')}give this daemon a file of its own with --instance or --state"
            )

    def _complaint(self, connection: sqlite3.Connection, version: int) -> str | None:
        """Return what is wrong with the facts and the sums of a file of this version with a sound structure."""
        once, copied = facts(connection, ["meta"]), facts(connection, ["spare"])
        written = [len(list(rows(connection, table))) for table in ("meta", "spare")]
        if written != [len(once), len(copied)] or copied != {name: once[name] for name in SPARED if name in once}:
            return "what it has once is not as it was written"
        if not self._is_id(once.get("node_id")) and "node_id" in once:
            return "its ID cannot be one"
        wrong = [table for table, true in true_sums(connection, version).items() if true != self._sums.get(table)]
        return None if not wrong else f"what it has of {' and '.join(wrong)} is not what was last written there"

    def _mend(self, reason: str) -> None:
        """Set a copy of the file aside, and keep the rows that are as they were written."""
        # Set it aside first: nothing of a damaged file is overwritten.
        connection = self._connection
        aside = self._set_aside(connection)
        kept: dict[str, int] = {}
        lost: dict[str, int | None] = {}
        with self._transaction() as ledger:
            # Write the facts anew, each from `meta`, or from `spare` if it is not whole there.
            once = {**facts(connection, ["spare"]), **facts(connection, ["meta"])}
            for table in ("meta", "spare"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names of ours
            ledger.set("bits", self._keyspace.bits)
            for name, value in once.items():
                if name != "bits" and not name.startswith("sum ") and (name != "node_id" or self._is_id(value)):
                    ledger.set(name, value)
            # Write the sound rows anew, and count those that the sum has and the table lacks.
            said, make = said_sums(once), self._makers()
            for table in SUMMED:
                sound = [
                    row[:-1] for row in rows(connection, table) if is_whole(table, row) and _can_be(make[table], row)
                ]
                ledger.drop(table)
                for row in sound:
                    ledger.put(table, row)
                kept[table] = len(sound)
                missing = said[table].rows - len(sound) if table in said else 0
                if missing > 0:
                    lost[table] = missing
            ledger.close({})
        if self.damage is not None:  # found before, and more of it now
            lost = {table: _both(lost.get(table, 0), self.damage.lost.get(table, 0)) for table in SUMMED}
            lost = {table: count for table, count in lost.items() if count != 0}
        self.damage = Damage(reason, aside, not self._is_id(once.get("node_id")), kept, lost)

    def _set_aside(self, connection: sqlite3.Connection) -> Path:
        try:
            return copy_aside(self.path, connection)
        except OSError as error:
            raise StateError(f"the damaged state file {self.path} cannot be copied: {error}") from error

    def _makers(self) -> dict[str, Callable[..., object]]:
        reader = self._reader
        return {
            "own": reader.own,
            "guard": reader.guard,
            "contact": reader.contact_at,
            "held": reader.held,
            "holder": reader.holder,
            "own_value": reader.own_value,
            "held_value": reader.held_value,
        }

    def _is_id(self, value: Value) -> bool:
        return _can_be(self._reader.id, (value, None))

    def _fill(self, ledger: Ledger, state: SavedState, once: Mapping[str, Value]) -> None:
        """Write the contents of another file into fresh tables."""
        _set_facts(ledger, once)
        if state.node_id is not None:
            ledger.set("node_id", self._writer.id(state.node_id))
        for position, contact in enumerate(state.contacts):
            ledger.put("contact", self._writer.contact(position, contact))
        for record_key in state.own:
            ledger.put("own", self._writer.own(SavedOwn(record_key, state.labels.get(record_key, BLANK))))
        for record_key, guard in state.guards.items():
            ledger.put("guard", self._writer.guard(record_key, guard))
        for entry in state.held:
            ledger.put("held", self._writer.held(entry))
        for record_key, holders in state.holders.items():
            for holder in holders:
                ledger.put("holder", self._writer.holder(record_key, holder))
        for own in state.own_values:
            ledger.put("own_value", self._writer.own_value(own))
        for held in state.held_values:
            ledger.put("held_value", self._writer.held_value(held))

    def _slices(self, table: str, make: Callable[..., T]) -> Iterator[list[T]]:
        """Yield the values of a table's rows, some at a time, in the order of its primary key."""
        key = KEYS[table]
        after: tuple[Value, ...] = ()
        places = f"({', '.join(key)}) > ({', '.join('?' * len(key))})"
        while True:
            where = f"WHERE {places} " if after else ""
            rest = f"{where}ORDER BY {', '.join(key)} LIMIT {SLICE}"
            some = self._sound(table, make, rest, after)
            if not some:
                return
            last = some[-1][0]
            after = tuple(last[COLUMNS[table].index(column)] for column in key)
            yield [made for _, made in some]

    def _made(self, table: str, make: Callable[..., T], rest: str, values: Sequence[Value]) -> list[T]:
        return [made for _, made in self._sound(table, make, rest, values)]

    def _sound(
        self, table: str, make: Callable[..., T], rest: str, values: Sequence[Value]
    ) -> list[tuple[tuple[Value, ...], T]]:
        """Return rows and their values. If one is not as it was written, mend the file first."""
        with self._reading() as connection:
            found = list(rows(connection, table, rest, values))
            sound = []
            with suppress(ValueError):
                sound = [(row, make(*row[:-1])) for row in found if is_whole(table, row)]
            if len(sound) == len(found):
                return sound
            self._mend("it had impossible rows")
            assert self.damage is not None
            log.error("%s", self.damage.notice(self.path))  # what opening the file finds, the opener tells
            return [(row, make(*row[:-1])) for row in rows(self._connection, table, rest, values)]


def _unhashed_facts(connection: sqlite3.Connection) -> dict[str, Value]:
    return {str(name): value for name, value in connection.execute("SELECT name, value FROM meta")}


def _set_facts(ledger: Ledger, once: Mapping[str, Value]) -> None:
    """Write what another file had once, but its ID, and what follows from the tables."""
    for name, value in once.items():
        if name not in ("bits", "node_id") and not name.startswith("sum "):
            ledger.set(name, value)


def _can_be(make: Callable[..., object], row: Sequence[Value]) -> bool:
    try:
        make(*row[:-1])
    except ValueError:
        return False
    return True


def _both(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _impossible(count: int) -> str:
    return f"it had {count} impossible {'row' if count == 1 else 'rows'}"
