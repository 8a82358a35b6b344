"""The places of a client: how many of its requests are under way at once, however many it is asked.

A lookup holds a place from its question to its result. While its consumer is busy with an endpoint, nobody reads, and
the lookup is `parked`. If all places are taken by such ones, and their consumers wait for a place themselves, nothing
would ever go on. So the request that is first in line reads for them: the daemon sends their results in any case.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final, Protocol
from weakref import ref

from dhtd.api.waits import Waits

PLACES: Final = 16  # of the 64 connections that a daemon allows its user: `socket-clients`
LOOK: Final = 0.05  # seconds between two looks at parked lookups, while a request waits for a place


class Parked(Protocol):
    """A request that its owner does not attend to just now."""

    def drain(self) -> bool:
        """Read what has come, without waiting; return whether that was all, and the place is free."""


class Places:
    """A bounded number of places, given in the order in which they are asked for."""

    def __init__(self, waits: Waits, number: int = PLACES) -> None:
        self._free = waits.semaphore(number)
        self._head_of_line = waits.semaphore(1)
        self._parked: dict[int, ref[Parked]] = {}  # by identity; threads share it, so each access is one step
        self._left_behind: deque[None] = deque()  # places of requests that were garbage

    async def take(self) -> None:
        """Wait for a place, and take it."""
        await self._head_of_line.acquire(math.inf)
        try:
            self._take_back()
            while not await self._free.acquire(LOOK):
                self._take_back()
                for reference in list(self._parked.values()):
                    request = reference()
                    if request is not None and request.drain():
                        break
        finally:
            self._head_of_line.release()

    def leave(self) -> None:
        """Give a place back."""
        self._free.release()

    def park(self, request: Parked) -> None:
        """Have others read for a request that has a place, until it is `resumed`."""
        self._parked[id(request)] = ref(request)

    def resumed(self, request: Parked) -> None:
        """Take note that the owner of a request attends to it again, or has let go of it."""
        self._parked.pop(id(request), None)

    def left_behind(self, request: Parked) -> None:
        """Take note that a request was garbage. Any thread may collect that, so its place is given back later."""
        self.resumed(request)
        self._left_behind.append(None)

    def _take_back(self) -> None:
        while self._left_behind:
            self._left_behind.pop()
            self._free.release()
