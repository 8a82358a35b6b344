"""The virtual clock: what is to happen, in the order of its time."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

Action = Callable[..., object]


class Schedule:
    """Actions and their times, in seconds; those of one time happen in the order in which they were planned."""

    __slots__ = ("_heap", "_serial", "events", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self.events = 0  # how many actions have been done: the number of the latest one
        self._heap: list[tuple[float, int, Action, tuple[Any, ...]]] = []
        self._serial = 0

    def __len__(self) -> int:
        """How many actions are planned."""
        return len(self._heap)

    def at(self, when: float, action: Action, *arguments: Any) -> None:
        """Plan `action(*arguments)` for `when`; for now, where that has passed."""
        self._serial += 1
        heappush(self._heap, (max(self.now, when), self._serial, action, arguments))

    def step(self, until: float) -> bool:
        """Jump to the next action and do it; return False, with the clock at `until`, where none is due by then."""
        if not self._heap or self._heap[0][0] > until:
            self.now = max(self.now, until)
            return False
        self.now, _, action, arguments = heappop(self._heap)
        self.events += 1
        action(*arguments)
        return True
