"""Visits to many entries, some hundreds at a time: a node may have 65,536, and must answer others in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from dhtd.core.publishing.own_entry import OwnEntry

STEP: Final = 512  # entries that one step visits, at most

# What a walk does with an entry. False ends the walk.
Visit = Callable[[OwnEntry], bool]


class Walks:
    """The walks under way. They take turns, a step each."""

    __slots__ = ("_is_tracked", "due_at", "under_way")

    def __init__(self, is_tracked: Callable[[OwnEntry], bool]) -> None:
        """Begin without walks. A walk passes over entries that are deleted meanwhile: `is_tracked` tells."""
        self._is_tracked = is_tracked
        self.under_way: deque[tuple[Iterator[OwnEntry], Visit]] = deque()
        self.due_at: float | None = None  # when the next step is due

    def __bool__(self) -> bool:
        """Whether any walk is under way."""
        return bool(self.under_way)

    def begin(self, entries: Iterable[OwnEntry], visit: Visit, now: float) -> None:
        """Visit the first entries now, and the others in later steps."""
        walk = iter(entries), visit
        if self._goes_on(*walk):
            self.under_way.append(walk)
            self.due_at = now

    def step(self, now: float) -> None:
        """Go on with one walk. The others have their turns in later steps."""
        if self.under_way:
            walk = self.under_way.popleft()
            if self._goes_on(*walk):
                self.under_way.append(walk)
            self.due_at = now if self.under_way else None

    def _goes_on(self, entries: Iterator[OwnEntry], visit: Visit) -> bool:
        """Visit some entries; return whether there may be more."""
        for visited, entry in enumerate(entries, 1):
            if self._is_tracked(entry) and not visit(entry):
                return False
            if visited == STEP:
                return True
        return False
