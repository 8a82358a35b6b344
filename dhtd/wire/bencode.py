"""Canonical bencode (BEP 3) from strangers.

The library is fast, and strict. But an error costs it 5 microseconds for each list or dictionary that is open at that
place, and a datagram could open two thousand. So one with many letters that open one is looked through before.
"""

from __future__ import annotations

from typing import Final

from bencode2 import BencodeDecodeError, bdecode
from bencode2 import bencode as encode

from dhtd.errors import WireError

__all__ = ["decode", "encode"]

_FEW: Final = 16  # letters `d` and `l` in a datagram that is not looked through
_DEPTH_MAX: Final = 16  # lists and dictionaries within each other
_OBJECTS_MAX: Final = 512

_OPENING: Final = b"dl"
_INTEGER, _END = b"ie"


def decode(data: bytes) -> object:
    """Return the object that is in all of `data`; raise `WireError` for anything else."""
    if data[:1] != b"d" or data[-1:] != b"e":
        raise WireError("not a dictionary")
    if data.count(b"d") + data.count(b"l") > _FEW and not _is_shallow(data):
        raise WireError("too much in one datagram")
    try:
        value: object = bdecode(data)
    except (BencodeDecodeError, ValueError, OverflowError) as error:
        raise WireError(f"not canonical bencode: {error}") from None
    return value


def _is_shallow(data: bytes) -> bool:
    """Whether the objects in `data` are few, and few are within each other. What is no bencode is both, up to there."""
    at, depth, size = 0, 0, len(data)
    for _ in range(_OBJECTS_MAX + 1):
        if at >= size:
            return True
        kind = data[at]
        if kind in _OPENING:
            depth += 1
            at += 1
        elif kind == _END:
            depth -= 1
            at += 1
        elif kind == _INTEGER:
            at = data.find(b"e", at) + 1 or size
        else:
            colon = data.find(b":", at, at + 5)
            length = data[at:colon]
            if colon < 0 or not length.isdigit():
                return True
            at = colon + 1 + int(length)
        if depth > _DEPTH_MAX:
            return False
    return False
