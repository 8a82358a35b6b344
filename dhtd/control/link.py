"""A connection to the daemon's control socket, and what to say to the user if there is none. It blocks.

Other than `Client`, it knows no methods: it sends the frame of a request, and returns answers.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dhtd.control.conversation import Answer, Conversation, End, Failure, NotAnAnswer
from dhtd.control.unreachable import cannot_connect, closed, stranger
from dhtd.errors import DaemonTimeout, DaemonUnreachable, DhtdError, TooManyClients

CONNECT_PAUSE = 0.05  # seconds until a daemon with many clients is tried again
WAIT_MAX = 1_000_000.0  # seconds; sockets take no more at once


class Link:
    """One connection at a time. Each wait ends at `deadline`, by `DaemonTimeout`.

    `timeout` is in seconds, `start_hint` the command that starts the daemon. Raises `DaemonUnreachable` (or a class
    below it) where no daemon answers.
    """

    def __init__(self, path: Path, timeout: float, start_hint: str) -> None:
        self.path = path
        self.timeout = timeout
        self.conversation = Conversation()
        self.deadline = time.monotonic() + timeout
        self._hint = start_hint
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def begin_time(self, timeout: float | None = None) -> None:
        """Have the timeout begin now, or another one."""
        self.deadline = time.monotonic() + (self.timeout if timeout is None else timeout)

    def close(self) -> None:
        """Close the connection; the daemon stops what it does for us."""
        self._socket.close()

    def fileno(self) -> int:
        """Return the descriptor, which is readable when answers arrive."""
        return self._socket.fileno()

    def ask(self, request: bytes) -> Answer:
        """Send a request and return the first answer; try again while the daemon has no place."""
        refusal: DhtdError | None = None
        while True:
            try:
                self.connect()
                self.send(request)
                answer = self.receive()
            except DaemonTimeout:
                if refusal is not None:
                    raise refusal from None  # it says why the time did not suffice
                raise
            if not (isinstance(answer, Failure) and isinstance(answer.error, TooManyClients)):
                return answer
            refusal = answer.error
            if time.monotonic() + CONNECT_PAUSE >= self.deadline:
                raise refusal
            self.renew()
            time.sleep(CONNECT_PAUSE)

    def renew(self) -> None:
        """Begin anew, with another connection."""
        self._socket.close()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.conversation = Conversation()

    def connect(self) -> None:
        """Connect to the daemon."""
        try:
            while True:
                self._socket.settimeout(self.remaining())
                try:
                    return self._socket.connect(str(self.path))
                except BlockingIOError:  # the backlog is full, and for Unix sockets the kernel does not wait
                    time.sleep(min(CONNECT_PAUSE, self.remaining()))
        except TimeoutError:
            raise self.too_late() from None
        except OSError as error:
            raise cannot_connect(error, self.path, self._hint) from None

    def send(self, data: bytes) -> None:
        """Send the frame of a request."""
        # If the daemon has refused us and closed already, its reason can still be read.
        with suppress(BrokenPipeError, ConnectionResetError):
            try:
                self._socket.settimeout(self.remaining())
                self._socket.sendall(data)
            except TimeoutError:
                raise self.too_late() from None

    def receive(self) -> Answer:
        """Return the next answer."""
        try:
            while (answer := self.conversation.next_answer()) is None:
                self.conversation.receive(self._receive_some())
        except NotAnAnswer:
            raise self.stranger() from None
        if isinstance(answer, End):
            raise self._closed()
        return answer

    def arrived(self) -> Iterator[Answer]:
        """Yield the answers that are there, without waiting for one."""
        try:
            self._socket.setblocking(False)
            self.conversation.receive(self._socket.recv(262_144))
        except BlockingIOError:
            return
        except OSError:
            self.conversation.receive(b"")
        try:
            while (answer := self.conversation.next_answer()) is not None:
                if isinstance(answer, End):
                    raise self._closed()
                yield answer
        except NotAnAnswer:
            raise self.stranger() from None

    def stay(self) -> None:
        """Wait until the daemon closes the connection, however long that takes."""
        with suppress(OSError):
            self._socket.settimeout(None)
            while self._socket.recv(4096):
                pass

    def leave(self) -> None:
        """End the connection in our direction."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def await_end(self) -> None:
        """Wait until the daemon closes the connection, until the deadline."""
        try:
            while True:
                self._socket.settimeout(self.remaining())
                if not self._socket.recv(4096):
                    return
        except TimeoutError:
            raise self.too_late() from None
        except OSError:
            return

    def await_removal(self) -> None:
        """Wait until the socket is gone from its directory, until the deadline."""
        while self.path.exists():
            time.sleep(min(CONNECT_PAUSE, self.remaining()))

    def _receive_some(self) -> bytes:
        try:
            self._socket.settimeout(self.remaining())
            return self._socket.recv(262_144)
        except TimeoutError:
            raise self.too_late() from None
        except OSError:
            return b""

    def remaining(self) -> float:
        """Return the seconds until the deadline; raise `DaemonTimeout` behind it."""
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise self.too_late()
        return min(remaining, WAIT_MAX)

    def stranger(self) -> DaemonUnreachable:
        """Return the error where somebody else answers."""
        return stranger(self.path)

    def _closed(self) -> DaemonUnreachable:
        return DaemonUnreachable(closed(self.path))

    def too_late(self) -> DaemonTimeout:
        """Return the error where the deadline has passed."""
        return DaemonTimeout(
            f"the daemon on {self.path} has not answered within {self.timeout:g} s: give it longer with --timeout, "
            "or restart it"
        )
