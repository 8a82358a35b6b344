"""The lines that a client sends: how long each may be, and how long it may take."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable

import trio

from dhtd.control.limits import Limits
from dhtd.errors import FrameTooLarge, FrameTooSlow


async def lines_of(receive: Callable[[int], Awaitable[bytes]], limits: Limits) -> AsyncGenerator[bytes, None]:
    """Yield lines without their ends, not counting empty ones; what comes after the last newline is not a request.

    Raises `FrameTooLarge`, and `FrameTooSlow` where a line is begun and its end is waited for too long; however long
    those before it took to serve.
    """
    buffer = bytearray()
    deadline = math.inf
    while True:
        with trio.move_on_at(deadline) as scope:
            data = await receive(limits.frame)
        if scope.cancelled_caught:
            raise FrameTooSlow(f"a request that is begun must be finished within {limits.frame_deadline:g} s")
        if not data:
            return
        buffer += data
        while (end := buffer.find(b"\n")) >= 0:
            if end >= limits.frame:
                break
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            deadline = math.inf
            if line.strip():
                yield line
        if len(buffer) >= limits.frame:
            raise FrameTooLarge(f"a request is {limits.frame} bytes long at most")
        if not buffer:
            deadline = math.inf
        elif deadline == math.inf:
            deadline = trio.current_time() + limits.frame_deadline
