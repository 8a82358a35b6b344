"""Server-sent events (HTML Living Standard, section 9.2): how a stream of the table is told to a browser or to curl.

An event of the table is one event of type `event`, its result one of type `result`, its error one of type `error`. A
comment every now and then keeps what lies between from hanging up.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import trio

from dhtd.errors import DhtdError
from dhtd.http.exchange import Exchange, dumped
from dhtd.http.problems import HttpProblem, problem_of

EVENT_STREAM: Final = "text/event-stream"
SILENT_FOR: Final = 15.0  # seconds without an event until a comment is sent


class EventStream:
    """The answer to one request, as a stream of events. Its head is sent with the first event.

    So an error before that is told by a status.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._sending = trio.Lock()  # an event and a comment must not mix

    async def tell(self, kind: str, body: object, id: str | None = None) -> None:
        """Send an event, and wait until the client has taken it.

        Raises `HttpProblem` where the token of the request was replaced: the old one is worth nothing any more.
        """
        if kind == "event" and not self._exchange.is_welcome():
            raise HttpProblem(HTTPStatus.UNAUTHORIZED, "this is no longer the token: `dht token` prints the new one")
        head = f"event: {kind}\n" if id is None else f"event: {kind}\nid: {id}\n"
        await self._send(f"{head}data: {dumped(body)}\n\n")

    async def fail(self, error: DhtdError) -> None:
        """Tell why it ends."""
        if not self._exchange.has_begun:
            await self._exchange.answer_problem(error)
            return
        await self.tell("error", problem_of(error))
        await self.end()

    async def begin(self) -> None:
        """Send the head now."""
        if not self._exchange.has_begun:
            await self._exchange.begin(HTTPStatus.OK, EVENT_STREAM, {})

    async def end(self) -> None:
        """Send the end."""
        await self._exchange.send(b"", is_last=True)

    async def keep_alive(self) -> None:
        """Send a comment now and then until cancelled."""
        while True:
            await trio.sleep(SILENT_FOR)
            await self._send(":\n\n")

    async def _send(self, text: str) -> None:
        async with self._sending:
            await self.begin()
            await self._exchange.send(text.encode())
