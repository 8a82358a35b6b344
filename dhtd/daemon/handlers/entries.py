"""Serves the methods about entries: enter, lookup and delete."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Final

import trio

from dhtd.control.threads import in_thread
from dhtd.core.events import CannotWithdraw, LookupDone, LookupProgress, Published, Withdrawn
from dhtd.core.messages import Contact
from dhtd.core.records import Peer, RecordKey
from dhtd.daemon.driver import Driver, Ongoing
from dhtd.daemon.guards.guard import Checked
from dhtd.daemon.guards.listening import is_listening
from dhtd.daemon.guards.processes import Process
from dhtd.daemon.guards.wanted import guard_of
from dhtd.daemon.handlers.calls import Call, Handlers, answer, answer_caller, stats_of, stream
from dhtd.daemon.handlers.shared_lookups import SharedLookups
from dhtd.daemon.own_entries import OwnEntries, Wanted
from dhtd.daemon.own_values import OwnValues
from dhtd.daemon.report import NodeReport
from dhtd.errors import NoPeers, NoThread, NotTracked
from dhtd.service.entries import (
    DELETE,
    ENTER,
    ENTER_MANY,
    LOOKUP,
    DeleteRequest,
    DeleteResult,
    EnterManyRequest,
    EnterManyResult,
    EnterRequest,
    EnterResult,
    LookupEvent,
    LookupRequest,
    LookupResult,
)
from dhtd.service.method import Caller, Emit

LookAtPort = Callable[[int], Awaitable[bool | None]]  # see `look_at_port`

NOTHING_THERE: Final = "this node has not entered this ID, and keeps no value under it; dht info lists what it has"
AT_ONCE: Final = 32  # publications of one client


class Entries(Handlers):
    """Enters, looks up and deletes, and waits for the network to do it."""

    def __init__(
        self, driver: Driver, own: OwnEntries, values: OwnValues, report: NodeReport, look_at_port: LookAtPort
    ) -> None:
        super().__init__(driver)
        self._values = values
        self._lookups = SharedLookups(driver)
        self._look_at_port = look_at_port
        self._own = own
        self._report = report

    def calls(self) -> tuple[Call, ...]:
        return (
            answer_caller(ENTER, self._enter),
            stream(ENTER_MANY, self._enter_many),
            stream(LOOKUP, self._lookup),
            answer(DELETE, self._delete),
        )

    async def _enter(self, request: EnterRequest, caller: Caller) -> EnterResult:
        """Write the entry to disk before acknowledging it: from then on it survives anything but `delete`."""
        deadline = trio.current_time() + request.within_s
        guard = await guard_of(request, caller)
        wanted, patient = Wanted(request.id, request.port, request.name, guard=guard), self._is_patient(request)
        try:
            entered = await self._own.enter(wanted, patient=patient)
        except BaseException:
            if isinstance(guard, Process):
                guard.close()
            raise
        if isinstance(entered, Checked):
            # The entry is published once its check passes.
            replicas = await self._checked(request, wanted, entered, deadline)
        else:
            replicas = await _replicas(request, entered, deadline)
        listening = None if guard is not None else await self._look_at_port(request.port)
        return self._report.entered(wanted.record_key, replicas, listening=listening)

    async def _checked(
        self, request: EnterRequest, wanted: Wanted, check: Checked, deadline: float
    ) -> tuple[Contact, ...]:
        """Wait for the first outcome of a check, and for the publication if it passes; return the holders."""
        if not request.wait:
            return ()
        with trio.move_on_at(deadline):
            await check.decided.wait()
        if wanted.record_key not in self._node.own_records:
            return ()
        try:
            return await _replicas(request, self._own.publish(wanted, patient=self._is_patient(request)), deadline)
        except NotTracked:
            if self._own.has(wanted.record_key):
                return ()  # the next checks have failed
            raise

    async def _enter_many(self, request: EnterManyRequest, emit: Emit[EnterResult]) -> EnterManyResult:
        """Write all to disk; then publish them in their order, some at once, and tell of each."""
        deadline = trio.current_time() + request.within_s
        wanted = [Wanted(*entry) for entry in request.entries]
        self._node.commands.check_free()
        await self._own.track(wanted)
        patient = self._is_patient(request)
        ahead: deque[Ongoing | None] = deque()
        with ExitStack() as publications:
            for number, each in enumerate(wanted):
                # 1. Keep some publications under way. Once the deadline is over, the node is left to its own pace.
                if request.wait and trio.current_time() < deadline:
                    for coming in wanted[number + len(ahead) : number + AT_ONCE]:
                        publication = self._own.publish(coming, patient=patient) if self._is_new(coming) else None
                        ahead.append(None if publication is None else publications.enter_context(publication))
                # 2. Wait for the first of them.
                publication = ahead.popleft() if ahead else None
                if publication is not None:
                    with trio.move_on_at(deadline):
                        await publication.event()
                # 3. Tell of its entry, which may have been deleted meanwhile.
                entry = self._node.own_records.get(each.record_key)
                replicas = entry.replicas if request.wait and entry is not None else ()
                await emit(self._report.entered(each.record_key, replicas, listening=None))
        return {"entered": len(wanted)}

    def _is_new(self, wanted: Wanted) -> bool:
        """Whether an entry was never published. One that was deleted meanwhile is not."""
        entry = self._node.own_records.get(wanted.record_key)
        return entry is not None and entry.published_at is None

    def _is_patient(self, request: EnterRequest | EnterManyRequest) -> bool:
        return request.wait and (request.min_replicas > 0 or self._node.memberships.has_somebody_to_join_by)

    async def _lookup(self, request: LookupRequest, emit: Emit[LookupEvent]) -> LookupResult:
        with self._lookups.join(request.id) as lookup:
            while isinstance(event := await lookup.event(), LookupProgress):
                await emit({"peers": [self.text(peer) for peer in event.endpoints], "stats": stats_of(event.stats)})
                if request.first and event.endpoints:
                    break
        assert isinstance(event, LookupDone | LookupProgress)
        if not event.endpoints and not event.stats.queries:
            raise NoPeers(self.why_nobody())
        self._driver.lookups.ended(event.stats)
        peers = [self.text(peer) for peer in event.endpoints]
        name = request.name or self._driver.labels.name(request.id)
        return {
            "id": self.format(request.id),
            "name": name,
            "peers": peers,
            "stats": stats_of(event.stats),
            "complete": isinstance(event, LookupDone) and event.complete,
        }

    async def _delete(self, request: DeleteRequest) -> DeleteResult:
        id, labels = request.id, self._driver.labels
        name = labels.name(id)
        # 1. An ID may have a value as well: the hash of a file is the ID of both.
        dropped = request.port is None and await self._values.drop(id)
        # 2. Its entries.
        withdrawal: Ongoing | None = None
        removed: list[int] = []
        try:
            withdrawal, removed, name = await self._own.delete(id, request.port)
        except NotTracked:
            if request.port is not None:
                raise
            if not dropped:
                raise NotTracked(NOTHING_THERE) from None
        event = None if withdrawal is None else await _withdrawn(withdrawal)
        files = [labels.declared.get(RecordKey.of(id, Peer.on(port))) for port in removed]
        result: DeleteResult = {
            "id": self.format(id),
            "name": request.name or name,
            "removed": removed,
            "withdrawn": 0,
            "pending": 0,
            "left_behind": [],
            "kept": None,
            "declared": sorted({file for file in files if file is not None}),
            "value": dropped,
        }
        if isinstance(event, Withdrawn):
            result["withdrawn"], result["pending"] = event.nodes, event.silent
            result["left_behind"] = [
                {"endpoint": self.text(endpoint), "expires_in_s": self._seconds_until(until)}
                for endpoint, until in event.left_behind
            ]
        elif isinstance(event, CannotWithdraw):
            expires = 0.0 if event.until is None else self._seconds_until(event.until)
            result["kept"] = {"nodes": event.holders, "expires_in_s": expires}
        return result

    def _seconds_until(self, time: float) -> float:
        return max(0.0, time - self._driver.clock())


async def _replicas(request: EnterRequest, publication: Ongoing, deadline: float) -> tuple[Contact, ...]:
    """Return the nodes that have taken an entry by the deadline, if the client waits for them."""
    with publication:
        if request.wait:
            with trio.move_on_at(deadline):
                event = await publication.event()
                assert isinstance(event, Published)
                if event.cancelled:
                    raise NotTracked("the entry was deleted while it was being published")
                return event.replicas
    return ()


async def _withdrawn(withdrawal: Ongoing) -> Withdrawn | CannotWithdraw:
    with withdrawal:
        event = await withdrawal.event()
    assert isinstance(event, Withdrawn | CannotWithdraw)
    return event


async def look_at_port(port: int) -> bool | None:
    """Whether a program listens on a port of this machine; None if nobody can tell."""
    try:
        return await in_thread(partial(is_listening, port))
    except NoThread:
        return None  # nobody is helped by an error: the entry is there
