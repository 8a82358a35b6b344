"""The datagram decoder: any bytes are a message or a `WireError`, and a decoded message encodes to the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, assert_never

from dhtd.core.codec import Room
from dhtd.core.endpoint import IPV4_SIZE, IPV6_SIZE, PORT_MAX, Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import (
    CHANGED_MAX,
    LEASE_MAX,
    SESSION_SIZE,
    VALUE_LASTS,
    VERSION_MAX,
    Acknowledged,
    BadQuery,
    Changed,
    Error,
    Find,
    FindNode,
    FindValue,
    Found,
    Get,
    Message,
    Ping,
    Put,
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
from dhtd.core.records import DATA_MAX, PUBLIC_KEY_SIZE, SALT_MAX, SEQ_MAX, SIGNATURE_SIZE, Immutable, Mutable, Value
from dhtd.errors import WireError
from dhtd.wire import native_values
from dhtd.wire.native import NativeCodec
from dhtd.wire.native_layout import TID_SIZE, TOKEN_MAX
from tests.fuzz.target import Target
from tests.fuzz.values import VALUES
from tests.records import SESSION, to_store, to_withdraw
from tests.wire.bombs import bombs
from tests.wire.mutator import Mutator
from tests.wire.vectors import VECTORS

_REQUESTS: Final[tuple[Request, ...]] = (
    Ping(),
    FindNode(Id(0)),
    FindValue(Id(0)),
    to_store(Id(0), 1, b"t"),
    to_withdraw(Id(0), 1, b"t"),
    Renew(SESSION, 1, b"t"),
    Watch(Id(0), b"t", 1, SESSION),
    Changed(Id(0), 1, (), ()),
    Get(Id(0)),
    Put(Id(0), b"t", Immutable(b""), None, 1),
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
        case Store(key, port, token, lease, session):
            _check_entry(key, port, token, session)
            _check_integer(lease, 1, LEASE_MAX)
        case Withdraw(key, port, token, session):
            _check_entry(key, port, token, session)
        case Renew(session, lease, token):
            assert len(session) == SESSION_SIZE
            _check_integer(lease, 0, LEASE_MAX)
            assert len(token) <= TOKEN_MAX
        case Watch(key, token, lease, session):
            _check_entry(key, 1, token, session)
            _check_integer(lease, 0, LEASE_MAX)  # 0 ends it
        case Changed(key, version, added, removed):
            _check_id(key)
            _check_integer(version, 0, VERSION_MAX)
            assert len(added) + len(removed) <= CHANGED_MAX
            _check_endpoints((*added, *removed))
        case Get(key, token, seq):
            _check_id(key)
            assert token is None or 1 <= len(token) <= TOKEN_MAX
            assert seq is None or 0 <= seq <= SEQ_MAX
        case Put(key, token, value, cas, lasts):
            assert key == native_values.key_of(value)
            assert 1 <= len(token) <= TOKEN_MAX
            assert cas is None or 0 <= cas <= SEQ_MAX
            _check_integer(lasts, 1, VALUE_LASTS)
            _check_value(value)
        case _:
            assert_never(request)


def _check_value(value: Value) -> None:
    assert len(value.data) <= DATA_MAX
    if isinstance(value, Mutable):
        assert len(value.public_key) == PUBLIC_KEY_SIZE
        assert len(value.salt) <= SALT_MAX
        assert len(value.signature) == SIGNATURE_SIZE
        _check_integer(value.seq, 0, SEQ_MAX)
    assert native_values.is_genuine(value) in (True, False)


def _check_entry(key: Id, port: int, token: bytes, session: bytes) -> None:
    _check_id(key)
    _check_integer(port, 1, PORT_MAX)
    assert 1 <= len(token) <= TOKEN_MAX
    assert len(session) == SESSION_SIZE


def _check_integer(value: int, least: int, most: int) -> None:
    assert type(value) is int
    assert least <= value <= most


def _check_endpoints(endpoints: Iterable[Endpoint]) -> None:
    for endpoint in endpoints:
        assert len(endpoint) in (IPV4_SIZE, IPV6_SIZE)
        str(endpoint)


def _check_result(codec: NativeCodec, request: Request, body: object) -> None:
    try:
        result: Result = codec.decode_result(request, body)
    except WireError:
        return
    assert codec.decode_result(request, body) == result
    match result:
        case Acknowledged():
            assert isinstance(request, Ping | Store | Withdraw | Changed | Put)
        case Found(token, contacts, endpoints, more, held, lasts):
            assert isinstance(request, Find)
            if isinstance(held, Value):
                _check_value(held)
            else:
                assert held is None or 0 <= held <= SEQ_MAX
            _check_integer(lasts, 0, VALUE_LASTS)
            assert token is not None
            assert len(token) <= TOKEN_MAX  # none, of a node that is full
            assert type(more) is bool
            for contact in contacts:
                _check_id(contact.id)
            _check_endpoints((*endpoints, *(contact.endpoint for contact in contacts)))
        case Renewed(token, held):
            assert isinstance(request, Renew)
            assert 1 <= len(token) <= TOKEN_MAX
            assert held is None or (type(held) is int and held >= 0)
        case Watched(token, version, endpoints, more):
            assert isinstance(request, Watch)
            assert 1 <= len(token) <= TOKEN_MAX
            _check_integer(version, 0, VERSION_MAX)
            assert type(more) is bool
            _check_endpoints(endpoints)
        case _:
            assert_never(result)


def _check_id(id: Id) -> None:
    assert type(id) is int
    assert 0 <= id < NativeCodec.traits.keyspace.size


def _seeds() -> Iterator[bytes]:
    yield b""
    for vector in VECTORS.values():
        yield vector.data
    for _, data in bombs():
        yield data
    codec, at, room = NativeCodec(), Endpoint.of("10.0.0.1", 1729), Room(1_200, proved=True)
    query, packed = Query(bytes(8), Id(0), Get(Id(0))), codec.pack_contacts([])
    for value in VALUES:
        put = Put(codec.key_of(value), b"token", value, None, VALUE_LASTS)
        yield codec.encode_query(bytes(8), Id(0), put)
        yield codec.encode_got(query, Id(0), at, b"token", packed, room, value, VALUE_LASTS)


def _mutate(data: bytes, seed: int) -> bytes:
    """Change an object inside, and keep everything around it well-formed, since broken msgpack ends early."""
    return next(Mutator(seed, [vector.data for vector in VECTORS.values()]).mutants(data, 1))


TARGET: Final = Target(
    "datagram", "decode() and decode_result() of the native wire", check, _seeds, 2_048, _mutate, read=check
)
