"""A wire for any keyspace, in JSON. It shows that the core assumes nothing of the native wire.

A datagram is one array. Bytes are hexadecimal text, and IDs are numbers. It is for debuggers, not for real networks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import assert_never

from dhtd.core.codec import NOTHING, Named, PackedContacts, Room, Traits
from dhtd.core.endpoint import IPV4_SIZE, IPV6_SIZE, PORT_MAX, Endpoint
from dhtd.core.ids import NATIVE, Id, Keyspace, closest
from dhtd.core.messages import (
    CHANGED_MAX,
    ERROR_METHOD,
    LEASE_MAX,
    NO_OPTIONS,
    VALUE_LASTS,
    VERSION_MAX,
    Acknowledged,
    BadQuery,
    Changed,
    Contact,
    Error,
    FindNode,
    FindValue,
    Found,
    Get,
    Message,
    Options,
    Ping,
    Put,
    Query,
    Renew,
    Reply,
    Request,
    Result,
    Store,
    Watch,
    Withdraw,
)
from dhtd.core.records import SEQ_MAX, Value
from dhtd.errors import WireError
from dhtd.sim.json_fields import (
    BAD,
    dump,
    from_value,
    padded_find,
    to_endpoint,
    to_endpoints,
    to_held,
    to_integer,
    to_renewed,
    to_session,
    to_token,
    to_value,
    to_watched,
)
from dhtd.wire import native_values
from dhtd.wire.native import TRAITS

_ENDPOINT_SIZE = 2 * IPV4_SIZE + 4  # bytes of an endpoint in an answer, at least: digits in quotes, a comma, a space
_TEXT_MAX = 40  # characters of an error
_TOKEN_SIZE = 8  # bytes of a token that we give


class JsonCodec:
    """The `Codec` of a keyspace of any width.

    A `bare` one has no more than BEP 5 has:

    - It has neither withdraw nor leases: a store has no lease and no session.
    - Answers to find_node give no token, and no answer says that it was cut.
    - Replies do not tell the observed address, and errors do not tell the ID of their sender.
    """

    def __init__(self, keyspace: Keyspace, *, bare: bool = False) -> None:
        self.traits = Traits(keyspace, 4, TRAITS.requests, TRAITS.token_from, tells_more=True)
        if bare:
            requests = frozenset({Ping, FindNode, FindValue, Store})
            self.traits = Traits(keyspace, 2, requests, frozenset({FindValue}), tells_more=False)
        self._is_bare = bare
        widest = Id(keyspace.size - 1)
        error = dump("error", b"", widest, ERROR_METHOD, " " * _TEXT_MAX)
        cut = dump(
            "reply", b"", widest, "0" * 2 * IPV6_SIZE, ["0" * 2 * _TOKEN_SIZE, [], [], False, SEQ_MAX, VALUE_LASTS]
        )
        # Bytes of a query at least: the answer to a shorter one could be more than three times as long. We pad ours.
        self._query_min = -(-max(len(error), len(cut)) // 3)

    def decode(self, data: bytes) -> Message:
        """Return the message that a datagram holds; raise `WireError` for anything else."""
        try:
            kind, tid, sender, fourth, fifth = json.loads(data)[:5]
            tid = bytes.fromhex(tid)
            if kind == "error" and type(fourth) is int and type(fifth) is str:
                return Error(tid, None if sender is None else self._id(sender), fourth, fifth)
            sender = self._id(sender)
            if kind == "reply":
                return Reply(tid, sender, None if fourth is None else to_endpoint(fourth), fifth)
            if kind == "query" and len(data) >= self._query_min:
                request = self._request(fourth, fifth)
                if request is None or type(request) not in self.traits.requests:
                    return BadQuery(tid, sender, ERROR_METHOD, "unknown method")
                return Query(tid, sender, request)
        except BAD as error:
            raise WireError(str(error)) from None
        raise WireError("unknown message type")

    def is_plain(self, data: bytes) -> bool:
        """Whether, by its first bytes and its size, a datagram costs next to nothing to decode."""
        return data.startswith((b'["query", "', b'["reply", "', b'["error", "'))

    def decode_result(self, request: Request, body: object) -> Result:
        """Return the result that a reply's `body` is, to `request`; raise `WireError`."""
        if isinstance(request, Ping | Store | Withdraw | Changed | Put):
            return Acknowledged()
        try:
            if isinstance(request, Renew):
                return to_renewed(body)
            if isinstance(request, Watch):
                return to_watched(body)
            token, contacts, endpoints, more, *got = body  # type: ignore[misc] # whatever it is, it unpacks or raises
            return Found(
                to_token(token),  # type: ignore[has-type]
                tuple(Contact(self._id(id), to_endpoint(at)) for id, at in contacts),  # type: ignore[has-type]
                to_endpoints(endpoints),  # type: ignore[has-type]
                bool(more and token),  # type: ignore[has-type]
                *(to_held(*got) if isinstance(request, Get) else ()),  # type: ignore[has-type]
            )
        except BAD as error:
            raise WireError(str(error)) from None

    def encode_query(self, tid: bytes, sender: Id, request: Request, options: Options = NO_OPTIONS) -> bytes:
        """Return the datagram. A find request without a token is padded."""
        match request:
            case Ping():
                return self._padded(dump("query", tid, sender, "ping", []))
            case FindNode(target, token):
                return self._padded(padded_find(tid, sender, "find_node", target, token))
            case FindValue(key, token):
                return self._padded(padded_find(tid, sender, "find_value", key, token))
            case Get(key, token, seq):
                return self._padded(padded_find(tid, sender, "get", key, token, seq))
            case Put(_, token, value, cas, lasts):
                return self._padded(dump("query", tid, sender, "put", [token.hex(), from_value(value), cas, lasts]))
            case Store(key, port, token, lease, session):
                leased = [] if self._is_bare else [lease, session.hex()]
                return self._padded(dump("query", tid, sender, "store", [key, port, token.hex(), *leased]))
            case Withdraw(key, port, token, session):
                return self._padded(dump("query", tid, sender, "withdraw", [key, port, token.hex(), session.hex()]))
            case Renew(session, lease, token):
                return self._padded(dump("query", tid, sender, "renew", [session.hex(), lease, token.hex()]))
            case Watch(key, token, lease, session):
                return self._padded(dump("query", tid, sender, "watch", [key, token.hex(), lease, session.hex()]))
            case Changed(key, version, added, removed):
                args = [key, version, [each.hex() for each in added], [each.hex() for each in removed]]
                return self._padded(dump("query", tid, sender, "changed", args))
            case _:
                assert_never(request)

    def encode_acknowledged(self, tid: bytes, sender: Id, observed: Endpoint) -> bytes:
        """Return the datagram that answers ping, store, withdraw, changed and put."""
        return self._reply(tid, sender, observed, [])

    def pack_contacts(self, contacts: Sequence[Contact]) -> PackedContacts:
        """Return `contacts` with their wire form."""
        return PackedContacts(tuple(contacts), b"")

    def encode_found(
        self,
        query: Query,
        sender: Id,
        observed: Endpoint,
        token: bytes,
        packed: PackedContacts,
        room: Room,
        named: Named = NOTHING,
        others: PackedContacts | None = None,
    ) -> bytes:
        """Return the datagram that answers find_node or find_value, within the `room`."""
        request = query.request
        assert isinstance(request, FindNode | FindValue)
        target = request.target if isinstance(request, FindNode) else request.key
        contacts = [(contact.id, contact.endpoint.hex()) for contact in closest(packed.contacts, target, 99)]
        endpoints = [] if isinstance(request, FindNode) else [endpoint.hex() for endpoint in named.endpoints]
        known, body = len(endpoints), [self._given(request, token), contacts, endpoints, False]
        # While all that there is does not fit, leave out the last endpoint, and then the farthest contact.
        while len(data := self._reply(query.tid, sender, observed, body)) > room.limit and (endpoints or contacts):
            if named.choose is not None and len(endpoints) == known > 0:
                some = named.choose(target, named.endpoints, room.limit // _ENDPOINT_SIZE)
                endpoints[:] = [endpoint.hex() for endpoint in some]
            (endpoints or contacts).pop()
            body[3] = bool(token) and self.traits.tells_more and (len(endpoints) < known or not room.proved)
        for contact in () if others is None else closest(others.contacts, target, 99):
            contacts.append((contact.id, contact.endpoint.hex()))
            longer = self._reply(query.tid, sender, observed, body)
            if len(longer) > room.limit:
                break
            data = longer
        return data

    def encode_cut(self, query: Query, sender: Id, observed: Endpoint, token: bytes) -> bytes:
        """Return the datagram that answers a find with nothing but a token, and `more`."""
        given, nothing = self._given(query.request, token), ()
        behind = (None, 0) if isinstance(query.request, Get) else ()
        return self._reply(query.tid, sender, observed, [given, nothing, nothing, self.traits.tells_more, *behind])

    def encode_got(
        self,
        query: Query,
        sender: Id,
        observed: Endpoint,
        token: bytes,
        packed: PackedContacts,
        room: Room,
        held: Value | int | None,
        lasts: int,
        others: PackedContacts | None = None,
    ) -> bytes:
        """Return the datagram that answers get: the value first, then contacts, as many as there is room for."""
        request = query.request
        assert isinstance(request, Get)
        contacts: list[tuple[Id, str]] = []
        is_value = isinstance(held, Value)
        shown = from_value(held) if isinstance(held, Value) else held
        body: list[object] = [token.hex(), contacts, (), False, shown, lasts]
        data = self._reply(query.tid, sender, observed, body)
        # 1. The value is left out where a forged query would bring more than it may.
        if is_value and len(data) > room.limit and not room.proved:
            body[3:5] = bool(token), None
            data = self._reply(query.tid, sender, observed, body)
        # 2. The nearest contacts come next, and then those of the other family.
        near = closest(packed.contacts, request.key, 99)
        for contact in (*near, *(() if others is None else closest(others.contacts, request.key, 99))):
            contacts.append((contact.id, contact.endpoint.hex()))
            longer = self._reply(query.tid, sender, observed, body)
            if len(longer) > room.limit:
                contacts.pop()
                body[3] = body[3] or (bool(token) and len(contacts) < len(near) and (is_value or not room.proved))
                return self._reply(query.tid, sender, observed, body)
            data = longer
        return data

    def key_of(self, value: Value) -> Id:
        """Return the key of a value: the leading bits of its key on the native wire."""
        return Id(native_values.key_of(value) >> NATIVE.bits - self.traits.keyspace.bits)

    def is_genuine(self, value: Value) -> bool:
        """Whether the signature is that of the owner of the public key. What never changes needs none."""
        return native_values.is_genuine(value)

    def encode_renewed(self, tid: bytes, sender: Id, observed: Endpoint, token: bytes, held: int | None) -> bytes:
        """Return the datagram that answers renew."""
        return self._reply(tid, sender, observed, [token.hex(), held])

    def encode_watched(
        self,
        query: Query,
        sender: Id,
        observed: Endpoint,
        token: bytes,
        version: int,
        room: Room,
        endpoints: Sequence[Endpoint],
    ) -> tuple[bytes, int]:
        """Return the datagram that answers watch, within the `room`, and how many of the endpoints it has."""
        texts = [endpoint.hex() for endpoint in endpoints]
        while True:
            body = [token.hex(), version, texts, len(texts) < len(endpoints)]
            data = self._reply(query.tid, sender, observed, body)
            if len(data) <= room.limit or not texts:
                return data, len(texts)
            del texts[-1:]

    def encode_error(self, tid: bytes, sender: Id, code: int, text: str, observed: Endpoint | None = None) -> bytes:
        """Return the datagram."""
        return dump("error", tid, None if self._is_bare else sender, code, text[:_TEXT_MAX])

    def _reply(self, tid: bytes, sender: Id, observed: Endpoint, body: object) -> bytes:
        return dump("reply", tid, sender, None if self._is_bare else observed.hex(), body)

    def _given(self, request: Request, token: bytes) -> str | None:
        return token.hex() if isinstance(request, Get) or type(request) in self.traits.token_from else None

    def _padded(self, query: bytes) -> bytes:
        return query.ljust(self._query_min)

    def _id(self, value: object) -> Id:
        if type(value) is not int:
            raise WireError("an ID is a number")
        return self.traits.keyspace.id(value)

    def _request(self, method: object, args: list[object]) -> Request | None:
        match method, args:
            case "ping", []:
                return Ping()
            case "find_node", [target, token, *_]:
                return FindNode(self._id(target), to_token(token))
            case "find_value", [key, token, *_]:
                return FindValue(self._id(key), to_token(token))
            case "store", [key, port, str(token)] if self._is_bare:
                return Store(self._id(key), to_integer(port, 1, PORT_MAX), bytes.fromhex(token), 0, b"")
            case "store", [key, port, str(token), lease, str(session)] if not self._is_bare:
                lease = to_integer(lease, 1, LEASE_MAX)
                return Store(
                    self._id(key), to_integer(port, 1, PORT_MAX), bytes.fromhex(token), lease, to_session(session)
                )
            case "withdraw", [key, port, str(token), str(session)]:
                port = to_integer(port, 1, PORT_MAX)
                return Withdraw(self._id(key), port, bytes.fromhex(token), to_session(session))
            case "renew", [str(session), lease, str(token)]:
                return Renew(to_session(session), to_integer(lease, 0, LEASE_MAX), bytes.fromhex(token))
            case "watch", [key, str(token), lease, str(session)]:
                lease = to_integer(lease, 0, LEASE_MAX)
                return Watch(self._id(key), bytes.fromhex(token), lease, to_session(session))
            case "changed", [key, version, [*added], [*removed]] if len(added) + len(removed) <= CHANGED_MAX:
                version = to_integer(version, 0, VERSION_MAX)
                return Changed(self._id(key), version, to_endpoints(added), to_endpoints(removed))
        return self._of_value(method, args)

    def _of_value(self, method: object, args: list[object]) -> Request | None:
        match method, args:
            case "get", [key, token, seq, *_]:
                return Get(self._id(key), to_token(token), None if seq is None else to_integer(seq, 0, SEQ_MAX))
            case "put", [str(token), field, cas, lasts]:
                value, expected = to_value(field), None if cas is None else to_integer(cas, 0, SEQ_MAX)
                seconds = to_integer(lasts, 1, VALUE_LASTS)
                return Put(self.key_of(value), bytes.fromhex(token), value, expected, seconds)
            case _:
                return None
