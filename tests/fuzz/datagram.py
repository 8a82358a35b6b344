"""The datagram decoder: any bytes are a message or a `WireError`, and a decoded message encodes to the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, assert_never

from dhtd.core.endpoint import IPV4_SIZE, IPV6_SIZE
from dhtd.core.ids import Id
from dhtd.core.messages import (
    Acknowledged,
    BadQuery,
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
from dhtd.wire.native import NativeCodec
from dhtd.wire.native_layout import TID_SIZE, TOKEN_MAX
from tests.fuzz.target import Target
from tests.wire.bombs import bombs
from tests.wire.mutator import Mutator
from tests.wire.vectors import VECTORS

_REQUESTS: Final[tuple[Request, ...]] = (
    Ping(),
    FindNode(Id(0)),
    FindValue(Id(0)),
    Store(Id(0), 1, b"t"),
    Withdraw(Id(0), 1, b"t"),
)


def check(data: bytes) -> None:
    """Decode, and check the message."""
    codec = NativeCodec(remembered=2)  # so that the caches forget now and then
    try:
        message = codec.decode(data)
    except WireError:
        return
    assert _comparable(codec.decode(data)) == _comparable(message), "the second time, it is another message"
    assert len(message.tid) == TID_SIZE
    assert message.sender is not None
    _check_id(message.sender)
    match message:
        case Query():
            _check_request(message.request)
            again = codec.decode(codec.encode_query(message.tid, message.sender, message.request))
            assert again == message, "it is sent as another message"
        case BadQuery():
            codec.decode(codec.encode_error(message.tid, message.sender, message.code, message.text))
        case Error():
            assert type(message.code) is int
            message.text.encode()
        case Reply():
            assert message.observed is not None
            assert len(message.observed) in (IPV4_SIZE, IPV6_SIZE)
            str(message.observed)
            for request in _REQUESTS:
                _check_result(codec, request, message.body)
        case _:
            assert_never(message)


def _comparable(message: Message) -> Message:
    """Return a message without the body of a reply, which may hold a NaN, or be too deep to be compared."""
    return Reply(message.tid, message.sender, message.observed, []) if isinstance(message, Reply) else message


def _check_request(request: Request) -> None:
    match request:
        case Ping():
            pass
        case FindNode(target, token) | FindValue(target, token):
            _check_id(target)
            assert token is None or 1 <= len(token) <= TOKEN_MAX
        case Store(key, port, token) | Withdraw(key, port, token):
            _check_id(key)
            assert type(port) is int
            assert 1 <= port <= 65_535
            assert 1 <= len(token) <= TOKEN_MAX
        case _:
            assert_never(request)


def _check_result(codec: NativeCodec, request: Request, body: object) -> None:
    try:
        result: Result = codec.decode_result(request, body)
    except WireError:
        return
    assert codec.decode_result(request, body) == result
    assert isinstance(result, Found) == isinstance(request, FindNode | FindValue)
    if isinstance(result, Acknowledged):
        return
    assert result.token is not None
    assert len(result.token) <= TOKEN_MAX  # none, of a node that is full
    assert type(result.more) is bool
    for contact in result.contacts:
        _check_id(contact.id)
        str(contact.endpoint)
    for endpoint in result.endpoints:
        str(endpoint)


def _check_id(id: Id) -> None:
    assert type(id) is int
    assert 0 <= id < NativeCodec.traits.keyspace.size


def _seeds() -> Iterator[bytes]:
    yield b""
    for vector in VECTORS.values():
        yield vector.data
    for _, data in bombs():
        yield data


def _mutate(data: bytes, seed: int) -> bytes:
    """Change an object inside, and keep everything around it well-formed, since broken msgpack ends early."""
    return next(Mutator(seed, [vector.data for vector in VECTORS.values()]).mutants(data, 1))


TARGET: Final = Target(
    "datagram", "decode() and decode_result() of the native wire", check, _seeds, 2_048, _mutate, read=check
)
