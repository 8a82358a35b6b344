"""The decoder of the Mainline wire: any bytes are a message or a `WireError`, and a query is said again as it was."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final

from bencode2 import BencodeDecodeError, bdecode, bencode

from dhtd.core.codec import Room
from dhtd.core.endpoint import IPV4_SIZE, IPV6_SIZE, PORT_MAX, Endpoint
from dhtd.core.ids import MAINLINE, Id
from dhtd.core.messages import (
    Acknowledged,
    BadQuery,
    Error,
    FindNode,
    FindValue,
    Found,
    Get,
    Ping,
    Put,
    Query,
    Reply,
    Request,
    Store,
)
from dhtd.core.records import DATA_MAX, SALT_MAX, SEQ_MAX, Immutable, Mutable, Value
from dhtd.errors import WireError
from dhtd.wire.bep5 import Bep5Codec
from dhtd.wire.bep5_layout import TID_MAX, TOKEN_MAX
from tests.fuzz.target import Target
from tests.wire.mainline import CAPTURED

_REQUESTS: Final[tuple[Request, ...]] = (Ping(), FindNode(Id(0)), FindValue(Id(0)), Get(Id(0)), Get(Id(0), seq=1))
_HERE: Final = Endpoint.parse("192.0.2.1:6881")
_ODD: Final[tuple[object, ...]] = (
    b"",
    b"x",
    b"x" * 19,
    b"x" * 21,
    b"x" * 64,
    0,
    1,
    -1,
    2**63,
    [],
    {},
    [b"n4", b"n6"],
    {b"id": b"x" * 20},
)


def check(data: bytes) -> None:
    """Decode, and check the message."""
    codec = Bep5Codec(remembered=2)  # so that the caches forget now and then
    try:
        message = codec.decode(data)
    except WireError:
        return
    assert bencode(bdecode(data)) == data, "what is not canonical was taken"
    assert 1 <= len(message.tid) <= TID_MAX
    match message:
        case Query(_, sender, request):
            _check_id(sender)
            _check_request(request)
            if not (isinstance(request, Store) and request.port == 0):  # of our own, each has a port
                again = codec.decode(codec.encode_query(message.tid, sender, request))
                assert isinstance(again, Query)
                assert again.request == request, "it is sent as another request"
            assert len(_answered(codec, message)) <= 1_500
        case BadQuery(tid, sender, code, text):
            codec.decode(codec.encode_error(tid, sender, code, text, _HERE))
        case Error(_, _, code, text):
            assert type(code) is int
            text.encode()
        case Reply(_, sender, observed, body):
            _check_id(sender)
            assert observed is None or len(observed) in (IPV4_SIZE, IPV6_SIZE)
            for request in _REQUESTS:
                _check_result(codec, request, body)


def _answered(codec: Bep5Codec, query: Query) -> bytes:
    packed, request = codec.pack_contacts([]), query.request
    if isinstance(request, FindNode | FindValue):
        return codec.encode_found(query, Id(0), _HERE, b"token", packed, Room(1_024))
    if isinstance(request, Get):
        return codec.encode_got(query, Id(0), _HERE, b"token", packed, Room(1_452), None, 0)
    return codec.encode_acknowledged(query.tid, Id(0), _HERE)


def _check_request(request: Request) -> None:
    match request:
        case Ping():
            pass
        case FindNode(id, token) | FindValue(id, token):
            _check_id(id)
            assert token is None
        case Get(key, token, seq):
            _check_id(key)
            assert token is None
            assert seq is None or 0 <= seq <= SEQ_MAX
        case Store(key, port, token, lease, session):
            _check_id(key)
            assert 0 <= port <= PORT_MAX
            assert 1 <= len(token) <= TOKEN_MAX
            assert (lease, session) == (0, b"")
        case Put(key, token, value, cas, _):
            assert key == Bep5Codec().key_of(value)
            assert 1 <= len(token) <= TOKEN_MAX
            assert cas is None or 0 <= cas <= SEQ_MAX
            _check_value(value)
        case _:
            raise AssertionError(f"{request} is not of this wire")


def _check_value(value: Value) -> None:
    assert len(value.data) <= DATA_MAX
    bdecode(value.data)
    if isinstance(value, Mutable):
        assert len(value.salt) <= SALT_MAX
        assert 0 <= value.seq <= SEQ_MAX


def _check_result(codec: Bep5Codec, request: Request, body: object) -> None:
    try:
        result = codec.decode_result(request, body)
    except WireError:
        return
    if isinstance(result, Acknowledged):
        return
    assert isinstance(result, Found)
    for contact in result.contacts:
        _check_id(contact.id)
    assert all(len(endpoint) in (IPV4_SIZE, IPV6_SIZE) for endpoint in result.endpoints)
    assert result.token is None or len(result.token) <= TOKEN_MAX
    if isinstance(result.held, Immutable | Mutable):
        _check_value(result.held)


def _check_id(id: Id) -> None:
    assert type(id) is int
    assert 0 <= id < MAINLINE.size


def _seeds() -> Iterator[bytes]:
    yield b""
    for captured in CAPTURED.values():
        yield captured.data
    yield b"d1:a" + b"l" * 400 + b"e"


def _mutate(data: bytes, seed: int) -> bytes:
    """Change, add or drop a field, and keep the rest canonical, since broken bencode ends early."""
    rng = Random(seed)
    try:
        fields = bdecode(data)
    except BencodeDecodeError:
        return rng.choice(list(CAPTURED.values())).data
    at = fields
    while isinstance(at, dict) and at and rng.random() < 0.7:
        inner = [value for value in at.values() if isinstance(value, dict)]
        if not inner:
            break
        at = rng.choice(inner)
    if not isinstance(at, dict):
        return rng.choice(list(CAPTURED.values())).data
    others = [key for captured in CAPTURED.values() for key in captured.fields.get(b"a", captured.fields)]
    key = rng.choice([*at, rng.choice(others)])
    if rng.random() < 0.2:
        at.pop(key, None)
    else:
        at[key] = rng.choice(_ODD)
    return bencode(fields)


TARGET: Final = Target(
    "mainline", "decode() and decode_result() of the Mainline wire", check, _seeds, 2_048, _mutate, read=check
)
