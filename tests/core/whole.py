"""Everything that a node holds, as a value: for tests in which nothing at all may change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from random import Random
from types import BuiltinFunctionType, BuiltinMethodType, FunctionType, MethodType

from dhtd.core.counters import Counters
from dhtd.core.policy import Policy
from dhtd.wire.native import NativeCodec

_PLAIN = (int, float, str, bytes, bytearray, bool, type(None), Enum)
_CODE = (FunctionType, MethodType, BuiltinFunctionType, BuiltinMethodType)
_LEFT_OUT = (Counters, Policy, NativeCodec)  # counters, constants, and objects shared by all nodes


def snapshot(thing: object) -> object:
    """Return everything that can be reached from a node, or a part of one, but its counters: as a value to compare.

    What several parts of it share is in it once.
    """
    return _value(thing, {})


def _value(thing: object, seen: dict[int, object]) -> object:
    if isinstance(thing, _PLAIN):
        return bytes(thing) if isinstance(thing, bytearray) else thing
    if isinstance(thing, (*_CODE, *_LEFT_OUT)) or id(thing) in seen:
        return type(thing).__name__
    seen[id(thing)] = thing
    if isinstance(thing, Random):
        return thing.getstate()
    if isinstance(thing, Mapping):
        return [(_value(key, seen), _value(value, seen)) for key, value in thing.items()]
    if isinstance(thing, AbstractSet):
        return sorted(repr(_value(each, seen)) for each in thing)
    if isinstance(thing, list | tuple) or hasattr(thing, "__iter__"):
        return [type(thing).__name__, *(_value(each, seen) for each in _elements(thing)), *_fields(thing, seen)]
    return [type(thing).__name__, *_fields(thing, seen)]


def _elements(thing: object) -> list[object]:
    """Return the elements of a container; those of our own iterable objects are in their fields."""
    return [] if type(thing).__module__.startswith("dhtd.") and not isinstance(thing, tuple) else list(thing)  # type: ignore[call-overload]


def _fields(thing: object, seen: dict[int, object]) -> Iterator[tuple[str, object]]:
    names = [name for cls in type(thing).__mro__ for name in getattr(cls, "__slots__", ())]
    names += getattr(thing, "__dict__", {})
    for name in names:
        if hasattr(thing, name):
            yield name, _value(getattr(thing, name), seen)
