"""One client's connection. Its requests are served one after the other, until it hangs up or gives way to another.

A client that goes away takes its request with it. A defect in a request ends that request, and nothing else.

An entry may be attached to a connection. The connection then keeps its place while it is idle. When the client hangs
up, the entry is withdrawn first, and then our end is closed. So a client that wants to know only shuts down its sending
side, and reads on to the end.
"""

from __future__ import annotations

import math
import os
import select
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import trio

from dhtd.control.frames import FRAME_MAX, encode, encode_event, error_body
from dhtd.control.limits import ControlCounters, Limits
from dhtd.control.lines import lines_of
from dhtd.control.requests import decode_frame
from dhtd.core.ids import NATIVE, Keyspace
from dhtd.errors import (
    DhtdError,
    FrameTooLarge,
    FrameTooSlow,
    InternalError,
    NotPermitted,
    ShuttingDown,
    TooManyClients,
)
from dhtd.service.method import Callers, Event, Handler, Leave, Method, Request
from dhtd.service.methods import method_of
from dhtd.service.owner import STOP, StopResult
from dhtd.service.written import Written

HANG_UP_INTERVAL = 0.25  # seconds between looks at a client that sends no more but may still read
SHUTDOWN_GRACE = 1.0  # seconds to tell clients that we stop
LEAVE_WITHIN = 10.0  # seconds until our end is closed, whether attached entries are withdrawn or not
LINGER = 5.0  # seconds for a client to notice that its frame was refused


class Farewell:
    """A client that asked the daemon to stop, and hears how that ended.

    Its connection stays open as long as the process lives, and the kernel closes it last. When the client reads the end
    of it, the daemon is gone.
    """

    def __init__(self, descriptor: int, id: object) -> None:
        self._descriptor = descriptor
        self._id = id

    def say(self, outcome: StopResult | DhtdError) -> None:
        """Tell the client, if it is still there."""
        body = {"error": error_body(outcome)} if isinstance(outcome, DhtdError) else {"result": outcome}
        _write_at_once(self._descriptor, encode({"id": self._id, **body}))

    def close(self) -> None:
        """Close the connection, where the process goes on without the daemon."""
        os.close(self._descriptor)


def send_at_once(stream: trio.SocketStream, error: DhtdError, id: object = None) -> None:
    """Send as much as there is room for, without waiting: the client has to go."""
    _write_at_once(stream.socket.fileno(), encode({"id": id, "error": error_body(error)}))


def _write_at_once(descriptor: int, line: bytes) -> None:
    with suppress(OSError):
        os.write(descriptor, line)


@dataclass(frozen=True, slots=True)
class Terms:
    """The part of a server that all of its connections share."""

    handler: Handler
    limits: Limits
    counters: ControlCounters
    stop: Callable[[Farewell], None] | None  # called for a client that has the daemon stop; without it, none can
    note: Callable[[str], None]  # called with a description of a defect while its exception is handled
    keyspace: Keyspace = NATIVE  # of the daemon's network


