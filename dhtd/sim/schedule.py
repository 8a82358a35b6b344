"""The virtual clock: what is to happen, in the order of its time."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

Action = Callable[[], None]


class Schedule:
    """Actions and their times, in seconds; those of one time happen in the order in which they were planned."""

    __slots__ = ("_heap", "_serial", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Action]] = []
        self._serial = 0

    def at(self, when: float, action: Action) -> None:
        """Plan `action` for `when`; for now, where that has passed."""
        self._serial += 1
        heappush(self._heap, (max(when, self.now), self._serial, action))

    def step(self, until: float) -> bool:
        """Jump to the next action and do it; return False, with the clock at `until`, where none is due by then."""
        if not self._heap or self._heap[0][0] > until:
            self.now = max(self.now, until)
            return False
        self.now, _, action = heappop(self._heap)
        action()
        return True
