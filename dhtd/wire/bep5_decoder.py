"""The reading half of the Mainline wire: datagrams to messages (BEP 5, 32, 33, 43, 44, 51).

The decoder takes what real clients send, odd as it is, and no more:

- A transaction ID has 1 to 64 bytes. Bencode is canonical: what is not gets no answer.
- Keys that this version does not know are ignored.
- A reply may lack the observed address. An error may lack the ID of its sender.
- An answer may have endpoints and no nodes, or nodes and no endpoints.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from dhtd.core.endpoint import IPV4_SIZE, IPV6_SIZE, PORT_MAX, Endpoint, Family
from dhtd.core.ids import Id, to_id
from dhtd.core.messages import (
    ERROR_METHOD,
    ERROR_PROTOCOL,
    NO_OPTIONS,
    Acknowledged,
    BadQuery,
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
    Reply,
    Request,
    Result,
    Store,
)
from dhtd.core.records import SEQ_MAX, Value
from dhtd.errors import WireError
from dhtd.wire import bencode, bep5_values
from dhtd.wire.bad_value import BadValue
from dhtd.wire.bep5_layout import ERROR, ID_SIZE, NODE4_SIZE, NODE6_SIZE, QUERY, REPLY, TID_MAX, TOKEN_MAX
from dhtd.wire.remembered import Remembered

Fields = dict[bytes, Any]  # a dictionary as bencode has it: any object under each key

_ENDPOINT_SIZES: Final = (IPV4_SIZE, IPV6_SIZE)
_FAMILIES: Final = {b"n4": Family.IPV4, b"n6": Family.IPV6}
_CODE_MAX: Final = 65_535  # of an error
_TEXT_MAX: Final = 200  # characters of an error that are kept
_PLAIN: Final = (b"d1:ad2:id20:", b"d1:rd2:id20:", b"d2:ip6:", b"d2:ip18:", b"d1:eli")
_PLAIN_SIZE: Final = 512

# A find as most nodes send it, with nothing that it need not have: this reads it in half the time. Any other one, and
# what is not canonical, goes the common way.
_FIND: Final = re.compile(
    rb"d1:ad2:id20:(.{20})(?:9:info_hash20:(.{20})e1:q9:get_peers|6:target20:(.{20})e1:q(?:9:find_node|(3:get)))"
    rb"1:t(?:2:(..)|4:(....))(?:1:v4:....)?1:y1:qe",
    re.DOTALL,
).fullmatch

_PING: Final = Ping()
_SAMPLE: Final = b"sample_infohashes"


class Bep5Decoder(Remembered):
    """Reads datagrams."""

    def __init__(self, remembered: int) -> None:
        """`remembered`: contacts and IDs that it remembers, of each at most."""
        super().__init__(ID_SIZE, remembered)

    def decode(self, data: bytes) -> Message:
        """Return the message in a datagram; raise `WireError` for anything else."""
        find = _FIND(data)
        if find is not None:
            sender, info_hash, target, is_get, short, long = find.groups()
            request: Request
            if info_hash is not None:
                request = FindValue(to_id(info_hash, "big"))
            elif is_get is None:
                request = FindNode(to_id(target, "big"))
            else:
                request = Get(to_id(target, "big"))
            return Query(short or long, self._ids.get(sender) or self._new_id(sender), request)
        fields = bencode.decode(data)
        assert type(fields) is dict  # since it begins like one
        tid = fields.get(b"t")
        if type(tid) is not bytes or not 1 <= len(tid) <= TID_MAX:
            raise WireError("the transaction ID is malformed")
        kind = fields.get(b"y")
        if kind == QUERY:
            return self._query(tid, fields)
        if kind == REPLY:
            return self._reply(tid, fields)
        if kind == ERROR:
            return self._error(tid, fields)
        raise WireError("unknown message type")

    def is_plain(self, data: bytes) -> bool:
        """Whether a datagram is cheap to decode, by its first bytes and its size. Most of our own datagrams are."""
        return len(data) <= _PLAIN_SIZE and data.startswith(_PLAIN)

    def decode_result(self, request: Request, body: object) -> Result:
        """Return the result in a reply's `body`; its form depends on the `request`. Raise `WireError`."""
        assert type(body) is dict
        if not isinstance(request, FindNode | FindValue | Get):
            return Acknowledged()
        nodes4, nodes6 = body.get(b"nodes", b""), body.get(b"nodes6", b"")
        contacts = (*self._decode_nodes(nodes4, NODE4_SIZE), *self._decode_nodes(nodes6, NODE6_SIZE))
        if isinstance(request, FindNode):
            return Found(None, contacts)
        token = body.get(b"token", b"")
        if type(token) is not bytes or len(token) > TOKEN_MAX:
            raise WireError("the token is malformed")
        if isinstance(request, FindValue):
            return Found(token, contacts, _endpoints(body.get(b"values", ())))
        held = _held(request, body)
        return Found(token, contacts, held=held, lasts=bep5_values.LASTS if isinstance(held, Value) else 0)

    def _query(self, tid: bytes, fields: Fields) -> Query | BadQuery:
        args, method = fields.get(b"a"), fields.get(b"q")
        if type(args) is not dict or type(method) is not bytes:
            raise WireError("the method or its arguments are malformed")
        sender = self._sender(args)
        read = _REQUESTS.get(method, _read_unknown)
        try:
            request = read(args)
        except BadValue as bad:
            return BadQuery(tid, sender, bad.code, bad.text)
        options = NO_OPTIONS
        if len(args) > _ARGUMENTS or b"ro" in fields or method == _SAMPLE:
            options = _options(method, args, fields)
        return Query(tid, sender, request, options)

    def _reply(self, tid: bytes, fields: Fields) -> Reply:
        body = fields.get(b"r")
        if type(body) is not dict:
            raise WireError("the result is not a dictionary")
        return Reply(tid, self._sender(body), _observed(fields), body)

    def _error(self, tid: bytes, fields: Fields) -> Error:
        match fields.get(b"e"):
            case [int(code), bytes(text), *_] if 0 <= code <= _CODE_MAX:
                said = text[:_TEXT_MAX].decode(errors="replace")
            case _:
                raise WireError("the error is malformed")
        body = fields.get(b"r")
        return Error(tid, self._sender(body) if type(body) is dict else None, code, said)

    def _sender(self, fields: Fields) -> Id:
        sender = fields.get(b"id")
        if type(sender) is not bytes or len(sender) != ID_SIZE:
            raise WireError("the sender is malformed")
        return self._ids.get(sender) or self._new_id(sender)


