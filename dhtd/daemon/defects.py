"""Counts failures of dhtd itself, and logs them now and then. A failure ends nothing."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import trio

from dhtd.daemon.sockets.channel import UdpCounters

COMPLAIN_INTERVAL: Final = 60.0  # seconds between tracebacks of one kind, since strangers can cause them
PAUSE_FIRST: Final = 0.1  # seconds until failed work is tried again; doubles up to PAUSE_MAX
PAUSE_MAX: Final = 10.0

log = logging.getLogger("dhtd.node")


class Defects:
    def __init__(self, counters: UdpCounters, clock: Callable[[], float]) -> None:
        self._counters = counters
        self._clock = clock
        self._complain_at: dict[str, float] = {}  # by kind; the code has a fixed number of kinds

    def note(self, kind: str, *args: object) -> None:
        """Note the exception that is being handled; `kind` and its `args` are the text of the log line."""
        self._counters.defects += 1
        now = self._clock()
        if now >= self._complain_at.get(kind, -math.inf):
            self._complain_at[kind] = now + COMPLAIN_INTERVAL
            with suppress(MemoryError):  # perhaps the very exception being noted
                log.error("%s: a defect in dhtd", kind % args, exc_info=sys.exception())

    async def persist(self, kind: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do work that never returns; after a failure, pause and begin it anew."""
        pause = Pause(self._clock)
        while True:
            try:
                await work()
            except Exception:  # noqa: BLE001 - `note` logs it
                self.note(kind)
                await trio.sleep(pause.next())
            else:
                return


class Pause:
    """Pauses that double while failures follow each other, and start small after a while without any."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = PAUSE_FIRST / 2
        self._forget_at = math.inf

    def next(self) -> float:
        now = self._clock()
        if now >= self._forget_at:
            self._last = PAUSE_FIRST / 2
        self._last = min(2 * self._last, PAUSE_MAX)
        self._forget_at = now + 2 * self._last + PAUSE_MAX
        return self._last
