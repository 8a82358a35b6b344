"""The results of replies on the native wire. Only a node that we have asked can make us do this work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, assert_never

import msgpack

from dhtd.core.messages import (
    VALUE_LASTS,
    VERSION_MAX,
    Acknowledged,
    Changed,
    FindNode,
    FindValue,
    Found,
    Get,
    Ping,
    Put,
    Renew,
    Renewed,
    Request,
    Result,
    Store,
    Watch,
    Watched,
    Withdraw,
)
from dhtd.core.records import SEQ_MAX, Value
from dhtd.errors import WireError
from dhtd.wire import native_values
from dhtd.wire.bad_value import BadValue
from dhtd.wire.native_fields import are_endpoints, is_integer, is_issued, is_token, read_endpoints, to_endpoints
from dhtd.wire.native_layout import ID_SIZE, NODE4_SIZE, NODE6_SIZE
from dhtd.wire.reader import Reader
from dhtd.wire.remembered import Remembered

READ_ERRORS = (ValueError, IndexError, msgpack.UnpackException)


class Unread(NamedTuple):
    """The result of a reply, not read yet: it begins `at` a place in `data`, and `behind` objects follow it."""

    data: bytes
    at: int
    behind: int


class ResultDecoder(Remembered):
    """Reads results."""

    def __init__(self, remembered: int) -> None:
        """`remembered`: contacts and IDs that it remembers, of each at most."""
        super().__init__(ID_SIZE, remembered)

    def decode_result(self, request: Request, body: object) -> Result:
        """Return the result in a reply's `body`; its form depends on the `request`. Raise `WireError`."""
        if type(body) is Unread:
            body = _read(_ELEMENTS[type(request)], body)
        if type(body) is not list:
            raise WireError("the result is not an array")
        if len(body) < len(_ELEMENTS[type(request)]):
            raise WireError("the result is too short")
        match request:
            case FindNode():
                token, nodes4, nodes6, more = body[:4]
                return self._found(token, nodes4, nodes6, [], more)
            case FindValue():
                return self._found(*body[:5])
            case Get():
                token, nodes4, nodes6, more, held, lasts = body[:6]
                return self._got(self._found(token, nodes4, nodes6, [], more), held, lasts)
            case Ping() | Store() | Withdraw() | Changed() | Put():
                return Acknowledged()
            case Renew():
                return _renewed(*body[:2])
            case Watch():
                return _watched(*body[:4])
            case _:
                assert_never(request)

    def _found(self, token: object, nodes4: object, nodes6: object, endpoints: object, more: object) -> Found:
        if not is_issued(token) or type(more) is not bool:
            raise WireError("the token, or the mark that there is more, is malformed")
        if not are_endpoints(endpoints):
            raise WireError("the endpoints are malformed")
        contacts = (*self._decode_nodes(nodes4, NODE4_SIZE), *self._decode_nodes(nodes6, NODE6_SIZE))
        return Found(token, contacts, to_endpoints(endpoints), more and bool(token))

    def _got(self, found: Found, fields: object, lasts: object) -> Found:
        if not is_integer(lasts, 0, VALUE_LASTS):
            raise WireError("the seconds are malformed")
        held: Value | int | None
        if fields is None or is_integer(fields, 0, SEQ_MAX):
            held = fields
        else:
            try:
                held = native_values.to_value(fields)
            except BadValue as bad:
                raise WireError(f"the value is malformed: {bad}") from None
        return replace(found, held=held, lasts=lasts)


def _renewed(token: object, held: object) -> Renewed:
    if not is_token(token):
        raise WireError("the token is malformed")
    if held is not None and (type(held) is not int or held < 0):
        raise WireError("the count of what is held is malformed")
    return Renewed(token, held)


def _watched(token: object, version: object, endpoints: object, more: object) -> Watched:
    if not is_token(token) or type(more) is not bool:
        raise WireError("the token, or the mark that there is more, is malformed")
    if not is_integer(version, 0, VERSION_MAX):
        raise WireError("the version is malformed")
    if not are_endpoints(endpoints):
        raise WireError("the endpoints are malformed")
    return Watched(token, version, to_endpoints(endpoints), more)


def _held(reader: Reader) -> int | None:
    """Return the integer or the nil that comes next; raise `WireError` for anything else."""
    if reader.nil():
        return None
    held = reader.integer()
    if held is None:
        raise WireError("the count of what is held is malformed")
    return held


def _read_held(reader: Reader) -> object:
    """Return the nil, the integer, or the fields of a value that come next."""
    if reader.nil():
        return None
    seq = reader.integer()
    if seq is not None:
        return seq
    fields = native_values.read(reader)
    if fields is None:
        raise WireError("the value is malformed")
    return fields


_FOUND = (Reader.binary, Reader.binary, Reader.binary)
# How to read the elements of a result that this version knows, by the request.
_ELEMENTS: Final[dict[type[Request], tuple[Callable[[Reader], object], ...]]] = {
    Ping: (),
    FindNode: (*_FOUND, Reader.boolean),
    FindValue: (*_FOUND, read_endpoints, Reader.boolean),
    Store: (),
    Withdraw: (),
    Renew: (Reader.binary, _held),
    Watch: (Reader.binary, Reader.integer, read_endpoints, Reader.boolean),
    Changed: (),
    Get: (*_FOUND, Reader.boolean, _read_held, Reader.integer),
    Put: (),
}


def _read(elements: Sequence[Callable[[Reader], object]], unread: Unread) -> list[object]:
    """Return the elements of a result that this version knows. The first one of a wrong kind is None."""
    reader = Reader(unread.data, unread.at)
    try:
        count = reader.array() or 0
        if count < len(elements):
            raise WireError("the result is too short")
        result = [read(reader) for read in elements]
        reader.end(count - len(elements) + unread.behind)
    except READ_ERRORS as error:
        raise WireError(f"the result is malformed: {error}") from None
    return result
