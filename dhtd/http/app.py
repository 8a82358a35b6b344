"""The application of one listening address: guard, resources, document, probes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Protocol

from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from dhtd.errors import DhtdError, InternalError
from dhtd.http.assets import Assets
from dhtd.http.caller import HttpCaller, Streams
from dhtd.http.endpoint import Endpoint
from dhtd.http.exchange import Exchange
from dhtd.http.guard import Guard
from dhtd.http.metrics import Metrics
from dhtd.http.openapi import document
from dhtd.http.problems import HttpProblem
from dhtd.http.resources import RESOURCES, V1
from dhtd.http.watch_memory import WatchMemory
from dhtd.service.door import House
from dhtd.service.health import HealthRequest
from dhtd.service.info import InfoRequest
from dhtd.service.method import Event, Request
from dhtd.service.node import StatusRequest

DOCUMENT: Final = f"{V1}/openapi.json"
AT_ONCE: Final = 0.001  # seconds: not to wait for anything
LOOKED_WITHIN: Final = 60.0  # seconds for which a look tells whether the node is healthy; one takes 34 at most

Serve = Callable[[Exchange], Awaitable[None]]
Verbs = Mapping[str, Serve]


class Paths:
    """What is at each path, by verb."""

    def __init__(self, by_path: Mapping[str, Verbs], hint: str) -> None:
        """`hint` tells where there is a list of paths."""
        self._by_path = [(compile_path(path)[0], verbs) for path, verbs in by_path.items()]
        self._hint = hint

    def at(self, path: str) -> tuple[Verbs, dict[str, str]]:
        """Return what is at a path, by verb, and the elements of the path; raise `HttpProblem` for 404.

        Path and elements are as they were sent: `%2F` in an element is a part of it, and does not end it.
        """
        for pattern, verbs in self._by_path:
            match = pattern.fullmatch(path)
            if match is not None:
                return verbs, match.groupdict()
        raise HttpProblem(HTTPStatus.NOT_FOUND, f"nothing is at this path: {self._hint}")


class Served(Protocol):
    """What an application serves."""

    def at(self, path: str) -> tuple[Verbs, dict[str, str]]:
        """Return what is at a path; see `Paths`."""


class Site:
    """What is at each path, for all listening addresses of a daemon."""

    def __init__(self, house: House, streams: Streams, memory: WatchMemory) -> None:
        self._house = house
        self._streams = streams
        self._metrics = Metrics()
        self._document = document(house.keyspace)
        by_path: dict[str, dict[str, Serve]] = {
            "/healthz": {"GET": self._health},
            "/metrics": {"GET": self._measure},
            "/readyz": {"GET": self._ready},
            DOCUMENT: {"GET": self._describe},
        }
        assets = Assets()
        for path, name in assets.paths().items():
            by_path[path] = {"GET": partial(assets.serve, name=name)}
        for resource in RESOURCES:
            verbs = by_path.setdefault(resource.path, {})
            verbs[resource.verb] = Endpoint(resource, house, streams, memory).serve
        self.at = Paths(by_path, f"{DOCUMENT} lists what there is").at

    async def _describe(self, exchange: Exchange) -> None:
        await exchange.answer_json(self._document)

    async def _health(self, exchange: Exchange) -> None:
        """Answer 200 while other nodes find what this one enters, and 503 otherwise."""
        health = await self._ask(HealthRequest())
        await exchange.answer_json(health, HTTPStatus.OK if health["healthy"] else HTTPStatus.SERVICE_UNAVAILABLE)

    async def _measure(self, exchange: Exchange) -> None:
        """Answer with the metrics. They want the canary to be looked for, and do not wait for it."""
        info: Any = {**await self._ask(InfoRequest("node")), **await self._ask(InfoRequest("network"))}
        status, health = await self._ask(StatusRequest()), await self._ask(HealthRequest(within_s=AT_ONCE))
        looked = health["looked_s_ago"]
        known = health if looked is not None and looked <= LOOKED_WITHIN else None
        body, content_type = self._metrics.written(info, status, known, exchange.header("accept") or "")
        await exchange.answer(HTTPStatus.OK, body, content_type)

    async def _ask(self, request: Request) -> Any:
        with HttpCaller(self._streams) as caller:
            return await self._house.handler(request, _ignore, caller)

    async def _ready(self, exchange: Exchange) -> None:
        """Answer 200 once the node is in its network, and 503 while it is not."""
        status = await self._ask(StatusRequest())
        is_ready = status["state"] in {"joined", "doubtful"} and not status["restoring"]
        body = {"ready": is_ready, "state": status["state"], "restoring": status["restoring"]}
        await exchange.answer_json(body, HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE)


class App:
    """The ASGI application of one address."""

    def __init__(self, site: Served, guard: Guard, note: Callable[[str], None], log: str = "the daemon's log") -> None:
        """`log` says where a defect is explained that `note` was told of."""
        self._log = log
        self._site = site
        self._guard = guard
        self._note = note

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Whatever happens, the client is told, and other requests go on."""
        head_only = scope["method"] == "HEAD"
        exchange = Exchange(scope, receive, send)
        try:
            await self._answer(exchange, "GET" if head_only else scope["method"])
        except DhtdError as error:
            if not exchange.has_begun:
                await exchange.answer_problem(error)
        except Exception:  # noqa: BLE001 - noted
            self._note("a request by HTTP failed")
            if not exchange.has_begun:
                await exchange.answer_problem(InternalError(f"a defect in dhtd; {self._log} has the details"))

    async def _answer(self, exchange: Exchange, verb: str) -> None:
        self._guard.check(exchange)
        verbs, elements = self._site.at(exchange.path)
        serve = verbs.get(verb)
        if serve is None:
            allowed = sorted({*verbs, *({"HEAD"} if "GET" in verbs else ())})
            raise HttpProblem(
                HTTPStatus.METHOD_NOT_ALLOWED,
                f"{verb!r:.40} is not for this path, but {', '.join(allowed)}",
                {"allow": ", ".join(allowed)},
            )
        exchange.scope["path_params"] = elements
        await serve(exchange)


async def _ignore(event: Event) -> None:
    pass
