"""What each control request does: it starts an operation of the node, waits for its events, says what came of it."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable, Generator, Iterable, Mapping
from functools import partial
from typing import Final, assert_never, cast

import trio

from dhtd.control import protocol
from dhtd.control.protocol import HostPort, Result
from dhtd.control.server import Emit
from dhtd.core.endpoint import Endpoint
from dhtd.core.events import (
    Answered,
    Bootstrapped,
    Event,
    Handle,
    LookupDone,
    LookupProgress,
    LookupStats,
    Published,
    Unanswered,
    Withdrawn,
)
from dhtd.core.ids import Id
from dhtd.core.messages import ERROR_PROTOCOL, Contact, Found
from dhtd.core.records import Peer, RecordKey
from dhtd.daemon.discovery.resolver import resolve
from dhtd.daemon.driver import SHOWN, Driver, Start
from dhtd.daemon.report import NodeReport, milliseconds
from dhtd.daemon.state.saver import Saver
from dhtd.errors import Busy, DhtdError, InvalidEndpoint, NoPeers, NoPong, NotTracked, PeerRefused, UnresolvableHost

HEAD_START: Final = 1.0  # seconds that one address of a name has before the next one is asked
PIECE: Final = 49_152  # bytes of a backup in one event, which has 65,536 of base64

StartAt = Callable[[Endpoint, float], Handle]


STATUS_AGE = 10.0  # seconds for which an answer shows that the network is up
STATUS_PATIENCE = 1.0  # seconds for a contact to show it
STATUS_INTERVAL = 0.01  # seconds between looks at whether it has


class Handler:
    """Serves control requests for one node."""

    def __init__(self, driver: Driver, saver: Saver, report: NodeReport) -> None:
        self._driver = driver
        self._node = driver.node
        self._saver = saver
        self._report = report
        self._own_entries = saver.own_entries
        self._is_backing_up = False
        self._reading = trio.Lock()  # info and complete: however many ask, one step of one of them, then others run

    async def __call__(self, request: protocol.Request, emit: Emit) -> Result:
        """Return the result of a request; raise a `DhtdError` that says why there is none."""
        match request:
            case (
                protocol.PingRequest()
                | protocol.FindNodeRequest()
                | protocol.FindValueRequest()
                | protocol.StoreRequest()
            ):
                return await self._query(request)
            case protocol.EnterRequest():
                return await self._enter(request)
            case protocol.LookupRequest(id):
                return await self._lookup(id, emit)
            case protocol.DeleteRequest(id, port):
                return await self._delete(id, port)
            case protocol.InfoRequest() | protocol.CompleteRequest():
                return await self._read(request, emit)
            case protocol.NodeIdRequest():
                return self._report.node_id()
            case protocol.StatusRequest():
                return await self._status()
            case protocol.BootstrapRequest(endpoints):
                return await self._bootstrap(endpoints)
            case protocol.BackupRequest():
                return await self._backup(emit)
            case _:
                assert_never(request)

    async def _query(
        self,
        request: protocol.PingRequest | protocol.FindNodeRequest | protocol.FindValueRequest | protocol.StoreRequest,
    ) -> Result:
        """Send one query to one node."""
        match request:
            case protocol.PingRequest(endpoint):
                return await self._ping(endpoint)
            case protocol.FindNodeRequest(endpoint, id):
                return await self._find_node(endpoint, id)
            case protocol.FindValueRequest(endpoint, id):
                return await self._find_value(endpoint, id)
            case protocol.StoreRequest():
                return await self._store(request)
            case _:
                assert_never(request)

    async def _read(self, request: protocol.InfoRequest | protocol.CompleteRequest, emit: Emit) -> Result:
        """Look at what may be much step by step; emit the parts of it that are there, as fast as the client reads."""
        steps: Generator[protocol.InfoResult | None, None, Result]
        if isinstance(request, protocol.InfoRequest):
            steps = self._report.info(request.section)
        else:
            steps = self._report.complete(request)
        while True:
            async with self._reading:
                try:
                    part = next(steps)
                except StopIteration as end:
                    return cast("Result", end.value)
            if part is not None:
                await emit(part)

    async def _status(self) -> protocol.StatusResult:
        """Tell what is so now: where nobody has answered for a while, somebody is asked, and waited for a moment."""
        now = self._driver.clock()
        self._node.ask_around(now - STATUS_AGE, now)
        self._driver.flush()
        with trio.move_on_after(STATUS_PATIENCE):
            while self._node.is_asking_around:  # noqa: ASYNC110 - nothing tells that a doubt has ended
                await trio.sleep(STATUS_INTERVAL)
        return self._report.status()

    async def _backup(self, emit: Emit) -> protocol.BackupResult:
        """Emit a copy of the state file, as fast as the client reads; one at a time, since each takes room on disk."""
        if self._is_backing_up:
            raise Busy("another backup is being taken: try again when it is done")
        self._is_backing_up = True
        try:
            size = 0
            with await self._saver.copy(self._node) as copy:
                while piece := await self._saver.read(copy, PIECE):
                    await emit({"data": b64encode(piece).decode()})
                    size += len(piece)
            return {"bytes": size}
        finally:
            self._is_backing_up = False

    async def _ping(self, host_port: HostPort) -> protocol.PingResult:
        answered = await self._ask(host_port, self._node.ping)
        return {
            "node_id": self._format(answered.contact.id),
            "endpoint": self._text(answered.contact.endpoint),
            "rtt_ms": milliseconds(answered.rtt),
        }

    async def _find_node(self, host_port: HostPort, id: Id) -> protocol.FindNodeResult:
        return self._found(await self._ask(host_port, lambda at, now: self._node.find_node(at, id, now)))

    async def _find_value(self, host_port: HostPort, id: Id) -> protocol.FindValueResult:
        answered = await self._ask(host_port, lambda at, now: self._node.find_value(at, id, now))
        assert isinstance(answered.result, Found)
        return {**self._found(answered), "peers": [self._text(peer) for peer in answered.result.endpoints]}

    async def _store(self, request: protocol.StoreRequest) -> protocol.StoreResult:
        id, port, token = request.id, request.port, request.token
        answered = await self._ask(
            request.endpoint, lambda at, now: self._node.store_at(at, id, port, token, now), in_turn=True
        )
        return {"node_id": self._format(answered.contact.id)}

    async def _bootstrap(self, host_ports: tuple[HostPort, ...]) -> protocol.BootstrapResult:
        found: dict[HostPort, list[Endpoint]] = {}
        unreached: dict[HostPort, DhtdError] = {}

        async def look_up(host_port: HostPort) -> None:
            try:
                endpoints = await resolve(host_port, self._driver.udp)
            except (UnresolvableHost, InvalidEndpoint) as error:
                unreached[host_port] = error
                return
            others = [endpoint for endpoint in endpoints if not self._is_ours(endpoint)]
            if others:
                found[host_port] = others
            else:
                unreached[host_port] = NoPeers(f"{self._texts(endpoints)} is this node itself: name another one")

        async with trio.open_nursery() as nursery:
            for host_port in dict.fromkeys(host_ports):
                nursery.start_soon(look_up, host_port)
        if not found:
            raise _all_of(unreached, host_ports)
        endpoints = [endpoint for at in found.values() for endpoint in at]
        event = await self._outcome(lambda now: self._node.bootstrap(endpoints, now))
        assert isinstance(event, Bootstrapped)
        for host_port, at in found.items():
            if set(at) <= set(event.silent):
                where = self._texts(at)
                unreached[host_port] = NoPeers(f"nobody answers at {where}: is a node running there, on that port?")
        if not event.contacted:
            raise NoPeers(str(_all_of(unreached, host_ports)))
        return {
            "contacted": len(dict.fromkeys(host_ports)) - len(unreached),
            "failed": len(unreached),
            "table_size": len(self._node.contacts()),
            "unreached": [
                {"endpoint": _given(*host_port), "code": error.code, "message": str(error)}
                for host_port, error in unreached.items()
            ],
        }

    async def _lookup(self, id: Id, emit: Emit) -> protocol.LookupResult:
        with self._driver.begin(lambda now: self._node.lookup(id, now)) as lookup:
            while isinstance(event := await lookup.event(), LookupProgress):
                await emit({"peers": [self._text(peer) for peer in event.endpoints], "stats": _stats(event.stats)})
        assert isinstance(event, LookupDone)
        if not event.endpoints and not event.stats.queries:
            raise NoPeers(self._why_nobody())
        peers = [self._text(peer) for peer in event.endpoints]
        return {"id": self._format(id), "peers": peers, "stats": _stats(event.stats), "complete": event.complete}

    async def _enter(self, request: protocol.EnterRequest) -> protocol.EnterResult:
        """Durable first, then acknowledged: from then on the entry survives anything but `delete`."""
        deadline = trio.current_time() + request.within
        patient = request.wait and (request.min_replicas > 0 or self._node.has_somebody_to_join_by)
        async with self._own_entries:
            await self._saver.bring([request.id])
            self._node.check_free()
            self._node.check_room(request.id, request.port)
            with trio.CancelScope(shield=True):  # a client that goes away must not leave disk and node apart
                await self._saver.add_own(RecordKey.of(request.id, Peer.on(request.port)))
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
            await self._saver.bring([id])
            ports = [tracked for tracked in self._node.tracker.ports(id) if port in (None, tracked)]
            if not ports:
                which = "this ID" if port is None else f"this ID on port {port}"
                raise NotTracked(f"this node has not entered {which}; dht info tracking lists what it has")
            self._node.check_free()
            with trio.CancelScope(shield=True):
                await self._saver.remove_own(self._node, [RecordKey.of(id, Peer.on(tracked)) for tracked in ports])
                withdrawal = self._driver.begin(lambda now: self._node.delete(id, port, now)[0])
        with withdrawal:
            event = await withdrawal.event()
        assert isinstance(event, Withdrawn)
        removed, withdrawn, pending = list(event.ports), event.nodes, event.silent
        left: list[protocol.LeftBehindInfo] = [
            {"endpoint": self._text(endpoint), "expires_in_s": max(0.0, until - self._driver.clock())}
            for endpoint, until in event.left_behind
        ]
        result: protocol.DeleteResult = {
            "id": self._format(id),
            "removed": removed,
            "withdrawn": withdrawn,
            "pending": pending,
            "left_behind": left,
        }
        return result

    async def _ask(self, host_port: HostPort, start: StartAt, *, in_turn: bool = False) -> Answered:
        """Send a single query to a host; return its answer, or raise why there is none.

        Of a name, the first of its addresses that answers counts: the next one is asked when one is silent for long
        enough to be dead, or (`in_turn`) when it has timed out, for what must not be done twice.
        """
        endpoints = await resolve(host_port, self._driver.udp)
        answers: list[Answered | Unanswered] = []
        busy: list[Busy] = []

        async def ask(endpoint: Endpoint, is_over: trio.Event) -> None:
            try:
                event = await self._outcome(partial(start, endpoint))
            except Busy as error:
                busy.append(error)
                nursery.cancel_scope.cancel()
                return
            assert isinstance(event, Answered | Unanswered)
            is_over.set()
            if isinstance(event, Answered) or event.error is not None:
                answers.append(event)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for endpoint in endpoints:
                is_over = trio.Event()
                nursery.start_soon(ask, endpoint, is_over)
                with trio.move_on_after(math.inf if in_turn else HEAD_START):
                    await is_over.wait()
        if not answers and busy:
            raise busy[0]
        if not answers:
            others = [endpoint for endpoint in endpoints if not self._is_ours(endpoint)]
            raise NoPong(f"no answer from {self._texts(others or endpoints)}: {self._why_silent(others)}")
        event = answers[0]
        if isinstance(event, Answered):
            return event
        assert event.error is not None
        hint = ": its token is wrong or too old, get another with find-value" if _is_token_error(event) else ""
        raise PeerRefused(f"{self._text(event.endpoint)} refused: {event.error.code} {event.error.text!r:.80}{hint}")

    def _why_nobody(self) -> str:
        known = len(self._node.contacts())
        joins = self._node.endpoints_to_join_by()
        if not known and joins:
            where = self._texts(joins[:SHOWN])
            return f"this node is still alone: nobody has answered at {where}. See dht status, or dht bootstrap"
        if not known:
            return NO_PEERS
        return f"none of the nodes that this node knows ({known}) answers any more: is its network up? See dht status"

    def _why_silent(self, others: list[Endpoint]) -> str:
        """Return why nobody answers at `others`, the endpoints that are not ours; without any, at ours."""
        if not others:
            return "this node is there, and a node does not answer itself"
        families = {endpoint.family for endpoint in others}
        networks = [overlay for overlay in self._node.overlays if overlay.family in families]
        if all(len(overlay.state.table) and not overlay.is_connected for overlay in networks):
            by = "" if len(networks) == len(self._node.overlays) else f" by {networks[0].family}"
            return f"nobody answers this node{by} at the moment, see dht status"
        key = "with a network key" if self._driver.seal is None else "without our network key, or with another time"
        return f"no dhtd runs there, or one {key}, or something between drops its datagrams"

    def _is_ours(self, endpoint: Endpoint) -> bool:
        return endpoint in self._node.external.endpoints() or self._driver.udp.is_ours(endpoint)

    async def _outcome(self, start: Start) -> Event:
        with self._driver.begin(start) as operation:
            return await operation.event()

    def _found(self, answered: Answered) -> protocol.FindNodeResult:
        assert isinstance(answered.result, Found)
        nodes = answered.result.contacts
        return {
            "node_id": self._format(answered.contact.id),
            "token": (answered.result.token or b"").hex(),
            "nodes": [{"id": self._format(node.id), "endpoint": self._text(node.endpoint)} for node in nodes],
        }

    def _text(self, endpoint: Endpoint) -> str:
        return self._driver.udp.zones.text(endpoint)

    def _texts(self, endpoints: Iterable[Endpoint]) -> str:
        return ", ".join(map(self._text, endpoints))

    def _format(self, id: Id) -> str:
        return self._node.codec.traits.keyspace.format(id)


def _given(host: str, port: int) -> str:
    """Return an endpoint as the user has given it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _all_of(unreached: Mapping[HostPort, DhtdError], given: Iterable[HostPort]) -> DhtdError:
    """Return all that failed as one error, of the kind of the first one, in the order in which hosts were given."""
    errors = [unreached[host_port] for host_port in dict.fromkeys(given) if host_port in unreached]
    return type(errors[0])("; ".join(dict.fromkeys(map(str, errors))))


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
