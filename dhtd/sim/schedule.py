"""The virtual clock: actions in the order of their time.

It is a calendar queue (Brown, CACM 31(10), 1988). The actions of the present moment's slice of a second are sorted, and
those of each later slice are in a list without order. Most actions of a large network are minutes away, and need no
order before their slice.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final

Action = Callable[..., object]
_Planned = tuple[float, int, Action, tuple[Any, ...]]

_SLICES: Final = 16  # in a second: a power of two, so that the bounds between them are exact


class Schedule:
    """Actions and their times, in seconds; those of one time happen in the order in which they were planned."""

    __slots__ = ("_done", "_later", "_serial", "_slices", "_soon", "_soon_ends", "events", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self.events = 0  # how many actions have been done: the number of the latest one
        self._soon: list[_Planned] = []  # those of the present slice, in order
        self._done = 0  # how many of these have been done
        self._soon_ends = 0.0  # all that is planned for before it is in the present slice
        self._later: dict[int, list[_Planned]] = {}  # by the slice that it falls in
        self._slices: list[int] = []  # the same slices, a heap
        self._serial = 0

    def __len__(self) -> int:
        """How many actions are planned."""
        return len(self._soon) - self._done + sum(map(len, self._later.values()))

    def at(self, when: float, action: Action, *arguments: Any) -> None:
        """Plan `action(*arguments)` for `when`, or for now if that has passed."""
        if when < self.now:  # noqa: PLR1730 - without a call
            when = self.now
        self._serial += 1
        planned = when, self._serial, action, arguments
        if when < self._soon_ends:
            insort(self._soon, planned, self._done)
            return
        slice_ = int(when * _SLICES)
        later = self._later.get(slice_)
        if later is None:
            self._later[slice_] = [planned]
            heappush(self._slices, slice_)
        else:
            later.append(planned)

    def step(self, until: float) -> bool:
        """Jump to the next action and do it. If none is due by `until`, set the clock to that and return False."""
        if self._done == len(self._soon):
            self._turn_over(until)
        if self._done == len(self._soon) or self._soon[self._done][0] > until:
            self.now = max(self.now, until)
            return False
        self.now, _, action, arguments = self._soon[self._done]
        self._done += 1
        self.events += 1
        action(*arguments)
        return True

    def _turn_over(self, until: float) -> None:
        """Go on to the next slice in which anything is planned, if that begins by `until`."""
        if self._slices and self._slices[0] <= until * _SLICES:
            slice_ = heappop(self._slices)
            self._soon, self._done = sorted(self._later.pop(slice_)), 0
            self._soon_ends = (slice_ + 1) / _SLICES
