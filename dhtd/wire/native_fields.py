"""The fields of native messages: the arguments of queries, and what tokens, endpoints and the like may be.

Arguments that this version does not know are ignored.
"""

from __future__ import annotations

from typing import TypeGuard, TypeVar

from dhtd.core.endpoint import IPV4_SIZE, IPV6_SIZE, PORT_MAX
from dhtd.core.ids import Id
from dhtd.core.messages import (
    ERROR_METHOD,
    ERROR_PROTOCOL,
    BadQuery,
    FindNode,
    FindValue,
    Ping,
    Query,
    Request,
    Store,
    Withdraw,
)
from dhtd.errors import WireError
from dhtd.wire.native_layout import ID_SIZE, TOKEN_MAX, to_id
from dhtd.wire.reader import Reader

_ARGS_MAX = 3  # arguments that a query has in this version

F = TypeVar("F", FindNode, FindValue)

_PING = Ping()


def read_args(reader: Reader, rest: int) -> list[object] | None:
    """Return the arguments of a query, which are the first of `rest` objects; None if they are no array.

    Arguments that this version does not know are left out. So are an argument of a kind that none has, and all behind
    it.
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


def read_endpoints(reader: Reader) -> list[bytes]:
    """Return the endpoints that come next; raise `WireError` if one is malformed."""
    endpoints = []
    for _ in range(reader.array() or 0):
        endpoint = reader.binary()
        if not is_endpoint(endpoint):
            raise WireError("the endpoints are malformed")
        endpoints.append(endpoint)
    return endpoints


def to_query(tid: bytes, sender: Id, method: str, args: object) -> Query | BadQuery:
    """Return the query with this method and these arguments, or how it is bad."""
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
    if type(target) is not bytes or len(target) != ID_SIZE or not (token is None or is_token(token)):
        return None
    return kind(to_id(target, "big"), token)


def _entry_args(args: list[object]) -> tuple[Id, int, bytes] | None:
    if len(args) < 3:
        return None
    key, port, token = args[:3]
    if not is_bytes(key, ID_SIZE) or not is_token(token):
        return None
    if type(port) is not int or not 1 <= port <= PORT_MAX:
        return None
    return to_id(key, "big"), port, token


def is_bytes(value: object, size: int) -> TypeGuard[bytes]:
    return type(value) is bytes and len(value) == size


def is_token(value: object) -> TypeGuard[bytes]:
    return type(value) is bytes and 1 <= len(value) <= TOKEN_MAX


def is_issued(value: object) -> TypeGuard[bytes]:
    """Whether this may be the token of an answer. It is empty if the node would refuse to store."""
    return type(value) is bytes and len(value) <= TOKEN_MAX


def is_endpoint(value: object) -> TypeGuard[bytes]:
    return type(value) is bytes and len(value) in (IPV4_SIZE, IPV6_SIZE)
