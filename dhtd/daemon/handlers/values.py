"""Serves the methods about values: get, put, keep and drop."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from contextlib import suppress
from typing import cast

import trio

from dhtd.core.events import GetDone, GetProgress, ValuePut
from dhtd.core.ids import Id
from dhtd.core.messages import ERROR_CAS, ERROR_SEQ, Contact
from dhtd.core.records import DATA_MAX, Immutable, Mutable, Value
from dhtd.daemon.driver import Driver, Ongoing
from dhtd.daemon.handlers.calls import Call, Handlers, answer, stats_of, stream
from dhtd.daemon.own_values import OwnValues
from dhtd.errors import Conflict, InvalidValue, NewerValue, NoAnswer, NoPeers, NotFound, NotTracked, OtherValue
from dhtd.service.entries import Replica
from dhtd.service.method import Emit
from dhtd.service.values import (
    DROP,
    GET,
    KEEP,
    PUT,
    DropRequest,
    DropResult,
    FoundValue,
    GetEvent,
    GetRequest,
    GetResult,
    KeepRequest,
    KeepResult,
    Kept,
    PutRequest,
    PutResult,
    Sought,
    ValueIdentity,
    ValueInfo,
)
from dhtd.words import count


class Values(Handlers):
    """Gets values, and has them kept in the network."""

    def __init__(self, driver: Driver, own: OwnValues) -> None:
        super().__init__(driver)
        self._own = own

    def calls(self) -> tuple[Call, ...]:
        return stream(GET, self._get), answer(PUT, self._put), answer(KEEP, self._keep), answer(DROP, self._drop)

    # Reading

    async def _get(self, request: GetRequest, emit: Emit[GetEvent]) -> GetResult:
        key = self._key_of(request)
        with self._begin_get(request, key, thorough=request.all) as reading:
            while isinstance(event := await reading.event(), GetProgress):
                await emit({**self._shown(event.value), "stats": stats_of(event.stats)})
                if request.first:
                    break
        assert isinstance(event, GetProgress | GetDone)
        if event.value is None and not event.stats.queries:
            raise NoPeers(self.why_nobody())
        result: GetResult = {
            "id": self.format(key),
            **_identity(None),
            "data": None,
            "text": None,
            "bencoded": False,
            "signature": None,
            "copies": [],
            "stale": [],
            "conflict": False,
            "local": False,
            "complete": False,
            "values": [],
            "stats": stats_of(event.stats),
        }
        if event.value is not None:
            result.update(cast("GetResult", self._shown(event.value)))
        if isinstance(event, GetDone):
            result["copies"] = self._holders(event.copies)
            result["stale"] = [{**self._holder(each.contact), "seq": _seq(each.value)} for each in event.stale]
            rival = self._own_rival(event)
            result["conflict"] = bool(event.conflicting) or rival is not None
            result["local"], result["complete"] = event.is_ours, event.complete
            result["values"] = self._all(event, rival) if request.all else []
        else:
            result["local"] = event.stats.first is None  # no other node has given it
        return result

    def _begin_get(self, sought: Sought, key: Id, *, thorough: bool = False) -> Ongoing:
        signed, get = sought.public_key is not None, self._node.commands.get
        salt = sought.salt or b""
        return self._driver.begin(lambda now: get(key, now, signed=signed, thorough=thorough, salt=salt))

    def _own_rival(self, event: GetDone) -> Value | None:
        """Return this node's own copy, if it is another value with the seq of the one that was found."""
        known = self._node.values.known.get(event.key, self._driver.clock())
        own = None if known is None else known[0]
        is_rival = isinstance(own, Mutable) and own != event.value and own.seq == _seq(event.value)
        return own if is_rival else None

    def _all(self, event: GetDone, rival: Value | None) -> list[FoundValue]:
        """Return all values that a get has found, each once: the one that it takes, its rivals, and older ones."""
        holders: dict[Value, list[Contact]] = {} if event.value is None else {event.value: list(event.copies)}
        if rival is not None:
            holders[rival] = []
        for copy in (*event.conflicting, *event.stale):
            holders.setdefault(copy.value, []).append(copy.contact)
        newest_first = sorted(holders, key=lambda value: value.seq if isinstance(value, Mutable) else -1, reverse=True)
        return [{**self._shown(value), "holders": self._holders(holders[value])} for value in newest_first]

    # Writing

    async def _put(self, request: PutRequest) -> PutResult:
        """Write the value to disk before acknowledging it: from then on it is kept until `drop`."""
        deadline = trio.current_time() + request.within_s
        data = self._node.codec.traits.wrap(request.data)
        if len(data) > DATA_MAX:
            raise InvalidValue(f"a value has {self._most()} bytes at most here, and this one has {len(request.data)}")
        value: Value = Immutable(data)
        if request.public_key is not None:
            assert request.seq is not None
            assert request.signature is not None
            value = Mutable(request.public_key, request.salt or b"", request.seq, data, request.signature)
        if request.keep and request.cas is not None:
            return await self._replace(value, request, request.cas, deadline)
        key = self._node.codec.key_of(value)
        was_kept = self._node.values.own.get(key) is not None
        wanted = max(1, request.min_replicas)
        publication = await self._own.put(value, wanted=wanted, cas=request.cas, keep=request.keep, name=request.name)
        try:
            event = await self._outcome(publication, deadline)
        except Conflict:
            if request.keep and not was_kept:
                await self._own.drop(key)
            raise
        return self._placed(key, value, event)

    async def _replace(self, value: Value, request: PutRequest, cas: int, deadline: float) -> PutResult:
        """Put a value in place of the one with the seq `cas`; keep it once nodes have taken it, or none answers.

        What nodes have not said in time is not known. So the value is not kept: kept ones are put without the `cas`.
        """
        key, wanted = self._node.codec.key_of(value), max(1, request.min_replicas)
        publication = await self._own.propose(value, wanted=wanted, cas=cas, name=request.name)
        try:
            event = await self._outcome(publication, deadline)
            if event is None:
                raise NoAnswer(
                    f"in {request.within_s:g} s, not all nodes have said whether they take it in place of the value "
                    f"with seq {cas}, so it is not kept. Get the value that is there, and put again"
                )
            await self._own.adopt(value, event.replicas, wanted=wanted, name=request.name)
        except BaseException:  # a client that goes away, too
            with trio.CancelScope(shield=True):
                await self._own.retract(key)
            raise
        return self._placed(key, value, event)

    async def _keep(self, request: KeepRequest) -> KeepResult:
        deadline = trio.current_time() + request.within_s
        key = self._key_of(request)
        with self._begin_get(request, key) as reading:
            while isinstance(event := await reading.event(), GetProgress):
                pass  # a newer one may follow
        assert isinstance(event, GetDone)
        if event.value is None:
            if not event.stats.queries:
                raise NoPeers(self.why_nobody())
            if not event.stats.responses:
                raise NoAnswer("nobody answers, so whether there is a value is not known. See dht status")
            raise NotFound(f"no value is there to keep: {count(event.stats.responses, 'node')} near it answered")
        wanted = max(1, request.min_replicas)
        publication = await self._own.put(event.value, wanted=wanted, cas=None, keep=True, name=request.name)
        return {**self._placed(key, event.value, await self._outcome(publication, deadline))}

    async def _outcome(self, publication: Ongoing, deadline: float) -> ValuePut | None:
        """Wait for the nodes that take a value; None if that takes too long. Raise if they refuse it."""
        with publication, trio.move_on_at(deadline):
            event = await publication.event()
            assert isinstance(event, ValuePut)
            if event.cancelled:
                raise NotTracked("the value was deleted or replaced while it was being placed")
            _refuse(event)
            return event
        return None

    def _placed(self, key: Id, value: Value, event: ValuePut | None) -> PutResult:
        replicas = self._holders(() if event is None else event.replicas)
        return {"id": self.format(key), **_identity(value), "replicas": replicas, **self._kept(key)}

    def _kept(self, key: Id) -> Kept:
        values = self._node.values.own
        own = values.get(key)
        due_in = None if own is None else round(values.due_in(own, self._driver.clock()), 3)
        return {"name": self._driver.labels.value_name(key), "kept": own is not None, "refresh_in_s": due_in}

    async def _drop(self, request: DropRequest) -> DropResult:
        key = self._key_of(request)
        own = self._node.values.own.get(key)
        if own is None or not await self._own.drop(key):
            raise NotTracked("this node keeps no value under this ID")
        return {"id": self.format(key), **_identity(own.value)}

    # Inside

    def _shown(self, value: Value) -> ValueInfo:
        data, text = self._node.codec.traits.unwrap(value.data), None
        is_bencoded = data is None  # a number, a list or a dictionary, as others may put in the Mainline network
        data = value.data if data is None else data
        with suppress(UnicodeDecodeError):
            text = data.decode()
        return {
            **_identity(value),
            "data": b64encode(data).decode(),
            "text": text,
            "bencoded": is_bencoded,
            "signature": value.signature.hex() if isinstance(value, Mutable) else None,
        }

    def _most(self) -> int:
        """Return how many bytes may be given, since those that wrap them count."""
        given = DATA_MAX - 1
        return DATA_MAX - (len(self._node.codec.traits.wrap(bytes(given))) - given)

    def _key_of(self, sought: Sought) -> Id:
        if sought.id is not None:
            return sought.id
        assert sought.public_key is not None
        return self._node.codec.key_of(Mutable(sought.public_key, sought.salt or b"", 0, b"", b""))

    def _holders(self, contacts: Iterable[Contact]) -> list[Replica]:
        return [self._holder(contact) for contact in contacts]

    def _holder(self, contact: Contact) -> Replica:
        return {"node_id": self.format(contact.id), "endpoint": self.text(contact.endpoint)}


def _refuse(event: ValuePut) -> None:
    """Raise if other nodes hold a value that this one does not replace.

    Some that have missed the latest value may refuse the next one, too. So a value counts as placed if more nodes take
    it than refuse it.
    """
    if event.newer is not None:
        raise NewerValue(f"a newer value is there, with seq {_seq(event.newer)}: get it, and put again")
    refusals = [refusal for refusal in event.refusals if refusal.code in (ERROR_CAS, ERROR_SEQ)]
    if refusals and len(refusals) >= len(event.replicas):
        refused, took = count(len(refusals), "node"), len(event.replicas)
        said = f"{refused} refused it, and {took} took it: {refusals[0].text!r:.80}"
        if refusals[0].code == ERROR_CAS:
            raise OtherValue(f"{said}. Get the value that is there, and put again")
        raise Conflict(f"{said}. Put again, with a higher seq")


def _seq(value: Value | None) -> int | None:
    return value.seq if isinstance(value, Mutable) else None


def _identity(value: Value | None) -> ValueIdentity:
    if isinstance(value, Mutable):
        return {"public_key": value.public_key.hex(), "seq": value.seq, "salt": b64encode(value.salt).decode()}
    return {"public_key": None, "seq": None, "salt": None}
