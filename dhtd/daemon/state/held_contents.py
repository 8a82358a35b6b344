"""What a state file has of the entries and the values that the node holds for others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from dhtd.core.ids import Id
from dhtd.core.records import supersedes
from dhtd.daemon.state.contents import StateContents
from dhtd.daemon.state.saved import SavedHeldValue, SavedRecord


class HeldContents(StateContents):
    """The tables of what is held for others."""

    def held(self) -> Iterator[list[SavedRecord]]:
        """Yield the held entries, some at a time, in the order of their keys. Others may change them in between."""
        return self._slices("held", self._reader.held)

    def held_values(self) -> Iterator[list[SavedHeldValue]]:
        """Yield the held values in the same way."""
        return self._slices("held_value", self._reader.held_value)

    def save_held(self, changes: Iterable[tuple[Id, Sequence[SavedRecord]]], *, whole: bool = False) -> None:
        """Remember, under each of these keys, these entries and no others; under no other key any, where it is all."""
        with self._transaction() as ledger:
            if whole:
                ledger.drop("held")
            for key, entries in changes:
                if not whole:
                    ledger.drop("held", "key", (self._writer.id(key),))
                for row in {(entry.record_key, entry.session): self._writer.held(entry) for entry in entries}.values():
                    assert row[0] == self._writer.id(key)
                    ledger.put("held", row)

    def merge_held(self, entries: Iterable[SavedRecord]) -> None:
        """Remember these entries, beside all others: for an end before the whole file was read."""
        with self._transaction() as ledger:
            for entry in entries:
                row = self._writer.held(entry)
                ledger.drop("held", "key kind place source session", row[:5])
                ledger.put("held", row)

    def save_held_values(self, changes: Iterable[tuple[Id, SavedHeldValue | None]], *, whole: bool = False) -> None:
        """Remember, under each of these keys, this value or none; under no other key any, where it is all."""
        with self._transaction() as ledger:
            if whole:
                ledger.drop("held_value")
            for key, held in changes:
                if not whole:
                    ledger.drop("held_value", "key", (self._writer.id(key),))
                if held is not None:
                    ledger.put("held_value", self._writer.held_value(held))

    def merge_held_values(self, values: Iterable[SavedHeldValue]) -> None:
        """Remember these values, beside all others, unless the file has what supersedes them."""
        make = self._reader.held_value
        with self._lock:
            newer = []
            for held in values:
                there = self._made("held_value", make, "WHERE key = ?", (self._writer.id(held.key),))
                if not any(supersedes(each.value, held.value) for each in there):
                    newer.append((held.key, held))
            self.save_held_values(newer)
