"""The daemon's end of the control socket: frames in, frames out, one request of a connection at a time.

The socket is made 0600 in a directory made 0700, whoever connects must be the daemon's user or root, and a socket that
a dead daemon left over is replaced. A client that goes away takes its request with it.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import stat
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import trio

from dhtd.control.protocol import FRAME_MAX, Event, Request, Result, decode_frame, encode, error_body
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
CONNECTIONS_MAX = 128
HANG_UP_INTERVAL = 0.25  # seconds between looks at a client that sends no more but may still read
SHUTDOWN_GRACE = 1.0  # seconds to tell clients that we stop

log = logging.getLogger("dhtd.control")


@contextmanager
def control_socket(path: Path) -> Iterator[socket.socket]:
    """Listen on `path` for as long as the context lasts; raise `SocketInUse` or `SocketUnusable`."""
    listening = _bind(path)
    identity = _identity(path)
    try:
        with listening:
            yield listening
    finally:
        if identity is not None and _identity(path) == identity:
            with suppress(OSError):
                path.unlink()


async def serve(listening: socket.socket, handler: Handler) -> None:
    """Serve connections until cancelled."""
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
    limit = trio.CapacityLimiter(CONNECTIONS_MAX)

    async def connection(stream: trio.SocketStream) -> None:
        async with limit, stream:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await _serve_connection(stream, handler)

    await trio.serve_listeners(connection, [listener])


async def _serve_connection(stream: trio.SocketStream, handler: Handler) -> None:
    if not _is_ours(stream):
        await _send_error(stream, None, SocketForbidden("this daemon belongs to another user"))
        return
    try:
        async for line in _lines(stream):
            await _serve_request(stream, handler, line)
    except FrameTooLarge as error:
        await _send_error(stream, None, error)
        await _linger(stream)
    except trio.Cancelled:
        grace = trio.CancelScope(deadline=trio.current_time() + SHUTDOWN_GRACE, shield=True)
        with grace, suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await _send_error(stream, None, ShuttingDown("the daemon is stopping"))
        raise


async def _serve_request(stream: trio.SocketStream, handler: Handler, line: bytes) -> None:
    id: object = None
    try:
        id, parse = decode_frame(line)
        request = parse()
        result = await _handle(stream, handler, id, request)
    except DhtdError as error:
        await _send_error(stream, id, error)
    else:
        if result is not None:
            await stream.send_all(encode({"id": id, "result": result}))


async def _handle(stream: trio.SocketStream, handler: Handler, id: object, request: Request) -> Result | None:
    """Return the result; None where the client has gone away meanwhile."""

    async def emit(event: Event) -> None:
        await stream.send_all(encode({"id": id, "event": event}))

    result: Result | None = None
    failure: DhtdError | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when_gone, stream, nursery.cancel_scope)
        try:
            result = await handler(request, emit)
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
    return result


async def _cancel_when_gone(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    """Cancel `scope` when the client hangs up; one that has only finished sending may still wait for its answer."""
    while True:
        await trio.lowlevel.wait_readable(stream.socket)
        try:
            data = await stream.socket.recv(1, socket.MSG_PEEK)
        except OSError:
            break
        if data:
            return  # the next request waits there, so somebody is at home
        poll = select.poll()
        poll.register(stream.socket.fileno(), 0)
        # POLLHUP is reported unasked once both directions are closed; epoll would report the closed one all the time.
        while not poll.poll(0):  # noqa: ASYNC110
            await trio.sleep(HANG_UP_INTERVAL)
        break
    scope.cancel()


async def _lines(stream: trio.SocketStream) -> AsyncIterator[bytes]:
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
    """Read on for a moment: closing with unread data would destroy the answer that tells the client why."""
    with suppress(trio.BrokenResourceError), trio.move_on_after(SHUTDOWN_GRACE):
        await stream.send_eof()
        while await stream.receive_some(FRAME_MAX):
            pass


async def _send_error(stream: trio.SocketStream, id: object, error: DhtdError) -> None:
    await stream.send_all(encode({"id": id, "error": error_body(error)}))


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
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_stale(path)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listening.bind(str(path))
        finally:
            os.umask(before)
        listening.listen(BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise _in_use(path) from None
        reason = error.strerror or str(error)
        raise SocketUnusable(f"cannot make the control socket {path}: {reason}. Use --socket for another") from None
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


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
