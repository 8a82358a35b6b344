"""The lines of a client: their length is limited, and so is the time from the first byte of one to its last."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable

import trio

from dhtd.control.limits import Limits
from dhtd.errors import FrameTooLarge, FrameTooSlow


async def lines_of(receive: Callable[[int], Awaitable[bytes]], limits: Limits) -> AsyncGenerator[bytes, None]:
    """Yield lines without their ends. Empty ones do not count; bytes after the last newline are no request.

    Raises `FrameTooLarge`, and `FrameTooSlow` if the end of a line takes too long. The time that earlier lines took to
    serve does not count.
    """
    buffer = bytearray()
    deadline = math.inf
    while True:
        # Wait for bytes: without limit between lines, until the deadline within one.
        with trio.move_on_at(deadline) as scope:
            data = await receive(limits.frame)
        if scope.cancelled_caught:
            raise FrameTooSlow(f"a request that is begun must be finished within {limits.frame_deadline:g} s")
        if not data:
            return
        # Yield the whole lines among them.
        buffer += data
        while (end := buffer.find(b"\n")) >= 0:
            if end >= limits.frame:
                break
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            deadline = math.inf
            if line.strip():
                yield line
        # A rest is the beginning of a line. Its time runs from here, unless it runs already.
        if len(buffer) >= limits.frame:
            raise FrameTooLarge(f"a request is {limits.frame} bytes long at most")
        if not buffer:
            deadline = math.inf
        elif deadline == math.inf:
            deadline = trio.current_time() + limits.frame_deadline
