"""The blocking client of the control socket. It imports no trio, which would take longer than most requests."""

from __future__ import annotations

import binascii
import socket
import stat
import time
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from dhtd import __version__
from dhtd.control.conversation import Answer, Conversation, End, Event, Failure, NotAnAnswer, Result
from dhtd.control.frames import batches
from dhtd.errors import (
    BadRequest,
    DaemonTimeout,
    DaemonUnreachable,
    DhtdError,
    ShuttingDown,
    SocketForbidden,
    SocketUnusable,
    TooManyClients,
)
from dhtd.service import method as service
from dhtd.service.method import Method, Stream

if TYPE_CHECKING:
    from dhtd.service.entries import EnterResult
    from dhtd.service.info import InfoResult
    from dhtd.service.owner import StopResult

R = TypeVar("R", bound=service.Result)
E = TypeVar("E", bound=service.Event)

CONNECT_PAUSE = 0.05  # seconds until a daemon with many clients is tried again
ANSWER_WITHIN = 0.9  # of the timeout: the daemon answers before with what there is
VERSION_PATIENCE = 0.5  # seconds for a daemon to say what version it is
WAIT_MAX = 1_000_000.0  # seconds; sockets take no more at once


class Client:
    """One request to the daemon behind a control socket. Use it as a context manager.

    `timeout` is in seconds, for the whole request, or for each answer of a method that runs long. `start_hint` is the
    command that starts the daemon, for messages. Raises `DaemonUnreachable` (or a class below it) where no daemon
    answers, and what the daemon says otherwise.
    """

    def __init__(self, path: Path, timeout: float, start_hint: str = "dhtd start") -> None:
        self._path = path
        self._timeout = timeout
        self._hint = start_hint
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._conversation = Conversation()
        self._deadline = time.monotonic() + timeout

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the connection; the daemon stops what it does for us."""
        self._socket.close()

    def ask(self, method: Method[Any, R], **params: object) -> R:
        """Call a method; return its result."""
        for answer in self._answers(method, params):
            if isinstance(answer, Result):
                return cast("R", answer.body)
        raise AssertionError("a method ends with a result or an error")

    def stream(self, method: Stream[Any, E, R], **params: object) -> Iterator[E | R]:
        """Call a method; yield its events, and at last its result."""
        for answer in self._answers(method, params):
            yield cast("E | R", answer.body)

    def enter(
        self,
        id: str,
        port: int,
        *,
        wait: bool,
        min_replicas: int = 0,
        name: str | None = None,
        guard: Mapping[str, object] | None = None,
    ) -> EnterResult:
        """Enter this machine under an ID. The result comes before the timeout, with the holders so far.

        `guard` has the parameters `check` and `every`, or `pid`, or `attached`.
        """
        from dhtd.service.entries import ENTER  # noqa: PLC0415 - rows that are not needed cost `dht` some ms

        known = {"id": id, "port": port, "wait": wait, **(guard or {})}
        within = ANSWER_WITHIN * self._timeout if wait else None
        new = {"min_replicas": min_replicas or None, "within_s": within, "name": name}
        deadline = self._deadline
        try:
            return self.ask(ENTER, **known, **new)
        except BadRequest:
            if not any(new.values()):
                raise
        # A daemon that is older than these parameters has done nothing yet, and knows the others.
        self._deadline = deadline
        self._renew_socket()
        return self.ask(ENTER, **known)

    def enter_many(
        self, entries: Iterable[Mapping[str, object]], *, wait: bool, min_replicas: int = 0
    ) -> Iterator[EnterResult]:
        """Enter this machine under many IDs; yield each entry, with its holders so far before the timeout.

        The daemon takes as many as fit into a request, all or none, and then the next ones.
        """
        from dhtd.service.entries import ENTER_MANY  # noqa: PLC0415

        more = {"wait": wait, "min_replicas": min_replicas or None, "within_s": ANSWER_WITHIN * self._timeout}
        for some in batches(entries):
            for answer in self._answers(ENTER_MANY, {"entries": some, **more}):
                if isinstance(answer, Event):
                    yield cast("EnterResult", answer.body)
            self._renew_socket()
            self._deadline = time.monotonic() + self._timeout

    def stay(self) -> None:
        """Keep the connection, to which an entry is attached, until the daemon closes it."""
        with suppress(OSError):
            self._socket.settimeout(None)
            while self._socket.recv(4096):
                pass

    def leave(self) -> None:
        """End the connection in our direction. The daemon closes it once attached entries are withdrawn."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def info(self, section: str | None) -> InfoResult:
        """Return all sections, or one."""
        from dhtd.service.info import INFO, whole  # noqa: PLC0415

        return whole(self.stream(INFO, section=section))

    def backup(self) -> Iterator[bytes]:
        """Yield the pieces of a copy of the daemon's state file. The copy is whole if the end is reached."""
        from dhtd.service.owner import BACKUP  # noqa: PLC0415

        size = 0
        for answer in self._answers(BACKUP, {}):
            if isinstance(answer, Result):
                if answer.body.get("bytes") != size:
                    raise self._stranger()
                return
            piece = self._decoded(answer.body.get("data"))
            size += len(piece)
            yield piece

    def _decoded(self, data: object) -> bytes:
        try:
            return b64decode(str(data), validate=True)
        except (binascii.Error, ValueError):
            raise self._stranger() from None

    def stop(self) -> StopResult:
        """Have the daemon save its state and end; return when it is gone.

        If it is stopping already, wait for that. Then the result cannot tell whether it saved.
        """
        from dhtd.service.owner import STOP  # noqa: PLC0415

        try:
            result = self.ask(STOP)
        except ShuttingDown:
            self._await_removal()
            return {"pid": None}
        self._await_end()
        return result

    def version(self) -> str | None:
        """Return the version of the daemon that just answered, None if it does not tell."""
        with suppress(DaemonUnreachable):
            self._deadline = time.monotonic() + VERSION_PATIENCE
            self._send(self._conversation.ask("info", {"section": "node"}))
            answer = self._receive()
            node = answer.body.get("node") if isinstance(answer, Result) else None
            version = node.get("version") if isinstance(node, dict) else None
            return version if isinstance(version, str) else None
        return None

    def _answers(self, method: Method[Any, Any], params: dict[str, object]) -> Iterator[Event | Result]:
        """Yield events, and then the result; raise the error that comes instead of one."""
        answer = self._begin(self._conversation.ask(method.name, params))
        while isinstance(answer, Event):
            yield answer
            if method.runs_long:
                self._deadline = time.monotonic() + self._timeout
            answer = self._receive()
        if isinstance(answer, Failure):
            raise self._explained(answer.error)
        yield answer

    def _explained(self, error: DhtdError) -> DhtdError:
        """Add both versions to an error of misunderstanding between different ones."""
        if type(error) is not DhtdError and not isinstance(error, BadRequest):
            return error
        version = self.version()
        if version in (None, __version__):
            return error
        return type(error)(
            f"{error} (the daemon is dhtd {version}, and this client {__version__}: renew the older one)"
        )

    def _await_end(self) -> None:
        """Wait for the end of the connection, and so of the process."""
        try:
            while True:
                self._socket.settimeout(self._remaining())
                if not self._socket.recv(4096):
                    return
        except TimeoutError:
            raise self._too_late() from None
        except OSError:
            return

    def _await_removal(self) -> None:
        while self._path.exists():
            time.sleep(min(CONNECT_PAUSE, self._remaining()))

    def _begin(self, request: bytes) -> Answer:
        """Send a request and return the first answer; try again while the daemon has no place."""
        refusal: DhtdError | None = None
        while True:
            try:
                self._connect()
                self._send(request)
                answer = self._receive()
            except DaemonTimeout:
                if refusal is not None:
                    raise refusal from None  # it says why the time did not suffice
                raise
            if not (isinstance(answer, Failure) and isinstance(answer.error, TooManyClients)):
                return answer
            refusal = answer.error
            if time.monotonic() + CONNECT_PAUSE >= self._deadline:
                raise refusal
            self._renew_socket()
            time.sleep(CONNECT_PAUSE)

    def _renew_socket(self) -> None:
        self._socket.close()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._conversation = Conversation()

    def _connect(self) -> None:
        try:
            while True:
                self._socket.settimeout(self._remaining())
                try:
                    return self._socket.connect(str(self._path))
                except BlockingIOError:  # the backlog is full, and for Unix sockets the kernel does not wait
                    time.sleep(min(CONNECT_PAUSE, self._remaining()))
        except TimeoutError:
            raise self._too_late() from None
        except FileNotFoundError:
            message = f"no daemon is running: there is no socket {self._path}. Start one: {self._hint}"
            raise DaemonUnreachable(message) from None
        except ConnectionRefusedError:
            if self._is_another_file():
                message = f"{self._path} is not a socket: give the path of the daemon's with --socket"
            else:
                nobody = f"nobody listens on {self._path}, it is left over"
                message = f"no daemon is running: {nobody}. Start one: {self._hint}"
            raise DaemonUnreachable(message) from None
        except PermissionError:
            message = f"the socket {self._path} is not for this user: be the user who started the daemon"
            raise SocketForbidden(f"{message}, or a member of its --socket-group") from None
        except OSError as error:
            if error.errno is None:  # Python's error for a path that is too long
                raise SocketUnusable(f"{self._path} is too long a path for a socket: use --socket") from None
            message = f"cannot reach the daemon on {self._path}: {error.strerror}. Start one: {self._hint}"
            raise DaemonUnreachable(message) from None

    def _is_another_file(self) -> bool:
        try:
            return not stat.S_ISSOCK(self._path.stat().st_mode)
        except OSError:
            return False

    def _send(self, data: bytes) -> None:
        # If the daemon has refused us and closed already, its reason can still be read.
        with suppress(BrokenPipeError, ConnectionResetError):
            try:
                self._socket.settimeout(self._remaining())
                self._socket.sendall(data)
            except TimeoutError:
                raise self._too_late() from None

    def _receive(self) -> Answer:
        """Return the next answer."""
        try:
            while (answer := self._conversation.next_answer()) is None:
                self._conversation.receive(self._receive_some())
        except NotAnAnswer:
            raise self._stranger() from None
        if isinstance(answer, End):
            raise DaemonUnreachable(f"the daemon on {self._path} has closed the connection: it is stopping")
        return answer

    def _receive_some(self) -> bytes:
        try:
            self._socket.settimeout(self._remaining())
            return self._socket.recv(262_144)
        except TimeoutError:
            raise self._too_late() from None
        except OSError:
            return b""

    def _remaining(self) -> float:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise self._too_late()
        return min(remaining, WAIT_MAX)

    def _stranger(self) -> DaemonUnreachable:
        return DaemonUnreachable(f"what listens on {self._path} is not dhtd")

    def _too_late(self) -> DaemonTimeout:
        return DaemonTimeout(
            f"the daemon on {self._path} has not answered within {self._timeout:g} s: give it longer with --timeout, "
            "or restart it"
        )
