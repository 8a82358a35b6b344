"""A daemon that does what a test says, and time that passes only when everybody waits. One thread, and no sleep."""

from __future__ import annotations

import json
import math
import select
import socket
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dhtd.api.connection import Daemon
from dhtd.api.dht import Dht
from dhtd.api.waits import Background, Turn, Waits, finish

NODE = {"node_id": "5a" * 32, "endpoints": []}
STATS = {"hops": 1, "queries": 1, "responses": 1, "timeouts": 0, "elapsed_ms": 1.0, "first_ms": None}
ENTRY: dict[str, Any] = {
    "id": "5a" * 32,
    "name": "wiki",
    "port": 80,
    "replicas": [],
    "refresh_in_s": 1.0,
    "expires_in_s": 1.0,
    "listening": None,
    "guard": "connection",
    "state": "passing",
    "since_s": 0.0,
    "message": None,
}

Step = Callable[["FakeDaemon", socket.socket, dict[str, Any]], None]


def result(**body: Any) -> bytes:
    return json.dumps({"v": 1, "id": None, "result": body}).encode() + b"\n"


def event(**body: Any) -> bytes:
    return json.dumps({"v": 1, "id": None, "event": body}).encode() + b"\n"


def error(code: str, message: str = "because") -> bytes:
    return json.dumps({"v": 1, "id": None, "error": {"code": code, "message": message}}).encode() + b"\n"


def says(*lines: bytes) -> Step:
    """Answer, and keep the connection."""

    def step(daemon: FakeDaemon, client: socket.socket, request: dict[str, Any]) -> None:
        client.sendall(b"".join(lines))

    return step


def hangs_up(*lines: bytes) -> Step:
    """Answer, and close the connection."""

    def step(daemon: FakeDaemon, client: socket.socket, request: dict[str, Any]) -> None:
        client.sendall(b"".join(lines))
        daemon.drop(client)

    return step


def goes_away(*lines: bytes) -> Step:
    """Answer, and end with all connections."""

    def step(daemon: FakeDaemon, client: socket.socket, request: dict[str, Any]) -> None:
        client.sendall(b"".join(lines))
        daemon.stop()

    return step


hangs = says()


class FakeDaemon:
    """Takes one step of its script for each request; node-id is answered beside."""

    def __init__(self, path: Path, *script: Step) -> None:
        self.path = path
        self.script = deque(script)
        self.requests: list[dict[str, Any]] = []
        self.clients: list[socket.socket] = []
        self.most = 0  # clients at once
        self._listener: socket.socket | None = None
        self.start()

    def start(self) -> None:
        self.path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        self._listener.setblocking(False)

    def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        while self.clients:
            self.drop(self.clients[0])

    def drop(self, client: socket.socket) -> None:
        self.clients.remove(client)
        client.close()

    def turn(self) -> bool:
        """Do what there is to do; return whether there was something."""
        busy = self._accept()
        for client in list(self.clients):
            if not select.select([client], [], [], 0)[0]:
                continue
            busy = True
            data = client.recv(1 << 20)
            if not data:
                self.drop(client)
                continue
            for line in data.splitlines():
                request = json.loads(line)
                if request["method"] == "node-id":
                    client.sendall(result(**NODE))
                    continue
                self.requests.append(request)
                step = self.script.popleft() if self.script else hangs
                step(self, client, request)
        return busy

    def _accept(self) -> bool:
        if self._listener is None:
            return False
        try:
            client, _ = self._listener.accept()
        except BlockingIOError:
            return False
        self.clients.append(client)
        self.most = max(self.most, len(self.clients))
        return True


class VirtualWaits:
    """`Waits` without a clock: who waits gives the daemon its turn, and then time jumps to what is waited for."""

    def __init__(self, daemon: FakeDaemon) -> None:
        self.time = 0.0
        self.daemon = daemon
        self.slept: list[float] = []
        self.at_sleep: deque[Callable[[], None]] = deque()  # one is called at each sleep
        self.works: list[Callable[[Waits], Coroutine[Any, Any, None]]] = []
        self.closed: list[int] = []

    def now(self) -> float:
        return self.time

    async def checkpoint(self) -> None:
        pass

    async def readable(self, connection: socket.socket, until: float) -> bool:
        while not select.select([connection], [], [], 0)[0]:
            if not self.daemon.turn():
                if until == math.inf:
                    raise Hang
                self.time = max(self.time, until)
                return False
        return True

    async def writable(self, connection: socket.socket, until: float) -> bool:
        while not select.select([], [connection], [], 0)[1]:
            if not self.daemon.turn():
                self.time = max(self.time, until)
                return False
        return True

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        if self.at_sleep:
            self.at_sleep.popleft()()

    def closing(self, connection: socket.socket) -> None:
        self.closed.append(connection.fileno())

    def semaphore(self, number: int) -> CountedSemaphore:
        return CountedSemaphore(number)

    def turn(self) -> Turn:
        return CountedSemaphore(1)

    async def begin(self, work: Callable[[Waits], Coroutine[Any, Any, None]]) -> Background:
        self.works.append(work)
        return _Nothing()


class Hang(BaseException):
    """Somebody waits for ever, and nobody is there who could end that."""


class _Nothing:
    async def end(self) -> None:
        pass


class CountedSemaphore:
    """A semaphore of one task: a wait for what nobody can release is a hang."""

    def __init__(self, number: int) -> None:
        self.free = number

    def acquire(self, within: object = True, /) -> Any:
        taken = self.free > 0
        self.free -= taken
        if isinstance(within, bool):
            return taken
        return _answer(taken)

    def release(self) -> None:
        self.free += 1


async def _answer(value: bool) -> bool:
    return value


@contextmanager
def asking(path: Path, *script: Step, timeout: float = 10.0) -> Iterator[tuple[Dht, FakeDaemon, VirtualWaits]]:
    """Yield a client of a fake daemon that has connected, and both its ends."""
    daemon = FakeDaemon(path / "sock", *script)
    waits = VirtualWaits(daemon)
    dht = Dht(Daemon(daemon.path, timeout, "dhtd start"), waits, None)
    try:
        finish(dht.__aenter__())
        yield dht, daemon, waits
    finally:
        finish(dht.__aexit__(None, None, None))
        daemon.stop()
