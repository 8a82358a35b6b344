"""One watched ID, as its watcher was told of it: what an event of the daemon changes. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Difference(NamedTuple):
    """The difference to what was told before; at first, all that is there."""

    endpoints: tuple[str, ...]  # all of them
    added: tuple[str, ...]
    removed: tuple[str, ...]
    is_first: bool
    is_vouched: bool  # other nodes tell of changes
    was_vouched: bool


class Watched:
    """One ID. The daemon may be another one after a while, that has not heard of what was told before.

    A new daemon may have no contact yet. As long as no other node tells it of changes, what was there before is kept:
    nobody has said that it is gone.
    """

    def __init__(self) -> None:
        self.endpoints: dict[str, None] = {}
        self.is_told = False
        self.is_vouched = True
        self._is_resumed = False

    def resume(self) -> None:
        """Take note that the next event comes from another watch."""
        self._is_resumed = True

    def learn(self, peers: Iterable[str], *, is_vouched: bool) -> Difference | None:
        """Return what an event changes, None if that is nothing."""
        endpoints = dict.fromkeys(peers)
        if self._is_resumed and not is_vouched:
            endpoints = {**self.endpoints, **endpoints}
        self._is_resumed &= not is_vouched
        added = tuple(each for each in endpoints if each not in self.endpoints)
        removed = tuple(each for each in self.endpoints if each not in endpoints)
        was_told, was_vouched = self.is_told, self.is_vouched
        self.endpoints, self.is_told, self.is_vouched = endpoints, True, is_vouched
        if was_told and not added and not removed and is_vouched == was_vouched:
            return None
        return Difference(tuple(endpoints), added, removed, not was_told, is_vouched, was_vouched)
