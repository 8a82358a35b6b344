"""Serves the method watch: tells a client who serves IDs, now and at each change, until the client hangs up.

Changes of an ID may come faster than the client reads. They are not queued: an update replaces the one before, and the
client is told the difference to what it was told last. So a client that reads nothing costs one update for each ID.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import NoReturn

import trio

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Event, Handle, WatchUpdate
from dhtd.core.ids import packed
from dhtd.daemon.handlers.calls import Call, Handlers, stream_to_caller
from dhtd.service.method import Caller, Emit
from dhtd.service.watch import WATCH, WatchEvent, WatchRequest


class Updates:
    """The newest update of each watch that was not taken yet: the listener of these watches."""

    def __init__(self) -> None:
        self._updates: dict[Handle, WatchUpdate] = {}  # the longest waiting first
        self._is_closed = False
        self._news = trio.Event()

    def send_nowait(self, event: Event) -> None:
        assert isinstance(event, WatchUpdate)
        self._updates[event.op] = event
        self._news.set()

    def close(self) -> None:
        self._is_closed = True
        self._news.set()

    async def next(self) -> WatchUpdate:
        """Wait for an update, and take it; raise `EndOfChannel` if a watch has ended by a defect."""
        while not self._updates:
            if self._is_closed:
                raise trio.EndOfChannel
            self._news = trio.Event()
            await self._news.wait()
        return self._updates.pop(next(iter(self._updates)))


class Told:
    """The endpoints that a client was told of one ID."""

    def __init__(self) -> None:
        self._endpoints: dict[Endpoint, None] = {}
        self._is_vouched: bool | None = None  # by other nodes; None before the first time

    def change(self, update: WatchUpdate) -> tuple[list[Endpoint], list[Endpoint]] | None:
        """Return what an update adds and removes, and take note that it was told; None if it changes nothing."""
        now, is_vouched = dict.fromkeys(update.endpoints), update.holders > 0
        added = [each for each in now if each not in self._endpoints]
        removed = [each for each in self._endpoints if each not in now]
        if not added and not removed and is_vouched == self._is_vouched:
            return None
        self._endpoints, self._is_vouched = now, is_vouched
        return added, removed


class Watches(Handlers):
    """Watches IDs for clients."""

    def calls(self) -> tuple[Call, ...]:
        return (stream_to_caller(WATCH, self._watch),)

    async def _watch(self, request: WatchRequest, emit: Emit[WatchEvent], caller: Caller) -> NoReturn:
        caller.watch()
        names = {packed(each.id): each.name for each in reversed(request.ids)}
        wanted = {packed(each.id): each.id for each in request.ids}
        updates = Updates()
        told: dict[Handle, Told] = {}
        with ExitStack() as watches:
            # 1. Watch each ID once, all or none.
            for key in wanted.values():
                op = self._driver.begin_for(updates, partial(self._node.commands.watch, key))
                watches.callback(self._driver.end, op)
                told[op] = Told()
            # 2. Tell of changes, one after the other, as fast as the client reads.
            while True:
                update = await updates.next()
                change = told[update.op].change(update)
                if change is not None:
                    added, removed = change
                    await emit(
                        {
                            "id": self.format(update.key),
                            "name": names[packed(update.key)] or self._driver.labels.name(update.key),
                            "peers": [self.text(each) for each in update.endpoints],
                            "added": [self.text(each) for each in added],
                            "removed": [self.text(each) for each in removed],
                            "holders": update.holders,
                        }
                    )
