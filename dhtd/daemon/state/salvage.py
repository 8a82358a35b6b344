"""What can be taken over from a damaged state file.

A row is taken over where its hash says that it is as it was written, however broken the tree is that it hangs on.
Rows of a file without hashes are taken over where SQLite finds nothing wrong with their table. The first page, without
which SQLite finds no table, is the same in all files but for a few numbers, so a fresh one stands in for it.

The bytes are laid into a file of their own, so that nothing here can change the damaged one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from dhtd.core.ids import Keyspace
from dhtd.core.messages import Contact
from dhtd.core.records import RecordKey
from dhtd.daemon.labels import BLANK
from dhtd.daemon.state.disk import APPLICATION_ID, SQLITE_ERRORS, connect
from dhtd.daemon.state.ledger import make_tables, said_sums
from dhtd.daemon.state.rows import RowReader, is_whole
from dhtd.daemon.state.saved import SavedHolder, SavedState
from dhtd.daemon.state.schemas import COLUMNS, HASHED, KEYS, ROWID, SINCE, VERSION, Row, Value, columns, upgraded

T = TypeVar("T")

PAGE: Final = 4096  # bytes of a page; SQLite's default, and what all files of ours have
_PAGES_MIN: Final = 1 + len(COLUMNS) + len(ROWID)
_HASHED: Final = range(VERSION, HASHED - 1, -1)  # the versions with hashes, the newest first
_WORDS: Final = {
    "own": ("own entry", "own entries"),
    "guard": ("guard of an entry", "guards of entries"),
    "contact": ("contact", "contacts"),
    "held": ("entry held for others", "entries held for others"),
    "holder": ("note of a holder", "notes of holders"),
    "own_value": ("own value", "own values"),
    "held_value": ("value held for others", "values held for others"),
}

_AGAIN: Final = {"own": "own entries must be entered again", "own_value": "own values must be put again"}


@dataclass
class Damage:
    """What was wrong with a state file, and what was lost: for the log and for `dht info`."""

    reason: str
    set_aside: Path | None = None
    has_new_id: bool = False
    kept: dict[str, int] = field(default_factory=dict)  # rows, by their table
    lost: dict[str, int | None] = field(default_factory=dict)  # the same; None where nobody knows how many

    def notice(self, path: Path) -> str:
        """Return what the user should be told about the file at this path."""
        aside = f"is now {self.set_aside}" if self.set_aside else "could not be set aside"
        lost = [what for table, what in _AGAIN.items() if table in self.lost]
        again = f" What was lost of {', and what was lost of '.join(lost)}" if lost else ""
        return f"the state file {path} was damaged ({self.reason}); as it was, it {aside}. {self.words()}.{again}"

    def words(self) -> str:
        """Return what was kept and what was lost."""
        kept = [_counted(table, count) for table, count in self.kept.items() if count]
        lost = [_counted(table, count) for table, count in self.lost.items()]
        id = [] if self.has_new_id else ["the node's ID"]
        new = ["the node's ID, so that it has a new one"] if self.has_new_id else []
        return f"Kept: {', '.join(id + kept) or 'nothing'}. Lost: {', '.join(new + lost) or 'nothing'}"


@dataclass
class Salvage:
    """The sound rows of a damaged file."""

    state: SavedState
    facts: dict[str, Value]
    kept: dict[str, int]
    lost: dict[str, int | None]


def salvage(data: bytes, place: Path, keyspace: Keyspace) -> Salvage:
    """Return what is sound in these bytes, which are laid out at `place` for it and removed again."""
    try:
        # Rows with hashes tell of which version they are: read as those of another one, they are not whole.
        best = max((_attempt(data, place, version) for version in _HASHED), key=_Attempt.rows)
        if not best.rows():
            best = _attempt(data, place, HASHED - 1)
    finally:
        place.unlink(missing_ok=True)
    found = best.found
    facts = {str(row[0]): row[1] for table in ("spare", "meta") for row in found[table].values()}
    state = _state(found, RowReader(keyspace), facts.get("node_id"))
    kept = {
        "own": len(state.own),
        "guard": len(state.guards),
        "contact": len(state.contacts),
        "held": len(state.held),
        "holder": sum(map(len, state.holders.values())),
        "own_value": len(state.own_values),
        "held_value": len(state.held_values),
    }
    return Salvage(state, facts, kept, _lost(kept, facts, best))


@dataclass
class _Attempt:
    """The rows of a damaged file, read as one of some version, in today's columns."""

    version: int
    found: dict[str, dict[Row, Row]]
    readable: set[str]  # the tables that were read to their end

    def rows(self) -> int:
        return sum(map(len, self.found.values()))


