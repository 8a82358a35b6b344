"""A value in one piece of bytes: held values take less memory so, and the state file has them in this form."""

from __future__ import annotations

from typing import Final

from dhtd.core.records import PUBLIC_KEY_SIZE, SIGNATURE_SIZE, Immutable, Kind, Mutable, Value

_IMMUTABLE: Final = bytes((Kind.IMMUTABLE,))
_MUTABLE: Final = bytes((Kind.MUTABLE,))
_SEQ_SIZE: Final = 8
# Where the fields of a signed value begin, behind its kind; the salt has a byte for its length before it.
_SIGNATURE_AT: Final = 1 + PUBLIC_KEY_SIZE
_SEQ_AT: Final = _SIGNATURE_AT + SIGNATURE_SIZE
_SALT_AT: Final = _SEQ_AT + _SEQ_SIZE + 1


def pack(value: Value) -> bytes:
    """Return the bytes of a value: its kind, and its fields."""
    if isinstance(value, Immutable):
        return _IMMUTABLE + value.data
    public_key, salt, seq, data, signature = value
    return b"".join((_MUTABLE, public_key, signature, seq.to_bytes(_SEQ_SIZE, "big"), bytes((len(salt),)), salt, data))


def unpack(packed: bytes) -> Value:
    """Return the value that `pack` has made into these bytes; raise `ValueError` for others."""
    if packed[:1] == _IMMUTABLE:
        return Immutable(packed[1:])
    data_at = _SALT_AT + (packed[_SALT_AT - 1] if len(packed) >= _SALT_AT else 0)
    if packed[:1] != _MUTABLE or len(packed) < data_at:
        raise ValueError("these bytes are no value")
    return Mutable(
        packed[1:_SIGNATURE_AT],
        packed[_SALT_AT:data_at],
        int.from_bytes(packed[_SEQ_AT : _SALT_AT - 1], "big"),
        packed[data_at:],
        packed[_SIGNATURE_AT:_SEQ_AT],
    )
