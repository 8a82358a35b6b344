"""Changes to a node's own entries, their holders and its own values, and how the tables of a state file take them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from dhtd.core.ids import Id
from dhtd.core.records import RecordKey
from dhtd.daemon.labels import BLANK, Label
from dhtd.daemon.state.ledger import Ledger
from dhtd.daemon.state.rows import Writer
from dhtd.daemon.state.saved import SavedGuard, SavedHolder, SavedOwn, SavedOwnValue
from dhtd.daemon.state.schemas import Row, Value

_RECORD: Final = "key kind place"  # the columns by which an entry is found

_OF_ENTRY: Final = ("own", "holder", "guard")  # the tables that tell of an entry

# A place: a table, and the columns and the values by which its rows about one thing are found.
Place = tuple[str, str, tuple[Value, ...]]
# The sound rows at some places, without their hashes.
Image = dict[Place, list[Row]]


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


@dataclass(frozen=True, slots=True)
class KeepValue:
    """This value is kept, in place of any that is kept under its key."""

    own: SavedOwnValue


@dataclass(frozen=True, slots=True)
class DropValue:
    """No value is kept under this key."""

    key: Id


Change = AddOwn | RemoveOwn | SetHolders | SetGuard | KeepValue | DropValue


def image(ledger: Ledger, changes: Iterable[Change], writer: Writer) -> Image:
    """Return what the file has at the places that changes are about."""
    return {place: ledger.there(*place) for change in changes for place in _places(change, writer)}


def put_back(ledger: Ledger, before: Image) -> None:
    """Have the file say again what an image has of its places."""
    for (table, columns, key), there in before.items():
        ledger.drop(table, columns, key)
        for row in there:
            ledger.put(table, row)


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
        case KeepValue(own):
            ledger.drop("own_value", "key", (writer.id(own.key),))
            ledger.put("own_value", writer.own_value(own))
        case DropValue(key):
            ledger.drop("own_value", "key", (writer.id(key),))
        case _:
            assert_never(change)


def _places(change: Change, writer: Writer) -> Iterator[Place]:
    match change:
        case KeepValue(SavedOwnValue(key=key)) | DropValue(key):
            yield "own_value", "key", (writer.id(key),)
        case _:
            for record_key in change.record_keys if isinstance(change, RemoveOwn) else [change.record_key]:
                for table in _OF_ENTRY:
                    yield table, _RECORD, writer.record_key(record_key)
