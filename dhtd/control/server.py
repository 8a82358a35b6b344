"""The daemon's end of the control socket: frames in, frames out, one request of a connection at a time.

Whoever connects must be the daemon's user, root, or a member of the socket's group. Clients are many at most, and wait
for themselves only: see `dhtd.control.limits`. A client that goes away takes its request with it. A conversation that
fails, by a defect of ours, ends nothing but itself.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import select
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any, NoReturn

import trio

from dhtd.control.frames import FRAME_MAX, decode_frame, encode, error_body
from dhtd.control.limits import ControlCounters, Limits, Places
from dhtd.control.peer import Peer, groups_by_database, peer_of, supplementary_groups
from dhtd.control.protocol import BackupRequest, Event, Request, Result, StopRequest, StopResult
from dhtd.control.threads import in_thread
from dhtd.errors import (
    DhtdError,
    FrameTooLarge,
    FrameTooSlow,
    InternalError,
    NoThread,
    NotPermitted,
    ShuttingDown,
    SocketForbidden,
    TooManyClients,
)

Emit = Callable[[Event], Awaitable[None]]
Handler = Callable[[Request, Emit], Awaitable[Result]]

LIMITS = Limits()
ACCEPT_PAUSE = 0.25  # seconds, when there is no file descriptor for a connection
HANG_UP_INTERVAL = 0.25  # seconds between looks at a client that sends no more but may still read
SHUTDOWN_GRACE = 1.0  # seconds to tell clients that we stop
LINGER = 5.0  # seconds for a client to notice that its frame was refused
COMPLAIN_INTERVAL = 60.0  # seconds between log lines about the same limit

log = logging.getLogger("dhtd.control")


class Farewell:
    """A client that has asked the daemon to stop, and is told how that ends.

    Its connection is open as long as the process lives, for the kernel closes it behind everything else: when the
    client reads the end of it, the daemon is gone.
    """

    def __init__(self, descriptor: int, id: object) -> None:
        self._descriptor = descriptor
        self._id = id

    def say(self, outcome: StopResult | DhtdError) -> None:
        """Tell the client, if it is still there."""
        body = {"error": error_body(outcome)} if isinstance(outcome, DhtdError) else {"result": outcome}
        _write_at_once(self._descriptor, encode({"id": self._id, **body}))


class Listening:
    """The socket that is listened on. It can be replaced while it is served; connections stay."""

    def __init__(self, listening: socket.socket) -> None:
        self.replaced = trio.Event()  # set, and replaced itself, when there is another
        self._socket = listening
        self._is_taken = False

    def take(self) -> socket.socket:
        """Return the socket to listen on; it is the caller's to close."""
        self._is_taken = True
        return self._socket

    def replace(self, listening: socket.socket) -> None:
        """Listen on another one from now on."""
        if not self._is_taken:
            self._socket.close()
        self._socket, self._is_taken = listening, False
        was, self.replaced = self.replaced, trio.Event()
        was.set()


def _note(kind: str) -> None:
    log.error("%s", kind, exc_info=sys.exception())


async def serve(
    listening: Listening,
    handler: Handler,
    *,
    group: int | None = None,
    limits: Limits = LIMITS,
    counters: ControlCounters | None = None,
    stop: Callable[[Farewell], None] | None = None,
    note: Callable[[str], None] = _note,
) -> None:
    """Serve connections until cancelled: those of the daemon's user, of root, and of the members of `group`.

    `stop` is called for a client that may, and does, ask the daemon to stop. `note` is called, within the handling of
    an exception, with what has failed.
    """
    server = _Server(handler, group, limits, ControlCounters() if counters is None else counters, stop, note)
    async with trio.open_nursery() as nursery:
        while True:
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening.take()))
            async with listener, trio.open_nursery() as accepting:
                accepting.start_soon(_cancel_when, listening.replaced, accepting.cancel_scope)
                await server.welcome(listener, nursery)


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


