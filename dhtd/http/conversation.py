"""One connection: HTTP/1.1 as hypercorn speaks it, between a stream of bytes and the application.

Hypercorn's own server speaks more than HTTP/1.1, and keeps a connection in states that only the client can end: a
WebSocket that was refused, HTTP/2 without a request, a body that nobody reads. Here a connection ends with its client,
whatever it is doing, and no state lasts longer than it may. An `Upgrade` is ignored (RFC 9110, section 7.8).
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any, Final

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from starlette.types import ASGIApp, Message, Scope

READ_SIZE: Final = 65_536
QUEUED_MAX: Final = 8  # pieces of a body that wait for the application
LINGER: Final = 1.0  # seconds to take what a client still sends: else the kernel drops our answer with it

Ends = tuple[tuple[str, int] | None, tuple[str, int] | None]  # the addresses of the client and of us


class Conversation:
    """A client's connection."""

    def __init__(
        self,
        app: ASGIApp,
        config: Config,
        transport: trio.abc.HalfCloseableStream,
        ends: Ends,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._app = app
        self._config = config
        self._transport = transport
        self._ends = ends
        self._tls = tls
        self._stream: trio.abc.Stream = transport
        self._sending = trio.Lock()
        self._is_over = False  # by the rules of HTTP
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Serve the client until it goes away, or is idle for too long, or HTTP says that the connection ends.

        Raises `BrokenResourceError` where TLS fails.
        """
        if self._tls is not None:
            spoken = trio.SSLStream(self._transport, self._tls, server_side=True, https_compatible=True)
            self._stream = spoken
            with trio.move_on_after(self._config.ssl_handshake_timeout) as shaking:
                await spoken.do_handshake()
            if shaking.cancelled_caught:
                return
        with self._scope:
            async with trio.open_nursery() as nursery:
                app: Any = self._app
                client, server = self._ends
                tasks: Any = _Tasks(nursery)
                protocol = _Http1(
                    app,
                    self._config,
                    WorkerContext(None),
                    tasks,
                    ConnectionState({}),
                    self._tls is not None,
                    client,
                    server,
                    self._handle,
                )
                self._rest(idle=True)
                await self._read(protocol)
                # The client is gone, or will hear nothing more: neither does its request go on.
                nursery.cancel_scope.cancel()
        if self._is_over:
            await self._linger()

    async def _read(self, protocol: H11Protocol) -> None:
        while not self._is_over:
            try:
                data = await self._stream.receive_some(READ_SIZE)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            await protocol.handle(RawData(bytes(data)))
            if not data:
                return

    async def _handle(self, event: Event) -> None:
        """Do what the protocol wants."""
        if isinstance(event, RawData):
            await self._send(event.data)
        elif isinstance(event, Updated):
            self._rest(idle=event.idle)
        elif isinstance(event, Closed):
            self._is_over = True
            self._scope.cancel()

    async def _send(self, data: bytes) -> None:
        """Send all of it: half an event would spoil the stream, so a task that is cancelled sends the rest first."""
        try:
            async with self._sending:
                with trio.CancelScope(shield=True):
                    await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._scope.cancel()

    def _rest(self, *, idle: bool) -> None:
        self._scope.deadline = trio.current_time() + self._config.keep_alive_timeout if idle else inf

    async def _linger(self) -> None:
        """Say that nothing more comes, and take the rest of what the client sends, for a while."""
        with trio.move_on_after(LINGER):
            await self._transport.send_eof()
            while await self._transport.receive_some(READ_SIZE):
                pass


class _Http1(H11Protocol):
    """HTTP/1.1, and nothing that a client would upgrade it to."""

    async def _check_protocol(self, event: h11.Request) -> None:
        pass

    async def _create_stream(self, request: h11.Request) -> None:
        headers = [(name, value) for name, value in request.headers if name != b"upgrade"]
        await super()._create_stream(
            h11.Request(
                method=request.method, target=request.target, headers=headers, http_version=request.http_version
            )
        )


class _Tasks:
    """The requests of a connection, one after the other: what hypercorn calls a task group."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    async def spawn_app(
        self, app: ASGIApp, config: Config, scope: Scope, send: Callable[[Message | None], Awaitable[None]]
    ) -> Callable[[Message], Awaitable[None]]:
        messages = _Messages()

        async def run() -> None:
            await app(scope, messages.receive, send)
            await send(None)

        self._nursery.start_soon(run)
        return messages.put


class _Messages:
    """The pieces of a body that the application has not received yet.

    The application may be who puts the last message, that of the end, so this one never waits. It is not passed on: a
    request that ends before its answer is cancelled.
    """

    def __init__(self) -> None:
        self._waiting: deque[Message] = deque()
        self._is_closed = False
        self._changed = trio.Event()

    async def put(self, message: Message) -> None:
        if message["type"] == "http.disconnect":
            self._is_closed = True
            self._wake()
            return
        while len(self._waiting) >= QUEUED_MAX and not self._is_closed:
            await self._changed.wait()
        self._waiting.append(message)
        self._wake()

    async def receive(self) -> Message:
        while not self._waiting:
            await self._changed.wait()
        message = self._waiting.popleft()
        self._wake()
        return message

    def _wake(self) -> None:
        was, self._changed = self._changed, trio.Event()
        was.set()
