"""The listeners of operations: each is told the outcome of the operation that was begun for it.

An outcome comes about in the middle of something else, such as the answer to a query. So it waits here until that is
done. Then its listener may begin other operations.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

T = TypeVar("T")

Listener = Callable[[T, float], None]  # is given an outcome, and the time
Report = Callable[[T], None]  # takes an outcome for a listener


class Operations:
    """The outcomes that no listener has been told of yet, in the order in which they came about."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: deque[Callable[[float], None]] = deque()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._told)

    def report_to(self, listener: Listener[T]) -> Report[T]:
        """Return what an operation that is begun for this listener reports to."""

        def report(outcome: T) -> None:
            self._told.append(partial(listener, outcome))

        return report

    def settle(self, now: float) -> None:
        """Tell the listeners, also of what comes about by that."""
        while self._told:
            self._told.popleft()(now)


class Startable(Protocol):
    """An operation that is to begin."""

    def start(self, now: float) -> None:
        """Begin."""

    def give_up(self, now: float) -> None:
        """A defect of ours has stopped this: end it as far as it has come."""


def start(operation: Startable, now: float) -> None:
    """Start an operation; a defect in that is its end."""
    try:
        operation.start(now)
    except Exception:
        operation.give_up(now)
        raise