class Connection:
    """One client. `check_lasting` raises `Busy` if no further connection of the user may be a lasting one."""

    def __init__(self, uid: int, stream: trio.SocketStream, terms: Terms, check_lasting: Callable[[int], None]) -> None:
        self.uid = uid
        self.is_owner = uid in {0, os.geteuid()}
        self.stream = stream
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self._terms = terms
        self._check_lasting = check_lasting
        self._unread = select.poll()
        self._unread.register(stream.socket.fileno(), select.POLLIN)
        self._turn_began = trio.current_time()  # of the client's latest turn, which a whole request ends
        self._theirs_since: float | None = self._turn_began  # None while we read, or serve a request
        self._id: object = None  # of the request that is being served
        self._between_lines = True  # else the next bytes would end up in the middle of a line
        self._is_displaced = False
        self._has_farewell = False
        self._leaves: list[Leave] = []
        self._is_watching = False  # the request that is being served goes on until the client hangs up

    @property
    def is_lasting(self) -> bool:
        """Whether the connection watches, or entries live as long as it."""
        return self._is_watching or bool(self._leaves)

    def attach(self, leave: Leave) -> None:
        if not self.is_lasting:
            self._check_lasting(self.uid)
        self._leaves.append(leave)

    def watch(self) -> None:
        if not self.is_lasting:
            self._check_lasting(self.uid)
        self._is_watching = True

    @property
    def waiting_since(self) -> float | None:
        """The time since when it is the client's turn; None while it is ours, bytes wait, or entries are attached."""
        if self._leaves or (self._between_lines and self._unread.poll(0)):
            return None
        return self._theirs_since

    async def serve(self) -> None:
        """Answer one request after the other until the client hangs up."""
        try:
            await self._converse()
        finally:
            if not self._is_stopping():
                await self._leave()

    def _is_stopping(self) -> bool:
        # Not `except Cancelled`: a nursery raises it in a group. Only the end of `serve` cancels us, or a client that
        # gets our place.
        return trio.current_effective_deadline() == -math.inf and not self._is_displaced

    async def _leave(self) -> None:
        """Let go of what is attached: the client is gone, or wants to know when that is done."""
        if self._leaves:
            with trio.move_on_after(LEAVE_WITHIN):
                async with trio.open_nursery() as nursery:
                    for leave in self._leaves:
                        nursery.start_soon(leave)

    async def _converse(self) -> None:
        try:
            async with aclosing(lines_of(self._receive, self._terms.limits)) as lines:
                async for line in lines:
                    await self._serve_request(line)
                    self._is_watching = False
                    self._turn_began = trio.current_time()
                    self._id = None
        except (FrameTooLarge, FrameTooSlow) as error:
            self._terms.counters.control_frames_refused += 1
            await self._send_error(error)
            await _linger(self.stream)
        finally:
            if self._is_stopping() and self._between_lines and not self._has_farewell:
                with trio.move_on_after(SHUTDOWN_GRACE, shield=True):
                    await self._send_error(ShuttingDown("the daemon is stopping"))

    async def _receive(self, size: int) -> bytes:
        self._theirs_since = self._turn_began
        await trio.lowlevel.wait_readable(self.stream.socket)
        self._theirs_since = None  # before trio lets others run: it has the bytes already
        return bytes(await self.stream.receive_some(size))

    def displace(self, why: TooManyClients) -> None:
        """End it now: it has been the client's turn for the longest time."""
        self._is_displaced = True
        if self._between_lines:
            send_at_once(self.stream, why, self._id)
        self.scope.cancel()

    async def _serve_request(self, line: bytes) -> None:
        try:
            self._id, parse = decode_frame(line, self._terms.keyspace)
            request = parse()
        except DhtdError as error:
            await self._send_error(error)
            return
        try:
            method = method_of(request)
            self._check_caller(method)
            answer = await self._end_daemon() if method is STOP else await self._handle(method, request)
        except DhtdError as error:
            await self._send_error(error)
        else:
            if answer is not None:
                await self._send(answer)

    async def _end_daemon(self) -> NoReturn:
        """Have the daemon stop."""
        if self._terms.stop is None:
            raise NotPermitted("this daemon is not stopped by its clients")
        farewell = Farewell(os.dup(self.stream.socket.fileno()), self._id)
        self._has_farewell = True
        self._terms.stop(farewell)
        await trio.sleep_forever()
        raise AssertionError

    def _check_caller(self, method: Method[Any, Any]) -> None:
        """Refuse a method of the owner to a member of the socket's group."""
        if method.callers is Callers.OWNER and not self.is_owner:
            raise NotPermitted(f"only {method.callers.value} may ask for {method.name}")

    async def _handle(self, method: Method[Any, Any], request: Request) -> bytes | None:
        """Return the line with the result, None if the client went away meanwhile."""
        answer: bytes | None = None
        failure: DhtdError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_gone, self.stream, nursery.cancel_scope)
            try:
                answer = self._encode({"result": await self._terms.handler(request, self._emit, self)})
            except DhtdError as error:
                failure = error
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            except Exception:  # noqa: BLE001 - noted
                self._terms.note(f"request {method.name} failed")
                failure = InternalError("a defect in dhtd; the daemon's log has the details")
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return answer

    async def _emit(self, event: Event) -> None:
        if isinstance(event, Written):
            await self._send(encode_event(self._id, event))
        else:
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
    """Cancel `scope` when the client hangs up. One that only finished sending may still wait for its answer."""
    await trio.lowlevel.wait_readable(stream.socket)
    # From now on it is always readable, for the next request or the end. Waiting for that tells nothing more.
    poll = select.poll()
    poll.register(stream.socket.fileno(), 0)  # POLLHUP is reported unasked, once both directions are closed
    while not poll.poll(0):  # noqa: ASYNC110
        await trio.sleep(HANG_UP_INTERVAL)
    scope.cancel()


async def _linger(stream: trio.SocketStream) -> None:
    """Read on for a while: closing with unread data would destroy the answer that tells the client why."""
    with suppress(trio.BrokenResourceError), trio.move_on_after(LINGER):
        await stream.send_eof()
        while await stream.receive_some(FRAME_MAX):
            pass
