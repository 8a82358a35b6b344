"""The writing half of the native wire: messages to datagrams, and what fits into them.

`encode_found` is the hot path of a node. Its usual case comes first and copies nothing but bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, assert_never

import msgpack

from dhtd.core.codec import NOTHING, Named, PackedContacts, Room
from dhtd.core.endpoint import IPV4_SIZE, IPV6_SIZE, Endpoint
from dhtd.core.ids import NATIVE, Id, closest
from dhtd.core.messages import (
    METHODS,
    NO_OPTIONS,
    Changed,
    Contact,
    Find,
    FindNode,
    FindValue,
    Get,
    Options,
    Ping,
    Put,
    Query,
    Renew,
    Request,
    Store,
    Watch,
    Withdraw,
)
from dhtd.core.records import Immutable, Mutable, Value
from dhtd.wire import native_endpoints, native_values
from dhtd.wire.native_layout import (
    ENDPOINT_HEADS,
    ERROR,
    FALSE,
    FIND_NODE_HEAD,
    FIND_NODE_PADDING,
    FIND_NODE_PADDING_DUAL,
    FIND_VALUE_HEAD,
    FIND_VALUE_PADDING,
    GET_HEAD,
    GET_PADDING,
    GET_SIZE,
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
from dhtd.wire.written import Written

_BOOL = (FALSE, TRUE)
_NO_NODES = 2 * binary(b"")
# The heads of a result with its token: of 4 elements for find_node, 5 for find_value or 6 for get, by the token's size.
_RESULT_HEADS = {size: [b"%c\xc4%c" % (0x90 | size, token) for token in range(TOKEN_MAX + 1)] for size in (4, 5, 6)}
_REPLY_SIZE = len(REPLY_HEAD) + TID_SIZE + len(ID_HEAD) + ID_SIZE + 2  # of a reply without its address and result
_BESIDE_TOKEN = 4  # bytes: the heads of the result and of its token, and `more`
_ARRAY_HEAD_MAX = 3  # bytes
_BESIDE_NODES = _REPLY_SIZE + IPV6_SIZE + TOKEN_MAX + _BESIDE_TOKEN + _ARRAY_HEAD_MAX  # of an answer, or less
_VALUES: Final = (Immutable, Mutable)
_GET_PADDING_SIZE = GET_SIZE - 93  # bytes in a get, with its seq
# How many elements an answer has that says nothing but `more`, and those behind its token.
_CUT: Final[dict[type[Request], tuple[int, bytes]]] = {
    FindNode: (4, _NO_NODES + TRUE),
    FindValue: (5, _NO_NODES + NO_ELEMENTS + TRUE),
    Get: (6, _NO_NODES + TRUE + NIL + b"\x00"),
}


class NativeEncoder:
    """Writes datagrams. That of a `dual_stack` node pads its queries for contacts of both address families."""

    def __init__(self, *, dual_stack: bool) -> None:
        self._find_node_tail = NIL + (FIND_NODE_PADDING_DUAL if dual_stack else FIND_NODE_PADDING)
        self._sender: Id | None = None  # of the latest answer to a find: nearly always the same node
        self._froms: dict[int, bytes] = {}  # its field, and the head of the observed address, by the size of that
        self._arrays = Written(native_endpoints.array)

    def encode_query(self, tid: bytes, sender: Id, request: Request, options: Options = NO_OPTIONS) -> bytes:
        """Return the datagram. A find request without a token is padded."""
        if type(request) is FindNode and request.token is None:  # as most are: without a pattern, in half the time
            return _padded_find(tid, sender, FIND_NODE_HEAD, request.target, self._find_node_tail)
        match request:
            case FindValue(key, None):
                return _padded_find(tid, sender, FIND_VALUE_HEAD, key, NIL + FIND_VALUE_PADDING)
            case Get(key, None, None):
                return _padded_find(tid, sender, GET_HEAD, key, 2 * NIL + GET_PADDING)
            case Get(key, None, seq):
                number = _pack(seq)
                padding = binary(bytes(_GET_PADDING_SIZE - len(number)))
                return _padded_find(tid, sender, GET_HEAD, key, NIL + number + padding)
            case _:
                return self._encode(QUERY, tid, sender, METHODS[type(request)], _arguments(request))

    def encode_acknowledged(self, tid: bytes, sender: Id, observed: Endpoint) -> bytes:
        """Return the datagram that answers ping, store, withdraw, changed and put."""
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
        named: Named = NOTHING,
        others: PackedContacts | None = None,
    ) -> bytes:
        """Return the datagram that answers find_node or find_value."""
        if sender is not self._sender:
            self._note_sender(sender)
        source, request = self._froms[len(observed)], query.request
        # The usual case: all fits, and it is of one family.
        if others is None:
            if type(request) is FindNode:
                head, array = _RESULT_HEADS[4][len(token)], b""
            else:
                head, array = _RESULT_HEADS[5][len(token)], self._arrays.of(named.endpoints)
            if len(packed.wire) + len(array) <= room.limit - _BESIDE_NODES:
                return b"".join((REPLY_HEAD, query.tid, source, observed, head, token, packed.wire, array, FALSE))
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
        array, is_left_out = b"", False
        if type(request) is FindValue:
            array, is_left_out = native_endpoints.within(left, request.key, named)
            left -= len(array) - _ARRAY_HEAD_MAX
        # 4. Contacts of the other family fill what is left.
        nodes = packed.wire
        if others is not None:
            nodes = _with_others(nodes, others, left, is_ipv4=len(observed) == IPV4_SIZE)
        # 5. `more` needs a token, to ask with. A proved requester had all the room for contacts that there is.
        more = _BOOL[bool(token) and (is_left_out or (is_cut and not room.proved))]
        head = _RESULT_HEADS[5 if type(request) is FindValue else 4][len(token)]
        return b"".join((REPLY_HEAD, query.tid, source, observed, head, token, nodes, array, more))

    def encode_cut(self, query: Query, sender: Id, observed: Endpoint, token: bytes) -> bytes:
        """Return the datagram that answers a find with nothing but a token, and `more`."""
        size, behind = _CUT[type(query.request)]
        return self._encode_reply(query.tid, sender, observed, _RESULT_HEADS[size][len(token)] + token + behind)

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
        """Return the datagram that answers get."""
        if sender is not self._sender:
            self._note_sender(sender)
        source = self._froms[len(observed)]
        value, seconds = native_values.encode(held), native_values.integer(lasts)
        left = room.limit - _REPLY_SIZE - len(observed) - len(token) - _BESIDE_TOKEN - len(seconds) - len(value)
        nodes, more, head = packed.wire, FALSE, _RESULT_HEADS[6][len(token)]
        # The usual case: all fits.
        if len(nodes) <= left and others is None:
            return b"".join((REPLY_HEAD, query.tid, source, observed, head, token, nodes, more, value, seconds))
        # 1. The value comes first. It is left out where a forged query would bring more than it may.
        is_left_out = left < len(_NO_NODES) and not room.proved and held is not None
        if is_left_out:
            left, value = left + len(value) - len(NIL), NIL
        # 2. Contacts come next, and then those of the other family. A value may leave no room even for none of them.
        is_cut = len(nodes) > left and len(packed.contacts) > 0
        if is_cut:
            nodes = _cut(query, packed, left).wire
        if others is not None:
            nodes = _with_others(nodes, others, left - len(nodes), is_ipv4=len(observed) == IPV4_SIZE)
        # 3. Contacts beside a value can be had without it.
        if is_left_out or (is_cut and (not room.proved or type(held) in _VALUES)):
            more = _BOOL[bool(token)]
        return b"".join((REPLY_HEAD, query.tid, source, observed, head, token, nodes, more, value, seconds))

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

    def encode_error(self, tid: bytes, sender: Id, code: int, text: str, observed: Endpoint | None = None) -> bytes:
        """Return the datagram."""
        return self._encode(ERROR, tid, sender, code, text)

    def _note_sender(self, sender: Id) -> None:
        """Make the fields that begin an answer of this node."""
        own = ID_HEAD + sender.to_bytes(ID_SIZE, "big")
        self._sender, self._froms = sender, {size: own + head for size, head in ENDPOINT_HEADS.items()}

    def _encode_reply(self, tid: bytes, sender: Id, observed: Endpoint, result: bytes) -> bytes:
        own, at = sender.to_bytes(ID_SIZE, "big"), ENDPOINT_HEADS[len(observed)]
        return b"".join((REPLY_HEAD, tid, ID_HEAD, own, at, observed, result))

    def _encode(self, kind: int, tid: bytes, sender: Id, fourth: object, fifth: object) -> bytes:
        return MAGIC + _pack([kind, tid, NATIVE.to_bytes(sender), fourth, fifth])


def _arguments(request: Request) -> list[object]:
    """Return the arguments of a query that is not padded."""
    match request:
        case Ping():
            return []
        case FindNode(target, token):
            return [NATIVE.to_bytes(target), token]
        case FindValue(key, token):
            return [NATIVE.to_bytes(key), token]
        case Store(key, port, token, lease, session):
            return [NATIVE.to_bytes(key), port, token, lease, session]
        case Withdraw(key, port, token, session):
            return [NATIVE.to_bytes(key), port, token, session]
        case Renew(session, lease, token):
            return [session, lease, token]
        case Watch(key, token, lease, session):
            return [NATIVE.to_bytes(key), token, lease, session]
        case Changed(key, version, added, removed):
            return [NATIVE.to_bytes(key), version, added, removed]
        case Get(key, token, seq):
            return [NATIVE.to_bytes(key), token, seq]
        case Put(_, token, value, cas, lasts):
            return [token, native_values.fields_of(value), cas, lasts]
        case _:
            assert_never(request)


def _padded_find(tid: bytes, sender: Id, method: bytes, target: Id, tail: bytes) -> bytes:
    """Return a find query without a token. It is put together by hand, because most queries are one."""
    own, wanted = sender.to_bytes(ID_SIZE, "big"), target.to_bytes(ID_SIZE, "big")
    return b"".join((QUERY_HEAD, tid, ID_HEAD, own, method, wanted, tail))


def _packed(contacts: Sequence[Contact]) -> PackedContacts:
    of_ipv4 = b"".join([_node(contact) for contact in contacts if len(contact.endpoint) == IPV4_SIZE])
    of_ipv6 = b"".join([_node(contact) for contact in contacts if len(contact.endpoint) == IPV6_SIZE])
    return PackedContacts(tuple(contacts), binary(of_ipv4) + binary(of_ipv6))


def _node(contact: Contact) -> bytes:
    return contact.id.to_bytes(ID_SIZE, "big") + contact.endpoint


def _cut(query: Query, packed: PackedContacts, room: int) -> PackedContacts:
    """Leave out as many of the contacts farthest from the target as it takes to fit into `room` bytes."""
    request = query.request
    assert isinstance(request, Find)
    target = request.target if isinstance(request, FindNode) else request.key
    # Take the nearest, as many as there is room for behind the two heads.
    left, fit = room - len(_NO_NODES), []
    for contact in closest(packed.contacts, target, len(packed.contacts)):
        left -= NODE4_SIZE if len(contact.endpoint) == IPV4_SIZE else NODE6_SIZE
        if left < 0:
            break
        fit.append(contact)
    # A head may be a byte longer.
    packed = _packed(fit)
    while len(packed.wire) > room and fit:
        fit.pop()
        packed = _packed(fit)
    return packed


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
