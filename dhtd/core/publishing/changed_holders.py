"""The entries with holders other than those on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

from dhtd.core.records import RecordKey


class ChangedHolders:
    """Notes of changes: the part that keeps holders makes them, and the part that saves holders takes them."""

    __slots__ = ("_changed",)

    def __init__(self) -> None:
        self._changed: set[RecordKey] = set()

    def __iter__(self) -> Iterator[RecordKey]:
        """Yield each."""
        return iter(self._changed)

    def note(self, record_key: RecordKey) -> None:
        """The holders of this entry have changed."""
        self._changed.add(record_key)

    def put_back(self, record_keys: Iterable[RecordKey]) -> None:
        """Have these among the next changes again: they could not be saved."""
        self._changed.update(record_keys)

    def take(self, among: AbstractSet[RecordKey] | None = None) -> set[RecordKey]:
        """Take and return the changed entries; of those `among` these alone, if given."""
        if among is None:
            taken, self._changed = self._changed, set()
        else:
            taken = self._changed & among
            self._changed -= taken
        return taken
