"""Networks for tests, for programs that run under asyncio or trio, and for those that block."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Final, Self, TypeVar, overload

import anyio
import anyio.to_thread

from dhtd.config.networks import NATIVE, NETWORKS
from dhtd.testing.house import House, check_size
from dhtd.testing.swarm import Member, Swarm

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., object])

SIZE: Final = 8  # nodes: as many as hold an entry


class _Members(Sequence[Member]):
    """The nodes of a network, by number."""

    def __init__(self, size: int, *, network: str = NATIVE.name) -> None:
        if network not in NETWORKS:
            raise ValueError(f"network={network!r:.80} is none of {', '.join(NETWORKS)}")
        self._house = House(check_size(size), network)
        self.nodes: list[Member] = []

    def __len__(self) -> int:
        return len(self.nodes)

    @overload
    def __getitem__(self, number: int) -> Member: ...

    @overload
    def __getitem__(self, number: slice) -> list[Member]: ...

    def __getitem__(self, number: int | slice) -> Member | list[Member]:
        return self.nodes[number]

    def __iter__(self) -> Iterator[Member]:
        return iter(self.nodes)

    def _order(self, work: Callable[[Swarm, Member], Awaitable[T]], number: int) -> Future[T]:
        member = self.nodes[number]
        return self._house.order(lambda swarm: work(swarm, member))

    def _grow(self) -> Future[list[Member]]:
        return self._house.order(lambda swarm: swarm.grow(1))


class Network(_Members):
    """A network for as long as an `async with` block runs, under asyncio or trio. `testnet` makes it."""

    async def __aenter__(self) -> Self:
        """Start the nodes; return once all have joined."""
        started = self._house.begin()
        try:
            self.nodes = [*await _result(started)]
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the nodes, and remove their files."""
        await self._end()

    async def kill(self, number: int) -> None:
        """End a node as `kill -9` does: it says no goodbye, and saves nothing."""
        await _result(self._order(Swarm.kill, number))

    async def stop(self, number: int) -> None:
        """End a node as `dht stop` does."""
        await _result(self._order(Swarm.stop, number))

    async def restart(self, number: int) -> None:
        """Start a node again, with its ID and its port; stop it before, if it runs. Returns once it has joined."""
        await _result(self._order(Swarm.restart, number))

    async def add(self) -> Member:
        """Add a node; return it once it has joined."""
        [member] = await _result(self._grow())
        self.nodes.append(member)
        return member

    async def _end(self) -> None:
        self._house.end()
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._house.join)


class BlockingNetwork(_Members):
    """A network for as long as a `with` block runs. `testnet_blocking` makes it."""

    def __enter__(self) -> Self:
        """Start the nodes; return once all have joined."""
        started = self._house.begin()
        try:
            self.nodes = [*started.result()]
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the nodes, and remove their files."""
        self._end()

    def kill(self, number: int) -> None:
        """End a node as `kill -9` does: it says no goodbye, and saves nothing."""
        self._order(Swarm.kill, number).result()

    def stop(self, number: int) -> None:
        """End a node as `dht stop` does."""
        self._order(Swarm.stop, number).result()

    def restart(self, number: int) -> None:
        """Start a node again, with its ID and its port; stop it before, if it runs. Returns once it has joined."""
        self._order(Swarm.restart, number).result()

    def add(self) -> Member:
        """Add a node; return it once it has joined."""
        [member] = self._grow().result()
        self.nodes.append(member)
        return member

    def _end(self) -> None:
        self._house.end()
        self._house.join()


def _no_test(function: F) -> F:
    """Mark a function for pytest, which takes it for a test because of its name where a test module imports it."""
    function.__dict__["__test__"] = False
    return function


@_no_test
def testnet(size: int = SIZE, *, network: str = NATIVE.name) -> Network:  # noqa: PT028 - no test
    """Return a network of so many real nodes on loopback, all in this process. Use it in an `async with` block.

    Each node has its port from the kernel, and its socket and its state file in a temporary directory. `network` is
    `native` or `mainline`.
    """
    return Network(size, network=network)


@_no_test
def testnet_blocking(size: int = SIZE, *, network: str = NATIVE.name) -> BlockingNetwork:  # noqa: PT028
    """Return the same network for a `with` block."""
    return BlockingNetwork(size, network=network)


async def _result(future: Future[T]) -> T:
    return await anyio.to_thread.run_sync(future.result, abandon_on_cancel=True)
