"""The step of heartbeats: all holders are asked within a second or so, and then again after a period.

So their leases end together, and an entry is found until then, and no longer. Where holders are many, the step is as
long as it takes to ask them at the rate that is allowed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

JITTER = 0.1  # of a pause: it is longer by up to so much, so that nodes do not keep step with each other


class Step:
    """When the next step begins."""

    __slots__ = ("_begins_at", "_rng")

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._begins_at = 0.0

    def next_for(self, slot: float, lasts: float, period: float, now: float) -> float:
        """Return when the holder with this slot, from 0 to 1, is asked next. The step `lasts` so many seconds."""
        offset = slot * lasts
        while self._begins_at + offset <= now + period / 4:
            self._begins_at = max(self._begins_at, now - offset) + self.jittered(period)
        return self._begins_at + offset

    def jittered(self, pause: float) -> float:
        """Return a pause that is a little longer."""
        return pause * (1 + JITTER * self._rng.random())
