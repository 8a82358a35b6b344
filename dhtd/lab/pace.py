"""How fast virtual time goes by: so many seconds in a real one, as fast as it goes, or not at all.

A pace that cannot be held is not caught up with later: what is behind by more than `LAG` is let go.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Final

LAG: Final = 0.25  # real seconds by which a run may be behind its pace
STRIDE: Final = 60.0  # virtual seconds that a run without a limit goes at once
MEASURED: Final = 2.0  # real seconds over which the speed that is reached is measured


class Pace:
    """The pace of one run. `real` times are of any clock that never goes back."""

    def __init__(self, real: float, virtual: float, speed: float = 1.0) -> None:
        self.speed = speed  # `inf` is as fast as it goes
        self.goal: float | None = None  # a virtual time up to which it is as fast as it goes
        self._real = real  # when virtual time was `_virtual`, by this pace
        self._virtual = virtual
        self._measured: deque[tuple[float, float]] = deque([(real, virtual)])

    def set_speed(self, speed: float, real: float, virtual: float) -> None:
        """Go at another speed from now on; 0 stops. It ends an advance."""
        self.speed, self.goal = speed, None
        self._begin(real, virtual)

    def advance(self, to: float) -> None:
        """Go as fast as it goes up to a virtual time, and then at the speed as it is."""
        self.goal = to

    def until(self, real: float, virtual: float) -> float:
        """Return up to which virtual time the run may go now."""
        if self.goal is not None:
            if virtual < self.goal:
                return min(self.goal, virtual + STRIDE)
            self.goal = None
            self._begin(real, virtual)
        if self.speed == inf:
            return virtual + STRIDE
        due = self._virtual + (real - self._real) * self.speed
        if due - virtual > LAG * self.speed:
            self._begin(real - LAG, virtual)
            due = virtual + LAG * self.speed
        return due

    def measure(self, real: float, virtual: float) -> None:
        """Note how far the run is."""
        self._measured.append((real, virtual))
        while len(self._measured) > 2 and self._measured[1][0] <= real - MEASURED:
            self._measured.popleft()

    @property
    def reached(self) -> float:
        """The speed that was reached lately."""
        (begin, first), (end, last) = self._measured[0], self._measured[-1]
        return (last - first) / (end - begin) if end > begin else 0.0

    def _begin(self, real: float, virtual: float) -> None:
        self._real, self._virtual = real, virtual


class Slices:
    """How many events are done at a stretch, so that it takes about so many real seconds."""

    def __init__(self, seconds: float, most: int = 5_000) -> None:
        self.events = 1
        self._seconds = seconds
        self._most = most

    def took(self, events: int, seconds: float) -> None:
        """So many events took so long. The next slice has twice as many at most."""
        fitting = int(events * self._seconds / max(seconds, 1e-9))
        self.events = max(1, min(self._most, 2 * self.events, fitting))
