"""The daemon's end of the control socket: frames in, frames out, one request of a connection at a time.

The socket is made 0600 in a directory made 0700, whoever connects must be the daemon's user or root, and a socket that
a dead daemon left over is replaced. A client that goes away takes its request with it.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import select
import socket
import stat
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trio

from dhtd.control.frames import FRAME_MAX, decode_frame, encode, error_body
from dhtd.control.protocol import Event, Request, Result
from dhtd.errors import (
    DhtdError,
    FrameTooLarge,
    InternalError,
    ShuttingDown,
    SocketForbidden,
    SocketInUse,
    SocketUnusable,
)

Emit = Callable[[Event], Awaitable[None]]
Handler = Callable[[Request, Emit], Awaitable[Result]]

BACKLOG = 64
CONNECTIONS_MAX = 128  # those beyond wait in the backlog, so that clients cannot use up our file descriptors
ACCEPT_PAUSE = 0.25  # seconds, when there is no file descriptor for a connection
HANG_UP_INTERVAL = 0.25  # seconds between looks at a client that sends no more but may still read
SHUTDOWN_GRACE = 1.0  # seconds to tell clients that we stop
LINGER = 5.0  # seconds for a client to notice that its frame was refused

log = logging.getLogger("dhtd.control")


class ControlSocket:
    """A listening socket and the file that clients find it by. Leaving its context closes the one, removes the other.

    Raises `SocketInUse` where a daemon listens on `path` already, `SocketUnusable` where no socket can be made.
    """

    def __init__(self, path: Path) -> None:
        self.listening = _bind(path)
        self._path = path
        self._identity = _identity(path)

    def __enter__(self) -> Self:
        """Return the socket."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Listen no more."""
        self.remove()
        self.listening.close()

    def remove(self) -> None:
        """Remove the file, unless it is another's by now."""
        if self._identity is not None and _identity(self._path) == self._identity:
            with suppress(OSError):
                self._path.unlink()


async def serve(listening: socket.socket, handler: Handler) -> None:
    """Serve connections until cancelled."""
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
    places = trio.Semaphore(CONNECTIONS_MAX)

    async def connection(stream: trio.SocketStream) -> None:
        try:
            async with stream:
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await _Connection(stream, handler).serve()
        finally:
            places.release()

    async with listener, trio.open_nursery() as nursery:
        while True:
            await places.acquire()
            nursery.start_soon(connection, await _accept(listener))


async def _accept(listener: trio.SocketListener) -> trio.SocketStream:
    """Return the next connection, however long there is no file descriptor for it."""
    warned = False
    while True:
        try:
            return await listener.accept()
        except OSError as error:
            if error.errno not in {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}:
                raise
            if not warned:
                log.error("clients have to wait: %s", error.strerror)
            warned = True
            await trio.sleep(ACCEPT_PAUSE)


