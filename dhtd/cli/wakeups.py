"""Signals that wake `poll`: the end of a child."""

from __future__ import annotations

import os
import select
import signal
from contextlib import AbstractContextManager, suppress
from types import FrameType
from typing import Self


class Wakeups(AbstractContextManager["Wakeups"]):
    """Makes a descriptor readable when a signal comes for which Python has a handler, and SIGCHLD is one of them."""

    def __enter__(self) -> Self:
        self._reading, self._writing = os.pipe()
        for descriptor in (self._reading, self._writing):
            os.set_blocking(descriptor, False)
        self._other = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._handler = signal.signal(signal.SIGCHLD, _nothing)  # our parent may ignore it
        return self

    def __exit__(self, *exc_info: object) -> None:
        signal.signal(signal.SIGCHLD, self._handler)
        signal.set_wakeup_fd(self._other)
        os.close(self._reading)
        os.close(self._writing)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._reading

    def take(self) -> None:
        """Make the descriptor unreadable until the next signal."""
        with suppress(BlockingIOError):
            os.read(self._reading, 65_536)

    def wait(self, seconds: float) -> None:
        """Wait until a signal comes, or for some seconds."""
        poll = select.poll()
        poll.register(self._reading, select.POLLIN)
        poll.poll(1000 * seconds)
        self.take()


def _nothing(number: int, frame: FrameType | None) -> None:
    pass  # the descriptor is readable now
