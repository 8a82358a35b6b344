"""The blocking client of the control socket. No trio in here: importing it would take longer than most requests do."""

from __future__ import annotations

import binascii
import json
import socket
import stat
import time
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, cast

from dhtd import __version__
from dhtd.control.frames import encode
from dhtd.control.protocol import (
    SECTIONS,
    BootstrapResult,
    CompleteResult,
    DeleteResult,
    EnterResult,
    FindNodeResult,
    FindValueResult,
    InfoResult,
    LookupEvent,
    LookupResult,
    NodeIdResult,
    PingResult,
    StatusResult,
    StopResult,
    StoreResult,
)
from dhtd.errors import (
    BadRequest,
    DaemonTimeout,
    DaemonUnreachable,
    DhtdError,
    ShuttingDown,
    SocketForbidden,
    SocketUnusable,
    TooManyClients,
    by_code,
)

CONNECT_PAUSE = 0.05  # seconds until a daemon with many clients is tried again
ANSWER_WITHIN = 0.9  # of the timeout: the daemon answers before with what there is
VERSION_PATIENCE = 0.5  # seconds for a daemon to say what version it is
WAIT_MAX = 1_000_000.0  # seconds; sockets take no more at once


class Client:
    """One request to the daemon behind a control socket; each method makes one. Use it as a context manager.

    `timeout` is in seconds, for the whole request. `start_hint` is the command that starts the daemon, for messages.
    Raises `DaemonUnreachable` (or a class below it) where no daemon answers, and what the daemon says otherwise.
    """

    def __init__(self, path: Path, timeout: float, start_hint: str = "dhtd start") -> None:
        self._path = path
        self._timeout = timeout
        self._hint = start_hint
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._buffer = bytearray()
        self._deadline = time.monotonic() + timeout

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the connection; the daemon stops what it does for us."""
        self._socket.close()

    def ping(self, endpoint: str) -> PingResult:
        """Ping a node."""
        return cast("PingResult", self._call("ping", endpoint=endpoint))

    def enter(self, id: str, port: int, *, wait: bool, min_replicas: int = 0) -> EnterResult:
        """Enter this machine under an ID. What there is by the end of the timeout is the result."""
        known = {"id": id, "port": port, "wait": wait}
        new = {"min_replicas": min_replicas or None, "within_s": ANSWER_WITHIN * self._timeout if wait else None}
        deadline = self._deadline
        try:
            return cast("EnterResult", self._call("enter", **known, **new))
        except BadRequest:
            if not any(new.values()):
                raise
        # A daemon of before these parameters has done nothing yet, and knows the others.
        self._deadline = deadline
        self._renew_socket()
        return cast("EnterResult", self._call("enter", **known))

    def lookup(self, id: str) -> Iterator[LookupEvent | LookupResult]:
        """Yield events, and at last the result."""
        for kind, body in self._stream("lookup", id=id):
            yield cast("LookupResult", body) if kind == "result" else cast("LookupEvent", body)

    def delete(self, id: str, port: int | None) -> DeleteResult:
        """Delete this machine's entries under an ID."""
        return cast("DeleteResult", self._call("delete", id=id, port=port))

    def info(self, section: str | None) -> InfoResult:
        """Return what is inside the daemon."""
        whole: dict[str, Any] = {}
        for part in self.info_parts(section):
            _join(whole, part)
        in_order = [*(name for name in SECTIONS if name in whole), *whole]
        return cast("InfoResult", {name: whole[name] for name in in_order})

    def info_parts(self, section: str | None) -> Iterator[InfoResult]:
        """Yield what is inside the daemon in parts: a list goes on where that of the part before has ended."""
        for _, body in self._stream("info", section=section):
            yield cast("InfoResult", body)

    def complete(self, what: str, prefix: str, entry: str | None = None) -> CompleteResult:
        """Return words that begin with `prefix`."""
        return cast("CompleteResult", self._call("complete", what=what, prefix=prefix, entry=entry))

    def stop(self) -> StopResult:
        """Have the daemon save its state and end; return when it is gone.

        Where it is stopping already, that is waited for, too, but nobody can say any more whether it saves.
        """
        try:
            result = self._call("stop")
        except ShuttingDown:
            self._await_removal()
            return {"pid": None}
        self._await_end()
        return cast("StopResult", result)

    def node_id(self) -> NodeIdResult:
        """Return who the node is."""
        return cast("NodeIdResult", self._call("node-id"))

    def status(self) -> StatusResult:
        """Return whether the node is in its network."""
        return cast("StatusResult", self._call("status"))

    def version(self) -> str | None:
        """Return the version of the daemon that has just answered, None where it does not tell."""
        with suppress(DaemonUnreachable):
            self._deadline = time.monotonic() + VERSION_PATIENCE
            self._send(encode({"method": "info", "params": {"section": "node"}}))
            kind, body = self._receive()
            node = body.get("node")
            version = node.get("version") if kind == "result" and isinstance(node, dict) else None
            return version if isinstance(version, str) else None
        return None

    def bootstrap(self, endpoints: list[str]) -> BootstrapResult:
        """Join by these nodes."""
        return cast("BootstrapResult", self._call("bootstrap", endpoints=endpoints))

    def backup(self) -> Iterator[bytes]:
        """Yield a copy of the daemon's state file, some at a time; only at the end is it whole.

        The timeout is for each piece: nobody knows how large the file is.
        """
        size = 0
        for kind, body in self._stream("backup"):
            if kind == "result":
                if body.get("bytes") != size:
                    raise self._stranger()
                return
            piece = self._decoded(body.get("data"))
            size += len(piece)
            yield piece
            self._deadline = time.monotonic() + self._timeout

    def _decoded(self, data: object) -> bytes:
        try:
            return b64decode(str(data), validate=True)
        except (binascii.Error, ValueError):
            raise self._stranger() from None

    def find_node(self, endpoint: str, id: str) -> FindNodeResult:
        """Send one find_node."""
        return cast("FindNodeResult", self._call("find-node", endpoint=endpoint, id=id))

    def find_value(self, endpoint: str, id: str) -> FindValueResult:
        """Send one find_value."""
        return cast("FindValueResult", self._call("find-value", endpoint=endpoint, id=id))

    def store(self, endpoint: str, id: str, port: int, token: str) -> StoreResult:
        """Send one store."""
        return cast("StoreResult", self._call("store", endpoint=endpoint, id=id, port=port, token=token))

    def _call(self, method: str, **params: object) -> dict[str, Any]:
        for kind, body in self._stream(method, **params):
            if kind == "result":
                return body
        raise AssertionError("a stream ends with a result or an error")

    def _stream(self, method: str, **params: object) -> Iterator[tuple[str, dict[str, Any]]]:
        given = {name: value for name, value in params.items() if value is not None}
        request = encode({"method": method, "params": given})
        kind, body = self._begin(request)
        while kind == "event":
            yield kind, body
            kind, body = self._receive()
        if kind == "error":
            raise self._explained(_failure(body))
        yield kind, body

    def _explained(self, error: DhtdError) -> DhtdError:
        """Say which versions have met, where a daemon does not understand us, or we do not know its error."""
        if type(error) is not DhtdError and not isinstance(error, BadRequest):
            return error
        version = self.version()
        if version in (None, __version__):
            return error
        return type(error)(
            f"{error} (the daemon is dhtd {version}, and this client {__version__}: renew the older one)"
        )

    def _await_end(self) -> None:
        """Wait for the end of the connection, which is that of the process."""
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

    def _begin(self, request: bytes) -> tuple[str, dict[str, Any]]:
        """Send a request and return what comes first, after as many tries as it takes until the daemon has a place."""
        while True:
            self._connect()
            self._send(request)
            kind, body = self._receive()
            if kind != "error" or body.get("code") != TooManyClients.code:
                return kind, body
            if time.monotonic() + CONNECT_PAUSE >= self._deadline:
                raise _failure(body)
            self._renew_socket()
            time.sleep(CONNECT_PAUSE)

    def _renew_socket(self) -> None:
        self._socket.close()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._buffer.clear()

    def _connect(self) -> None:
        try:
            while True:
                self._socket.settimeout(self._remaining())
                try:
                    return self._socket.connect(str(self._path))
                except BlockingIOError:  # its backlog is full: with Unix sockets, the kernel does not wait for us
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
            if error.errno is None:  # what Python says of a path that is too long for a socket
                raise SocketUnusable(f"{self._path} is too long a path for a socket: use --socket") from None
            message = f"cannot reach the daemon on {self._path}: {error.strerror}. Start one: {self._hint}"
            raise DaemonUnreachable(message) from None

    def _is_another_file(self) -> bool:
        try:
            return not stat.S_ISSOCK(self._path.stat().st_mode)
        except OSError:
            return False

    def _send(self, data: bytes) -> None:
        # Where the daemon has refused us and closed already, its reason is there to be read.
        with suppress(BrokenPipeError, ConnectionResetError):
            try:
                self._socket.settimeout(self._remaining())
                self._socket.sendall(data)
            except TimeoutError:
                raise self._too_late() from None

    def _receive(self) -> tuple[str, dict[str, Any]]:
        try:
            body = json.loads(self._receive_line())
            kind = next(kind for kind in ("event", "result", "error") if kind in body)
            return kind, dict(body[kind])
        except (ValueError, TypeError, RecursionError, StopIteration):
            raise self._stranger() from None

    def _receive_line(self) -> bytes:
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            try:
                self._socket.settimeout(self._remaining())
                data = self._socket.recv(262_144)
            except TimeoutError:
                raise self._too_late() from None
            except OSError:
                data = b""
            if not data:
                raise DaemonUnreachable(f"the daemon on {self._path} has closed the connection: it is stopping")
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

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


def _join(whole: dict[str, Any], part: Mapping[str, Any]) -> None:
    """Put a part of an `info` behind those before it."""
    for name, value in part.items():
        if name not in whole:
            whole[name] = value
        elif isinstance(value, list):
            whole[name] += value
        else:  # an object with lists
            _join(whole[name], value)


def _failure(body: dict[str, Any]) -> DhtdError:
    return by_code(str(body.get("code")))(body.get("message", "the daemon does not say why"))