class _Connection:
    """One client."""

    def __init__(self, stream: trio.SocketStream, handler: Handler) -> None:
        self._stream = stream
        self._handler = handler
        self._id: object = None  # of the request that is being served
        self._between_lines = True  # else what is sent next would end up in the middle of one

    async def serve(self) -> None:
        """Answer one request after the other until the client hangs up."""
        if not _is_ours(self._stream):
            await self._send_error(SocketForbidden("this daemon belongs to another user"))
            return
        try:
            async with aclosing(_lines(self._stream)) as lines:
                async for line in lines:
                    await self._serve_request(line)
                    self._id = None
        except FrameTooLarge as error:
            await self._send_error(error)
            await _linger(self._stream)
        finally:
            # Not `except Cancelled`: out of a nursery it comes in a group. Nothing but the end of `serve` cancels us.
            if trio.current_effective_deadline() == -math.inf and self._between_lines:
                with trio.move_on_after(SHUTDOWN_GRACE, shield=True):
                    await self._send_error(ShuttingDown("the daemon is stopping"))

    async def _serve_request(self, line: bytes) -> None:
        try:
            self._id, parse = decode_frame(line)
            request = parse()
        except DhtdError as error:
            await self._send_error(error)
            return
        try:
            answer = await self._handle(request)
        except DhtdError as error:
            await self._send_error(error)
        else:
            if answer is not None:
                await self._send(answer)

    async def _handle(self, request: Request) -> bytes | None:
        """Return the line with the result; None where the client has gone away meanwhile."""
        answer: bytes | None = None
        failure: DhtdError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_gone, self._stream, nursery.cancel_scope)
            try:
                answer = self._encode({"result": await self._handler(request, self._emit)})
            except DhtdError as error:
                failure = error
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            except Exception:
                log.exception("request %s failed", type(request).__name__)
                failure = InternalError("a defect in dhtd; the daemon's log has the details")
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return answer

    async def _emit(self, event: Event) -> None:
        await self._send(self._encode({"event": event}))

    async def _send_error(self, error: DhtdError) -> None:
        await self._send(self._encode({"error": error_body(error)}))

    def _encode(self, body: Mapping[str, Any]) -> bytes:
        return encode({"id": self._id, **body})

    async def _send(self, line: bytes) -> None:
        self._between_lines = False
        await self._stream.send_all(line)
        self._between_lines = True


async def _cancel_when_gone(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    """Cancel `scope` when the client hangs up; one that has only finished sending may still wait for its answer."""
    await trio.lowlevel.wait_readable(stream.socket)
    # From now on it is readable all the time, with the next request or with the end, so waiting tells nothing more.
    poll = select.poll()
    poll.register(stream.socket.fileno(), 0)  # POLLHUP is reported unasked, once both directions are closed
    while not poll.poll(0):  # noqa: ASYNC110
        await trio.sleep(HANG_UP_INTERVAL)
    scope.cancel()


async def _lines(stream: trio.SocketStream) -> AsyncGenerator[bytes, None]:
    """Yield lines without their ends, not counting empty ones; what comes after the last newline is not a request."""
    buffer = bytearray()
    while True:
        data = await stream.receive_some(FRAME_MAX)
        if not data:
            return
        buffer += data
        while (end := buffer.find(b"\n")) >= 0:
            if end >= FRAME_MAX:
                break
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            if line.strip():
                yield line
        if len(buffer) >= FRAME_MAX:
            raise FrameTooLarge(f"a request is {FRAME_MAX} bytes long at most")


async def _linger(stream: trio.SocketStream) -> None:
    """Read on for a while: closing with unread data would destroy the answer that tells the client why."""
    with suppress(trio.BrokenResourceError), trio.move_on_after(LINGER):
        await stream.send_eof()
        while await stream.receive_some(FRAME_MAX):
            pass


def _is_ours(stream: trio.SocketStream) -> bool:
    """Whether the client is this daemon's user or root, by the kernel's word where it gives it (unix(7))."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return True  # the modes of socket and directory are the guard then
    credentials = stream.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i"))
    assert isinstance(credentials, bytes)
    _, uid, _ = struct.unpack("3i", credentials)
    return uid in {0, os.geteuid()}


def _bind(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_stale(path)
        before = os.umask(0o177)
        try:
            listening.bind(str(path))
        finally:
            os.umask(before)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise _in_use(path) from None
        reason = error.strerror or str(error)
        raise SocketUnusable(f"cannot make the control socket {path}: {reason}. Use --socket for another") from None
    except BaseException:
        listening.close()
        raise
    listening.setblocking(False)
    return listening


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on; raise `SocketInUse` where somebody does, `SocketUnusable` for a file."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SocketUnusable(f"{path} is in the way of the control socket, and is no socket. Use --socket for another")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        except BlockingIOError:
            raise _in_use(path) from None
        else:
            raise _in_use(path)


def _in_use(path: Path) -> SocketInUse:
    return SocketInUse(f"a running daemon has the control socket {path}. For a second one, use --instance NAME")


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Return what tells this socket from a later one, which may well be given the same inode; None for no socket."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns
