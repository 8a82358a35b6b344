"""A table of deadlines: one per key, cheap to move, asked "what is the next?" and "which are due?"."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_SLACK = 64  # forgotten heap entries that are not worth a rebuild


class Timers(Generic[K]):
    """Deadlines by key. A moved or cancelled deadline stays in the heap until it surfaces, and is then skipped."""

    __slots__ = ("_deadlines", "_heap", "_serial")

    def __init__(self) -> None:
        self._deadlines: dict[K, tuple[float, int, K]] = {}
        self._heap: list[tuple[float, int, K]] = []  # the same tuples, and forgotten ones
        self._serial = 0  # orders equal deadlines as they were set, so that keys need no order

    def __len__(self) -> int:
        """How many deadlines are set."""
        return len(self._deadlines)

    def __contains__(self, key: object) -> bool:
        """Whether this key has a deadline."""
        return key in self._deadlines

    def set(self, key: K, deadline: float) -> None:
        """Give `key` this deadline, in place of any that it has."""
        self._serial += 1
        entry = self._deadlines[key] = (deadline, self._serial, key)
        heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._deadlines) + _SLACK:
            self._heap = list(self._deadlines.values())
            heapify(self._heap)

    def cancel(self, key: K) -> None:
        """Take the deadline of `key` away, if it has one."""
        self._deadlines.pop(key, None)

    def get(self, key: K) -> float | None:
        """Return the deadline of `key`, if it has one."""
        entry = self._deadlines.get(key)
        return None if entry is None else entry[0]

    def next(self) -> float | None:
        """Return the earliest deadline, if there is any."""
        heap, deadlines = self._heap, self._deadlines
        while heap:
            entry = heap[0]
            if deadlines.get(entry[2]) is entry:
                return entry[0]
            heappop(heap)
        return None

    def pop_due(self, now: float) -> Iterator[K]:
        """Take and yield each key with a deadline up to `now`, earliest first; also those set meanwhile."""
        while (deadline := self.next()) is not None and deadline <= now:
            key = heappop(self._heap)[2]
            del self._deadlines[key]
            yield key
