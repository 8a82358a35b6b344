"""Serves one TCP address (RFC 7766): several questions on a connection, each answered as soon as it can be.

A client that is slow, silent, or does not read, is cut off, and so is the quietest one where there is no place.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from dhtd.dns.limits import source_of
from dhtd.dns.responder import Asked, Responder

CONNECTIONS_MAX: Final = 128  # of all addresses together
OF_SOURCE_MAX: Final = 16  # of one network of strangers
IDLE_FOR: Final = 10.0  # seconds without a whole question until a connection is closed
READ_WITHIN: Final = 5.0  # seconds for a client to take an answer
IN_FLIGHT_MAX: Final = 32  # questions of one connection that wait for the network; then no more is read
ACCEPT_PAUSE: Final = 0.25  # seconds, when there is no file descriptor for a connection


class Places:
    """The connections that are open, of all addresses of a door, the quietest first."""

    def __init__(self, most: int = CONNECTIONS_MAX, of_source: int = OF_SOURCE_MAX) -> None:
        self._most = most
        self._of_source_max = of_source
        self._open: dict[trio.CancelScope, None] = {}
        self._of_source: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def take(self, scope: trio.CancelScope, source: bytes | None) -> bool:
        """Take a place for a connection, from the quietest one if need be; return whether there was one."""
        if source is not None:
            if self._of_source[source] >= self._of_source_max:
                return False
            self._of_source[source] += 1
        if len(self._open) >= self._most:
            quietest = next(iter(self._open))
            del self._open[quietest]
            quietest.cancel()
        self._open[scope] = None
        return True

    def stir(self, scope: trio.CancelScope) -> None:
        """A connection has sent a question."""
        if scope in self._open:
            del self._open[scope]
            self._open[scope] = None

    def leave(self, scope: trio.CancelScope, source: bytes | None) -> None:
        """A connection has ended."""
        self._open.pop(scope, None)
        if source is not None:
            self._of_source[source] -= 1
            if not self._of_source[source]:
                del self._of_source[source]


class TcpService:
    """The connections to one address."""

    def __init__(
        self, listener: trio.SocketListener, responder: Responder, places: Places, note: Callable[[str], None]
    ) -> None:
        self._listener = listener
        self._responder = responder
        self._places = places
        self._note = note

    async def serve(self) -> None:
        """Let clients in until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    stream = await self._listener.accept()
                except OSError as error:
                    if error.errno not in {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}:
                        raise
                    await trio.sleep(ACCEPT_PAUSE)
                    continue
                nursery.start_soon(self._converse, stream)

    async def _converse(self, stream: trio.SocketStream) -> None:
        try:
            with trio.CancelScope() as scope:
                source = source_of(stream.socket.getpeername()[0].partition("%")[0])
                if self._places.take(scope, source):
                    try:
                        await Conversation(stream, self._responder, lambda: self._places.stir(scope)).run()
                    finally:
                        self._places.leave(scope, source)
        except* (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass
        except* Exception:  # noqa: BLE001 - noted
            self._note("a conversation by DNS failed")
        finally:
            await trio.aclose_forcefully(stream)


class Conversation:
    """One connection."""

    def __init__(self, stream: trio.SocketStream, responder: Responder, stir: Callable[[], None]) -> None:
        self._stream = stream
        self._responder = responder
        self._stir = stir
        self._data = bytearray()
        self._sending = trio.Lock()
        self._in_flight = trio.Semaphore(IN_FLIGHT_MAX)

    async def run(self) -> None:
        """Answer questions until the client hangs up, or is cut off."""
        async with trio.open_nursery() as nursery:
            while (question := await self._next()) is not None:
                self._stir()
                found = self._responder.respond(question, is_tcp=True)
                if isinstance(found, Asked):
                    await self._in_flight.acquire()
                    nursery.start_soon(self._find, found)
                elif found is None:
                    break
                else:
                    await self._send(found)

    async def _next(self) -> bytes | None:
        """Return the next question; None where there is none any more, or not in time."""
        with trio.move_on_after(IDLE_FOR):
            while len(self._data) < 2 or len(self._data) < 2 + int.from_bytes(self._data[:2], "big"):
                some = await self._stream.receive_some(65_537)
                if not some:
                    return None
                self._data += some
            size = 2 + int.from_bytes(self._data[:2], "big")
            question = bytes(self._data[2:size])
            del self._data[:size]
            return question
        return None

    async def _find(self, asked: Asked) -> None:
        try:
            await self._send(await self._responder.find(asked))
        finally:
            self._in_flight.release()

    async def _send(self, answer: bytes) -> None:
        with trio.move_on_after(READ_WITHIN) as sending:
            async with self._sending:
                await self._stream.send_all(len(answer).to_bytes(2, "big") + answer)
        if sending.cancelled_caught:
            with suppress(OSError):
                await trio.aclose_forcefully(self._stream)
            raise trio.BrokenResourceError("the client does not read")
