"""What each control request does: it starts an operation of the node, waits for its events, says what came of it."""

from __future__ import annotations

from typing import assert_never

import trio

from dhtd.control import protocol
from dhtd.control.protocol import HostPort, Result
from dhtd.control.server import Emit
from dhtd.core.endpoint import Endpoint
from dhtd.core.events import (
    Answered,
    Bootstrapped,
    Event,
    LookupDone,
    LookupProgress,
    LookupStats,
    Published,
    Unanswered,
    Withdrawn,
)
from dhtd.core.messages import ERROR_PROTOCOL, Contact, Found
from dhtd.core.metric import Id
from dhtd.daemon.driver import Driver, Start
from dhtd.daemon.report import Report, milliseconds
from dhtd.daemon.resolver import resolve
from dhtd.daemon.saver import Saver
from dhtd.errors import NoPeers, NoPong, NotTracked, PeerRefused


class Handler:
    """Serves control requests for one node."""

    def __init__(self, driver: Driver, saver: Saver, report: Report) -> None:
        self._driver = driver
        self._node = driver.node
        self._saver = saver
        self._report = report
        self._own_entries = trio.Lock()  # enter and delete: disk and node change together

    async def __call__(self, request: protocol.Request, emit: Emit) -> Result:
        """Return the result of a request; raise a `DhtdError` that says why there is none."""
        match request:
            case protocol.Ping(endpoint):
                return await self._ping(endpoint)
            case protocol.Enter():
                return await self._enter(request)
            case protocol.Lookup(id):
                return await self._lookup(id, emit)
            case protocol.Delete(id, port):
                return await self._delete(id, port)
            case protocol.Info(section):
                return self._report.info(section)
            case protocol.NodeId():
                return self._report.node_id()
            case protocol.Bootstrap(endpoints):
                return await self._bootstrap(endpoints)
            case protocol.FindNode(endpoint, id):
                return await self._find_node(endpoint, id)
            case protocol.FindValue(endpoint, id):
                return await self._find_value(endpoint, id)
            case protocol.Store():
                return await self._store(request)
            case _:
                assert_never(request)

    async def _ping(self, host_port: HostPort) -> protocol.PingResult:
        endpoint = await self._resolve(host_port)
        answered = await self._ask(endpoint, lambda now: self._node.ping(endpoint, now))
        return {
            "node_id": self._format(answered.contact.id),
            "endpoint": self._text(endpoint),
            "rtt_ms": milliseconds(answered.rtt),
        }

    async def _find_node(self, host_port: HostPort, id: Id) -> protocol.FindNodeResult:
        endpoint = await self._resolve(host_port)
        answered = await self._ask(endpoint, lambda now: self._node.find_node(endpoint, id, now))
        return self._found(answered)

    async def _find_value(self, host_port: HostPort, id: Id) -> protocol.FindValueResult:
        endpoint = await self._resolve(host_port)
        answered = await self._ask(endpoint, lambda now: self._node.find_value(endpoint, id, now))
        assert isinstance(answered.result, Found)
        return {**self._found(answered), "peers": [self._text(peer) for peer in answered.result.endpoints]}

    async def _store(self, request: protocol.Store) -> protocol.StoreResult:
        endpoint = await self._resolve(request.endpoint)
        answered = await self._ask(
            endpoint, lambda now: self._node.store_at(endpoint, request.id, request.port, request.token, now)
        )
        return {"node_id": self._format(answered.contact.id)}

    async def _bootstrap(self, host_ports: tuple[HostPort, ...]) -> protocol.BootstrapResult:
        endpoints = [await self._resolve(host_port) for host_port in host_ports]
        event = await self._outcome(lambda now: self._node.bootstrap(endpoints, now))
        assert isinstance(event, Bootstrapped)
        if not event.contacted:
            raise NoPeers(
                f"nobody answers at {', '.join(map(self._text, endpoints))}: is a node running there, on that port?"
            )
        size = len(self._node.contacts())
        return {"contacted": event.contacted, "failed": event.failed, "table_size": size}

    async def _lookup(self, id: Id, emit: Emit) -> protocol.LookupResult:
        with self._driver.begin(lambda now: self._node.lookup(id, now)) as lookup:
            while isinstance(event := await lookup.event(), LookupProgress):
                await emit({"peers": [self._text(peer) for peer in event.endpoints], "stats": _stats(event.stats)})
        assert isinstance(event, LookupDone)
        if not event.endpoints and not event.stats.queries:
            raise NoPeers(NO_PEERS)
        peers = [self._text(peer) for peer in event.endpoints]
        return {"id": self._format(id), "peers": peers, "stats": _stats(event.stats)}

    async def _enter(self, request: protocol.Enter) -> protocol.EnterResult:
        """Durable first, then acknowledged: from then on the entry survives anything but `delete`."""
        deadline = trio.current_time() + request.within
        patient = request.wait and (request.min_replicas > 0 or self._node.has_somebody_to_join_by)
        async with self._own_entries:
            self._node.check_free()
            self._node.check_room(request.id, request.port)
            with trio.CancelScope(shield=True):  # a client that goes away must not leave disk and node apart
                await self._saver.add_own(request.id, request.port)
                publication = self._driver.begin(
                    lambda now: self._node.enter(request.id, request.port, now, patient=patient)
                )
        with publication:
            replicas: tuple[Contact, ...] = ()
            if request.wait:
                with trio.move_on_at(deadline):
                    event = await publication.event()
                    assert isinstance(event, Published)
                    if event.cancelled:
                        raise NotTracked("the entry was deleted while it was being published")
                    replicas = event.replicas
        return self._report.entered(request.id, request.port, replicas)

    async def _delete(self, id: Id, port: int | None) -> protocol.DeleteResult:
        async with self._own_entries:
            ports = [tracked for tracked in self._node.tracker.ports(id) if port in (None, tracked)]
            if not ports:
                which = "this ID" if port is None else f"this ID on port {port}"
                raise NotTracked(f"this node has not entered {which}; dht info tracking lists what it has")
            self._node.check_free()
            with trio.CancelScope(shield=True):
                await self._saver.remove_own(self._node, id, ports)
                withdrawal = self._driver.begin(lambda now: self._node.delete(id, port, now)[0])
        with withdrawal:
            event = await withdrawal.event()
        assert isinstance(event, Withdrawn)
        removed, withdrawn, pending = list(event.ports), event.nodes, event.silent
        return {"id": self._format(id), "removed": removed, "withdrawn": withdrawn, "pending": pending}

    async def _ask(self, endpoint: Endpoint, start: Start) -> Answered:
        """Send a single query; return its answer, or raise why there is none."""
        event = await self._outcome(start)
        if isinstance(event, Unanswered):
            at = self._text(endpoint)
            if event.error is None:
                raise NoPong(f"no answer from {at}: {self._why_silent(endpoint)}")
            hint = ": its token is wrong or too old, get another with find-value" if _is_token_error(event) else ""
            raise PeerRefused(f"{at} refused: {event.error.code} {event.error.text!r:.80}{hint}")
        assert isinstance(event, Answered)
        return event

    def _why_silent(self, endpoint: Endpoint) -> str:
        if endpoint in (*self._driver.udp.local(), *self._node.external.endpoints()):
            return "this node is there, and a node does not answer itself"
        key = "with a network key" if self._driver.seal is None else "without our network key"
        return f"no dhtd runs there, or one {key}, or something between drops its datagrams"

    async def _outcome(self, start: Start) -> Event:
        with self._driver.begin(start) as operation:
            return await operation.event()

    def _found(self, answered: Answered) -> protocol.FindNodeResult:
        assert isinstance(answered.result, Found)
        nodes = answered.result.contacts
        return {
            "node_id": self._format(answered.contact.id),
            "token": answered.result.token.hex(),
            "nodes": [{"id": self._format(node.id), "endpoint": self._text(node.endpoint)} for node in nodes],
        }

    async def _resolve(self, host_port: HostPort) -> Endpoint:
        return await resolve(host_port, self._driver.udp)

    def _text(self, endpoint: Endpoint) -> str:
        return self._driver.udp.zones.text(endpoint)

    def _format(self, id: Id) -> str:
        return self._node.codec.keyspace.format(id)


def _stats(stats: LookupStats) -> protocol.Stats:
    return {
        "hops": stats.hops,
        "queries": stats.queries,
        "responses": stats.responses,
        "timeouts": stats.timeouts,
        "elapsed_ms": milliseconds(stats.elapsed),
    }


def _is_token_error(event: Unanswered) -> bool:
    return event.error is not None and event.error.code == ERROR_PROTOCOL and "token" in event.error.text


NO_PEERS = "this node knows no other node: name one with dht bootstrap HOST:PORT, or dhtd start --bootstrap"
