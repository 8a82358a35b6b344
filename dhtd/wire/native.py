"""The native wire, version 1: msgpack over UDP, 256-bit IDs. dht-protocol(7) is its specification.

A datagram is four bytes of magic and version and one msgpack array with nothing behind it. Elements behind those
that this version knows are ignored, in the array and in the arrays within it. The decoder is strict about the rest:
`True` is not an integer, text is not binary, and lengths are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from typing import Final, Literal, NamedTuple, TypeGuard, TypeVar, assert_never, cast

import msgpack
from msgpack import unpackb

from dhtd.core.codec import Choose, PackedContacts, Traits
from dhtd.core.endpoint import IPV4_SIZE, IPV6_SIZE, PORT_MAX, Endpoint
from dhtd.core.ids import NATIVE, Id, closest
from dhtd.core.messages import (
    ERROR_METHOD,
    ERROR_PROTOCOL,
    Acknowledged,
    BadQuery,
    Contact,
    Error,
    FindNode,
    FindValue,
    Found,
    Message,
    Ping,
    Query,
    Reply,
    Request,
    Result,
    Store,
    Withdraw,
)
from dhtd.errors import WireError
from dhtd.wire.reader import Reader

MAGIC: Final = b"DHT\x01"

QUERY, REPLY, ERROR = 0, 1, 2

TID_SIZE = 8
TOKEN_MAX = 64  # bytes of a token that another implementation may issue

TRAITS: Final = Traits(
    keyspace=NATIVE,
    tid_size=TID_SIZE,
    requests=frozenset((Ping, FindNode, FindValue, Store, Withdraw)),
    token_from=frozenset((FindNode, FindValue)),
    tells_more=True,
)

# A find query without a token is padded to this size, so that three times its size is room for a whole answer: for
# find_node eight IPv6 nodes, or eight of each family for a node that speaks both, and the ping that finds out who
# asked; for find_value a full datagram of 1200 bytes.
FIND_NODE_SIZE = 184
FIND_NODE_SIZE_DUAL = 288
FIND_VALUE_SIZE = 400

_REMEMBERED = 2_048  # contacts, of 400 bytes each: the neighbours of many a target

_ID_SIZE = NATIVE.width
_NODE4_SIZE = _ID_SIZE + IPV4_SIZE
_NODE6_SIZE = _ID_SIZE + IPV6_SIZE

# Bytes of a datagram that `unpackb` may build: it costs little, whatever is in it. All but finds and their answers are
# shorter. Longer ones are read step by step.
_SHORT = 112
_FEW = 16  # elements of an array in so short a one: more are only claimed, and not built
_ARGS_MAX = 3  # arguments that a query has in this version

_READ_ERRORS = (ValueError, IndexError, msgpack.UnpackException)
_UNPACK_ERRORS = (ValueError, TypeError, OverflowError, msgpack.UnpackException)


F = TypeVar("F", FindNode, FindValue)


class _Padded(NamedTuple):
    """How a find query without a token is laid out by `encode_query`: fields of known sizes, of which four are known.

    To read it so costs half of what it costs by msgpack.
    """

    kind: type[FindNode | FindValue]
    unpack: Callable[[bytes], tuple[bytes, ...]]
    method: bytes  # with what follows, up to the target
    tail: bytes  # what follows the target


class _Unread(NamedTuple):
    """The result in a reply: in these bytes, at this place, and so many objects are behind it."""

    data: bytes
    at: int
    behind: int


class NativeCodec:
    """The `Codec` of the native wire.

    It remembers the latest contacts and IDs that it has decoded, `remembered` at most: the same few are named again
    and again, and one object for each is faster to make and to compare than thousands of equal ones. A `dual_stack`
    node pads its queries for contacts of both address families.
    """

    traits = TRAITS

    def __init__(self, remembered: int = _REMEMBERED, *, dual_stack: bool = False) -> None:
        self._remembered = remembered
        self._find_node_padding = _FIND_NODE_PADDING_DUAL if dual_stack else _FIND_NODE_PADDING
        self._contacts: dict[bytes, Contact] = {}  # by their wire form
        self._ids: dict[bytes, Id] = {}
        self._sender: Id | None = None  # who has answered a find last, mostly always the same node
        self._froms: dict[int, bytes] = {}  # the fields from its ID up to the observed address, by size of the latter

    def decode(self, data: bytes) -> Message:
        """Return the message that a datagram holds; raise `WireError` for anything else."""
        padded = _PADDED.get(len(data))
        if padded is not None:
            kind, unpack, its_method, its_tail = padded
            head, tid, mark, sender, method, target, tail = unpack(data)
            if tail == its_tail and method == its_method and head == _QUERY_HEAD and mark == _ID_HEAD:
                return Query(tid, self._ids.get(sender) or self._new_id(sender), kind(_id(target, "big")))
        return self._decode(data)

    def is_plain(self, data: bytes) -> bool:
        """Whether, by its first bytes and its size, a datagram costs next to nothing to decode. So do all of ours."""
        if data[:5] != _PLAIN or data[5:8] not in _KIND_HEADS or data[16:18] != _ID_HEAD:
            return False
        return len(data) <= _SHORT or data[5] != QUERY or len(data) in _PADDED

    def _decode(self, data: bytes) -> Message:
        """Decode whatever is not laid out as the finds that we send ourselves, which are most of all datagrams."""
        if data[:4] != MAGIC:
            raise WireError("not a datagram of version 1")
        if len(data) > _SHORT:
            return self._read(data)
        try:
            fields = unpackb(data[4:], max_array_len=_FEW, max_map_len=_FEW, timestamp=1, ext_hook=_refuse_extension)
        except _UNPACK_ERRORS:
            return self._read(data)  # perhaps msgpack would not build an element that is to be ignored
        if type(fields) is not list or len(fields) < 5:
            raise WireError("not an array of five elements")
        kind, tid, sender, fourth, fifth = fields if len(fields) == 5 else fields[:5]
        if not (
            type(kind) is int
            and (type(tid) is bytes and len(tid) == TID_SIZE)
            and (type(sender) is bytes and len(sender) == _ID_SIZE)
        ):
            raise WireError("the type, transaction ID or sender is malformed")
        sender_id = self._ids.get(sender) or self._new_id(sender)
        if kind == QUERY:
            if type(fourth) is not str:
                raise WireError("the method is not text")
            return _decode_query(tid, sender_id, fourth, fifth)
        if kind == REPLY:
            if not _is_endpoint(fourth) or type(fifth) is not list:
                raise WireError("the observed address or the result is malformed")
            return Reply(tid, sender_id, Endpoint(fourth), fifth)
        if kind == ERROR:
            if type(fourth) is not int or type(fifth) is not str:
                raise WireError("the error is malformed")
            return Error(tid, sender_id, fourth, fifth)
        raise WireError("unknown message type")

    def _plain_reply(self, data: bytes, at: int) -> Reply | None:
        """Return a reply that is laid out as `encode_found` does it where it names no endpoint; `at` is the result.

        So are most long datagrams that are no queries. To read them step by step would take twice as long.
        """
        try:
            head, first = data[at], at + 3
            if head & 0xFE != 0x94 or data[at + 1] != 0xC4:
                return None
            nodes4 = first + data[at + 2]
            begin4, nodes6 = _span(data, nodes4)
            begin6, last = _span(data, nodes6)
            result: list[object] = [data[first:nodes4], data[begin4:nodes6], data[begin6:last]]
            if head == 0x95:
                if data[last] != 0x90:
                    return None
                result.append([])
                last += 1
            if last != len(data) - 1 or data[last] & 0xFE != 0xC2:
                return None
        except IndexError:
            return None
        result.append(data[last] == 0xC3)
        sender = data[18:50]
        sender_id = self._ids.get(sender) or self._new_id(sender)
        return Reply(data[8:16], sender_id, Endpoint(data[52:at]), result)

    def _read(self, data: bytes) -> Message:
        """Decode step by step, and build no more than the fields that this version knows: see `reader`."""
        if data[:8] == _REPLY_HEAD and data[16:18] == _ID_HEAD and data[50:52] in _OBSERVED_HEADS:
            reply = self._plain_reply(data, 52 + data[51])
            if reply is not None:
                return reply
        try:
            return self._read_message(data)
        except _READ_ERRORS as error:
            raise WireError(f"not one msgpack object: {error}") from None

    def _read_message(self, data: bytes) -> Message:
        if data[5:8] in _KIND_HEADS and data[16:18] == _ID_HEAD and data[4] & 0xF0 == 0x90:  # as everybody writes it
            return self._read_fields(Reader(data, 50), data, data[4] & 0x0F, data[5], data[8:16], data[18:50])
        reader = Reader(data, len(MAGIC))
        return self._read_fields(reader, data, reader.array(), reader.integer(), reader.binary(), reader.binary())

    def _read_fields(
        self,
        reader: Reader,
        data: bytes,
        size: int | None,
        kind: int | None,
        tid: bytes | None,
        sender: bytes | None,
    ) -> Message:
        """Decode a message of `size` elements, from its fourth one on."""
        if size is None or size < 5:
            raise WireError("not an array of five elements")
        if not _is_bytes(tid, TID_SIZE) or not _is_bytes(sender, _ID_SIZE):
            raise WireError("the transaction ID or the sender is malformed")
        sender_id = self._ids.get(sender) or self._new_id(sender)
        if kind == QUERY:
            method = reader.text()
            if method is None:
                raise WireError("the method is not text")
            return _decode_query(tid, sender_id, method, _read_args(reader, size - 4))
        if kind == REPLY:
            observed, begin = reader.binary(), reader.at
            if not _is_endpoint(observed):
                raise WireError("the observed address is malformed")
            count = reader.array()
            if count is None:
                raise WireError("the result is not an array")
            reader.end(count + size - 5)
            return Reply(tid, sender_id, Endpoint(observed), _Unread(data, begin, size - 5))
        if kind == ERROR:
            code, text = reader.integer(), reader.text()
            if code is None or text is None:
                raise WireError("the error is malformed")
            reader.end(size - 5)
            return Error(tid, sender_id, code, text)
        raise WireError("unknown message type")

    def decode_result(self, request: Request, body: object) -> Result:
        """Return the result that a reply's `body` is, to `request`; raise `WireError`."""
        if type(body) is _Unread:
            return self._read_result(request, body)
        if type(body) is not list:
            raise WireError("the result is not an array")
        match request:
            case Ping() | Store() | Withdraw():
                return Acknowledged()
            case FindNode():
                if len(body) < 4:
                    raise WireError("the result of find_node is too short")
                token, nodes4, nodes6, more = body[:4]
                return self._decode_found(token, nodes4, nodes6, [], more)
            case FindValue():
                if len(body) < 5:
                    raise WireError("the result of find_value is too short")
                return self._decode_found(*body[:5])
            case _:
                assert_never(request)

    def _read_result(self, request: Request, body: _Unread) -> Result:
        """Decode a result that nobody has read yet: only who was asked can have us do that."""
        reader = Reader(body.data, body.at)
        try:
            count = reader.array() or 0
            if isinstance(request, Ping | Store | Withdraw):
                reader.end(count + body.behind)
                return Acknowledged()
            known = 5 if isinstance(request, FindValue) else 4
            if count < known:
                raise WireError("the result is too short")
            token, nodes4, nodes6 = reader.binary(), reader.binary(), reader.binary()
            endpoints = _read_endpoints(reader) if known == 5 else []
            found = self._decode_found(token, nodes4, nodes6, endpoints, reader.boolean())
            reader.end(count - known + body.behind)
        except _READ_ERRORS as error:
            raise WireError(f"the result is malformed: {error}") from None
        return found

    def encode_query(self, tid: bytes, sender: Id, request: Request) -> bytes:
        """Return the datagram. A find request without a token is padded."""
        match request:
            case Ping():
                return self._encode(QUERY, tid, sender, "ping", [])
            case FindNode(target, None):
                return _padded_find(tid, sender, b"\xa9find_node", target, self._find_node_padding)
            case FindValue(key, None):
                return _padded_find(tid, sender, b"\xaafind_value", key, _FIND_VALUE_PADDING)
            case FindNode(target, token):
                return self._encode(QUERY, tid, sender, "find_node", [NATIVE.to_bytes(target), token])
            case FindValue(key, token):
                return self._encode(QUERY, tid, sender, "find_value", [NATIVE.to_bytes(key), token])
            case Store(key, port, token):
                return self._encode(QUERY, tid, sender, "store", [NATIVE.to_bytes(key), port, token])
            case Withdraw(key, port, token):
                return self._encode(QUERY, tid, sender, "withdraw", [NATIVE.to_bytes(key), port, token])
            case _:
                assert_never(request)

    def encode_acknowledged(self, tid: bytes, sender: Id, observed: Endpoint) -> bytes:
        """Return the datagram that answers ping, store and withdraw."""
        own, at = sender.to_bytes(_ID_SIZE, "big"), _ENDPOINT_HEADS[len(observed)]
        return b"".join((_REPLY_HEAD, tid, _ID_HEAD, own, at, observed, _EMPTY))

    def pack_contacts(self, contacts: Sequence[Contact]) -> PackedContacts:
        """Return `contacts` with their two elements of a result, `nodes4` and `nodes6`."""
        of_ipv4 = b"".join([_node(contact) for contact in contacts if len(contact.endpoint) == IPV4_SIZE])
        of_ipv6 = b"".join([_node(contact) for contact in contacts if len(contact.endpoint) == IPV6_SIZE])
        return PackedContacts(tuple(contacts), _bin(of_ipv4) + _bin(of_ipv6))

    def encode_found(
        self,
        query: Query,
        sender: Id,
        observed: Endpoint,
        token: bytes,
        packed: PackedContacts,
        endpoints: Sequence[Endpoint],
        limit: int,
        proved: bool,
        others: PackedContacts | None = None,
        choose: Choose | None = None,
    ) -> bytes:
        """Return the datagram that answers find_node or find_value, `limit` bytes long at most."""
        if sender is not self._sender:
            own = _ID_HEAD + sender.to_bytes(_ID_SIZE, "big")
            self._sender, self._froms = sender, {size: own + head for size, head in _ENDPOINT_HEADS.items()}
        source = self._froms[len(observed)]
        if type(query.request) is FindNode and others is None and len(packed.wire) <= limit - _BESIDE_NODES:
            head = _RESULT_HEADS[4][len(token)]  # the usual case: there is nothing to be left out
            return b"".join((_REPLY_HEAD, query.tid, source, observed, head, token, packed.wire, _FALSE))
        room = limit - _REPLY_SIZE - len(observed) - len(token) - 4  # for the headers of array and token, and `more`
        if type(query.request) is FindNode:
            nodes, more = packed.wire, _FALSE
            if len(nodes) > room:
                nodes = self._cut(query, packed, room).wire
                more = _BOOL[bool(token) and not proved]
            if others is not None:
                nodes = _with_others(nodes, others, room - len(nodes), is_ipv4=len(observed) == IPV4_SIZE)
            head = _RESULT_HEADS[4][len(token)]
            return b"".join((_REPLY_HEAD, query.tid, source, observed, head, token, nodes, more))
        room -= 3  # for the header of `endpoints`, at its largest
        cut, left_out = len(packed.wire) > room, False
        if cut:
            packed = self._cut(query, packed, room)
        room -= len(packed.wire)
        if choose is not None and len(endpoints) * (2 + IPV6_SIZE) > room:
            some = choose(room // (2 + IPV4_SIZE))  # perhaps these fit, but never more
            endpoints, left_out = some, len(some) < len(endpoints)
        encoded = [_ENDPOINT_HEADS[len(endpoint)] + endpoint for endpoint in endpoints]
        wire = b"".join(encoded)
        while len(wire) > room:
            wire, left_out = wire[: -len(encoded.pop())], True
        nodes = packed.wire
        if others is not None:
            nodes = _with_others(nodes, others, room - len(wire), is_ipv4=len(observed) == IPV4_SIZE)
        head, array = _RESULT_HEADS[5][len(token)], _array(len(encoded))
        more = _BOOL[(left_out or (cut and not proved)) and bool(token)]
        return b"".join((_REPLY_HEAD, query.tid, source, observed, head, token, nodes, array, wire, more))

    def encode_cut(self, query: Query, sender: Id, observed: Endpoint, token: bytes) -> bytes:
        """Return the datagram that answers find_node or find_value with nothing but a token, and `more`."""
        own, at = sender.to_bytes(_ID_SIZE, "big"), _ENDPOINT_HEADS[len(observed)]
        of_value = type(query.request) is FindValue
        head, nothing = _RESULT_HEADS[5 if of_value else 4][len(token)], _NO_NODES + _EMPTY if of_value else _NO_NODES
        return b"".join((_REPLY_HEAD, query.tid, _ID_HEAD, own, at, observed, head, token, nothing, _TRUE))

    def encode_error(self, tid: bytes, sender: Id, code: int, text: str) -> bytes:
        """Return the datagram."""
        return self._encode(ERROR, tid, sender, code, text)

    def _encode(self, kind: int, tid: bytes, sender: Id, fourth: object, fifth: object) -> bytes:
        return MAGIC + _pack([kind, tid, NATIVE.to_bytes(sender), fourth, fifth])

    def _decode_found(self, token: object, nodes4: object, nodes6: object, endpoints: object, more: object) -> Found:
        if not _is_issued(token) or type(more) is not bool:
            raise WireError("the token, or the mark that there is more, is malformed")
        if type(endpoints) is not list or not all(_is_endpoint(endpoint) for endpoint in endpoints):
            raise WireError("the endpoints are malformed")
        contacts = (*self._decode_nodes(nodes4, _NODE4_SIZE), *self._decode_nodes(nodes6, _NODE6_SIZE))
        return Found(token, contacts, tuple(Endpoint(endpoint) for endpoint in endpoints), more and bool(token))

    def _decode_nodes(self, nodes: object, size: int) -> Iterable[Contact]:
        if type(nodes) is not bytes or len(nodes) % size:
            raise WireError("the nodes are malformed")
        known = self._contacts.get
        packed = [nodes[start : start + size] for start in range(0, len(nodes), size)]
        return [known(node) or self._new_contact(node) for node in packed]

    def _new_contact(self, node: bytes) -> Contact:
        if len(self._contacts) >= self._remembered:
            self._contacts.clear()
        id = node[:_ID_SIZE]
        contact = self._contacts[node] = Contact(self._ids.get(id) or self._new_id(id), Endpoint(node[_ID_SIZE:]))
        return contact

    def _new_id(self, packed: bytes) -> Id:
        if len(self._ids) >= self._remembered:
            self._ids.clear()
        id = self._ids[packed] = _id(packed, "big")
        return id

    def _cut(self, query: Query, packed: PackedContacts, room: int) -> PackedContacts:
        """Leave out as many of the contacts farthest from the target as it takes to fit into `room` bytes."""
        request = query.request
        assert isinstance(request, FindNode | FindValue)
        target = request.target if isinstance(request, FindNode) else request.key
        contacts = closest(packed.contacts, target, len(packed.contacts))
        while len(packed.wire) > room and contacts:
            contacts.pop()
            packed = self.pack_contacts(contacts)
        return packed


def _span(data: bytes, at: int) -> tuple[int, int]:
    """Return where the bytes of a binary begin and end; nowhere, for another object."""
    head = data[at]
    if head == 0xC4:
        return at + 2, at + 2 + data[at + 1]
    if head == 0xC5:
        return at + 3, at + 3 + (data[at + 1] << 8 | data[at + 2])
    return 0, 0


def _refuse_extension(code: int, _: bytes) -> object:
    """Build no object of an extension, which would take longer than all else: no message has one."""
    raise ValueError(f"an extension of type {code}")


def _read_args(reader: Reader, rest: int) -> list[object] | None:
    """Return the arguments of a query, which are the first of `rest` objects: None if they are no array.

    Arguments that this version does not know are left out; so is one of a kind that none has, and those behind it.
    """
    count = reader.array()
    if count is None:
        reader.end(rest)
        return None
    args: list[object] = []
    while len(args) < min(count, _ARGS_MAX):
        begin = reader.at
        arg = reader.binary()
        args.append(reader.integer() if arg is None and not reader.nil() else arg)
        if reader.at == begin:
            args.pop()
            break
    reader.end(rest - 1 + count - len(args))
    return args


def _read_endpoints(reader: Reader) -> list[bytes]:
    endpoints = []
    for _ in range(reader.array() or 0):
        endpoint = reader.binary()
        if not _is_endpoint(endpoint):
            raise WireError("the endpoints are malformed")
        endpoints.append(endpoint)
    return endpoints


def _decode_query(tid: bytes, sender: Id, method: str, args: object) -> Query | BadQuery:
    if type(args) is not list:
        return BadQuery(tid, sender, ERROR_PROTOCOL, "bad arguments")
    request: Request | None
    match method:
        case "find_node":
            request = _find(FindNode, args)
        case "find_value":
            request = _find(FindValue, args)
        case "ping":
            request = _PING
        case "store":
            request = Store(*entry) if (entry := _entry_args(args)) else None
        case "withdraw":
            request = Withdraw(*entry) if (entry := _entry_args(args)) else None
        case _:
            return BadQuery(tid, sender, ERROR_METHOD, "unknown method")
    if request is None:
        return BadQuery(tid, sender, ERROR_PROTOCOL, "bad arguments")
    return Query(tid, sender, request)


def _find(kind: type[F], args: list[object]) -> F | None:
    if len(args) < 2:
        return None
    target, token = args[0], args[1]
    if type(target) is not bytes or len(target) != _ID_SIZE or not (token is None or _is_token(token)):
        return None
    return kind(_id(target, "big"), token)


def _entry_args(args: list[object]) -> tuple[Id, int, bytes] | None:
    if len(args) < 3:
        return None
    key, port, token = args[:3]
    if not _is_bytes(key, _ID_SIZE) or not _is_token(token):
        return None
    if type(port) is not int or not 1 <= port <= PORT_MAX:
        return None
    return _id(key, "big"), port, token


def _is_bytes(value: object, size: int) -> TypeGuard[bytes]:
    return type(value) is bytes and len(value) == size


def _is_token(value: object) -> TypeGuard[bytes]:
    return type(value) is bytes and 1 <= len(value) <= TOKEN_MAX


def _is_issued(value: object) -> TypeGuard[bytes]:
    """Whether this may be the token of an answer: empty where the node would refuse to store."""
    return type(value) is bytes and len(value) <= TOKEN_MAX


def _is_endpoint(value: object) -> TypeGuard[bytes]:
    return type(value) is bytes and len(value) in (IPV4_SIZE, IPV6_SIZE)


def _padded_find(tid: bytes, sender: Id, method: bytes, target: Id, padding: bytes) -> bytes:
    """Return a find query without a token, up to its size. Put together by hand: most queries are one."""
    return b"%b\x95\x00\xc4\x08%b\xc4\x20%b%b\x93\xc4\x20%b\xc0%b" % (
        MAGIC,
        tid,
        sender.to_bytes(_ID_SIZE, "big"),
        method,
        target.to_bytes(_ID_SIZE, "big"),
        padding,
    )


def _node(contact: Contact) -> bytes:
    return contact.id.to_bytes(_ID_SIZE, "big") + contact.endpoint


def _with_others(wire: bytes, others: PackedContacts, room: int, *, is_ipv4: bool) -> bytes:
    """Return packed contacts of one family, IPv4 or not, with as many `others`, of the other, as fit into more `room`.

    Each has an empty element where the other's contacts belong.
    """
    beside = others.wire[2:] if is_ipv4 else others.wire[:-2]
    if len(beside) - 2 > room:
        size = _NODE6_SIZE if is_ipv4 else _NODE4_SIZE
        first = len(beside) - size * len(others.contacts)
        beside = _bin(beside[first : first + size * max(0, (room - 1) // size)])
    return wire[:-2] + beside if is_ipv4 else beside + wire[2:]


def _pack(value: object) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def _bin(data: bytes) -> bytes:
    size = len(data)
    return b"\xc4%c%b" % (size, data) if size < 256 else b"\xc5%b%b" % (size.to_bytes(2, "big"), data)


def _array(size: int) -> bytes:
    return b"%c" % (0x90 | size) if size < 16 else b"\xdc" + size.to_bytes(2, "big")


_ENDPOINT_HEADS = {size: b"\xc4%c" % size for size in (IPV4_SIZE, IPV6_SIZE)}
_PING = Ping()
_id = cast("Callable[[bytes, Literal['big']], Id]", int.from_bytes)  # without the call that `Id` is
_FALSE, _TRUE, _EMPTY = b"\xc2", b"\xc3", b"\x90"  # msgpack: false, true, an array of none
_BOOL = (_FALSE, _TRUE)
_NO_NODES = 2 * _bin(b"")

# What is missing to the sizes above, the headers of binaries included.
_FIND_NODE_PADDING = _bin(bytes(FIND_NODE_SIZE - 98))
_FIND_NODE_PADDING_DUAL = _bin(bytes(FIND_NODE_SIZE_DUAL - 98))
_FIND_VALUE_PADDING = _bin(bytes(FIND_VALUE_SIZE - 100))

# What stands before each field. Datagrams of the hot path are joined from these: it takes half as long as formatting.
_QUERY_HEAD = b"%b\x95\x00\xc4%c" % (MAGIC, TID_SIZE)
_PLAIN = MAGIC + b"\x95"
_KIND_HEADS = [b"%c\xc4%c" % (kind, TID_SIZE) for kind in (QUERY, REPLY, ERROR)]
_OBSERVED_HEADS = frozenset(_ENDPOINT_HEADS.values())
_REPLY_HEAD = b"%b\x95\x01\xc4%c" % (MAGIC, TID_SIZE)
_ID_HEAD = b"\xc4%c" % _ID_SIZE
_RESULT_HEADS = {size: [b"%c\xc4%c" % (0x90 | size, token) for token in range(TOKEN_MAX + 1)] for size in (4, 5)}
_REPLY_SIZE = len(_REPLY_HEAD) + TID_SIZE + len(_ID_HEAD) + _ID_SIZE + 2  # of a reply without its address and result
_BESIDE_NODES = _REPLY_SIZE + IPV6_SIZE + TOKEN_MAX + 4  # of one to find_node without its nodes, or less


def _padded(kind: type[FindNode | FindValue], method: bytes, padding: bytes) -> _Padded:
    method += b"\x93" + _ID_HEAD
    tail = b"\xc0" + padding
    sizes = (len(_QUERY_HEAD), TID_SIZE, len(_ID_HEAD), _ID_SIZE, len(method), _ID_SIZE, len(tail))
    return _Padded(kind, Struct("".join(f"{size}s" for size in sizes)).unpack, method, tail)


_PADDED = {
    FIND_NODE_SIZE: _padded(FindNode, b"\xa9find_node", _FIND_NODE_PADDING),
    FIND_NODE_SIZE_DUAL: _padded(FindNode, b"\xa9find_node", _FIND_NODE_PADDING_DUAL),
    FIND_VALUE_SIZE: _padded(FindValue, b"\xaafind_value", _FIND_VALUE_PADDING),
}
