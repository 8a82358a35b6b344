"""The withdrawals that are under way: an entry that is entered again meanwhile is published after them."""

from __future__ import annotations

from collections import Counter

from dhtd.core.publishing.own_records import EntryKey


class UnderWay:
    """How many withdrawals of each entry are under way."""

    __slots__ = ("_count",)

    def __init__(self) -> None:
        self._count: Counter[EntryKey] = Counter()

    def __len__(self) -> int:
        """How many entries are being withdrawn."""
        return len(self._count)

    def __contains__(self, entry: EntryKey) -> bool:
        """Whether this entry is."""
        return entry in self._count

    def begin(self, entry: EntryKey) -> None:
        """Count one more."""
        self._count[entry] += 1

    def end(self, entry: EntryKey) -> bool:
        """Count one less; return whether that was the last."""
        self._count[entry] -= 1
        if self._count[entry]:
            return False
        del self._count[entry]
        return True