def _attempt(data: bytes, place: Path, version: int) -> _Attempt:
    attempt = _Attempt(version, {table: {} for table in COLUMNS}, set())
    for candidate in _candidates(data, place, version):
        place.write_bytes(candidate)
        with suppress(*SQLITE_ERRORS), closing(connect(place, "mode=ro&immutable=1")) as connection:
            _read(connection, attempt, version)
    return attempt


def _lost(kept: Mapping[str, int], facts: Mapping[str, Value], attempt: _Attempt) -> dict[str, int | None]:
    """Return how many rows are missing: what `meta` counted before, less what is there."""
    said = said_sums(facts)
    lost: dict[str, int | None] = {}
    for table, count in kept.items():
        if table in said:
            missing = said[table].rows - count
            if missing > 0:
                lost[table] = missing
        elif table not in attempt.readable and SINCE.get(table, 1) <= (HASHED if said else attempt.version):
            lost[table] = None
    return lost


def _candidates(data: bytes, place: Path, newest: int) -> Iterator[bytes]:
    """Yield the file as it is, and with a fresh first page, as versions that are alike would have it."""
    yield data
    if len(data) < 2 * PAGE:
        return
    data = data.ljust(_PAGES_MIN * PAGE, b"\0")  # no table may begin beyond the end
    pages = len(data) // PAGE
    for version in (newest,) if newest >= HASHED else range(newest, 0, -1):
        place.unlink(missing_ok=True)
        with closing(sqlite3.connect(place, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA page_size = {PAGE}")
            connection.execute("PRAGMA journal_mode = MEMORY")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            make_tables(connection, version)
        first = place.read_bytes()[:PAGE]
        yield first[:28] + pages.to_bytes(4, "big") + bytes(8) + first[40:] + data[PAGE:]


def _read(connection: sqlite3.Connection, attempt: _Attempt, version: int) -> None:
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    for table in COLUMNS:
        with suppress(*SQLITE_ERRORS):
            if version >= HASHED:
                _read_hashed(connection, attempt, table, version)
            elif table not in attempt.readable and _is_sound(connection, table):
                rows = connection.execute(f"SELECT {', '.join(columns(table, version))} FROM {table}")  # noqa: S608
                for row in rows.fetchall():
                    _keep(attempt, table, version, row)
                attempt.readable.add(table)


def _read_hashed(connection: sqlite3.Connection, attempt: _Attempt, table: str, version: int) -> None:
    """Read from both ends: what is broken may be in the middle."""
    there = columns(table, version)
    order_of_tree = "rowid" if table in ROWID else there[0]  # the index of a table may be broken, too
    select = f"SELECT {', '.join(there)}, hash FROM {table} ORDER BY {order_of_tree}"  # noqa: S608
    for order in ("ASC", "DESC"):
        with suppress(*SQLITE_ERRORS):
            for row in connection.execute(f"{select} {order}"):
                if is_whole(table, row):
                    _keep(attempt, table, version, row[:-1])
            attempt.readable.add(table)
            return


def _keep(attempt: _Attempt, table: str, version: int, row: Row) -> None:
    with suppress(ValueError):
        today = upgraded(table, version, row)
        attempt.found[table][today[: len(KEYS[table])]] = today


def _is_sound(connection: sqlite3.Connection, table: str) -> bool:
    """Whether SQLite finds nothing wrong with one table; versions before 3.33 look at all of them."""
    return bool(connection.execute(f"PRAGMA integrity_check({table})").fetchone() == ("ok",))


def _state(found: Mapping[str, Mapping[Row, Row]], reader: RowReader, node_id: Value) -> SavedState:
    holders: dict[RecordKey, list[SavedHolder]] = {}
    for entry, holder in _made(reader.holder, found["holder"]):
        holders.setdefault(entry, []).append(holder)
    ids = _made(reader.id, {(): (node_id,)})
    in_order = dict(sorted(found["contact"].items(), key=lambda item: _position(item[1])))
    contacts: list[Contact] = list(dict.fromkeys(_made(reader.contact_at, in_order)))
    own, held = _made(reader.own, found["own"]), _made(reader.held, found["held"])
    labels = {each.record_key: each.label for each in own if each.label != BLANK}
    record_keys, guards = [each.record_key for each in own], dict(_made(reader.guard, found["guard"]))
    own_values, held_values = _made(reader.own_value, found["own_value"]), _made(reader.held_value, found["held_value"])
    return SavedState(
        ids[0] if ids else None, contacts, record_keys, held, holders, labels, guards, own_values, held_values
    )


def _position(row: Row) -> int:
    return row[0] if isinstance(row[0], int) else 0


def _made(make: Callable[..., T], rows: Mapping[Row, Row]) -> list[T]:
    made = []
    for row in rows.values():
        with suppress(ValueError):
            made.append(make(*row))
    return made


def _counted(table: str, count: int | None) -> str:
    one, many = _WORDS[table]
    return f"some or all {many}" if count is None else f"{count} {one if count == 1 else many}"
