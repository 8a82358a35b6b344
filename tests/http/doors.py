"""An HTTP door on loopback, before a handler that does what each test wants.

Time is virtual (`autojump_clock`) in tests that ask for it: it passes when every task waits.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import h11
import httpx
import trio

from dhtd.config.settings import Settings
from dhtd.config.sources import load_settings
from dhtd.core.ids import NATIVE, Keyspace
from dhtd.http.door import HttpDoor
from dhtd.service.door import House
from dhtd.service.entries import Stats
from dhtd.service.method import Caller, Emit, Handler, Request, Result

TOKEN = "the-token"
STATS: Stats = {"hops": 1, "queries": 2, "responses": 2, "timeouts": 0, "elapsed_ms": 1.5, "first_ms": 1.0}
ID = "ab" * 32
LOCAL = "127.0.0.1:0"


@dataclass
class Asked:
    """The requests that a handler was given, in order."""

    result: Any = None
    requests: list[Request] = field(default_factory=list)

    async def __call__(self, request: Request, emit: Emit[Any], caller: Caller) -> Result:
        self.requests.append(request)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result or {}


def settings_of(directory: Path, *http: str, **more: object) -> Settings:
    given = {"state": str(directory / "state.db"), "socket": str(directory / "sock"), **more}
    return replace(load_settings(given, {}), http=http)


@dataclass
class Place:
    """An open door."""

    urls: list[str]
    notes: list[str]
    tokens: set[str]

    @property
    def url(self) -> str:
        return self.urls[0]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self, *, token: str | None = TOKEN, **more: Any) -> httpx.AsyncClient:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        more.setdefault("verify", False)  # or httpx reads all authorities of the Web for each client: 20 ms
        return httpx.AsyncClient(base_url=self.url, headers=headers, trust_env=False, timeout=None, **more)

    async def raw(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)


@asynccontextmanager
async def opened(
    directory: Path, handler: Handler, *http: str, keyspace: Keyspace = NATIVE, **more: object
) -> AsyncIterator[Place]:
    """Serve `handler` at these addresses, or at one of the kernel's choice."""
    door = HttpDoor(settings_of(directory, *(http or (LOCAL,)), **more))
    notes: list[str] = []
    tokens = {TOKEN}
    urls = door.open()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(door.serve, House(handler, keyspace, tokens.__contains__, notes.append))
            yield Place(urls, notes, tokens)
            nursery.cancel_scope.cancel()
    finally:
        door.close()


class Events:
    """One stream of events. httpx under trio leaves a stream behind that was not read to its end, so this is on h11."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.status = 0
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)
        self._text = ""
        self._is_over = False

    async def ask(self, path: str, headers: Mapping[str, str]) -> Self:
        """Send the request, and read the head of the answer."""
        every = {"Host": "localhost", "Authorization": f"Bearer {TOKEN}", "Accept": "text/event-stream", **headers}
        await self._stream.send_all(
            self._http.send(h11.Request(method="GET", target=path, headers=list(every.items())))
        )
        head = await self._next()
        assert isinstance(head, h11.Response)
        self.status = head.status_code
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        """Return the next event as its fields, with `data` read from JSON."""
        while "\n\n" not in self._text:
            if self._is_over:
                raise StopAsyncIteration
            event = await self._next()
            if isinstance(event, h11.Data):
                self._text += bytes(event.data).decode()
            else:
                self._is_over = True
        block, _, self._text = self._text.partition("\n\n")
        fields: dict[str, Any] = {}
        for line in block.splitlines():
            name, _, value = line.partition(":")
            fields[name or "comment"] = json.loads(value) if name == "data" else value.strip()
        return fields

    async def _next(self) -> object:
        with trio.fail_after(600):
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._stream.receive_some())
        return event


@asynccontextmanager
async def events(door: Place, path: str, **headers: str) -> AsyncIterator[Events]:
    """Yield the events at a path; hang up at the end."""
    async with await door.raw() as stream:
        yield await Events(stream).ask(path, {name.replace("_", "-"): value for name, value in headers.items()})


async def sent(door: Place, data: bytes) -> bytes:
    """Send bytes on a connection of their own, and return all that comes back until the server hangs up."""
    async with await door.raw() as stream:
        await stream.send_all(data)
        return await all_of(stream)


async def all_of(stream: trio.SocketStream) -> bytes:
    """Return everything until the server hangs up."""
    data = bytearray()
    with trio.fail_after(600):
        while piece := await stream.receive_some(65_536):
            data += piece
    return bytes(data)
