"""Accepts the connections of one listening address, and hands each to hypercorn.

Hypercorn speaks HTTP. It sets no bound to the number of connections, nor to the time that a client may take to read.
Here are both. A connection without a place is told so. A client that does not read for `READ_WITHIN` is cut off.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio
from hypercorn.config import Config
from hypercorn.utils import parse_socket_addr
from starlette.types import ASGIApp

from dhtd.http.conversation import Conversation, Ends

CONNECTIONS_MAX: Final = 256  # of all addresses together
SHARE: Final = 4  # one in so many of the files that the process may open: the control socket needs some as well
READ_WITHIN: Final = 10.0  # seconds for a client to take what is sent
ACCEPT_PAUSE: Final = 0.25  # seconds, when there is no file descriptor for a connection
HEAD_MAX: Final = 16_384  # bytes of a request without its body
IDLE_FOR: Final = 5.0  # seconds without a whole head until a connection is closed

_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n%s"
)
_FULL_BODY: Final = (
    b'{"type":"about:blank","title":"Service Unavailable","status":503,'
    b'"detail":"too many connections by HTTP: try again","code":"too-many-clients"}'
)


class Places:
    """The connections that are open, of all addresses of a door."""

    def __init__(self, most: int = CONNECTIONS_MAX) -> None:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.most = most if limit == resource.RLIM_INFINITY else min(most, max(1, limit // SHARE))
        self.streams: set[BoundedStream] = set()

    def close(self) -> None:
        """Cut all connections off. A send that waits for its client ends as well."""
        for stream in self.streams:
            stream.cut()


class BoundedStream(trio.abc.HalfCloseableStream):
    """A connection whose client must read. Hypercorn shields its sends, so they have an end of their own."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.socket = stream.socket
        self._stream = stream
        self._sending: trio.CancelScope | None = None
        self._is_cut = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_cut:
            raise trio.ClosedResourceError
        with trio.move_on_after(READ_WITHIN) as self._sending:
            await self._stream.send_all(data)
        is_late, self._sending = self._sending.cancelled_caught, None
        if is_late:
            self._is_cut = True
            await trio.aclose_forcefully(self._stream)
            raise trio.BrokenResourceError("the client does not read")

    def cut(self) -> None:
        """Have no more be sent."""
        self._is_cut = True
        if self._sending is not None:
            self._sending.cancel()

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def send_eof(self) -> None:
        if self._is_cut:
            raise trio.ClosedResourceError
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


async def serve(
    listener: trio.SocketListener,
    app: ASGIApp,
    places: Places,
    note: Callable[[str], None],
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve the clients of a listener until cancelled."""
    config = _config()

    async def converse(stream: trio.SocketStream) -> None:
        bounded = BoundedStream(stream)
        places.streams.add(bounded)
        try:
            await Conversation(app, config, bounded, _ends(stream), tls).run()
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client is gone
        except Exception:  # noqa: BLE001 - noted
            note("a conversation by HTTP failed")
        finally:
            places.streams.discard(bounded)
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}:
                    raise
                await trio.sleep(ACCEPT_PAUSE)
                continue
            if len(places.streams) >= places.most:
                await _turn_away(stream, in_clear=tls is None)
            else:
                nursery.start_soon(converse, stream)


async def cut_at_end(places: Places) -> None:
    """Cut all connections off once cancelled, so that no client that does not read keeps us."""
    try:
        await trio.sleep_forever()
    finally:
        places.close()


async def _turn_away(stream: trio.SocketStream, *, in_clear: bool) -> None:
    """Tell a client that there is no place, as far as that goes without waiting."""
    if in_clear:
        with suppress(OSError):
            os.write(stream.socket.fileno(), _FULL % (len(_FULL_BODY), _FULL_BODY))
    await trio.aclose_forcefully(stream)


def _ends(stream: trio.SocketStream) -> Ends:
    """Raise `OSError` if the client has gone already."""
    socket = stream.socket
    family = socket.family
    return parse_socket_addr(family, socket.getpeername()), parse_socket_addr(family, socket.getsockname())


def _config() -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = logging.getLogger("dhtd.http")
    config.include_server_header = False
    config.h11_max_incomplete_size = HEAD_MAX
    config.keep_alive_timeout = IDLE_FOR
    config.ssl_handshake_timeout = IDLE_FOR
    return config
