"""Makes hostile datagrams out of good ones: at the level of bytes, and at that of msgpack objects."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from random import Random

import msgpack

from dhtd.wire.native_layout import MAGIC

# Encodings that decoders trip over. Each is one object, whole or not.
HOSTILE: tuple[bytes, ...] = (
    b"\xc1",  # never used
    b"\xc0",
    b"\xc2",
    b"\xc3",
    b"\xca\x7f\xc0\x00\x00",  # NaN
    b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00",  # infinity
    b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",  # 2**64 - 1
    b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00",  # -2**63
    b"\xff",  # -1
    b"\x80",  # an empty map
    b"\x81\xc0\xc0",  # a map with a nil key
    b"\x81\x01\x02",  # with an integer key
    b"\x81\x90\xc0",  # with an unhashable key
    b"\x81\xca\x7f\xc0\x00\x00\xc0",  # with NaN as a key
    b"\x82\xa1a\x01\xa1a\x02",  # with a key twice
    b"\xd6\xff\x00\x00\x00\x00",  # a timestamp of 32 bits
    b"\xd7\xff" + b"\xff" * 8,  # of 64 bits, with too many nanoseconds
    b"\xc7\x0c\xff" + b"\xff" * 12,  # of 96 bits
    b"\xc7\x01\xff\x00",  # of an impossible length
    b"\xd4\x05\x00",  # an extension
    b"\xc7\x00\x7f",  # an empty one
    b"\xc9\xff\xff\xff\xff\x01",  # a huge one
    b"\xc6\xff\xff\xff\xff",  # 4 GiB of bin to come
    b"\xdb\xff\xff\xff\xff",  # of str
    b"\xdd\xff\xff\xff\xff",  # as many elements
    b"\xdf\xff\xff\xff\xff",  # as many pairs
    b"\xdc\xff\xff",
    b"\xc5\xff\xff",
    b"\xa4\xff\xfe\xfd\xfc",  # text that is not UTF-8
    b"\xa3\xed\xa0\x80",  # a lone surrogate
    b"\xa1\x00",
    b"\x91" * 600 + b"\x90",  # deep
    b"\x91" * 1_900,  # deep and without an end
    b"\x81\xa1a" * 500 + b"\x90",  # deep maps
    b"\x90",
    b"\xdc\x04\x00" + b"\xc0" * 1_024,  # wide
)

_INTERESTING = (0, 1, 3, 4, 5, 6, 7, 8, 18, 31, 32, 33, 64, 65, 127, 128, 255)


class Mutator:
    """An endless source of mutants, the same from the same seed."""

    def __init__(self, seed: int, corpus: list[bytes]) -> None:
        self._rng = Random(seed)
        self._corpus = corpus

    def mutants(self, data: bytes, count: int) -> Iterator[bytes]:
        """Yield mutants of `data`, each changed once to four times."""
        for _ in range(count):
            mutant = data
            for _ in range(self._rng.choice((1, 1, 1, 2, 4))):
                mutant = self._rng.choice(self._kinds)(self, mutant)
            yield mutant

    def _flip_bit(self, data: bytes) -> bytes:
        if not data:
            return data
        place = self._rng.randrange(len(data) * 8)
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        return bytes(changed)

    def _set_byte(self, data: bytes) -> bytes:
        if not data:
            return data
        changed = bytearray(data)
        changed[self._rng.randrange(len(data))] = self._rng.randrange(256)
        return bytes(changed)

    def _truncate(self, data: bytes) -> bytes:
        return data[: self._rng.randint(0, len(data))]

    def _insert(self, data: bytes) -> bytes:
        place = self._rng.randint(0, len(data))
        return data[:place] + self._rng.randbytes(self._rng.randint(1, 8)) + data[place:]

    def _delete(self, data: bytes) -> bytes:
        start = self._rng.randint(0, len(data))
        return data[:start] + data[start + self._rng.randint(1, 8) :]

    def _append(self, data: bytes) -> bytes:
        return data + self._rng.choice(HOSTILE)

    def _graft(self, data: bytes) -> bytes:
        return data[: self._rng.randint(0, len(data))] + self._rng.choice(HOSTILE)

    def _splice(self, data: bytes) -> bytes:
        other = self._rng.choice(self._corpus)
        return data[: self._rng.randint(0, len(data))] + other[self._rng.randint(0, len(other)) :]

    def _rewrite(self, data: bytes) -> bytes:
        """Change one object in the datagram, and keep everything around it well-formed."""
        try:
            whole = msgpack.unpackb(data[4:], strict_map_key=False)
        except (ValueError, msgpack.UnpackException, TypeError):
            return self._flip_bit(data)
        places = list(_places(whole))
        chosen = self._rng.choice(places)
        return MAGIC + self._pack(whole, chosen, ())

    def _pack(self, value: object, chosen: tuple[int, ...], here: tuple[int, ...]) -> bytes:
        if here == chosen:
            return self._another(value)
        if isinstance(value, list) and len(here) < 8:
            inner = [self._pack(element, chosen, (*here, place)) for place, element in enumerate(value)]
            return _array_header(len(inner)) + b"".join(inner)
        return _plain(value)

    def _another(self, value: object) -> bytes:
        rng = self._rng
        kind = rng.randrange(6)
        if kind == 0:
            return rng.choice(HOSTILE)
        if kind == 1 and isinstance(value, bytes):  # another length
            return _plain(rng.randbytes(rng.choice(_INTERESTING)))
        if kind == 2 and isinstance(value, bytes):  # text for binary
            return _plain("x" * len(value))
        if kind == 3 and isinstance(value, str):  # binary for text
            return _plain(value.encode())
        if kind == 4 and isinstance(value, list):  # more, fewer, or shuffled elements
            shapes: tuple[list[object], ...] = ([*value, 7], value[:-1], value[::-1], value * 2, [value], [])
            changed = rng.choice(shapes)
            return b"".join([_array_header(len(changed)), *map(_plain, changed)])
        anything: tuple[object, ...] = (
            None,
            True,
            False,
            0,
            1,
            2,
            3,
            255,
            65_535,
            65_536,
            -1,
            1.0,
            b"",
            "",
            "ping",
            [],
            {},
            rng.randbytes(8),
        )
        return _plain(rng.choice(anything))

    _kinds = (_flip_bit, _set_byte, _truncate, _insert, _delete, _append, _graft, _splice, _rewrite, _rewrite, _rewrite)


def _places(value: object, here: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    yield here
    if isinstance(value, list) and len(here) < 8:
        for place, element in enumerate(value):
            yield from _places(element, (*here, place))


def _plain(value: object) -> bytes:
    try:
        packed: bytes = msgpack.packb(value)
    except (ValueError, TypeError, OverflowError):  # not every decoded value can be encoded again
        packed = b"\xc0"
    return packed


def _array_header(size: int) -> bytes:
    return bytes([0x90 | size]) if size < 16 else b"\xdc" + struct.pack(">H", size & 0xFFFF)
