"""Serves the method events: what the node does, as it does it, at the pace of each client."""

from __future__ import annotations

from typing import Any, Final, NoReturn

import trio

from dhtd.daemon.handlers.calls import Call, Handlers, stream_to_caller
from dhtd.service.events import EVENTS, EventsRequest
from dhtd.service.method import Caller, Emit

PACE: Final = 0.2  # seconds: at most so often a client is told, and all clients at the same moments
LOOK: Final = 1.0  # seconds that may pass without a look at what is counted


class Happenings(Handlers):
    """Tells clients what the node does."""

    def calls(self) -> tuple[Call, ...]:
        return (stream_to_caller(EVENTS, self._events),)

    async def _events(self, request: EventsRequest, emit: Emit[Any], caller: Caller) -> NoReturn:
        caller.watch()
        follower, driver = self._driver.follower, self._driver
        with follower.following() as ring:
            # 1. The client learns at once that it is told from now on, and what it has missed.
            after = ring.last if request.after is None else request.after
            told, after, _ = ring.read(after, request.kind, driver.wall())
            await emit(told)
            # 2. Then it is told of all that is new, as fast as it reads.
            while True:
                with trio.move_on_after(LOOK):
                    await ring.wait(after)
                follower.look(driver.clock())
                if ring.last > after:
                    await trio.sleep_until((trio.current_time() // PACE + 1) * PACE)
                while ring.last > after:
                    told, after, is_empty = ring.read(after, request.kind, driver.wall())
                    if not is_empty:
                        await emit(told)
