"""Changes to a node's own entries and their holders, and how the tables of a state file take them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from dhtd.core.records import RecordKey
from dhtd.daemon.labels import BLANK, Label
from dhtd.daemon.state.ledger import Ledger, rows
from dhtd.daemon.state.rows import RowReader, SavedGuard, SavedHolder, SavedOwn, Writer

_RECORD: Final = "key kind place"  # the columns by which an entry is found
_OF_RECORD: Final = "WHERE key = ? AND kind = ? AND place = ?"

# Of some entries: what they are if they are ours, their holders and their guards.
Image = dict[RecordKey, tuple[SavedOwn | None, frozenset[SavedHolder], SavedGuard | None]]


@dataclass(frozen=True, slots=True)
class AddOwn:
    """This is an own entry with this label and this guard, in place of those that it had."""

    record_key: RecordKey
    label: Label = BLANK
    guard: SavedGuard | None = None


@dataclass(frozen=True, slots=True)
class RemoveOwn:
    """These are own entries no longer, and have no guards."""

    record_keys: Sequence[RecordKey]


@dataclass(frozen=True, slots=True)
class SetHolders:
    """These nodes may hold an entry, and no others."""

    record_key: RecordKey
    holders: Sequence[SavedHolder]


@dataclass(frozen=True, slots=True)
class SetGuard:
    """This is the guard of an own entry; None: it has none."""

    record_key: RecordKey
    guard: SavedGuard | None


Change = AddOwn | RemoveOwn | SetHolders | SetGuard


def image(connection: sqlite3.Connection, entries: Iterable[RecordKey], reader: RowReader, writer: Writer) -> Image:
    """Return what the file has of these entries."""
    found: Image = {}
    for record_key in entries:
        values = writer.record_key(record_key)
        own = [reader.own(*row[:-1]) for row in rows(connection, "own", _OF_RECORD, values)]
        holders = rows(connection, "holder", _OF_RECORD, values)
        guards = [reader.guard(*row[:-1])[1] for row in rows(connection, "guard", _OF_RECORD, values)]
        saved = frozenset(reader.holder(*row[:-1])[1] for row in holders)
        found[record_key] = next(iter(own), None), saved, next(iter(guards), None)
    return found


def put_back(ledger: Ledger, before: Image, writer: Writer) -> None:
    """Have the file say again what an image has of its entries."""
    for record_key, (own, holders, guard) in before.items():
        make(ledger, RemoveOwn([record_key]) if own is None else AddOwn(record_key, own.label), writer)
        make(ledger, SetHolders(record_key, list(holders)), writer)
        make(ledger, SetGuard(record_key, guard), writer)


def make(ledger: Ledger, change: Change, writer: Writer) -> None:
    """Make a change to the tables."""
    match change:
        case AddOwn(record_key, label, guard):
            ledger.drop("own", _RECORD, writer.record_key(record_key))
            ledger.put("own", writer.own(SavedOwn(record_key, label)))
            make(ledger, SetGuard(record_key, guard), writer)
        case RemoveOwn(record_keys):
            for record_key in record_keys:
                ledger.drop("own", _RECORD, writer.record_key(record_key))
                ledger.drop("guard", _RECORD, writer.record_key(record_key))
        case SetHolders(record_key, holders):
            ledger.drop("holder", _RECORD, writer.record_key(record_key))
            for row in {at.contact: writer.holder(record_key, at) for at in holders}.values():
                ledger.put("holder", row)
        case SetGuard(record_key, guard):
            ledger.drop("guard", _RECORD, writer.record_key(record_key))
            if guard is not None:
                ledger.put("guard", writer.guard(record_key, guard))
        case _:
            assert_never(change)


def entries_of(changes: Iterable[Change]) -> list[RecordKey]:
    """Return the entries that changes are about."""
    found: dict[RecordKey, None] = {}
    for change in changes:
        found.update(dict.fromkeys(change.record_keys if isinstance(change, RemoveOwn) else [change.record_key]))
    return list(found)
