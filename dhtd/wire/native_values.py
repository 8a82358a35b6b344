"""Values on the native wire: their form, their keys, and whether they are genuine.

- A value that never changes is a binary. Its key is the SHA-256 of its data.
- A signed one is the array of its public key, salt, seq, data and signature. Its key is the SHA-256 of the first two.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from dhtd.core.ids import Id, to_id
from dhtd.core.messages import ERROR_DATA, ERROR_PROTOCOL, ERROR_SALT
from dhtd.core.records import (
    DATA_MAX,
    PUBLIC_KEY_SIZE,
    SALT_MAX,
    SEQ_MAX,
    SIGNATURE_SIZE,
    Immutable,
    Mutable,
    Value,
)
from dhtd.wire.bad_value import BadValue
from dhtd.wire.native_layout import NIL, array_head, binary
from dhtd.wire.reader import Reader

_ELEMENTS: Final = 5  # of a signed value


def key_of(value: Value) -> Id:
    """Return the key of a value."""
    hashed = value.data if isinstance(value, Immutable) else value.public_key + value.salt
    return to_id(sha256(hashed).digest(), "big")


def fields_of(value: Value) -> bytes | tuple[bytes | int, ...]:
    """Return a value as msgpack is to pack it."""
    return value.data if isinstance(value, Immutable) else tuple(value)


def encode(held: Value | int | None) -> bytes:
    """Return what a node holds as it stands in an answer: a value, the seq of one that is not wanted, or nothing."""
    if isinstance(held, Immutable):
        return binary(held.data)
    if held is None:
        return NIL
    if isinstance(held, int):
        return integer(held)
    public_key, salt, seq, data, signature = held
    head = array_head(_ELEMENTS)
    return b"".join((head, binary(public_key), binary(salt), integer(seq), binary(data), binary(signature)))


def integer(number: int) -> bytes:
    """Return an integer from 0 up as short as msgpack has it: in a third of the time that the library takes."""
    if number < 0x80:
        return b"%c" % number
    if number < 0x100:
        return b"\xcc%c" % number
    if number < 0x1_0000:
        return b"\xcd" + number.to_bytes(2, "big")
    if number < 0x1_0000_0000:
        return b"\xce" + number.to_bytes(4, "big")
    return b"\xcf" + number.to_bytes(8, "big")


def read(reader: Reader) -> list[object] | bytes | None:
    """Return the fields of the value that comes next; None for another object, which is not passed."""
    begin, data = reader.at, reader.binary()
    if data is not None:
        return data
    count = reader.array()
    if count is None or count < _ELEMENTS:
        reader.at = begin
        return None
    fields: list[object] = [reader.binary(), reader.binary(), reader.integer(), reader.binary(), reader.binary()]
    if count > _ELEMENTS or None in fields:
        reader.at = begin
        return None
    return fields


def to_value(fields: object) -> Value:
    """Return the value with these fields; raise `BadValue`."""
    if type(fields) is bytes:
        if len(fields) > DATA_MAX:
            raise BadValue(ERROR_DATA, f"a value has {DATA_MAX} bytes at most")
        return Immutable(fields)
    if type(fields) is not list or len(fields) != _ELEMENTS:
        raise BadValue(ERROR_PROTOCOL, "bad arguments")
    public_key, salt, seq, data, signature = fields
    if not (_is_binary(public_key, PUBLIC_KEY_SIZE) and _is_binary(signature, SIGNATURE_SIZE)):
        raise BadValue(ERROR_PROTOCOL, "bad arguments")
    if not (type(salt) is bytes and type(data) is bytes and type(seq) is int and 0 <= seq <= SEQ_MAX):
        raise BadValue(ERROR_PROTOCOL, "bad arguments")
    if len(salt) > SALT_MAX:
        raise BadValue(ERROR_SALT, f"a salt has {SALT_MAX} bytes at most")
    if len(data) > DATA_MAX:
        raise BadValue(ERROR_DATA, f"a value has {DATA_MAX} bytes at most")
    return Mutable(public_key, salt, seq, data, signature)


def is_genuine(value: Value) -> bool:
    """Whether a signed value is by the owner of its public key."""
    if isinstance(value, Immutable):
        return True
    from dhtd.wire.signatures import bencoded, is_signed  # noqa: PLC0415 - see there

    return is_signed(value, bencoded(value.data))


def _is_binary(field: object, size: int) -> bool:
    return type(field) is bytes and len(field) == size
