"""One connection to the daemon: one request, and its answers. Closing it ends the request."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from dhtd.api.waits import Waits
from dhtd.control.conversation import Answer, Conversation, End, NotAnAnswer
from dhtd.control.unreachable import cannot_connect, closed, stranger
from dhtd.errors import DaemonTimeout, DaemonUnreachable, ShuttingDown, TooManyClients

if TYPE_CHECKING:
    from pathlib import Path

RECEIVE: Final = 262_144  # bytes read at once
LINE_MAX: Final = 1 << 26  # bytes of one answer: far more than any daemon sends
CONNECT_PAUSE: Final = 0.02  # seconds until a full backlog is tried again
LEAVE_WITHIN: Final = 5.0  # seconds for the daemon to withdraw what is attached, which it does in any case

_PAUSE_FIRST: Final = 0.05  # seconds until a daemon that is gone is tried again; doubles up to _PAUSE_MAX
_PAUSE_MAX: Final = 2.0


class Gone(DaemonUnreachable):
    """No daemon is there, or it has hung up. It may come back."""


COMES_BACK: Final = (Gone, ShuttingDown, TooManyClients)  # another try may help


class Daemon(NamedTuple):
    """The daemon that is asked: its socket, the seconds that it has for an answer, and the command that starts it."""

    path: Path
    timeout: float
    start_hint: str


class Pauses:
    """The pauses between tries."""

    def __init__(self) -> None:
        self._next = _PAUSE_FIRST

    def next(self) -> float:
        """Return the next one."""
        pause, self._next = self._next, min(2 * self._next, _PAUSE_MAX)
        return pause


class Connection:
    """A connection from its making to its end. `until` is always a time of `Waits.now`.

    Raises `Gone`, `DaemonTimeout`, `SocketForbidden` and `SocketUnusable`, and `DaemonUnreachable` for a stranger.
    """

    def __init__(self, daemon: Daemon, waits: Waits) -> None:
        self._daemon = daemon
        self._waits = waits
        self._conversation = Conversation()
        self._unread = 0  # bytes since the last whole answer
        self._has_answers = False  # perhaps, without another byte
        self.is_closed = True  # as long as there is no descriptor
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self.is_closed = False

    def __del__(self) -> None:
        """Close it, where nobody refers to it any more, and so nobody waits for it."""
        self.drop()

    async def ask(self, method: str, params: Mapping[str, object], until: float) -> None:
        """Connect, and send a request."""
        frame = self._conversation.ask(method, params)  # first: it may not be JSON
        await self._connect(until)
        await self._send(frame, until)

    async def _connect(self, until: float) -> None:
        while True:
            try:
                return self._socket.connect(str(self._daemon.path))
            except BlockingIOError:  # the backlog is full, and for Unix sockets the kernel does not wait
                if self._waits.now() >= until:
                    raise self.too_late() from None
                await self._waits.sleep(CONNECT_PAUSE)
            except OSError as error:
                reason = cannot_connect(error, self._daemon.path, self._daemon.start_hint, "socket=")
                raise Gone(str(reason)) if type(reason) is DaemonUnreachable else reason from None

    async def _send(self, frame: bytes, until: float) -> None:
        rest = memoryview(frame)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                if not await self._waits.writable(self._socket, until):
                    raise self.too_late() from None
            except OSError:
                return  # if the daemon has refused us and closed already, its reason can still be read

    async def answer(self, until: float) -> Answer:
        """Wait for the next answer."""
        await self._waits.checkpoint()
        while (answer := self.arrived()) is None:
            if not await self._waits.readable(self._socket, until):
                raise self.too_late()
        return answer

    def arrived(self) -> Answer | None:
        """Return the next answer if it is there, without waiting."""
        while True:
            # 1. An answer of those bytes that were read already.
            if self._has_answers:
                answer = self._next_answer()
                if answer is not None:
                    return answer
                self._has_answers = False
            # 2. Further bytes.
            if self.is_closed:
                raise RuntimeError("this client of dhtd is closed")
            try:
                data = self._socket.recv(RECEIVE)
            except BlockingIOError:
                return None
            except OSError:
                data = b""
            self._unread += len(data)
            if self._unread > LINE_MAX:
                raise stranger(self._daemon.path)
            self._conversation.receive(data)
            self._has_answers = True

    def _next_answer(self) -> Answer | None:
        try:
            answer = self._conversation.next_answer()
        except NotAnAnswer:
            raise stranger(self._daemon.path) from None
        if isinstance(answer, End):
            raise Gone(closed(self._daemon.path))
        if answer is not None:
            self._unread = 0
        return answer

    async def ended(self, waits: Waits) -> None:
        """Wait until the daemon hangs up. What it says meanwhile is of no interest."""
        while True:
            try:
                if not self._socket.recv(RECEIVE):
                    return
            except BlockingIOError:
                await waits.readable(self._socket, float("inf"))
            except OSError:
                return

    async def leave(self, waits: Waits) -> None:
        """End the connection in our direction, and wait until the daemon has withdrawn what is attached to it."""
        until = waits.now() + LEAVE_WITHIN
        try:
            self._socket.shutdown(socket.SHUT_WR)
            while True:
                try:
                    if not self._socket.recv(RECEIVE):
                        return
                except BlockingIOError:
                    if not await waits.readable(self._socket, until):
                        return
        except OSError:
            return  # it is gone already

    def close(self) -> None:
        """Close it; the daemon stops what it does for us."""
        if not self.is_closed:
            self.is_closed = True
            self._waits.closing(self._socket)
            self._socket.close()

    def drop(self) -> None:
        """Close it, where nobody can wait for it. Any thread may do that."""
        if not self.is_closed:
            self.is_closed = True
            self._socket.close()

    def too_late(self) -> DaemonTimeout:
        """Return the error where the time has passed."""
        path, timeout, _ = self._daemon
        return DaemonTimeout(
            f"the daemon on {path} has not answered within {timeout:g} s: give it longer with timeout=, or restart it"
        )
