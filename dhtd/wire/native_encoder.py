"""The writing half of the native wire: messages to datagrams, and what fits into them.

`encode_found` is the hot path of a node. Its usual case comes first and copies nothing but bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import msgpack

from dhtd.core.codec import NOTHING, PackedContacts, Room, Values
from dhtd.core.endpoint import IPV4_SIZE, IPV6_SIZE, Endpoint
from dhtd.core.ids import NATIVE, Id, closest
from dhtd.core.messages import (
    Changed,
    Contact,
    FindNode,
    FindValue,
    Ping,
    Query,
    Renew,
    Request,
    Store,
    Watch,
    Withdraw,
)
from dhtd.wire.native_layout import (
    ENDPOINT_HEADS,
    ERROR,
    FALSE,
    FIND_NODE_HEAD,
    FIND_NODE_PADDING,
    FIND_NODE_PADDING_DUAL,
    FIND_VALUE_HEAD,
    FIND_VALUE_PADDING,
    ID_HEAD,
    ID_SIZE,
    MAGIC,
    NIL,
    NO_ELEMENTS,
    NODE4_SIZE,
    NODE6_SIZE,
    QUERY,
    QUERY_HEAD,
    REPLY_HEAD,
    TID_SIZE,
    TOKEN_MAX,
    TRUE,
    array_head,
    binary,
)

_BOOL = (FALSE, TRUE)
_NO_NODES = 2 * binary(b"")
# The heads of a result with its token: of 4 elements for find_node or 5 for find_value, by the size of the token.
_RESULT_HEADS = {size: [b"%c\xc4%c" % (0x90 | size, token) for token in range(TOKEN_MAX + 1)] for size in (4, 5)}
_REPLY_SIZE = len(REPLY_HEAD) + TID_SIZE + len(ID_HEAD) + ID_SIZE + 2  # of a reply without its address and result
_BESIDE_TOKEN = 4  # bytes: the heads of the result and of its token, and `more`
_BESIDE_NODES = _REPLY_SIZE + IPV6_SIZE + TOKEN_MAX + _BESIDE_TOKEN  # of an answer without its nodes, or less
_ARRAY_HEAD_MAX = 3  # bytes


class NativeEncoder:
    """Writes datagrams. That of a `dual_stack` node pads its queries for contacts of both address families."""

    def __init__(self, *, dual_stack: bool) -> None:
        self._find_node_padding = FIND_NODE_PADDING_DUAL if dual_stack else FIND_NODE_PADDING
        self._sender: Id | None = None  # of the latest answer to a find: nearly always the same node
        self._froms: dict[int, bytes] = {}  # its field, and the head of the observed address, by the size of that

    def encode_query(self, tid: bytes, sender: Id, request: Request) -> bytes:
        """Return the datagram. A find request without a token is padded."""
        match request:
            case Ping():
                return self._encode(QUERY, tid, sender, "ping", [])
            case FindNode(target, None):
                return _padded_find(tid, sender, FIND_NODE_HEAD, target, self._find_node_padding)
            case FindValue(key, None):
                return _padded_find(tid, sender, FIND_VALUE_HEAD, key, FIND_VALUE_PADDING)
            case FindNode(target, token):
                return self._encode(QUERY, tid, sender, "find_node", [NATIVE.to_bytes(target), token])
            case FindValue(key, token):
                return self._encode(QUERY, tid, sender, "find_value", [NATIVE.to_bytes(key), token])
            case Store(key, port, token, lease, session):
                return self._encode(QUERY, tid, sender, "store", [NATIVE.to_bytes(key), port, token, lease, session])
            case Withdraw(key, port, token, session):
                return self._encode(QUERY, tid, sender, "withdraw", [NATIVE.to_bytes(key), port, token, session])
            case Renew(session, lease, token):
                return self._encode(QUERY, tid, sender, "renew", [session, lease, token])
            case Watch(key, token, lease, session):
                return self._encode(QUERY, tid, sender, "watch", [NATIVE.to_bytes(key), token, lease, session])
            case Changed(key, version, added, removed):
                return self._encode(QUERY, tid, sender, "changed", [NATIVE.to_bytes(key), version, added, removed])
            case _:
                assert_never(request)

    def encode_acknowledged(self, tid: bytes, sender: Id, observed: Endpoint) -> bytes:
        """Return the datagram that answers ping, store, withdraw and changed."""
        own, at = sender.to_bytes(ID_SIZE, "big"), ENDPOINT_HEADS[len(observed)]
        return b"".join((REPLY_HEAD, tid, ID_HEAD, own, at, observed, NO_ELEMENTS))

    def pack_contacts(self, contacts: Sequence[Contact]) -> PackedContacts:
        """Return `contacts` with their two elements of a result, `nodes4` and `nodes6`."""
        return _packed(contacts)

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
        """Return the datagram that answers find_node or find_value."""
        if sender is not self._sender:
            own = ID_HEAD + sender.to_bytes(ID_SIZE, "big")
            self._sender, self._froms = sender, {size: own + head for size, head in ENDPOINT_HEADS.items()}
        source, request = self._froms[len(observed)], query.request
        # The usual case: a find_node, and all contacts fit.
        if type(request) is FindNode and others is None and len(packed.wire) <= room.limit - _BESIDE_NODES:
            head = _RESULT_HEADS[4][len(token)]
            return b"".join((REPLY_HEAD, query.tid, source, observed, head, token, packed.wire, FALSE))
        # 1. The fields that must be there take their part of the room.
        left = room.limit - _REPLY_SIZE - len(observed) - len(token) - _BESIDE_TOKEN
        if type(request) is FindValue:
            left -= _ARRAY_HEAD_MAX
        # 2. Contacts come first. If not all fit, those farthest from the target are left out.
        is_cut = len(packed.wire) > left
        if is_cut:
            packed = _cut(query, packed, left)
        left -= len(packed.wire)
        # 3. Endpoints come next, as many as fit.
        endpoints, array, is_left_out = b"", b"", False
        if type(request) is FindValue:
            endpoints, array, is_left_out = _endpoints(request.key, values, left)
            left -= len(endpoints)
        # 4. Contacts of the other family fill what is left.
        nodes = packed.wire
        if others is not None:
            nodes = _with_others(nodes, others, left, is_ipv4=len(observed) == IPV4_SIZE)
        # 5. `more` needs a token, to ask with. A proved requester had all the room for contacts that there is.
        more = _BOOL[bool(token) and (is_left_out or (is_cut and not room.proved))]
        head = _RESULT_HEADS[5 if type(request) is FindValue else 4][len(token)]
        return b"".join((REPLY_HEAD, query.tid, source, observed, head, token, nodes, array, endpoints, more))

    def encode_cut(self, query: Query, sender: Id, observed: Endpoint, token: bytes) -> bytes:
        """Return the datagram that answers find_node or find_value with nothing but a token, and `more`."""
        own, at = sender.to_bytes(ID_SIZE, "big"), ENDPOINT_HEADS[len(observed)]
        of_value = type(query.request) is FindValue
        head, nothing = (
            _RESULT_HEADS[5 if of_value else 4][len(token)],
            _NO_NODES + NO_ELEMENTS if of_value else _NO_NODES,
        )
        return b"".join((REPLY_HEAD, query.tid, ID_HEAD, own, at, observed, head, token, nothing, TRUE))

    def encode_renewed(self, tid: bytes, sender: Id, observed: Endpoint, token: bytes, held: int | None) -> bytes:
        """Return the datagram that answers renew."""
        return self._encode_reply(tid, sender, observed, _pack([token, held]))

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
        """Return the datagram that answers watch, and how many of the endpoints it has."""
        before = array_head(4) + binary(token) + _pack(version)
        left = room.limit - _REPLY_SIZE - len(observed) - len(before) - _ARRAY_HEAD_MAX - len(TRUE)
        # The longest beginning that fits.
        encoded, size = [], 0
        for endpoint in endpoints:
            size += 2 + len(endpoint)
            if size > left:
                break
            encoded.append(ENDPOINT_HEADS[len(endpoint)] + endpoint)
        array = array_head(len(encoded)) + b"".join(encoded)
        result = before + array + _BOOL[len(encoded) < len(endpoints)]
        return self._encode_reply(query.tid, sender, observed, result), len(encoded)

    def encode_error(self, tid: bytes, sender: Id, code: int, text: str) -> bytes:
        """Return the datagram."""
        return self._encode(ERROR, tid, sender, code, text)

    def _encode_reply(self, tid: bytes, sender: Id, observed: Endpoint, result: bytes) -> bytes:
        own, at = sender.to_bytes(ID_SIZE, "big"), ENDPOINT_HEADS[len(observed)]
        return b"".join((REPLY_HEAD, tid, ID_HEAD, own, at, observed, result))

    def _encode(self, kind: int, tid: bytes, sender: Id, fourth: object, fifth: object) -> bytes:
        return MAGIC + _pack([kind, tid, NATIVE.to_bytes(sender), fourth, fifth])


def _padded_find(tid: bytes, sender: Id, method: bytes, target: Id, padding: bytes) -> bytes:
    """Return a find query without a token. It is put together by hand, because most queries are one."""
    own, wanted = sender.to_bytes(ID_SIZE, "big"), target.to_bytes(ID_SIZE, "big")
    return b"".join((QUERY_HEAD, tid, ID_HEAD, own, method, wanted, NIL, padding))


def _packed(contacts: Sequence[Contact]) -> PackedContacts:
    of_ipv4 = b"".join([_node(contact) for contact in contacts if len(contact.endpoint) == IPV4_SIZE])
    of_ipv6 = b"".join([_node(contact) for contact in contacts if len(contact.endpoint) == IPV6_SIZE])
    return PackedContacts(tuple(contacts), binary(of_ipv4) + binary(of_ipv6))


def _node(contact: Contact) -> bytes:
    return contact.id.to_bytes(ID_SIZE, "big") + contact.endpoint


def _cut(query: Query, packed: PackedContacts, room: int) -> PackedContacts:
    """Leave out as many of the contacts farthest from the target as it takes to fit into `room` bytes."""
    request = query.request
    assert isinstance(request, FindNode | FindValue)
    target = request.target if isinstance(request, FindNode) else request.key
    contacts = closest(packed.contacts, target, len(packed.contacts))
    while len(packed.wire) > room and contacts:
        contacts.pop()
        packed = _packed(contacts)
    return packed


def _endpoints(key: Id, values: Values, room: int) -> tuple[bytes, bytes, bool]:
    """Return endpoints that fit into `room` bytes, the head of their array, and whether others were left out."""
    endpoints, is_left_out = values.endpoints, False
    # 1. If perhaps not all fit, have as many chosen as may fit at best.
    if values.choose is not None and len(endpoints) * (2 + IPV6_SIZE) > room:
        endpoints = values.choose(key, endpoints, room // (2 + IPV4_SIZE))
        is_left_out = len(endpoints) < len(values.endpoints)
    # 2. Drop the last ones until the rest fits.
    encoded = [ENDPOINT_HEADS[len(endpoint)] + endpoint for endpoint in endpoints]
    wire = b"".join(encoded)
    while len(wire) > room:
        wire, is_left_out = wire[: -len(encoded.pop())], True
    return wire, array_head(len(encoded)), is_left_out


def _with_others(wire: bytes, others: PackedContacts, room: int, *, is_ipv4: bool) -> bytes:
    """Return packed contacts of one family, with as many `others`, of the other family, as fit into more `room`.

    Both have an empty element for the other family's contacts. `is_ipv4` is the family of the first ones.
    """
    beside = others.wire[2:] if is_ipv4 else others.wire[:-2]
    if len(beside) - 2 > room:
        size = NODE6_SIZE if is_ipv4 else NODE4_SIZE
        first = len(beside) - size * len(others.contacts)
        beside = binary(beside[first : first + size * max(0, (room - 1) // size)])
    return wire[:-2] + beside if is_ipv4 else beside + wire[2:]


def _pack(value: object) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed
