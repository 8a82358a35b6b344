"""Waits with anyio, under asyncio and trio."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel

from dhtd.api.dht import Dht
from dhtd.api.finding import TIMEOUT, find_daemon
from dhtd.api.waits import Background, Waits


def connect(
    socket: str | os.PathLike[str] | None = None,
    *,
    instance: str | None = None,
    network: str | None = None,
    timeout: float = TIMEOUT,
) -> Dht:
    """Return a client of the daemon on this machine. Use it in an `async with` block, under asyncio or trio.

        async with dhtd.connect() as dht:
            async for endpoint in dht.lookup("wiki"):
                print(endpoint)

    The daemon is found as `dht` finds it: by the path of its `socket`, the name of its `instance` or its `network`
    (`native` or `mainline`), by DHTD_SOCKET, DHTD_INSTANCE or DHTD_NETWORK, or by a configuration file. `timeout` is
    in seconds, for each request. Raises `ConfigError` or `SocketUnusable`; the block raises `DaemonUnreachable`.
    """
    return Dht(find_daemon(socket, instance, network, timeout), Concurrent(), network)


class Concurrent:
    """`Waits` for tasks."""

    def now(self) -> float:
        return anyio.current_time()

    async def checkpoint(self) -> None:
        await anyio.lowlevel.checkpoint()

    async def readable(self, connection: socket.socket, until: float) -> bool:
        return await _in_time(anyio.wait_readable, connection, until)

    async def writable(self, connection: socket.socket, until: float) -> bool:
        return await _in_time(anyio.wait_writable, connection, until)

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    def closing(self, connection: socket.socket) -> None:
        anyio.notify_closing(connection)

    def semaphore(self, number: int) -> _Semaphore:
        return _Semaphore(number)

    def turn(self) -> _NoTurn:
        return _NoTurn()

    async def begin(self, work: Callable[[Waits], Coroutine[Any, Any, None]]) -> Background:
        group = anyio.create_task_group()
        await group.__aenter__()
        group.start_soon(work, self)
        return _Task(group)


class _Task:
    """Work in a task of its own."""

    def __init__(self, group: anyio.abc.TaskGroup) -> None:
        self._group = group

    async def end(self) -> None:
        self._group.cancel_scope.cancel()
        # Without the error of the block: that passes by the group, and is not wrapped into a group of errors.
        await self._group.__aexit__(None, None, None)


class _Semaphore:
    def __init__(self, number: int) -> None:
        self._semaphore = anyio.Semaphore(number)

    async def acquire(self, within: float) -> bool:
        if within == math.inf:
            await self._semaphore.acquire()
            return True
        with anyio.move_on_after(within):
            await self._semaphore.acquire()
            return True
        return False

    def release(self) -> None:
        self._semaphore.release()


class _NoTurn:
    """Tasks of one thread need no lock where they do not wait."""

    def acquire(self, blocking: bool = True, /) -> bool:
        return True

    def release(self) -> None:
        pass


async def _in_time(wait: Callable[[socket.socket], Awaitable[None]], connection: socket.socket, until: float) -> bool:
    try:
        with anyio.move_on_after(until - anyio.current_time()):
            await wait(connection)
            return True
    except anyio.ClosedResourceError:
        raise RuntimeError("this client of dhtd was closed") from None
    return False
