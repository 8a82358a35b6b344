"""Changes to a node's own entries and their holders, and how they are made to the tables of a state file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import assert_never

from dhtd.core.endpoint import check_port
from dhtd.core.ids import Id, unpacked
from dhtd.core.publishing.own_records import EntryKey, entry_key
from dhtd.daemon.state.ledger import Ledger, rows
from dhtd.daemon.state.rows import RowReader, SavedHolder, Writer

Image = dict[EntryKey, tuple[bool, frozenset[SavedHolder]]]  # of some entries: whether they are ours, and who has them


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


def image(connection: sqlite3.Connection, entries: Iterable[EntryKey], reader: RowReader, writer: Writer) -> Image:
    """Return how these entries are in the file."""
    found: Image = {}
    for key, port in entries:
        values = (writer.id(unpacked(key)), port)
        is_own = bool(list(rows(connection, "own", "WHERE key = ? AND port = ?", values)))
        holders = rows(connection, "holder", "WHERE key = ? AND port = ?", values)
        found[key, port] = is_own, frozenset(reader.holder(*row[:-1])[1] for row in holders)
    return found


def put_back(ledger: Ledger, before: Image, writer: Writer) -> None:
    """Have the file say this of these entries."""
    for (packed_key, port), (is_own, holders) in before.items():
        key = unpacked(packed_key)
        make(ledger, AddOwn(key, port) if is_own else RemoveOwn(key, [port]), writer)
        make(ledger, SetHolders(key, port, list(holders)), writer)


def make(ledger: Ledger, change: Change, writer: Writer) -> None:
    """Make a change to the tables."""
    key = writer.id(change.key)
    match change:
        case AddOwn(_, port):
            row = writer.own(change.key, port)
            if not ledger.has("own", row, "key port"):
                ledger.put("own", row)
        case RemoveOwn(_, ports):
            for port in ports:
                ledger.drop("own", "key port", (key, port))
        case SetHolders(_, port, holders):
            ledger.drop("holder", "key port", (key, check_port(port)))
            for row in {at.contact: writer.holder(change.key, port, at) for at in holders}.values():
                ledger.put("holder", row)
        case _:
            assert_never(change)


def entries_of(changes: Iterable[Change]) -> list[EntryKey]:
    """Return the entries that changes are about."""
    found: dict[EntryKey, None] = {}
    for change in changes:
        ports = change.ports if isinstance(change, RemoveOwn) else (change.port,)
        found.update(dict.fromkeys(entry_key(change.key, port) for port in ports))
    return list(found)
