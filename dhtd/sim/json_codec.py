"""A wire for any keyspace, in JSON. It shows that the core assumes nothing of the native wire.

A datagram is one array. Bytes are hexadecimal text, and IDs are numbers. It is for debuggers, not for real networks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import assert_never

from dhtd.core.codec import NOTHING, PackedContacts, Room, Traits, Values
from dhtd.core.endpoint import IPV4_SIZE, IPV6_SIZE, PORT_MAX, Endpoint
from dhtd.core.ids import Id, Keyspace, closest
from dhtd.core.messages import (
    CHANGED_MAX,
    ERROR_METHOD,
    LEASE_MAX,
    SESSION_SIZE,
    VERSION_MAX,
    Acknowledged,
    BadQuery,
    Changed,
    Contact,
    Error,
    FindNode,
    FindValue,
    Found,
    Message,
    Ping,
    Query,
    Renew,
    Renewed,
    Reply,
    Request,
    Result,
    Store,
    Watch,
    Watched,
    Withdraw,
)
from dhtd.errors import DhtdError, WireError
from dhtd.wire.native import TRAITS

_FIND_SIZE = 400  # bytes to which a find query without a token is padded
_ENDPOINT_SIZE = 2 * IPV4_SIZE + 4  # bytes of an endpoint in an answer, at least: digits in quotes, a comma, a space
_TEXT_MAX = 40  # characters of an error
_TOKEN_SIZE = 8  # bytes of a token that we give

_BAD = (ValueError, TypeError, LookupError, DhtdError, RecursionError)


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
        error = _dump("error", b"", widest, ERROR_METHOD, " " * _TEXT_MAX)
        cut = _dump("reply", b"", widest, "0" * 2 * IPV6_SIZE, ["0" * 2 * _TOKEN_SIZE, [], [], False])
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
                return Reply(tid, sender, None if fourth is None else _endpoint(fourth), fifth)
            if kind == "query" and len(data) >= self._query_min:
                request = self._request(fourth, fifth)
                if request is None or type(request) not in self.traits.requests:
                    return BadQuery(tid, sender, ERROR_METHOD, "unknown method")
                return Query(tid, sender, request)
        except _BAD as error:
            raise WireError(str(error)) from None
        raise WireError("unknown message type")

    def is_plain(self, data: bytes) -> bool:
        """Whether, by its first bytes and its size, a datagram costs next to nothing to decode."""
        return data.startswith((b'["query", "', b'["reply", "', b'["error", "'))

    def decode_result(self, request: Request, body: object) -> Result:
        """Return the result that a reply's `body` is, to `request`; raise `WireError`."""
        if isinstance(request, Ping | Store | Withdraw | Changed):
            return Acknowledged()
        try:
            if isinstance(request, Renew):
                return _renewed(body)
            if isinstance(request, Watch):
                return _watched(body)
            token, contacts, endpoints, more = body  # type: ignore[misc] # whatever it is, it unpacks or raises
            return Found(
                _token(token),  # type: ignore[has-type]
                tuple(Contact(self._id(id), _endpoint(at)) for id, at in contacts),  # type: ignore[has-type]
                _endpoints(endpoints),  # type: ignore[has-type]
                bool(more and token),  # type: ignore[has-type]
            )
        except _BAD as error:
            raise WireError(str(error)) from None

    def encode_query(self, tid: bytes, sender: Id, request: Request) -> bytes:
        """Return the datagram. A find request without a token is padded."""
        match request:
            case Ping():
                return self._padded(_dump("query", tid, sender, "ping", []))
            case FindNode(target, token):
                return self._padded(_find(tid, sender, "find_node", target, token))
            case FindValue(key, token):
                return self._padded(_find(tid, sender, "find_value", key, token))
            case Store(key, port, token, lease, session):
                leased = [] if self._is_bare else [lease, session.hex()]
                return self._padded(_dump("query", tid, sender, "store", [key, port, token.hex(), *leased]))
            case Withdraw(key, port, token, session):
                return self._padded(_dump("query", tid, sender, "withdraw", [key, port, token.hex(), session.hex()]))
            case Renew(session, lease, token):
                return self._padded(_dump("query", tid, sender, "renew", [session.hex(), lease, token.hex()]))
            case Watch(key, token, lease, session):
                return self._padded(_dump("query", tid, sender, "watch", [key, token.hex(), lease, session.hex()]))
            case Changed(key, version, added, removed):
                args = [key, version, [each.hex() for each in added], [each.hex() for each in removed]]
                return self._padded(_dump("query", tid, sender, "changed", args))
            case _:
                assert_never(request)

    def encode_acknowledged(self, tid: bytes, sender: Id, observed: Endpoint) -> bytes:
        """Return the datagram that answers ping, store, withdraw and changed."""
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
        values: Values = NOTHING,
        others: PackedContacts | None = None,
    ) -> bytes:
        """Return the datagram that answers find_node or find_value, within the `room`."""
        request = query.request
        assert isinstance(request, FindNode | FindValue)
        target = request.target if isinstance(request, FindNode) else request.key
        contacts = [(contact.id, contact.endpoint.hex()) for contact in closest(packed.contacts, target, 99)]
        endpoints = [] if isinstance(request, FindNode) else [endpoint.hex() for endpoint in values.endpoints]
        known, body = len(endpoints), [self._given(request, token), contacts, endpoints, False]
        # While all that there is does not fit, leave out the last endpoint, and then the farthest contact.
        while len(data := self._reply(query.tid, sender, observed, body)) > room.limit and (endpoints or contacts):
            if values.choose is not None and len(endpoints) == known > 0:
                some = values.choose(target, values.endpoints, room.limit // _ENDPOINT_SIZE)
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
        """Return the datagram that answers find_node or find_value with nothing but a token, and `more`."""
        given, nothing = self._given(query.request, token), ()
        return self._reply(query.tid, sender, observed, [given, nothing, nothing, self.traits.tells_more])

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

    def encode_error(self, tid: bytes, sender: Id, code: int, text: str) -> bytes:
        """Return the datagram."""
        return _dump("error", tid, None if self._is_bare else sender, code, text[:_TEXT_MAX])

    def _reply(self, tid: bytes, sender: Id, observed: Endpoint, body: object) -> bytes:
        return _dump("reply", tid, sender, None if self._is_bare else observed.hex(), body)

    def _given(self, request: Request, token: bytes) -> str | None:
        return token.hex() if type(request) in self.traits.token_from else None

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
                return FindNode(self._id(target), _token(token))
            case "find_value", [key, token, *_]:
                return FindValue(self._id(key), _token(token))
            case "store", [key, port, str(token)] if self._is_bare:
                return Store(self._id(key), _integer(port, 1, PORT_MAX), bytes.fromhex(token), 0, b"")
            case "store", [key, port, str(token), lease, str(session)] if not self._is_bare:
                lease = _integer(lease, 1, LEASE_MAX)
                return Store(self._id(key), _integer(port, 1, PORT_MAX), bytes.fromhex(token), lease, _session(session))
            case "withdraw", [key, port, str(token), str(session)]:
                port = _integer(port, 1, PORT_MAX)
                return Withdraw(self._id(key), port, bytes.fromhex(token), _session(session))
            case "renew", [str(session), lease, str(token)]:
                return Renew(_session(session), _integer(lease, 0, LEASE_MAX), bytes.fromhex(token))
            case "watch", [key, str(token), lease, str(session)]:
                lease = _integer(lease, 0, LEASE_MAX)
                return Watch(self._id(key), bytes.fromhex(token), lease, _session(session))
            case "changed", [key, version, [*added], [*removed]] if len(added) + len(removed) <= CHANGED_MAX:
                version = _integer(version, 0, VERSION_MAX)
                return Changed(self._id(key), version, _endpoints(added), _endpoints(removed))
        return None


def _find(tid: bytes, sender: Id, method: str, target: Id, token: bytes | None) -> bytes:
    if token is not None:
        return _dump("query", tid, sender, method, [target, token.hex()])
    bare = len(_dump("query", tid, sender, method, [target, None, ""]))
    return _dump("query", tid, sender, method, [target, None, " " * (_FIND_SIZE - bare)])


def _token(token: object) -> bytes | None:
    if token is None:
        return None
    if type(token) is not str:
        raise WireError("a token is text")
    return bytes.fromhex(token)


def _integer(value: object, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise WireError(f"a number from {least} to {most} is expected")
    return value


def _session(text: str) -> bytes:
    session = bytes.fromhex(text)
    if len(session) != SESSION_SIZE:
        raise WireError(f"a session has {SESSION_SIZE} bytes")
    return session


def _endpoint(text: object) -> Endpoint:
    endpoint = bytes.fromhex(text) if type(text) is str else b""
    if len(endpoint) not in (IPV4_SIZE, IPV6_SIZE):
        raise WireError("an endpoint is text, of 6 or 18 bytes")
    return Endpoint(endpoint)


def _endpoints(texts: Iterable[object]) -> tuple[Endpoint, ...]:
    return tuple(map(_endpoint, texts))


def _renewed(body: object) -> Renewed:
    token, held = body  # type: ignore[misc] # whatever it is, it unpacks or raises
    if held is not None and (type(held) is not int or held < 0):  # type: ignore[has-type]
        raise WireError("what is held is counted from 0")
    return Renewed(bytes.fromhex(token), held)  # type: ignore[has-type]


def _watched(body: object) -> Watched:
    token, version, endpoints, more = body  # type: ignore[misc] # whatever it is, it unpacks or raises
    version = _integer(version, 0, VERSION_MAX)  # type: ignore[has-type]
    return Watched(bytes.fromhex(token), version, _endpoints(endpoints), bool(more))  # type: ignore[has-type]


def _dump(kind: str, tid: bytes, sender: Id | None, fourth: object, fifth: object) -> bytes:
    return json.dumps([kind, tid.hex(), sender, fourth, fifth]).encode()
