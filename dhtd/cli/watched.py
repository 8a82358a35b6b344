"""One watched ID, as the user was told of it: what an event of the daemon changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from dhtd.api import watched
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


class Watched(watched.Watched):
    """One ID of a command line, and the events of a daemon of any version."""

    def __init__(self, key: Key) -> None:
        super().__init__()
        self.id, self.name = key

    def serves(self, many: int) -> bool:
        """Whether so many endpoints are there."""
        return self.is_told and len(self.endpoints) >= many

    @property
    def is_answered(self) -> bool:
        """Whether other nodes have told what is there."""
        return self.is_told and self.is_vouched

    def take(self, body: Mapping[str, Any]) -> Change | None:
        """Return what an event changes, None if that is nothing."""
        told = Told(body)
        new = self.learn(told.texts("peers"), is_vouched=told.number("holders") != 0)
        if new is None:
            return None
        name = body.get("name")
        self.name = self.name or (name if isinstance(name, str) else None)
        shown = {"peers": list(new.endpoints), "added": list(new.added), "removed": list(new.removed)}
        return Change(self.id, self.name, *new, {**body, **shown})