class _Server:
    """Who may connect, and who has a place."""

    def __init__(
        self,
        handler: Handler,
        group: int | None,
        limits: Limits,
        counters: ControlCounters,
        stop: Callable[[Farewell], None] | None = None,
        note: Callable[[str], None] = _note,
    ) -> None:
        self._handler = handler
        self._group = group
        self._limits = limits
        self._counters = counters
        self._stop = stop
        self._note = note
        self._places = Places[_Connection](limits, os.geteuid())
        self._complain_at: dict[type[Exception], float] = {}

    async def welcome(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        """Give whoever connects a conversation in `nursery`; until cancelled."""
        while True:
            try:
                stream = await self.accept(listener)
            except Exception:  # noqa: BLE001 - noted
                self._note("a client could not be accepted")
                await trio.sleep(ACCEPT_PAUSE)
                continue
            try:
                connection = await self.admit(stream)
            except Exception:  # noqa: BLE001 - noted
                self._note("a client could not be let in")
                await trio.aclose_forcefully(stream)
                continue
            if connection is not None:
                nursery.start_soon(self.serve, connection)

    async def accept(self, listener: trio.SocketListener) -> trio.SocketStream:
        """Return the next connection, however long there is no file descriptor for it."""
        while True:
            try:
                return await listener.accept()
            except OSError as error:
                if error.errno not in {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}:
                    raise
                if self._is_news(OSError):
                    log.error("clients have to wait: %s", error.strerror)
                victim = self._places.take_back()
                if victim is None:
                    await trio.sleep(ACCEPT_PAUSE)
                else:
                    self._displace(victim)
                    await victim.ended.wait()

    async def admit(self, stream: trio.SocketStream) -> _Connection | None:
        """Give a connection a place; None where there is none for it, and it has been told why."""
        try:
            uid = await self._user(stream)
        except trio.Cancelled:
            await trio.aclose_forcefully(stream)
            raise
        except SocketForbidden as error:
            self._counters.control_forbidden += 1
            await self._turn_away(stream, error)
            return None
        except NoThread as error:  # to ask for the groups of a user in
            self._counters.control_refused += 1
            await self._turn_away(stream, error)
            return None
        connection = _Connection(uid, stream, self._handler, self._limits, self._counters, self._stop, self._note)
        try:
            victim = self._places.take(connection)
        except TooManyClients as error:
            self._counters.control_refused += 1
            await self._turn_away(stream, error)
            return None
        if victim is not None:
            self._displace(victim)
        return connection

    async def serve(self, connection: _Connection) -> None:
        """Serve one connection to its end."""
        try:
            async with connection.stream:
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError), connection.scope:
                    await connection.serve()
        except Exception:  # noqa: BLE001 - noted
            self._note("a conversation with a client failed")
        finally:
            self._places.leave(connection)
            connection.ended.set()

    async def _turn_away(self, stream: trio.SocketStream, error: DhtdError) -> None:
        self._complain(error)
        _send_at_once(stream, error)
        await trio.aclose_forcefully(stream)

    def _displace(self, victim: _Connection) -> None:
        self._counters.control_displaced += 1
        refusal = TooManyClients(
            f"this connection was idle, and another client needs its place: user {victim.uid} can have"
            f" {self._limits.clients} (socket-clients), if the system has as many"
        )
        self._complain(refusal)
        victim.displace(refusal)

    async def _user(self, stream: trio.SocketStream) -> int:
        """Return who connected; raise `SocketForbidden`."""
        peer = peer_of(stream.socket)
        own = os.geteuid()
        if peer is None:
            return own  # the modes of socket and directory are the guard then
        if peer.uid in {0, own} or (self._group is not None and await self._is_member(stream, peer)):
            return peer.uid
        raise SocketForbidden(
            f"this daemon belongs to user {own}, and user {peer.uid} is not "
            + ("in the group that it serves" if self._group is not None else "among those that it serves")
        )

    async def _is_member(self, stream: trio.SocketStream, peer: Peer) -> bool:
        if peer.gid == self._group:
            return True
        groups = supplementary_groups(stream.socket)
        if groups is None:
            groups = await in_thread(lambda: groups_by_database(peer))
        return self._group in groups

    def _complain(self, error: DhtdError) -> None:
        """Log that a limit was met, now and then: whoever meets it may do so very often."""
        if self._is_news(type(error)):
            log.warning("a client is turned away: %s", error)

    def _is_news(self, kind: type[Exception]) -> bool:
        """Whether to log an error of this kind now; if so, not again for a while."""
        now = trio.current_time()
        if now < self._complain_at.get(kind, -math.inf):
            return False
        self._complain_at[kind] = now + COMPLAIN_INTERVAL
        return True


def _send_at_once(stream: trio.SocketStream, error: DhtdError, id: object = None) -> None:
    """Send as far as there is room: nobody is waited for who has to go."""
    _write_at_once(stream.socket.fileno(), encode({"id": id, "error": error_body(error)}))


def _write_at_once(descriptor: int, line: bytes) -> None:
    with suppress(OSError):
        os.write(descriptor, line)


