"""How a client waits. The rest of the API is written once, against `Waits`, and never waits in any other way.

- `dhtd.api.concurrent` waits with anyio, for asyncio and trio.
- `dhtd.api.blocking` blocks the thread. There, no `await` ever suspends, so `finish` runs a coroutine to its end.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Semaphore(Protocol):
    """A number of things of which each is used by one at a time."""

    async def acquire(self, within: float) -> bool:
        """Take one; return False if none was free within so many seconds."""

    def release(self) -> None:
        """Give one back."""


class Background(Protocol):
    """Work that goes on beside its owner."""

    async def end(self) -> None:
        """Interrupt the work, and wait until it has ended."""


class Waits(Protocol):
    """All that takes time."""

    def now(self) -> float:
        """Return seconds that only go forward."""

    async def checkpoint(self) -> None:
        """Let others run, and notice a cancellation."""

    async def readable(self, connection: socket.socket, until: float) -> bool:
        """Wait until bytes can be read; return False when that time has come before."""

    async def writable(self, connection: socket.socket, until: float) -> bool:
        """Wait until bytes can be written; return False when that time has come before."""

    async def sleep(self, seconds: float) -> None:
        """Wait so long."""

    def closing(self, connection: socket.socket) -> None:
        """Wake up those that wait for a socket, which is about to be closed: they raise `RuntimeError`."""

    def semaphore(self, number: int) -> Semaphore:
        """Return a semaphore of so many."""

    def turn(self) -> Turn:
        """Return a lock between threads, or something like it where there are none."""

    async def begin(self, work: Callable[[Waits], Coroutine[Any, Any, None]]) -> Background:
        """Begin work in the background."""


class Turn(Protocol):
    """A lock between threads."""

    def acquire(self, blocking: bool = ..., /) -> bool:
        """Take it; return False if another thread has it."""

    def release(self) -> None:
        """Give it back."""


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never suspends."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise AssertionError("this client blocks, and something has suspended")
