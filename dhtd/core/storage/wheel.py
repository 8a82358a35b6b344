"""A wheel of seconds: what is to be looked at later (a hashed timing wheel; Varghese and Lauck 1987).

It takes 8 bytes for each item. Nothing is filed farther ahead than a minute: an item whose deadline is later is looked
at in a minute, and filed anew. So a deadline that moves into the future costs nothing.
"""

from __future__ import annotations

from math import ceil, floor
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_AHEAD: Final = 60  # seconds: nothing is filed farther ahead
_SLOTS: Final = 128  # a second each; twice as many as are ahead, for a wheel that is looked at late


class Wheel(Generic[T]):
    """Items, by the second in which each is looked at."""

    __slots__ = ("_due", "_second", "_slots")

    def __init__(self) -> None:
        self._slots: dict[int, list[T]] = {}  # those that are not empty: most nodes hold little
        self._second = 0  # the first one that was not looked at
        self._due: list[T] = []  # of the second before

    def file(self, item: T, deadline: float, now: float) -> None:
        """Have this looked at by its deadline, or after a minute."""
        second = ceil(min(deadline, now + _AHEAD))
        self._slots.setdefault(max(second, self._second) % _SLOTS, []).append(item)

    def pop(self, now: float) -> T | None:
        """Take and return what is to be looked at by `now`, in the order of seconds; None at the end of it."""
        if not self._due:
            last = floor(now)
            # After a long pause, one round past all slots is enough.
            self._second = max(self._second, last - _SLOTS + 1)
            while not self._due:
                if self._second > last:
                    return None
                self._due = self._slots.pop(self._second % _SLOTS, self._due)
                self._second += 1
        return self._due.pop()
