"""The withdrawals that are under way. An entry that is entered again meanwhile is published after them."""

from __future__ import annotations

from collections import Counter

from dhtd.core.records import RecordKey


class UnderWay:
    """How many withdrawals of each entry are under way."""

    __slots__ = ("_count",)

    def __init__(self) -> None:
        self._count: Counter[RecordKey] = Counter()

    def __len__(self) -> int:
        """How many entries are being withdrawn."""
        return len(self._count)

    def __contains__(self, record_key: RecordKey) -> bool:
        """Whether this entry is."""
        return record_key in self._count

    def begin(self, record_key: RecordKey) -> None:
        """Count one more."""
        self._count[record_key] += 1

    def end(self, record_key: RecordKey) -> bool:
        """Count one less; return whether that was the last."""
        self._count[record_key] -= 1
        if self._count[record_key]:
            return False
        del self._count[record_key]
        return True
