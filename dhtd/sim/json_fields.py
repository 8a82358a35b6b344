"""The fields of messages in JSON, written and read. What reads raises an error that is one of `BAD`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from dhtd.core.endpoint import IPV4_SIZE, IPV6_SIZE, Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import SESSION_SIZE, VALUE_LASTS, VERSION_MAX, Renewed, Watched
from dhtd.core.records import SEQ_MAX, Immutable, Value
from dhtd.errors import DhtdError, WireError
from dhtd.wire import native_values
from dhtd.wire.bad_value import BadValue

BAD: Final = (ValueError, TypeError, LookupError, DhtdError, RecursionError, BadValue)

_FIND_SIZE: Final = 400  # bytes to which a find query without a token is padded


def dump(kind: str, tid: bytes, sender: Id | None, fourth: object, fifth: object) -> bytes:
    """Return a message as a datagram."""
    return json.dumps([kind, tid.hex(), sender, fourth, fifth]).encode()


def padded_find(tid: bytes, sender: Id, method: str, target: Id, token: bytes | None, *more: object) -> bytes:
    """Return a find, padded where it has no token."""
    if token is not None:
        return dump("query", tid, sender, method, [target, token.hex(), *more])
    bare = len(dump("query", tid, sender, method, [target, None, *more, ""]))
    return dump("query", tid, sender, method, [target, None, *more, " " * max(0, _FIND_SIZE - bare)])


def from_value(value: Value) -> object:
    """Return a value as JSON can say it."""
    if isinstance(value, Immutable):
        return value.data.hex()
    return [field if isinstance(field, int) else field.hex() for field in value]


def to_value(field: object) -> Value:
    """Return the value that JSON says."""
    if type(field) is str:
        return native_values.to_value(bytes.fromhex(field))
    if type(field) is not list:
        raise WireError("a value is text, or an array")
    return native_values.to_value([bytes.fromhex(part) if type(part) is str else part for part in field])


def to_held(held: object, lasts: object) -> tuple[Value | int | None, int]:
    """Return what a node holds, and for how many seconds."""
    read: Value | int | None
    if held is None or type(held) is int:
        read = None if held is None else to_integer(held, 0, SEQ_MAX)
    else:
        read = to_value(held)
    return read, to_integer(lasts, 0, VALUE_LASTS)


def to_token(token: object) -> bytes | None:
    """Return the token of a query or an answer."""
    if token is None:
        return None
    if type(token) is not str:
        raise WireError("a token is text")
    return bytes.fromhex(token)


def to_integer(value: object, least: int, most: int) -> int:
    """Return an integer within these bounds."""
    if type(value) is not int or not least <= value <= most:
        raise WireError(f"a number from {least} to {most} is expected")
    return value


def to_session(text: str) -> bytes:
    """Return a session."""
    session = bytes.fromhex(text)
    if len(session) != SESSION_SIZE:
        raise WireError(f"a session has {SESSION_SIZE} bytes")
    return session


def to_endpoint(text: object) -> Endpoint:
    """Return an endpoint."""
    endpoint = bytes.fromhex(text) if type(text) is str else b""
    if len(endpoint) not in (IPV4_SIZE, IPV6_SIZE):
        raise WireError("an endpoint is text, of 6 or 18 bytes")
    return Endpoint(endpoint)


def to_endpoints(texts: Iterable[object]) -> tuple[Endpoint, ...]:
    """Return endpoints."""
    return tuple(map(to_endpoint, texts))


def to_renewed(body: object) -> Renewed:
    """Return the result of renew."""
    token, held = body  # type: ignore[misc] # whatever it is, it unpacks or raises
    if held is not None and (type(held) is not int or held < 0):  # type: ignore[has-type]
        raise WireError("what is held is counted from 0")
    return Renewed(bytes.fromhex(token), held)  # type: ignore[has-type]


def to_watched(body: object) -> Watched:
    """Return the result of watch."""
    token, version, endpoints, more = body  # type: ignore[misc] # whatever it is, it unpacks or raises
    version = to_integer(version, 0, VERSION_MAX)  # type: ignore[has-type]
    return Watched(bytes.fromhex(token), version, to_endpoints(endpoints), bool(more))  # type: ignore[has-type]
