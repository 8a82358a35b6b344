"""One watched ID, as the user was told of it: what an event of the daemon changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from dhtd.cli.arguments import Key
from dhtd.cli.told import Told


class Change(NamedTuple):
    """The difference to what was told before; at first, all that is there."""

    id: str
    name: str | None
    peers: tuple[str, ...]  # all of them
    added: tuple[str, ...]
    removed: tuple[str, ...]
    is_first: bool
    is_vouched: bool  # other nodes tell of changes
    was_vouched: bool
    body: Mapping[str, Any]  # the event, with this difference in place of the daemon's


class Watched:
    """One ID. The daemon may be another one after a while, that has not heard of what was told before.

    A new daemon may have no contact yet. As long as no other node tells it of changes, what was there before is kept:
    nobody has said that it is gone.
    """

    def __init__(self, key: Key) -> None:
        self.id, self.name = key
        self.peers: dict[str, None] = {}
        self._is_told = False
        self._is_vouched = True
        self._is_resumed = False

    def serves(self, many: int) -> bool:
        """Whether so many endpoints are there."""
        return self._is_told and len(self.peers) >= many

    @property
    def is_answered(self) -> bool:
        """Whether other nodes have told what is there."""
        return self._is_told and self._is_vouched

    def resume(self) -> None:
        """Take note that the next event comes from another watch."""
        self._is_resumed = True

    def take(self, body: Mapping[str, Any]) -> Change | None:
        """Return what an event changes, None if that is nothing."""
        told = Told(body)
        peers, is_vouched = dict.fromkeys(told.texts("peers")), told.number("holders") != 0
        if self._is_resumed and not is_vouched:
            peers = {**self.peers, **peers}
        self._is_resumed &= not is_vouched
        added = tuple(each for each in peers if each not in self.peers)
        removed = tuple(each for each in self.peers if each not in peers)
        was_told, was_vouched = self._is_told, self._is_vouched
        self.peers, self._is_told, self._is_vouched = peers, True, is_vouched
        if was_told and not added and not removed and is_vouched == was_vouched:
            return None
        name = body.get("name")
        self.name = self.name or (name if isinstance(name, str) else None)
        return Change(
            self.id,
            self.name,
            tuple(peers),
            added,
            removed,
            not was_told,
            is_vouched,
            was_vouched,
            {**body, "peers": list(peers), "added": list(added), "removed": list(removed)},
        )
