"""Values on the Mainline network (BEP 44): their keys, and whether they are genuine.

A value there is any bencoded object. The data of a record are its bencoded form: that is what is hashed, signed and
counted. `wrapped` makes plain bytes such an object, and `unwrapped` is the way back.
"""

from __future__ import annotations

from hashlib import sha1
from typing import Final, TypeGuard

from dhtd.core.ids import Id
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
from dhtd.wire.bep5_layout import string

LASTS: Final = 2 * 60 * 60  # seconds that nodes keep a value which is not put again

_BAD = "bad arguments"


def wrapped(data: bytes) -> bytes:
    """Return bytes as the value that a node of this network takes."""
    return string(data)


def unwrapped(data: bytes) -> bytes | None:
    """Return the bytes in a value; None where it is no string, but a number, a list or a dictionary."""
    head, colon, rest = data.partition(b":")
    return rest if colon and head.isdigit() else None


def key_of(value: Value) -> Id:
    """Return the key of a value: the SHA-1 of its bencoded form, or of its public key and salt."""
    hashed = value.data if isinstance(value, Immutable) else value.public_key + value.salt
    return Id(int.from_bytes(sha1(hashed, usedforsecurity=False).digest(), "big"))


def is_genuine(value: Value) -> bool:
    """Whether a signed value is by the owner of its public key."""
    if isinstance(value, Immutable):
        return True
    from dhtd.wire.signatures import is_signed  # noqa: PLC0415 - see there

    return is_signed(value, value.data)


def to_value(data: bytes, public_key: object, salt: object, seq: object, signature: object) -> Value:
    """Return the value with these fields, `data` in their bencoded form; raise `BadValue`.

    Without a public key, it never changes.
    """
    if len(data) > DATA_MAX:
        raise BadValue(ERROR_DATA, f"a value has {DATA_MAX} bytes at most")
    if public_key is None:
        return Immutable(data)
    if type(salt) is not bytes or not _is_binary(public_key, PUBLIC_KEY_SIZE):
        raise BadValue(ERROR_PROTOCOL, _BAD)
    if len(salt) > SALT_MAX:
        raise BadValue(ERROR_SALT, f"a salt has {SALT_MAX} bytes at most")
    if type(seq) is not int or not 0 <= seq <= SEQ_MAX or not _is_binary(signature, SIGNATURE_SIZE):
        raise BadValue(ERROR_PROTOCOL, _BAD)
    return Mutable(public_key, salt, seq, data, signature)


def _is_binary(field: object, size: int) -> TypeGuard[bytes]:
    return type(field) is bytes and len(field) == size
