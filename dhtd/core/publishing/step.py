"""The step of heartbeats: all holders are asked together, and then again after a period.

So their leases end together, and an entry is found until then, and no longer. Where holders are many, they are asked
one after another, at the rate that is allowed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

JITTER = 0.05  # of a pause: it is shorter by up to so much, so that nodes do not keep step with each other
_TOGETHER = 16  # holders that are asked at once: no more datagrams than a lookup sends


class Step:
    """When the next step begins."""

    __slots__ = ("_begins_at", "_rng")

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._begins_at = 0.0

    def next_for(self, slot: float, holders: int, rate: float, period: float, now: float) -> float:
        """Return when the holder with this slot, from 0 to 1, is asked next, of so many, at `rate` a second."""
        offset = slot * max(0, holders - _TOGETHER) / rate
        uses_up_rate = holders > 0.99 * rate * period
        pause = period if uses_up_rate else self.jittered(period)
        while self._begins_at + offset <= now + period / 4:
            self._begins_at = max(self._begins_at, now - offset) + pause
        return self._begins_at + offset

    def jittered(self, pause: float) -> float:
        """Return a pause that is a little shorter."""
        return pause * (1 - JITTER * self._rng.random())
