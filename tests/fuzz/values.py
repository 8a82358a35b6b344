"""The values that the node is asked for, and put: signed and forged ones, old and newer ones, and a squatter."""

from __future__ import annotations

from typing import Final

from dhtd.core.ids import Id
from dhtd.core.records import DATA_MAX, SALT_MAX, SEQ_MAX, Immutable, Mutable, Value
from dhtd.wire.native_values import key_of
from tests.values import by_owner, forged, squatting

VALUES: Final[tuple[Value, ...]] = (
    by_owner(1),
    by_owner(2),
    by_owner(2, b"a conflict"),
    by_owner(3, b""),
    by_owner(SEQ_MAX),
    forged(3),
    squatting(by_owner(1)),
    by_owner(1, salt=b"salt"),
    by_owner(2, bytes(DATA_MAX), bytes(SALT_MAX)),
    Immutable(b""),
    Immutable(b"data"),
    Immutable(bytes(DATA_MAX)),
)
VALUE_KEYS: Final[tuple[Id, ...]] = tuple(dict.fromkeys(map(key_of, VALUES)))


def fields_of(value: Value) -> object:
    """Return a value as msgpack has it."""
    return list(value) if isinstance(value, Mutable) else value.data
