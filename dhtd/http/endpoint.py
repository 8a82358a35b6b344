"""Serves one resource: reads the request, has the method run, and writes its answer."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import trio

from dhtd.errors import DhtdError, InternalError, NoAnswer, NotFound
from dhtd.http.caller import HttpCaller, Streams
from dhtd.http.event_stream import EVENT_STREAM, EventStream
from dhtd.http.exchange import OCTETS, Exchange
from dhtd.http.guard import IN_QUERY
from dhtd.http.paging import Page, read_page
from dhtd.http.problems import HttpProblem
from dhtd.http.reading import read_query, read_request
from dhtd.http.resources import Resource
from dhtd.http.watch_memory import WatchMemory
from dhtd.service.door import House
from dhtd.service.events import EVENTS
from dhtd.service.method import Emit, Event, Request, Result
from dhtd.service.values import GET
from dhtd.service.watch import WATCH
from dhtd.service.written import Written


class Endpoint:
    """One resource of a daemon."""

    def __init__(self, resource: Resource, house: House, streams: Streams, memory: WatchMemory) -> None:
        self._resource = resource
        self._house = house
        self._streams = streams
        self._memory = memory

    async def serve(self, exchange: Exchange) -> None:
        """Answer a request; raise a `DhtdError` if nothing of an answer was sent."""
        resource = self._resource
        # 1. What is asked for.
        accept = (exchange.header("accept") or "").lower()
        wants_events = resource.is_stream and EVENT_STREAM in accept
        if resource.is_endless and not wants_events:
            raise HttpProblem(HTTPStatus.NOT_ACCEPTABLE, f"this is a stream of events: send `Accept: {EVENT_STREAM}`")
        body = await exchange.body()
        query = [pair for pair in read_query(exchange.scope["query_string"]) if pair[0] != IN_QUERY]
        last = exchange.header("last-event-id") or ""
        if resource.method is EVENTS and re.fullmatch("[0-9]{1,15}", last):
            query = [("after", last), *((name, text) for name, text in query if name != "after")]
        page = None
        if resource.is_paged:
            page, query = read_page(query)
        request = read_request(resource, exchange.scope["path_params"], query, body, self._house.keyspace)
        # 2. The answer, in the form that is wanted.
        if resource.is_endless and exchange.scope["method"] == "HEAD":
            await exchange.answer(HTTPStatus.OK, b"", EVENT_STREAM)
        elif wants_events:
            await self._tell(exchange, request)
        elif page is not None:
            await self._answer_page(exchange, request, page)
        elif resource.method is GET:
            await self._answer_value(exchange, request, as_octets=OCTETS in accept)
        else:
            await self._answer(exchange, request)

    async def _answer(self, exchange: Exchange, request: Request) -> None:
        gathered: list[Event] = []
        key = self._resource.gathered
        result = await self._run(request, _adder(gathered) if key else _ignore)
        await exchange.answer_json({**result, key: gathered} if key else result)

    async def _answer_value(self, exchange: Exchange, request: Request, *, as_octets: bool) -> None:
        """Answer with a value. Without one, 404 says that there is none, and 503 that nobody knows."""
        result: Any = await self._run(request, _ignore)
        if result["data"] is None:
            if result["complete"]:
                raise NotFound("no value is there")
            raise NoAnswer("too few nodes have answered to know whether a value is there: try again")
        if as_octets:
            await exchange.answer(HTTPStatus.OK, b64decode(result["data"]), OCTETS)
        else:
            await exchange.answer_json(result)

    async def _answer_page(self, exchange: Exchange, request: Request, page: Page) -> None:
        await page.add(await self._run(request, page.add))
        await exchange.answer_json(page.answer(self._resource.path, exchange.scope["path_params"]))

    async def _tell(self, exchange: Exchange, request: Request) -> None:
        """Answer with events. An error before the first one is raised, and told as any other."""
        stream = EventStream(exchange)
        if self._resource.method is WATCH:
            resumed = self._memory.resume(exchange.header("last-event-id"), stream.tell)
            emit: Emit[Any] = resumed.emit
        else:
            emit = _teller(stream)
        try:
            result = await self._run(request, emit, stream)
        except DhtdError as error:
            await stream.fail(error)
        else:
            await stream.tell("result", result)
            await stream.end()

    async def _run(self, request: Request, emit: Emit[Any], stream: EventStream | None = None) -> Result:
        """Return the result of the method."""
        with HttpCaller(self._streams) as caller:
            async with _kept_alive(stream):
                try:
                    outcome: Result | DhtdError = await self._house.handler(request, emit, caller)
                except DhtdError as error:
                    outcome = error
                except Exception:  # noqa: BLE001 - noted
                    self._house.note(f"request {self._resource.method.name} by HTTP failed")
                    outcome = InternalError("a defect in dhtd; the daemon's log has the details")
        if isinstance(outcome, DhtdError):
            raise outcome
        return outcome


@asynccontextmanager
async def _kept_alive(stream: EventStream | None) -> AsyncIterator[None]:
    """Send comments on a stream meanwhile. No exception may leave the context: a nursery would wrap it."""
    if stream is None:
        yield
        return
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.keep_alive)
        yield
        nursery.cancel_scope.cancel()


async def _ignore(event: Event) -> None:
    """Events of progress are for those who ask for a stream."""


def _adder(events: list[Event]) -> Emit[Any]:
    async def add(event: Event) -> None:
        events.append(event)

    return add


def _teller(stream: EventStream) -> Callable[[Mapping[str, Any]], Any]:
    async def tell(event: Mapping[str, Any]) -> None:
        last = event.get("last") if isinstance(event, Written) else None
        await stream.tell("event", event, None if last is None else str(last))

    return tell
