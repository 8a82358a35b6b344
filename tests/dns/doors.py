"""A DNS door on loopback, before a handler that does what each test wants.

Time is virtual (`autojump_clock`) in tests that ask for it: it passes when every task waits.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rdatatype
import trio

from dhtd.config.settings import Settings
from dhtd.config.sources import load_settings
from dhtd.core.ids import NATIVE, Id, Keyspace, packed
from dhtd.core.names import id_of_name
from dhtd.dns.door import DnsDoor
from dhtd.errors import NoPeers
from dhtd.service.door import House
from dhtd.service.entries import LookupRequest
from dhtd.service.method import Caller, Emit, Request, Result
from dhtd.service.watch import WatchRequest

WIKI = "10.1.2.3:8080"
Speak = Callable[[Emit[Any]], Awaitable[None]]


def stats(responses: int = 8, timeouts: int = 0) -> dict[str, Any]:
    queries = responses + timeouts
    return {
        "hops": 1,
        "queries": queries,
        "responses": responses,
        "timeouts": timeouts,
        "elapsed_ms": 1.0,
        "first_ms": None,
    }


@dataclass
class World:
    """A network by names. `lookups` has the IDs that were asked for, in order."""

    entries: dict[str, list[str]] = field(default_factory=dict)
    keyspace: Keyspace = NATIVE
    complete: bool = True
    responses: int = 8
    timeouts: int = 0
    is_out: bool = False  # nobody answers
    takes: float = 0.0  # seconds of a lookup
    first_after: float | None = None  # seconds until it tells of endpoints
    lookups: list[bytes] = field(default_factory=list)
    watches: dict[bytes, Emit[Any]] = field(default_factory=dict)
    defect: Exception | None = None

    def id(self, name: str) -> Id:
        return id_of_name(name, self.keyspace)

    async def __call__(self, request: Request, emit: Emit[Any], caller: Caller) -> Result:
        if isinstance(request, WatchRequest):
            caller.watch()
            [watched] = request.ids
            self.watches[packed(watched.id)] = emit
            try:
                await trio.sleep_forever()
            finally:
                del self.watches[packed(watched.id)]
        assert isinstance(request, LookupRequest)
        self.lookups.append(packed(request.id))
        if self.defect is not None:
            raise self.defect
        if self.is_out:
            raise NoPeers("nobody answers")
        peers = next((each for name, each in self.entries.items() if self.id(name) == request.id), [])
        if self.first_after is not None:
            await trio.sleep(self.first_after)
            await emit({"peers": peers, "stats": stats()})
        await trio.sleep(self.takes - (self.first_after or 0.0))
        told = stats(self.responses, self.timeouts)
        return {"id": "", "name": None, "peers": list(peers), "stats": told, "complete": self.complete}

    async def tell(self, name: str, peers: list[str], holders: int = 8) -> None:
        """Tell the watch of a name."""
        event = {"id": "", "name": None, "peers": peers, "added": [], "removed": [], "holders": holders}
        await self.watches[packed(self.id(name))](event)


def settings_of(directory: Path, *dns: str, **more: object) -> Settings:
    given = {"state": str(directory / "state.db"), "socket": str(directory / "sock"), **more}
    return replace(load_settings(given, {}), dns=dns)


@dataclass
class Place:
    """An open door."""

    where: list[str]
    notes: list[str]

    @property
    def host(self) -> str:
        return self.where[0].removeprefix("dns://").rpartition("/")[0].rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.where[0].rpartition("/")[0].rpartition(":")[2])

    async def exchange(self, data: bytes) -> bytes:
        """Send a datagram, and return the answer."""
        with trio.socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET, socket.SOCK_DGRAM) as asker:
            await asker.connect((self.host, self.port))
            await asker.send(data)
            with trio.fail_after(600):
                return await asker.recv(65_535)

    async def ask(self, name: str, kind: str = "A", **options: Any) -> dns.message.Message:
        """Ask by UDP, and return what an asker of dnspython makes of the answer."""
        query = dns.message.make_query(name, kind, **options)
        answer = dns.message.from_wire(await self.exchange(query.to_wire()), ignore_trailing=False)
        assert query.is_response(answer)
        return answer

    async def stream(self) -> trio.SocketStream:
        return await trio.open_tcp_stream(self.host, self.port)


@asynccontextmanager
async def opened(
    directory: Path, handler: World, *dns: str, keyspace: Keyspace = NATIVE, **more: object
) -> AsyncIterator[Place]:
    """Serve at these addresses, or at one of the kernel's choice."""
    door = DnsDoor(settings_of(directory, *(dns or ("127.0.0.1:0",)), **more))
    notes: list[str] = []
    where = door.open()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(door.serve, House(handler, keyspace, lambda text: False, notes.append))
            yield Place(where, notes)
            nursery.cancel_scope.cancel()
    finally:
        door.close()


async def send_tcp(stream: trio.SocketStream, *questions: bytes) -> None:
    await stream.send_all(b"".join(len(each).to_bytes(2, "big") + each for each in questions))


async def take_tcp(stream: trio.SocketStream) -> bytes | None:
    """Return the next answer; None where the door hangs up."""
    with trio.fail_after(600):
        size = await _exactly(stream, 2)
        return None if size is None else await _exactly(stream, int.from_bytes(size, "big"))


async def _exactly(stream: trio.SocketStream, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        some = await stream.receive_some(size - len(data))
        if not some:
            return None
        data += some
    return data


def texts(answer: dns.message.Message) -> list[str]:
    """Return the records of the answer section, without names and TTLs."""
    return [each.to_text() for rrset in answer.answer for each in rrset]
