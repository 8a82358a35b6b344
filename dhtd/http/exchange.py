"""One request of HTTP, from its body to the end of its answer.

A client that goes away takes its request with it: `conversation` cancels it. A client that sends its body slowly, or
too much of it, is told so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any, Final

import trio
from starlette.types import Receive, Scope, Send

from dhtd.errors import DhtdError, FrameTooLarge, FrameTooSlow
from dhtd.http.problems import PROBLEM_JSON, headers_of, problem_of
from dhtd.http.reading import BODY_MAX
from dhtd.service.written import Written

BODY_WITHIN: Final = 10.0  # seconds for the whole body
JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"
_NEVER_KEPT: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class Exchange:
    """A request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.path: str = scope["raw_path"].decode("ascii")  # as it was sent, in percent-encoding
        self.has_begun = False  # to answer
        self.is_welcome: Callable[[], bool] = lambda: True  # still: its token may be replaced meanwhile
        self._receive = receive
        self._send = send
        self._headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def header(self, name: str) -> str | None:
        """Return a header of the request; one that is there twice has both its values, with a comma between."""
        return self._headers.get(name)

    async def body(self) -> bytes:
        """Return the whole body; raise `FrameTooLarge` or `FrameTooSlow`."""
        length = self.header("content-length") or "0"
        if length.isdecimal() and len(length) < 20 and int(length) > BODY_MAX:
            raise FrameTooLarge(f"the body has {length} bytes, and may have {BODY_MAX}")
        parts = bytearray()
        with trio.move_on_after(BODY_WITHIN):
            while True:
                message = await self._receive()
                parts += message.get("body", b"")
                if len(parts) > BODY_MAX:
                    raise FrameTooLarge(f"the body has more than {BODY_MAX} bytes")
                if not message.get("more_body", False):
                    return bytes(parts)
        raise FrameTooSlow(f"the body was not there in {BODY_WITHIN:g} s")

    async def answer(
        self, status: int, body: bytes, content_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a whole answer."""
        await self.begin(status, content_type, {"content-length": str(len(body)), **(headers or {})})
        await self.send(body, is_last=True)

    async def answer_json(self, body: object, status: int = HTTPStatus.OK) -> None:
        """Send a JSON value."""
        await self.answer(status, f"{dumped(body)}\n".encode(), JSON)

    async def answer_problem(self, error: DhtdError) -> None:
        """Tell why there is no answer."""
        problem = problem_of(error)
        await self.answer(problem["status"], f"{dumped(problem)}\n".encode(), PROBLEM_JSON, headers_of(error))

    async def begin(self, status: int, content_type: str, headers: Mapping[str, str]) -> None:
        """Send the head of an answer."""
        self.has_begun = True
        every = {"content-type": content_type, **_NEVER_KEPT, **headers}
        message: MutableMapping[str, Any] = {
            "type": "http.response.start",
            "status": int(status),
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in every.items()],
        }
        await self._send(message)

    async def send(self, body: bytes, *, is_last: bool = False) -> None:
        """Send the next part of an answer."""
        await self._send({"type": "http.response.body", "body": body, "more_body": not is_last})


def dumped(body: object) -> str:
    """Return a JSON value on one line, in ASCII."""
    if isinstance(body, Written):
        return body.text
    return json.dumps(body, separators=(",", ":"))
