"""The virtual clock: actions in the order of their time.

It is a calendar queue (Brown, CACM 31(10), 1988). A heap holds the actions of the present second, and an unsorted list
those of each later second. Most actions of a large network are minutes away, and need no order before their second.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any

Action = Callable[..., object]
_Planned = tuple[float, int, Action, tuple[Any, ...]]


class Schedule:
    """Actions and their times, in seconds; those of one time happen in the order in which they were planned."""

    __slots__ = ("_later", "_seconds", "_serial", "_soon", "_soon_ends", "events", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self.events = 0  # how many actions have been done: the number of the latest one
        self._soon: list[_Planned] = []  # a heap
        self._soon_ends = 0.0  # all that is planned for before it is in the heap
        self._later: dict[int, list[_Planned]] = {}  # by the second that it falls in
        self._seconds: list[int] = []  # the same seconds, a heap
        self._serial = 0

    def __len__(self) -> int:
        """How many actions are planned."""
        return len(self._soon) + sum(map(len, self._later.values()))

    def at(self, when: float, action: Action, *arguments: Any) -> None:
        """Plan `action(*arguments)` for `when`, or for now if that has passed."""
        self._serial += 1
        planned = (max(self.now, when), self._serial, action, arguments)
        if planned[0] < self._soon_ends:
            heappush(self._soon, planned)
            return
        second = int(planned[0])
        later = self._later.get(second)
        if later is None:
            self._later[second] = [planned]
            heappush(self._seconds, second)
        else:
            later.append(planned)

    def step(self, until: float) -> bool:
        """Jump to the next action and do it. If none is due by `until`, set the clock to that and return False."""
        while not self._soon and self._seconds and self._seconds[0] <= until:
            second = heappop(self._seconds)
            self._soon = self._later.pop(second)
            heapify(self._soon)
            self._soon_ends = second + 1.0
        if not self._soon or self._soon[0][0] > until:
            self.now = max(self.now, until)
            return False
        self.now, _, action, arguments = heappop(self._soon)
        self.events += 1
        action(*arguments)
        return True
