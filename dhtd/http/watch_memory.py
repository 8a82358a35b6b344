"""What clients of watches were told, so that one that comes back is told the difference.

A browser sends the id of the last event that it has seen (Last-Event-ID). Each id stands for what had been told by
then, of all IDs of the watch. The latest ones are kept. A client with an id that is not known any more is told
everything, as a new one is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, cast

from dhtd.service.watch import WatchEvent

KEPT_MAX: Final = 1_024  # ids, of all clients

Told = Mapping[str, WatchEvent]  # the latest event, by ID
Tell = Callable[[str, object, str], Awaitable[None]]


class WatchMemory:
    """The latest ids. `new_id` returns one that was never there."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._told: OrderedDict[str, Told] = OrderedDict()

    def resume(self, last_id: str | None, tell: Tell) -> Resumed:
        """Return where a client goes on; `tell` is called with the type, the body and the id of each event."""
        return Resumed(self._told.get(last_id or "", {}), tell, self._keep)

    def _keep(self, told: Told) -> str:
        """Return an id that stands for what was told."""
        id = self._new_id()
        self._told[id] = told
        if len(self._told) > KEPT_MAX:
            self._told.popitem(last=False)
        return id


class Resumed:
    """One client of a watch."""

    def __init__(self, told: Told, tell: Tell, keep: Callable[[Told], str]) -> None:
        self._told = dict(told)
        self._before = dict(told)  # of IDs of which nothing was told since
        self._tell = tell
        self._keep = keep

    async def emit(self, event: WatchEvent) -> None:
        """Tell of a change, unless the client knows it already."""
        id = event["id"]
        before = self._before.pop(id, None)
        if before is not None:
            changed = _since(before, event)
            if changed is None:
                return
            event = changed
        self._told[id] = event
        await self._tell("event", event, self._keep(dict(self._told)))


def _since(before: WatchEvent, event: WatchEvent) -> WatchEvent | None:
    """Return an event that tells the difference to one before; None if there is none."""
    old, new = before["peers"], event["peers"]
    added, removed = [each for each in new if each not in old], [each for each in old if each not in new]
    if not added and not removed and (before["holders"] > 0) == (event["holders"] > 0):
        return None
    return cast("WatchEvent", {**event, "added": added, "removed": removed})
