"""A server on a socket for tests, with a handler that does what each test wants, and clients that can misbehave.

Time is virtual (`autojump_clock`): it passes when every task waits, so hangs and pauses take no real time.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self, cast

import trio

from dhtd.control import server
from dhtd.control.connection import Farewell
from dhtd.control.limits import ControlCounters, Limits
from dhtd.control.server import LIMITS, Listening, serve
from dhtd.control.socket_file import ControlSocket
from dhtd.service.entries import Stats
from dhtd.service.method import Caller, Emit, Request, Result

Handler = Callable[[Request, Emit[Any], Caller], Awaitable[Any]]

NODE_ID = b'{"method":"node-id"}'
DONE: Result = {"node_id": "0" * 64, "endpoints": []}
STATS: Stats = {"hops": 0, "queries": 0, "responses": 0, "timeouts": 0, "elapsed_ms": 0.0, "first_ms": None}


class Peer:
    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._buffer = bytearray()

    @classmethod
    async def connect(cls, path: Path) -> Self:
        return cls(await trio.open_unix_socket(path))

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def line(self) -> dict[str, Any]:
        with trio.fail_after(600):
            while (end := self._buffer.find(b"\n")) < 0:
                data = await self.stream.receive_some(262_144)
                assert data, "hung up"
                self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        body = json.loads(line)
        assert body.pop("v") == 1
        return cast("dict[str, Any]", body)

    async def code(self) -> str:
        """Return the code of the next answer, an error."""
        return str((await self.line())["error"]["code"])

    async def rest(self) -> bytes:
        """Return everything until the server hangs up."""
        with trio.fail_after(600):
            while data := await self.stream.receive_some(262_144):
                self._buffer += data
        return bytes(self._buffer)

    async def close(self) -> None:
        await self.stream.aclose()


class Daemon:
    def __init__(
        self,
        path: Path,
        scope: trio.CancelScope,
        counters: ControlCounters,
        control: ControlSocket,
        listening: Listening,
    ) -> None:
        self.path = path
        self.stop = scope.cancel
        self.counters = counters
        self.control = control
        self.listening = listening
        self._peers: list[Peer] = []

    async def peer(self) -> Peer:
        peer = await Peer.connect(self.path)
        self._peers.append(peer)
        return peer

    async def leave(self) -> None:
        for peer in self._peers:
            await peer.close()


async def done(request: Request, emit: Emit[Any], caller: Caller) -> Result:
    return DONE


async def forever(request: Request, emit: Emit[Any], caller: Caller) -> Result:
    await trio.sleep_forever()
    raise AssertionError


@asynccontextmanager
async def serving(
    directory: Path,
    handler: Handler = done,
    limits: Limits = LIMITS,
    group: str | None = None,
    stop: Callable[[Farewell], None] | None = None,
    note: Callable[[str], None] = server._note,
) -> AsyncIterator[Daemon]:
    counters = ControlCounters()
    with ControlSocket(directory / "sock", group) as control:
        listening = Listening(control.listening)
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                await serve(
                    listening,
                    handler,
                    group=control.group,
                    limits=limits,
                    counters=counters,
                    stop=stop,
                    note=note,
                )

            nursery.start_soon(run)
            daemon = Daemon(directory / "sock", nursery.cancel_scope, counters, control, listening)
            yield daemon
            nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await daemon.leave()
