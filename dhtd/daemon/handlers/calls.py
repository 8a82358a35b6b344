"""Pairs of a method and the function that serves it, and the base of these functions."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, NamedTuple, TypeVar

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Event, LookupStats
from dhtd.core.ids import Id
from dhtd.daemon.driver import SHOWN, Driver, Start
from dhtd.daemon.report import milliseconds
from dhtd.service import method as service
from dhtd.service.entries import Stats
from dhtd.service.method import Caller, Emit, Leave, Method, Request, Result, Stream

NO_PEERS: Final = "this node knows no other node: name one with dht bootstrap HOST:PORT, or dhtd start --bootstrap"

Q = TypeVar("Q", bound=Request)
R = TypeVar("R", bound=Result)
E = TypeVar("E", bound=service.Event)


class Call(NamedTuple):
    """A method, and the function that serves it."""

    method: Method[Any, Any]
    serve: Callable[[Any, Emit[Any], Caller], Awaitable[Result]]


class Itself:
    """The daemon as the caller of its own methods, for entries that its files declare."""

    uid = os.geteuid()
    is_owner = True

    def attach(self, leave: Leave) -> None:
        raise AssertionError("the daemon has no connection to itself")

    def watch(self) -> None:
        raise AssertionError("the daemon has no connection to itself")


ITSELF: Final = Itself()


def answer(method: Method[Q, R], serve: Callable[[Q], Awaitable[R]]) -> Call:
    """Pair a method with a function that returns its result, or raises a `DhtdError` with the reason."""
    return Call(method, lambda request, emit, caller: serve(request))


def answer_caller(method: Method[Q, R], serve: Callable[[Q, Caller], Awaitable[R]]) -> Call:
    """Pair a method with a function that has to know who calls."""
    return Call(method, lambda request, emit, caller: serve(request, caller))


def stream(method: Stream[Q, E, R], serve: Callable[[Q, Emit[E]], Awaitable[R]]) -> Call:
    """Pair a method with a function that emits its events, and then returns its result."""
    return Call(method, lambda request, emit, caller: serve(request, emit))


def stream_to_caller(method: Stream[Q, E, R], serve: Callable[[Q, Emit[E], Caller], Awaitable[R]]) -> Call:
    """Pair a method with a function that emits its events, and has to know who calls."""
    return Call(method, serve)


class Handlers(ABC):
    """Base of the functions of one subject, for one node."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._node = driver.node

    @abstractmethod
    def calls(self) -> tuple[Call, ...]:
        """Return the methods of the subject, each with its function."""

    async def outcome(self, start: Start) -> Event:
        """Run an operation that has one event, and return the event."""
        with self._driver.begin(start) as operation:
            return await operation.event()

    def is_ours(self, endpoint: Endpoint) -> bool:
        """Whether this node is reached there."""
        return endpoint in self._node.external.endpoints() or self._driver.udp.is_ours(endpoint)

    def text(self, endpoint: Endpoint) -> str:
        """Return an endpoint as clients see it."""
        return self._driver.udp.zones.text(endpoint)

    def texts(self, endpoints: Iterable[Endpoint]) -> str:
        """Return endpoints for a message."""
        return ", ".join(map(self.text, endpoints))

    def format(self, id: Id) -> str:
        """Return an ID as clients see it."""
        return self._node.codec.traits.keyspace.format(id)

    def why_nobody(self) -> str:
        """Say why no other node was asked."""
        known = len(self._node.overlays.contacts())
        joins = self._node.memberships.endpoints_to_join_by()
        if not known and joins:
            where = self.texts(joins[:SHOWN])
            return f"this node is still alone: nobody has answered at {where}. See dht status, or dht bootstrap"
        if not known:
            return f"{NO_PEERS}, or --public-bootstrap" if self._node.codec.traits.is_public else NO_PEERS
        return f"none of the nodes that this node knows ({known}) answers any more: is its network up? See dht status"


def stats_of(stats: LookupStats) -> Stats:
    """Return the course of a search as clients see it."""
    return {
        "hops": stats.hops,
        "queries": stats.queries,
        "responses": stats.responses,
        "timeouts": stats.timeouts,
        "elapsed_ms": milliseconds(stats.elapsed),
        "first_ms": None if stats.first is None else milliseconds(stats.first),
    }
