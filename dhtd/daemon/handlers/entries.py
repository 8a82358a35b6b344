"""Serves the methods about entries: enter, lookup and delete."""

from __future__ import annotations

from typing import Final

import trio

from dhtd.core.events import CannotWithdraw, LookupDone, LookupProgress, LookupStats, Published, Withdrawn
from dhtd.core.messages import Contact
from dhtd.core.records import Peer, RecordKey
from dhtd.daemon.driver import SHOWN, Driver
from dhtd.daemon.handlers.calls import Call, Handlers, answer, stream
from dhtd.daemon.report import NodeReport, milliseconds
from dhtd.daemon.state.saver import Saver
from dhtd.errors import NoPeers, NotTracked
from dhtd.service.entries import (
    DELETE,
    ENTER,
    LOOKUP,
    DeleteRequest,
    DeleteResult,
    EnterRequest,
    EnterResult,
    LookupEvent,
    LookupRequest,
    LookupResult,
    Stats,
)
from dhtd.service.method import Emit

NO_PEERS: Final = "this node knows no other node: name one with dht bootstrap HOST:PORT, or dhtd start --bootstrap"


class Entries(Handlers):
    """Changes own entries on disk and in the node, one change at a time."""

    def __init__(self, driver: Driver, saver: Saver, report: NodeReport) -> None:
        super().__init__(driver)
        self._saver = saver
        self._report = report

    def calls(self) -> tuple[Call, ...]:
        return (
            answer(ENTER, self._enter),
            stream(LOOKUP, self._lookup),
            answer(DELETE, self._delete),
        )

    async def _enter(self, request: EnterRequest) -> EnterResult:
        """Write the entry to disk before acknowledging it: from then on it survives anything but `delete`."""
        deadline = trio.current_time() + request.within_s
        patient = request.wait and (request.min_replicas > 0 or self._node.memberships.has_somebody_to_join_by)
        async with self._saver.own_entries:
            await self._saver.bring([request.id])
            self._node.commands.check_free()
            self._node.commands.check_room(request.id, request.port)
            with trio.CancelScope(shield=True):  # a client that goes away must not leave disk and node apart
                await self._saver.add_own(RecordKey.of(request.id, Peer.on(request.port)))
                publication = self._driver.begin(
                    lambda now: self._node.commands.enter(request.id, request.port, now, patient=patient)
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

    async def _lookup(self, request: LookupRequest, emit: Emit[LookupEvent]) -> LookupResult:
        with self._driver.begin(lambda now: self._node.commands.lookup(request.id, now)) as lookup:
            while isinstance(event := await lookup.event(), LookupProgress):
                await emit({"peers": [self.text(peer) for peer in event.endpoints], "stats": _stats(event.stats)})
        assert isinstance(event, LookupDone)
        if not event.endpoints and not event.stats.queries:
            raise NoPeers(self._why_nobody())
        peers = [self.text(peer) for peer in event.endpoints]
        return {"id": self.format(request.id), "peers": peers, "stats": _stats(event.stats), "complete": event.complete}

    async def _delete(self, request: DeleteRequest) -> DeleteResult:
        id, port = request.id, request.port
        async with self._saver.own_entries:
            await self._saver.bring([id])
            ports = [tracked for tracked in self._node.own_records.ports(id) if port in (None, tracked)]
            if not ports:
                which = "this ID" if port is None else f"this ID on port {port}"
                raise NotTracked(f"this node has not entered {which}; dht info tracking lists what it has")
            self._node.commands.check_free()
            with trio.CancelScope(shield=True):
                await self._saver.remove_own(self._node, [RecordKey.of(id, Peer.on(tracked)) for tracked in ports])
                withdrawal = self._driver.begin(lambda now: self._node.commands.delete(id, port, now)[0])
        with withdrawal:
            event = await withdrawal.event()
        assert isinstance(event, Withdrawn | CannotWithdraw)
        result: DeleteResult = {
            "id": self.format(id),
            "removed": list(event.ports),
            "withdrawn": 0,
            "pending": 0,
            "left_behind": [],
            "kept": None,
        }
        if isinstance(event, Withdrawn):
            result["withdrawn"], result["pending"] = event.nodes, event.silent
            result["left_behind"] = [
                {"endpoint": self.text(endpoint), "expires_in_s": self._seconds_until(until)}
                for endpoint, until in event.left_behind
            ]
        else:
            expires = 0.0 if event.until is None else self._seconds_until(event.until)
            result["kept"] = {"nodes": event.holders, "expires_in_s": expires}
        return result

    def _seconds_until(self, time: float) -> float:
        return max(0.0, time - self._driver.clock())

    def _why_nobody(self) -> str:
        known = len(self._node.overlays.contacts())
        joins = self._node.memberships.endpoints_to_join_by()
        if not known and joins:
            where = self.texts(joins[:SHOWN])
            return f"this node is still alone: nobody has answered at {where}. See dht status, or dht bootstrap"
        if not known:
            return NO_PEERS
        return f"none of the nodes that this node knows ({known}) answers any more: is its network up? See dht status"


def _stats(stats: LookupStats) -> Stats:
    return {
        "hops": stats.hops,
        "queries": stats.queries,
        "responses": stats.responses,
        "timeouts": stats.timeouts,
        "elapsed_ms": milliseconds(stats.elapsed),
    }
