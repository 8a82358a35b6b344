"""The fields of native messages: the arguments of queries, and what tokens, endpoints and the like may be.

Arguments that this version does not know are ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, TypeGuard, TypeVar

from dhtd.core.endpoint import IPV4_SIZE, IPV6_SIZE, PORT_MAX, Endpoint
from dhtd.core.ids import Id, to_id
from dhtd.core.messages import (
    CHANGED_MAX,
    ERROR_METHOD,
    ERROR_PROTOCOL,
    LEASE_MAX,
    SESSION_SIZE,
    VALUE_LASTS,
    VERSION_MAX,
    BadQuery,
    Changed,
    FindNode,
    FindValue,
    Get,
    Ping,
    Put,
    Query,
    Renew,
    Request,
    Store,
    Watch,
    Withdraw,
)
from dhtd.core.records import SEQ_MAX
from dhtd.errors import WireError
from dhtd.wire import native_values
from dhtd.wire.bad_value import BadValue
from dhtd.wire.native_layout import ID_SIZE, TOKEN_MAX
from dhtd.wire.reader import Reader

_BYTES, _ENDPOINT_SIZES = frozenset((bytes,)), frozenset((IPV4_SIZE, IPV6_SIZE))

_new_bytes = bytes.__new__

F = TypeVar("F", FindNode, FindValue)

_PING = Ping()


def _read_binary_or_nil(reader: Reader) -> bytes | None:
    return None if reader.nil() else reader.binary()


def _read_integer_or_nil(reader: Reader) -> int | None:
    return None if reader.nil() else reader.integer()


def _read_few_binaries(reader: Reader) -> list[bytes] | None:
    return reader.binaries(CHANGED_MAX)


_FIND = (Reader.binary, _read_binary_or_nil)
_ENTRY = (Reader.binary, Reader.integer, Reader.binary)
# How to read the arguments of each method.
_ARGUMENTS: Final[dict[str, tuple[Callable[[Reader], object], ...]]] = {
    "ping": (),
    "find_node": _FIND,
    "find_value": _FIND,
    "store": (*_ENTRY, Reader.integer, Reader.binary),
    "withdraw": (*_ENTRY, Reader.binary),
    "renew": (Reader.binary, Reader.integer, Reader.binary),
    "watch": (Reader.binary, Reader.binary, Reader.integer, Reader.binary),
    "changed": (Reader.binary, Reader.integer, _read_few_binaries, _read_few_binaries),
    "get": (*_FIND, _read_integer_or_nil),
    "put": (Reader.binary, native_values.read, _read_integer_or_nil, Reader.integer),
}


def read_args(reader: Reader, rest: int, method: str) -> list[object] | None:
    """Return the arguments of a query, which are the first of `rest` objects; None if they are no array.

    Arguments that this version does not know are left out. So are the first one of a wrong kind, and all behind it.
    """
    count = reader.array()
    if count is None:
        reader.end(rest)
        return None
    args: list[object] = []
    for read in _ARGUMENTS.get(method, ())[:count]:
        begin = reader.at
        arg = read(reader)
        if reader.at == begin:
            break
        args.append(arg)
    reader.end(rest - 1 + count - len(args))
    return args


def read_endpoints(reader: Reader) -> list[bytes]:
    """Return the endpoints that come next; raise `WireError` if one is malformed."""
    count = reader.array()
    if count is None:
        raise WireError("the endpoints are malformed")
    endpoints = []
    for _ in range(count):
        endpoint = reader.binary()
        if not is_endpoint(endpoint):
            raise WireError("the endpoints are malformed")
        endpoints.append(endpoint)
    return endpoints


def to_query(tid: bytes, sender: Id, method: str, args: object) -> Query | BadQuery:
    """Return the query with this method and these arguments, or how it is bad."""
    if type(args) is not list:
        return BadQuery(tid, sender, ERROR_PROTOCOL, "bad arguments")
    read = _REQUESTS.get(method)
    if read is None:
        return BadQuery(tid, sender, ERROR_METHOD, "unknown method")
    try:
        request = read(args)
    except BadValue as bad:
        return BadQuery(tid, sender, bad.code, bad.text)
    if request is None:
        return BadQuery(tid, sender, ERROR_PROTOCOL, "bad arguments")
    return Query(tid, sender, request)


def _find(kind: type[F], args: list[object]) -> F | None:
    if len(args) < 2:
        return None
    target, token = args[0], args[1]
    if type(target) is not bytes or len(target) != ID_SIZE or not (token is None or is_token(token)):
        return None
    return kind(to_id(target, "big"), token)


def _store(args: list[object]) -> Store | None:
    if len(args) < 5:
        return None
    key, port, token, lease, session = args[:5]
    if not is_bytes(key, ID_SIZE) or not is_token(token) or not is_bytes(session, SESSION_SIZE):
        return None
    if not is_integer(port, 1, PORT_MAX) or not is_integer(lease, 1, LEASE_MAX):
        return None
    return Store(to_id(key, "big"), port, token, lease, session)


def _withdraw(args: list[object]) -> Withdraw | None:
    if len(args) < 4:
        return None
    key, port, token, session = args[:4]
    if not is_bytes(key, ID_SIZE) or not is_token(token) or not is_bytes(session, SESSION_SIZE):
        return None
    return Withdraw(to_id(key, "big"), port, token, session) if is_integer(port, 1, PORT_MAX) else None


def _renew(args: list[object]) -> Renew | None:
    if len(args) < 3:
        return None
    session, lease, token = args[:3]
    if not is_bytes(session, SESSION_SIZE) or not is_integer(lease, 0, LEASE_MAX) or not is_issued(token):
        return None
    return Renew(session, lease, token)


def _watch(args: list[object]) -> Watch | None:
    if len(args) < 4:
        return None
    key, token, lease, session = args[:4]
    if not is_bytes(key, ID_SIZE) or not is_token(token) or not is_bytes(session, SESSION_SIZE):
        return None
    return Watch(to_id(key, "big"), token, lease, session) if is_integer(lease, 0, LEASE_MAX) else None


def _changed(args: list[object]) -> Changed | None:
    if len(args) < 4:
        return None
    key, version, added, removed = args[:4]
    if not is_bytes(key, ID_SIZE) or not is_integer(version, 0, VERSION_MAX):
        return None
    if not are_endpoints(added) or not are_endpoints(removed) or len(added) + len(removed) > CHANGED_MAX:
        return None
    return Changed(to_id(key, "big"), version, to_endpoints(added), to_endpoints(removed))


def _get(args: list[object]) -> Get | None:
    if len(args) < 3:
        return None
    key, token, seq = args[:3]
    if not is_bytes(key, ID_SIZE) or not (token is None or is_token(token)):
        return None
    return Get(to_id(key, "big"), token, seq) if seq is None or is_integer(seq, 0, SEQ_MAX) else None


def _put(args: list[object]) -> Put | None:
    if len(args) < 4:
        return None
    token, fields, cas, lasts = args[:4]
    if not is_token(token) or not (cas is None or is_integer(cas, 0, SEQ_MAX)) or not is_integer(lasts, 1, VALUE_LASTS):
        return None
    value = native_values.to_value(fields)
    return Put(native_values.key_of(value), token, value, cas, lasts)


def is_bytes(value: object, size: int) -> TypeGuard[bytes]:
    return type(value) is bytes and len(value) == size


def is_integer(value: object, least: int, most: int) -> TypeGuard[int]:
    return type(value) is int and least <= value <= most


def is_token(value: object) -> TypeGuard[bytes]:
    return type(value) is bytes and 1 <= len(value) <= TOKEN_MAX


def is_issued(value: object) -> TypeGuard[bytes]:
    """Whether this may be the token of a find's answer, or of a renewal.

    The first is empty if the node would refuse to store. The second is empty if its sender has none yet.
    """
    return type(value) is bytes and len(value) <= TOKEN_MAX


def is_endpoint(value: object) -> TypeGuard[bytes]:
    return type(value) is bytes and len(value) in (IPV4_SIZE, IPV6_SIZE)


def are_endpoints(value: object) -> TypeGuard[list[bytes]]:
    return type(value) is list and _BYTES.issuperset(map(type, value)) and _ENDPOINT_SIZES.issuperset(map(len, value))


def to_endpoints(endpoints: list[bytes]) -> tuple[Endpoint, ...]:
    """Return what is known to be endpoints, as such."""
    return tuple([_new_bytes(Endpoint, endpoint) for endpoint in endpoints])


# How to make a request from the arguments of each method; None where they are bad.
_REQUESTS: Final[dict[str, Callable[[list[object]], Request | None]]] = {
    "ping": lambda _: _PING,
    "find_node": partial(_find, FindNode),
    "find_value": partial(_find, FindValue),
    "store": _store,
    "withdraw": _withdraw,
    "renew": _renew,
    "watch": _watch,
    "changed": _changed,
    "get": _get,
    "put": _put,
}
