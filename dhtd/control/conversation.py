"""The client's side of the control socket, without I/O: bytes of requests go out, bytes of answers come in.

    conversation = Conversation()
    connection.sendall(conversation.ask("node-id"))
    while (answer := conversation.next_answer()) is None:
        conversation.receive(connection.recv(65_536))

A request is answered by any number of `Event`s, and then by one `Result` or one `Failure`. `receive` takes bytes in any
pieces. An empty piece is the end of the connection, and `next_answer` returns `ENDED` behind what came before it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, Final, NamedTuple

from dhtd.control.frames import encode
from dhtd.errors import DhtdError, by_code


class NotAnAnswer(ValueError):
    """A line is no answer of this protocol, so no daemon sent it."""


class Event(NamedTuple):
    """Something on the way to a result."""

    body: dict[str, Any]


class Result(NamedTuple):
    """The answer to the request."""

    body: dict[str, Any]


class Failure(NamedTuple):
    """The reason why there is no result."""

    error: DhtdError


class End(Enum):
    """The daemon has closed the connection."""

    ENDED = auto()


ENDED: Final = End.ENDED

Answer = Event | Result | Failure


class Conversation:
    """The requests and answers of one connection."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  # bytes of it without a newline
        self._is_ended = False

    def ask(self, method: str, params: Mapping[str, object] | None = None) -> bytes:
        """Return the frame of a request; a parameter that is None is left out."""
        given = {name: value for name, value in (params or {}).items() if value is not None}
        return encode({"method": method, "params": given})

    def receive(self, data: bytes) -> None:
        """Take bytes from the connection; none are its end."""
        self._buffer += data
        self._is_ended = not data

    def next_answer(self) -> Answer | End | None:
        """Return the next answer, or None if more bytes must come first; raise `NotAnAnswer`."""
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            return ENDED if self._is_ended else None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return _decoded(line)


def _decoded(line: bytes) -> Answer:
    try:
        frame = json.loads(line)
        kind = next(kind for kind in ("event", "result", "error") if kind in frame)
        body = dict(frame[kind])
    except (ValueError, TypeError, RecursionError, StopIteration):
        raise NotAnAnswer from None
    match kind:
        case "event":
            return Event(body)
        case "result":
            return Result(body)
        case _:
            return Failure(by_code(str(body.get("code")))(body.get("message", "the daemon does not say why")))
