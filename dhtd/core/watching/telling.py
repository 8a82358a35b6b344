"""The commands of watches are told what is new: at once, but for what follows another update too closely."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dhtd.core.events import Handle, WatchUpdate
from dhtd.core.timers import Timers
from dhtd.core.watching.own_watch import OwnWatch

_BETWEEN: Final = 0.05  # seconds between two updates, at least: what changes meanwhile is put together


class Telling:
    """Tells the commands, and remembers the watches that wait for that."""

    __slots__ = ("_tell", "_timers")

    def __init__(self, tell: Callable[[WatchUpdate, float], None]) -> None:
        self._tell = tell
        self._timers: Timers[OwnWatch] = Timers()

    def join(self, watch: OwnWatch, op: Handle, now: float) -> None:
        """Another command watches the key."""
        for update in watch.add(op):
            self._tell(update, now)

    def news(self, watch: OwnWatch, now: float) -> None:
        """There may be news of a key."""
        if now < watch.told_at + _BETWEEN:
            self._timers.set(watch, watch.told_at + _BETWEEN)
        else:
            self._update(watch, now, first=False)

    def searched(self, watch: OwnWatch, now: float) -> None:
        """A search has ended, so the commands are told of the key in any case, if they were not before."""
        self._update(watch, now, first=True)

    def forget(self, watch: OwnWatch) -> None:
        """There are no commands any more."""
        self._timers.cancel(watch)

    def next_timeout(self) -> float | None:
        """Return when `go_on` has something to tell."""
        return self._timers.next()

    def go_on(self, now: float) -> None:
        """Tell what has waited long enough."""
        for watch in self._timers.pop_due(now):
            self._update(watch, now, first=False)

    def _update(self, watch: OwnWatch, now: float, *, first: bool) -> None:
        for update in watch.update(now, first=first):
            self._tell(update, now)
