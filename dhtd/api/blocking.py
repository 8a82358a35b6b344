"""The same methods for programs that block. Nothing of anyio is imported.

A method of `Dht` never suspends with the `Waits` of this module, so `finish` runs it to its end.
"""

from __future__ import annotations

import os
import select
import socket as sockets
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import suppress
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar, cast

from dhtd.api.dht import Dht
from dhtd.api.finding import TIMEOUT, find_daemon
from dhtd.api.lookup import Lookup
from dhtd.api.names import Endpoint, Target
from dhtd.api.serving import Serving
from dhtd.api.waits import Background, Turn, Waits, finish
from dhtd.api.watch import Watch

if TYPE_CHECKING:
    from dhtd.api.results import Change, Entry, Stats

P = ParamSpec("P")
T = TypeVar("T")
Inner = TypeVar("Inner", bound=AsyncIterator[Any])

_LONGEST = 1e6  # milliseconds that `poll` is asked to wait at once


def connect_blocking(
    socket: str | os.PathLike[str] | None = None,
    *,
    instance: str | None = None,
    network: str | None = None,
    timeout: float = TIMEOUT,
) -> BlockingDht:
    """Return a client of the daemon on this machine that blocks. Use it in a `with` block.

        with dhtd.connect_blocking() as dht:
            for endpoint in dht.lookup("wiki"):
                print(endpoint)

    The parameters are those of `dhtd.connect`. Threads may share a client.
    """
    return BlockingDht(Dht(find_daemon(socket, instance, network, timeout), Blocking(), network))


