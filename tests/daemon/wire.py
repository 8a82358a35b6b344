"""A network in memory for drivers: datagrams arrive at once, in order, on trio's clock, which may be virtual."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import cast

import trio

from dhtd.core.codec import Codec
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import Id
from dhtd.core.node import Node
from dhtd.core.policy import DEFAULT, Policy
from dhtd.daemon.driver import Driver
from dhtd.daemon.sockets.channel import UdpCounters
from dhtd.daemon.sockets.udp import Handle, UdpSockets
from dhtd.daemon.sockets.zones import Zones
from dhtd.wire.native import NativeCodec
from dhtd.wire.sealed import Seal

POLICY = replace(DEFAULT, rate_limit=0.0)
Sealing = Callable[[Id], Seal]  # makes the seal of the node with this ID


class Wire:
    """The drivers, by endpoint. Datagrams for other endpoints are lost."""

    def __init__(self, codec: Codec | None = None) -> None:
        self.codec = codec or NativeCodec()
        self.ends: dict[Endpoint, End] = {}
        self.cut = False  # then everything is lost
        self._next = 1

    @asynccontextmanager
    async def driver(
        self, policy: Policy = POLICY, seal: Sealing | None = None, *, write_ahead: bool = False
    ) -> AsyncIterator[Driver]:
        """Run a node with its own endpoint."""
        driver = self.make(policy, seal, write_ahead=write_ahead)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(driver.run)
            yield driver
            nursery.cancel_scope.cancel()

    def make(self, policy: Policy = POLICY, seal: Sealing | None = None, *, write_ahead: bool = False) -> Driver:
        """Return a driver that does not run yet."""
        number, self._next = self._next, self._next + 1
        endpoint = Endpoint.of(f"10.0.0.{number}", 1729)
        end = self.ends[endpoint] = End(self, endpoint)
        rng = random.Random(number)
        now = trio.current_time()
        node = Node(
            self.codec.traits.keyspace.random(rng), self.codec, rng=rng, now=now, policy=policy, write_ahead=write_ahead
        )
        own = None if seal is None else seal(node.own_id)
        return Driver(node, cast("UdpSockets", end), trio.current_time, own, wall=trio.current_time)


class End:
    """A driver's sockets."""

    def __init__(self, wire: Wire, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.counters = UdpCounters()
        self.sockets = [None]
        self.families = [Family.IPV4]
        self.zones = Zones()
        self.sent: list[tuple[bytes, Endpoint]] = []
        self._wire = wire
        self._send, self._receive = trio.open_memory_channel[tuple[bytes, Endpoint]](math.inf)

    def listening(self) -> list[Endpoint]:
        return [self.endpoint]

    def local(self) -> list[Endpoint]:
        return [self.endpoint]

    def is_ours(self, endpoint: Endpoint) -> bool:
        return endpoint == self.endpoint

    def send(self, data: bytes, endpoint: Endpoint) -> None:
        self.sent.append((data, endpoint))
        self.counters.sent(1, len(data))
        other = self._wire.ends.get(endpoint)
        if other is not None and not self._wire.cut:
            other.deliver(data, self.endpoint)

    def deliver(self, data: bytes, source: Endpoint) -> None:
        """Have a datagram arrive, unless nobody listens any more."""
        with suppress(trio.BrokenResourceError):
            self._send.send_nowait((data, source))

    async def receive(self, bound: object, handle: Handle, after: Callable[[], None]) -> None:
        with self._receive:
            async for data, source in self._receive:
                self.counters.received(1, len(data))
                for answer, address in handle([(data, source)], {source: source}):
                    self.send(answer, address)
                after()


def end_of(driver: Driver) -> End:
    """Return the end of the wire that a driver holds."""
    return cast("End", driver.udp)


async def joined(driver: Driver, other: Driver) -> None:
    """Have a node join through another one."""
    with driver.begin(lambda now: driver.node.commands.bootstrap(other.udp.listening(), now)) as operation:
        await operation.event()
