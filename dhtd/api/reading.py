"""Reads what a daemon answers into typed values. The annotations of a dataclass say how its fields are read."""

from __future__ import annotations

import types
import typing
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, cast

from dhtd.api.names import Endpoint, Id, PublicKey
from dhtd.errors import DhtdError

T = TypeVar("T")
Read = Callable[[Any], Any]


def read(kind: type[T], body: Mapping[str, Any]) -> T:
    """Return a value of a dataclass; raise `DhtdError` if the daemon does not tell a part of it."""
    found: Any = _reader(cast("Any", kind))(body)
    return cast("T", found)


def endpoints_in(texts: Any) -> tuple[Endpoint, ...]:
    """Return an array of endpoints; raise `DhtdError`."""
    return cast("tuple[Endpoint, ...]", _reader(tuple[Endpoint, ...])(texts))


@cache
def _reader(kind: Any) -> Read:
    """Return what reads JSON into a value of a type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if is_dataclass(kind):
        return _reader_of_fields(cast("type[object]", kind))
    if origin in (types.UnionType, typing.Union):
        [other] = [each for each in arguments if each is not type(None)]
        inner = _reader(other)
        return lambda value: None if value is None else inner(value)
    if origin is tuple:
        inner = _reader(arguments[0])
        return lambda value: tuple(map(inner, _checked(value, list)))
    if origin is dict:
        return lambda value: dict(_checked(value, dict))
    raise TypeError(f"no reader for {kind}")


def _reader_of_fields(kind: type[object]) -> Read:
    hints = typing.get_type_hints(kind)
    plan = [(each.name, _reader(hints[each.name]), hints[each.name]) for each in fields(cast("Any", kind))]

    def read_fields(body: Any) -> object:
        values = {}
        for name, read_field, hint in plan:
            if name in _checked(body, dict):
                values[name] = read_field(body[name])
            elif type(None) in typing.get_args(hint):
                values[name] = None  # an older daemon does not know of it
            else:
                raise _misunderstood(f"does not tell {name!r}")
        return kind(**values)

    return read_fields


def _checked(value: Any, *kinds: type) -> Any:
    if type(value) not in kinds:
        raise _misunderstood(f"says {value!r:.80} where {kinds[0].__name__} is expected")
    return value


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise _misunderstood(f"says {text!r:.80} where base64 is expected") from None


def _misunderstood(what: str) -> DhtdError:
    return DhtdError(f"the daemon {what}: is it of another version than this library?")


_SIMPLE: dict[Any, Read] = {
    str: lambda value: _checked(value, str),
    int: lambda value: _checked(value, int),
    bool: lambda value: _checked(value, bool),
    float: lambda value: float(_checked(value, float, int)),
    bytes: lambda value: _decoded(_checked(value, str)),
    Id: lambda value: Id(_checked(value, str)),
    PublicKey: lambda value: PublicKey(_checked(value, str)),
    Endpoint: lambda value: Endpoint.parse(_checked(value, str)),
}