def _blocking(
    method: Callable[Concatenate[Dht, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[BlockingDht, P], T]:
    """Return a method that blocks."""

    @wraps(method)
    def call(self: BlockingDht, *args: P.args, **kwargs: P.kwargs) -> T:
        return finish(method(self.concurrent, *args, **kwargs))

    return cast("Callable[Concatenate[BlockingDht, P], T]", call)


class BlockingDht:
    """A daemon, for as long as a `with` block runs. `dhtd.connect_blocking` makes it. Threads may share it."""

    def __init__(self, concurrent: Dht) -> None:
        self.concurrent = concurrent

    def __enter__(self) -> Self:
        """Ask the daemon for its ID; raise `DaemonUnreachable` if there is none."""
        finish(self.concurrent.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections; the daemon stops what it does for them."""
        finish(self.concurrent.__aexit__(kind, error, trace))

    @property
    def network(self) -> str:
        """The network of the daemon: `native` or `mainline`."""
        return self.concurrent.network

    def lookup(self, target: Target, *, first: bool = False) -> BlockingLookup:
        """Look up who serves a name or an ID: iterate over the endpoints, as they come in. See `Dht.lookup`."""
        return BlockingLookup(self.concurrent.lookup(target, first=first))

    def watch(self, *targets: Target) -> BlockingWatch:
        """Watch who serves names or IDs: iterate over the changes. See `Dht.watch`."""
        return BlockingWatch(self.concurrent.watch(*targets))

    def serve(self, target: Target, port: int, *, min_replicas: int = 0) -> BlockingServing:
        """Serve a name or an ID on a port of this machine, while a `with` block runs. See `Dht.serve`."""
        return BlockingServing(self.concurrent.serve(target, port, min_replicas=min_replicas))

    enter = _blocking(Dht.enter)
    enter_many = _blocking(Dht.enter_many)
    delete = _blocking(Dht.delete)
    get = _blocking(Dht.get)
    put = _blocking(Dht.put)
    keep = _blocking(Dht.keep)
    drop = _blocking(Dht.drop)
    ping = _blocking(Dht.ping)
    find_node = _blocking(Dht.find_node)
    find_value = _blocking(Dht.find_value)
    store = _blocking(Dht.store)
    bootstrap = _blocking(Dht.bootstrap)
    node_id = _blocking(Dht.node_id)
    status = _blocking(Dht.status)
    health = _blocking(Dht.health)
    doctor = _blocking(Dht.doctor)
    info = _blocking(Dht.info)


class _Stepping(Iterator[T], Generic[T, Inner]):
    """An iterator that blocks for each element."""

    def __init__(self, concurrent: Inner) -> None:
        self._concurrent = concurrent

    def __next__(self) -> T:
        try:
            return finish(cast("Coroutine[Any, Any, T]", self._concurrent.__anext__()))
        except StopAsyncIteration:
            raise StopIteration from None


class BlockingLookup(_Stepping[Endpoint, Lookup]):
    """An iterator over endpoints, each once. `stats` and `is_complete` are None before the end."""

    @property
    def stats(self) -> Stats | None:
        """The course of the lookup."""
        return self._concurrent.stats

    @property
    def is_complete(self) -> bool | None:
        """Whether all nodes that may know an endpoint have answered in full."""
        return self._concurrent.is_complete

    def close(self) -> None:
        """End the lookup now."""
        finish(self._concurrent.aclose())


class BlockingWatch(_Stepping[Any, Watch]):
    """An iterator over changes that does not end by itself."""

    if TYPE_CHECKING:

        def __next__(self) -> Change: ...

    def close(self) -> None:
        """End the watch now."""
        finish(self._concurrent.aclose())


class BlockingServing:
    """`with` it. A thread keeps the entry meanwhile."""

    def __init__(self, concurrent: Serving) -> None:
        self._concurrent = concurrent

    def __enter__(self) -> Entry:
        """Enter."""
        return finish(self._concurrent.__aenter__())

    def __exit__(self, *exc_info: object) -> None:
        """Withdraw."""
        finish(self._concurrent.__aexit__(None, *exc_info[1:]))


class _Interrupted(Exception):
    """The work of a thread is to end."""


class Blocking:
    """`Waits` that block the thread. With a `wakeup`, a byte from it raises `_Interrupted` in what waits."""

    def __init__(self, wakeup: sockets.socket | None = None) -> None:
        self._wakeup = wakeup

    def now(self) -> float:
        return time.monotonic()

    async def checkpoint(self) -> None:
        pass

    async def readable(self, connection: sockets.socket, until: float) -> bool:
        return self._wait(connection, select.POLLIN, until)

    async def writable(self, connection: sockets.socket, until: float) -> bool:
        return self._wait(connection, select.POLLOUT, until)

    async def sleep(self, seconds: float) -> None:
        self._wait(None, 0, time.monotonic() + seconds)

    def closing(self, connection: sockets.socket) -> None:
        with suppress(OSError):  # not connected
            connection.shutdown(sockets.SHUT_RDWR)  # which wakes up a thread that waits for it

    def semaphore(self, number: int) -> _Semaphore:
        return _Semaphore(number)

    def turn(self) -> Turn:
        return threading.Lock()

    async def begin(self, work: Callable[[Waits], Coroutine[Any, Any, None]]) -> Background:
        return _Thread(work)

    def _wait(self, connection: sockets.socket | None, events: int, until: float) -> bool:
        poll = select.poll()
        if connection is not None:
            if connection.fileno() < 0:
                raise RuntimeError("this client of dhtd was closed")
            poll.register(connection, events)
        if self._wakeup is not None:
            poll.register(self._wakeup, select.POLLIN)
        while True:
            left = max(0.0, until - time.monotonic())
            ready = [descriptor for descriptor, _ in poll.poll(min(1000 * left + 1, _LONGEST))]
            if self._wakeup is not None and self._wakeup.fileno() in ready:
                raise _Interrupted
            if ready:
                return True
            if time.monotonic() >= until:
                return False


class _Thread:
    """Work in a thread of its own."""

    def __init__(self, work: Callable[[Waits], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._wakeup, self._woken = sockets.socketpair()
        self._thread = threading.Thread(target=self._run, name="dhtd-serve", daemon=True)
        self._thread.start()

    async def end(self) -> None:
        self._wakeup.close()  # the other end is readable from now on
        self._thread.join()
        self._woken.close()

    def _run(self) -> None:
        with suppress(_Interrupted):
            finish(self._work(Blocking(self._woken)))


class _Semaphore:
    def __init__(self, number: int) -> None:
        self._semaphore = threading.Semaphore(number)

    async def acquire(self, within: float) -> bool:
        return self._semaphore.acquire(timeout=None if within == float("inf") else within)

    def release(self) -> None:
        self._semaphore.release()
