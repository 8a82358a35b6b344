"""What dhtd itself fails on is counted, logged now and then, and ends nothing."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import trio

from dhtd.daemon.sockets.channel import UdpCounters

COMPLAIN_INTERVAL: Final = 60.0  # seconds between tracebacks of a kind: strangers can cause them
PAUSE_FIRST: Final = 0.1  # seconds until what has failed is tried again; doubles up to PAUSE_MAX
PAUSE_MAX: Final = 10.0

log = logging.getLogger("dhtd.node")


class Defects:
    """Notes what has failed."""

    def __init__(self, counters: UdpCounters, clock: Callable[[], float]) -> None:
        self._counters = counters
        self._clock = clock
        self._complain_at: dict[str, float] = {}  # by kind, of which the code has a fixed number

    def note(self, kind: str, *args: object) -> None:
        """Note the exception that is being handled; `kind` is the text of the log line, and `args` belong to it."""
        self._counters.defects += 1
        now = self._clock()
        if now >= self._complain_at.get(kind, -math.inf):
            self._complain_at[kind] = now + COMPLAIN_INTERVAL
            with suppress(MemoryError):  # which is what may be noted
                log.error("%s: a defect in dhtd", kind % args, exc_info=sys.exception())

    async def persist(self, kind: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do work that never returns, and begin it anew after a pause whenever it fails."""
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
    """Pauses that double while one failure follows another, and begin anew once there was none for a while."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = PAUSE_FIRST / 2
        self._forget_at = math.inf

    def next(self) -> float:
        """Return the seconds to wait after a failure."""
        now = self._clock()
        if now >= self._forget_at:
            self._last = PAUSE_FIRST / 2
        self._last = min(2 * self._last, PAUSE_MAX)
        self._forget_at = now + 2 * self._last + PAUSE_MAX
        return self._last