def _observed(fields: Fields) -> Endpoint | None:
    ip = fields.get(b"ip")
    return Endpoint(ip) if type(ip) is bytes and len(ip) in _ENDPOINT_SIZES else None


def _endpoints(values: object) -> tuple[Endpoint, ...]:
    if type(values) not in (list, tuple):
        raise WireError("the endpoints are malformed")
    assert isinstance(values, list | tuple)
    return tuple([Endpoint(value) for value in values if type(value) is bytes and len(value) in _ENDPOINT_SIZES])


def _held(request: Get, body: Fields) -> Value | int | None:
    """Return what an answer to get holds: a value, or the seq of one that is not newer than the one asked for."""
    value, seq = body.get(b"v"), body.get(b"seq")
    if value is None:
        return seq if request.seq is not None and _is_seq(seq) else None
    try:
        return bep5_values.to_value(bencode.encode(value), body.get(b"k"), request.salt, seq, body.get(b"sig"))
    except BadValue as bad:
        raise WireError(f"the value is malformed: {bad}") from None


def _options(method: bytes, args: Fields, fields: Fields) -> Options:
    want = args.get(b"want")
    families = None
    if type(want) is list:
        families = frozenset(_FAMILIES[name] for name in want if type(name) is bytes and name in _FAMILIES)
    return Options(
        is_read_only=fields.get(b"ro") == 1,
        families=families or None,
        no_seeds=args.get(b"noseed") == 1,
        scrapes=args.get(b"scrape") == 1,
        samples=method == _SAMPLE,
    )


# The requests. Each raises `BadValue` where its arguments are not what they should be.


def _read_find_node(args: Fields) -> FindNode:
    return FindNode(_id(args.get(b"target")))


def _read_get_peers(args: Fields) -> FindValue:
    return FindValue(_id(args.get(b"info_hash")))


def _read_announce_peer(args: Fields) -> Store:
    key, token = _id(args.get(b"info_hash")), _token(args)
    port = args.get(b"port")
    if args.get(b"implied_port"):
        port = 0
    elif type(port) is not int or not 1 <= port <= PORT_MAX:
        raise BadValue(ERROR_PROTOCOL, "bad port")
    return Store(key, port, token, 0, b"", is_seed=args.get(b"seed") == 1)


def _read_get(args: Fields) -> Get:
    seq = args.get(b"seq")
    return Get(_id(args.get(b"target")), None, seq if _is_seq(seq) else None)


def _read_put(args: Fields) -> Put:
    token, value, cas = _token(args), args.get(b"v"), args.get(b"cas")
    if value is None or not (cas is None or _is_seq(cas)):
        raise BadValue(ERROR_PROTOCOL, "bad arguments")
    data = bencode.encode(value)
    record = bep5_values.to_value(data, args.get(b"k"), args.get(b"salt", b""), args.get(b"seq"), args.get(b"sig"))
    return Put(bep5_values.key_of(record), token, record, cas, bep5_values.LASTS)


def _read_unknown(args: Fields) -> FindNode:
    """Read a query of a method that came later: the nodes near its target are an answer that leads on."""
    target = args.get(b"target", args.get(b"info_hash"))
    if target is None:
        raise BadValue(ERROR_METHOD, "unknown method")
    return FindNode(_id(target))


def _id(field: object) -> Id:
    if type(field) is not bytes or len(field) != ID_SIZE:
        raise BadValue(ERROR_PROTOCOL, "bad target")
    return to_id(field, "big")


def _token(args: Fields) -> bytes:
    token = args.get(b"token")
    if type(token) is not bytes or not 1 <= len(token) <= TOKEN_MAX:
        raise BadValue(ERROR_PROTOCOL, "bad token")
    return token


def _is_seq(field: object) -> bool:
    return type(field) is int and 0 <= field <= SEQ_MAX


_REQUESTS: Final[dict[bytes, Callable[[Fields], Request]]] = {
    b"ping": lambda _: _PING,
    b"find_node": _read_find_node,
    b"get_peers": _read_get_peers,
    b"announce_peer": _read_announce_peer,
    b"get": _read_get,
    b"put": _read_put,
}
_ARGUMENTS: Final = 2  # of a query without options: the sender and the target
