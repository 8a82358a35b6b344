"""Bencoding (BEP 3), as far as the benchmark speaks BEP 5."""

from __future__ import annotations

from typing import Any


def encode(value: Any) -> bytes:
    """Return bytes, integers, lists and dictionaries with bytes for keys, bencoded."""
    match value:
        case bytes():
            return b"%d:%b" % (len(value), value)
        case int():
            return b"i%de" % value
        case list():
            return b"l%be" % b"".join(map(encode, value))
        case dict():
            return b"d%be" % b"".join(encode(key) + encode(value[key]) for key in sorted(value))
        case _:
            raise TypeError(f"not to be bencoded: {value!r}")


def decode(data: bytes) -> Any:
    """Return the value at the start of `data`; raise `ValueError` or `IndexError` without one."""
    return _value(data, 0)[0]


def _value(data: bytes, at: int) -> tuple[Any, int]:
    kind = data[at : at + 1]
    if kind == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    if kind in (b"l", b"d"):
        values = []
        at += 1
        while data[at] != ord("e"):
            value, at = _value(data, at)
            values.append(value)
        made = values if kind == b"l" else dict(zip(values[::2], values[1::2], strict=True))
        return made, at + 1
    colon = data.index(b":", at)
    end = colon + 1 + int(data[at:colon])
    return data[colon + 1 : end], end
