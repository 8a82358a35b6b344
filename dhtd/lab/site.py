"""What is at each path of a simulation that is looked at: how it is, what happened, and what people may do to it."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import Final

from dhtd.errors import BadRequest
from dhtd.http.app import Paths, Serve
from dhtd.http.assets import Assets
from dhtd.http.caller import Streams
from dhtd.http.event_stream import EVENT_STREAM, EventStream
from dhtd.http.exchange import JSON, Exchange
from dhtd.http.problems import HttpProblem
from dhtd.lab import wanted
from dhtd.lab.stage import Stage
from dhtd.service.written import Written

V1: Final = "/v1"
SIMULATION: Final = f"{V1}/simulation"
STREAMS_MAX: Final = 48  # of 64 connections: see `view`
PIECE: Final = 256  # events that are sent at once of a span of time
AHEAD_MAX: Final = 7 * 86_400.0  # virtual seconds by which a run is advanced at once


class Site:
    """The paths of one stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._streams = Streams(STREAMS_MAX)
        by_path: dict[str, dict[str, Serve]] = {
            SIMULATION: {"GET": self._simulation},
            f"{SIMULATION}/nodes": {"GET": self._nodes, "POST": self._add},
            f"{SIMULATION}/nodes/{{n}}": {"GET": self._node, "DELETE": self._kill},
            f"{SIMULATION}/happenings": {"GET": self._happenings},
            f"{SIMULATION}/speed": {"PUT": self._set_speed},
            f"{SIMULATION}/advance": {"POST": self._advance},
            f"{SIMULATION}/lookups": {"POST": self._look_up},
            f"{SIMULATION}/kill": {"POST": self._kill_share},
            f"{V1}/events": {"GET": self._events},
        }
        assets = Assets("simulation")
        for path, name in assets.paths().items():
            by_path[path] = {"GET": partial(assets.serve, name=name)}
        self.at = Paths(by_path, f"{SIMULATION} tells how the simulation is").at

    # What there is to see

    async def _simulation(self, exchange: Exchange) -> None:
        wanted.query(exchange.scope["query_string"])
        await exchange.answer_json(self._stage.state())

    async def _nodes(self, exchange: Exchange) -> None:
        given = wanted.query(exchange.scope["query_string"], "at")
        at = self._time(given, "at") if "at" in given else None
        last = self._stage.log.last
        nodes = self._stage.nodes(at)
        await exchange.answer_json({"at": self._stage.now if at is None else at, "last": last, "nodes": nodes})

    async def _node(self, exchange: Exchange) -> None:
        wanted.query(exchange.scope["query_string"])
        n = wanted.node(exchange.scope["path_params"]["n"])
        named = self._stage.roll.named(n)
        if named is None:
            raise HttpProblem(HTTPStatus.NOT_FOUND, f"there is no node {n}")
        host = self._stage.roll.hosts.get(n)
        known = {} if host is None else self._stage.portraits.draw(host)
        head = {"n": n, "id": named.id, "endpoint": named.endpoint, "live": host is not None}
        await exchange.answer_json({**head, **known})

    async def _happenings(self, exchange: Exchange) -> None:
        given = wanted.query(exchange.scope["query_string"], "from", "to")
        begin = wanted.time("from", given["from"]) if "from" in given else 0.0
        end = wanted.time("to", given["to"]) if "to" in given else self._stage.now
        if end < begin:
            raise BadRequest("'from' is after 'to'")
        span = self._stage.log.between(begin, end)
        await exchange.begin(HTTPStatus.OK, JSON, {})
        head = f'{{"cut":{"true" if span.is_cut else "false"},"events":['
        for begun in range(0, len(span.texts), PIECE):  # a client that does not read holds no more than a piece
            await exchange.send(f"{head}{','.join(span.texts[begun : begun + PIECE])}".encode())
            head = ","
        await exchange.send(f"{head if not span.texts else ''}]}}\n".encode(), is_last=True)

    async def _events(self, exchange: Exchange) -> None:
        """Tell what happens from now on, or behind a serial, at the pace of the client; and four times a second how."""
        given = wanted.query(exchange.scope["query_string"], "after")
        if EVENT_STREAM not in (exchange.header("accept") or "").lower():
            raise HttpProblem(HTTPStatus.NOT_ACCEPTABLE, f"this is a stream of events: send `Accept: {EVENT_STREAM}`")
        if exchange.scope["method"] == "HEAD":
            await exchange.answer(HTTPStatus.OK, b"", EVENT_STREAM)
            return
        stage, log, stream = self._stage, self._stage.log, EventStream(exchange)
        text = exchange.header("last-event-id") or given.get("after")
        after = log.last if text is None else wanted.serial(text)
        state = 0
        self._streams.take()
        try:
            while True:
                batch = log.read(after)
                after, texts = batch.last, batch.texts
                if state != stage.state_serial:
                    state = stage.state_serial
                    texts.append(stage.state_text)
                if texts:
                    await stream.tell("event", Written(f'{{"last":{after},"events":[{",".join(texts)}]}}'), str(after))
                if after >= log.last and state == stage.state_serial:
                    await stage.news()
        finally:
            self._streams.leave()

    # What people may do

    async def _set_speed(self, exchange: Exchange) -> None:
        self._stage.set_speed(wanted.speed(await self._body(exchange, "speed")))
        await self._done(exchange)

    async def _advance(self, exchange: Exchange) -> None:
        now = self._stage.now
        to = wanted.number(await self._body(exchange, "to"), "to", now, now + AHEAD_MAX)
        self._stage.advance(to)
        await self._done(exchange)

    async def _look_up(self, exchange: Exchange) -> None:
        given = await self._body(exchange, "n", "id", "count")
        n, id = wanted.node_or_any(given), wanted.id_or_any(given, self._stage.simulation.net.keyspace)
        await exchange.answer_json({"ops": self._stage.look_up(n, id, wanted.count(given, 1))})

    async def _kill(self, exchange: Exchange) -> None:
        wanted.query(exchange.scope["query_string"])
        self._stage.kill(wanted.node(exchange.scope["path_params"]["n"]))
        await self._done(exchange)

    async def _kill_share(self, exchange: Exchange) -> None:
        share = wanted.number(await self._body(exchange, "share"), "share", 0.0, 1.0, beyond=True)
        await exchange.answer_json({"ns": self._stage.kill_share(share)})

    async def _add(self, exchange: Exchange) -> None:
        await exchange.answer_json({"ns": self._stage.add(wanted.count(await self._body(exchange, "count")))})

    async def _body(self, exchange: Exchange, *names: str) -> dict[str, object]:
        wanted.query(exchange.scope["query_string"])
        return wanted.body(await exchange.body(), *names)

    async def _done(self, exchange: Exchange) -> None:
        await exchange.answer(HTTPStatus.NO_CONTENT, b"", JSON)

    def _time(self, given: dict[str, str], name: str) -> float:
        """Return a time at which it is known who was up; raise `BadRequest`."""
        at, stage = wanted.time(name, given[name]), self._stage
        if at < stage.roll.kept_from:
            raise BadRequest(f"{name!r} is {given[name]}, and who was up is known from {stage.roll.kept_from:.6f} on")
        if at > stage.now:
            raise BadRequest(f"{name!r} is {given[name]}, and it is {stage.now:.6f} now")
        return at