class _Connection:
    """One client."""

    def __init__(
        self,
        uid: int,
        stream: trio.SocketStream,
        handler: Handler,
        limits: Limits,
        counters: ControlCounters,
        stop: Callable[[Farewell], None] | None,
        note: Callable[[str], None],
    ) -> None:
        self.uid = uid
        self.stream = stream
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self._handler = handler
        self._limits = limits
        self._counters = counters
        self._stop = stop
        self._note = note
        self._unread = select.poll()
        self._unread.register(stream.socket.fileno(), select.POLLIN)
        self._turn_began = trio.current_time()  # of the client's latest turn, which a whole request ends
        self._theirs_since: float | None = self._turn_began  # None while we read, or serve a request
        self._id: object = None  # of the request that is being served
        self._between_lines = True  # else what is sent next would end up in the middle of one
        self._is_displaced = False
        self._has_farewell = False

    @property
    def waiting_since(self) -> float | None:
        """Since when it is the client's turn; None while it is ours, as it is when something has come to be read."""
        if self._between_lines and self._unread.poll(0):
            return None
        return self._theirs_since

    async def serve(self) -> None:
        """Answer one request after the other until the client hangs up."""
        try:
            async with aclosing(_lines(self._receive, self._limits)) as lines:
                async for line in lines:
                    await self._serve_request(line)
                    self._turn_began = trio.current_time()
                    self._id = None
        except (FrameTooLarge, FrameTooSlow) as error:
            self._counters.control_frames_refused += 1
            await self._send_error(error)
            await _linger(self.stream)
        finally:
            # Not `except Cancelled`: out of a nursery it comes in a group. Nothing but the end of `serve` cancels us,
            # or another client who gets our place.
            is_stopping = trio.current_effective_deadline() == -math.inf and not self._is_displaced
            if is_stopping and self._between_lines and not self._has_farewell:
                with trio.move_on_after(SHUTDOWN_GRACE, shield=True):
                    await self._send_error(ShuttingDown("the daemon is stopping"))

    async def _receive(self, size: int) -> bytes:
        self._theirs_since = self._turn_began
        await trio.lowlevel.wait_readable(self.stream.socket)
        self._theirs_since = None  # before trio lets others run, with what was read in its hands
        return bytes(await self.stream.receive_some(size))

    def displace(self, why: TooManyClients) -> None:
        """End it, now: it is the client's turn, and has been for long."""
        self._is_displaced = True
        if self._between_lines:
            _send_at_once(self.stream, why, self._id)
        self.scope.cancel()

    async def _serve_request(self, line: bytes) -> None:
        try:
            self._id, parse = decode_frame(line)
            request = parse()
        except DhtdError as error:
            await self._send_error(error)
            return
        try:
            if isinstance(request, StopRequest):
                await self._end_daemon()
            if isinstance(request, BackupRequest):
                self._check_owner("take a backup")
            answer = await self._handle(request)
        except DhtdError as error:
            await self._send_error(error)
        else:
            if answer is not None:
                await self._send(answer)

    async def _end_daemon(self) -> NoReturn:
        """Have the daemon stop."""
        self._check_owner("stop it")
        if self._stop is None:
            raise NotPermitted("this daemon is not stopped by its clients")
        farewell = Farewell(os.dup(self.stream.socket.fileno()), self._id)
        self._has_farewell = True
        self._stop(farewell)
        await trio.sleep_forever()
        raise AssertionError

    def _check_owner(self, act: str) -> None:
        """Refuse whoever was only let in by the group: the daemon is not theirs."""
        if self.uid not in {0, os.geteuid()}:
            raise NotPermitted(f"only the daemon's own user and root may {act}")

    async def _handle(self, request: Request) -> bytes | None:
        """Return the line with the result; None where the client has gone away meanwhile."""
        answer: bytes | None = None
        failure: DhtdError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_gone, self.stream, nursery.cancel_scope)
            try:
                answer = self._encode({"result": await self._handler(request, self._emit)})
            except DhtdError as error:
                failure = error
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            except Exception:  # noqa: BLE001 - noted
                self._note(f"request {type(request).__name__.removesuffix('Request')} failed")
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
        before, self._theirs_since = self._theirs_since, trio.current_time()
        self._between_lines = False
        await self.stream.send_all(line)
        self._between_lines = True
        self._theirs_since = before


async def _cancel_when_gone(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    """Cancel `scope` when the client hangs up; one that has only finished sending may still wait for its answer."""
    await trio.lowlevel.wait_readable(stream.socket)
    # From now on it is readable all the time, with the next request or with the end, so waiting tells nothing more.
    poll = select.poll()
    poll.register(stream.socket.fileno(), 0)  # POLLHUP is reported unasked, once both directions are closed
    while not poll.poll(0):  # noqa: ASYNC110
        await trio.sleep(HANG_UP_INTERVAL)
    scope.cancel()


async def _lines(receive: Callable[[int], Awaitable[bytes]], limits: Limits) -> AsyncGenerator[bytes, None]:
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


async def _linger(stream: trio.SocketStream) -> None:
    """Read on for a while: closing with unread data would destroy the answer that tells the client why."""
    with suppress(trio.BrokenResourceError), trio.move_on_after(LINGER):
        await stream.send_eof()
        while await stream.receive_some(FRAME_MAX):
            pass
