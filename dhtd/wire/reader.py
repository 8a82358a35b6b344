"""Reads msgpack piece by piece, and builds only what its caller asks for: for bytes that may want to cost us much.

A header of three bytes can claim an array of thousands, and arrays can be nested a thousand deep. A library that builds
what it reads spends milliseconds on 2,000 bytes of these. Here each step costs no more than the bytes that it passes.
"""

from __future__ import annotations

from typing import Final

from msgpack import Unpacker

CHECKED: Final = 1_024  # bytes: ignored objects are checked to be whole up to this size

_BINARY: Final = {0xC5: 2, 0xC6: 4}  # bytes of the length, by the first byte of the object
_TEXT: Final = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_ARRAY: Final = {0xDC: 2, 0xDD: 4}
_UNSIGNED: Final = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_SIGNED: Final = {0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_NIL, _FALSE, _TRUE = 0xC0, 0xC2, 0xC3


def _make_unpacker() -> Unpacker:
    return Unpacker(max_buffer_size=2 * CHECKED)


class Reader:
    """Bytes, and the place `at` which the next object begins.

    Each method except `end` returns the next object and passes it. If the object is of another kind, the method returns
    None and stays there. All raise `ValueError` or `IndexError` if the object is cut off.
    """

    __slots__ = ("_data", "at")

    _unpacker = _make_unpacker()  # empty between calls; a new one takes longer to make than most of its work

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self.at = at

    def array(self) -> int | None:
        """Pass the header of an array; return how many elements it claims."""
        head = self._data[self.at]
        if head & 0xF0 == 0x90:
            self.at += 1
            return head & 0x0F
        width = _ARRAY.get(head)
        return None if width is None else self._number(width)

    def binary(self) -> bytes | None:
        """Return a binary."""
        data, begin = self._data, self.at + 2
        head = data[begin - 2]
        if head == 0xC4:  # a shorter way for short ones, which are most
            end = begin + data[begin - 1]
            if end > len(data):
                raise ValueError("the object is cut off")
            self.at = end
            return data[begin:end]
        width = _BINARY.get(head)
        return None if width is None else self._bytes(self._number(width))

    def binaries(self, most: int) -> list[bytes] | None:
        """Return an array of `most` binaries at most. An array of more, or of other objects, is another object."""
        begin, count = self.at, self.array()
        if count is not None and count <= most:
            binaries = [binary for _ in range(count) if (binary := self.binary()) is not None]
            if len(binaries) == count:
                return binaries
        self.at = begin
        return None

    def text(self) -> str | None:
        """Return a text. Raise `ValueError` if it is not UTF-8."""
        head = self._data[self.at]
        if head & 0xE0 == 0xA0:
            self.at += 1
            return self._bytes(head & 0x1F).decode()
        width = _TEXT.get(head)
        return None if width is None else self._bytes(self._number(width)).decode()

    def integer(self) -> int | None:
        """Return an integer of any width."""
        head = self._data[self.at]
        if head < 0x80 or head >= 0xE0:
            self.at += 1
            return head if head < 0x80 else head - 0x100
        width = _UNSIGNED.get(head)
        if width is not None:
            return self._number(width)
        width = _SIGNED.get(head)
        if width is None:
            return None
        value = self._number(width)
        return value - (1 << 8 * width) if value >> 8 * width - 1 else value

    def boolean(self) -> bool | None:
        """Return True or False."""
        head = self._data[self.at]
        if head not in (_FALSE, _TRUE):
            return None
        self.at += 1
        return head == _TRUE

    def nil(self) -> bool | None:
        """Pass a nil; return True."""
        if self._data[self.at] != _NIL:
            return None
        self.at += 1
        return True

    def end(self, count: int) -> None:
        """Raise `ValueError`, or an exception of msgpack, unless `count` objects of any kind follow, and nothing more.

        Objects longer than `CHECKED` are not looked at: passing 2,000 small objects takes four times as long as reading
        a ping.
        """
        size = len(self._data) - self.at
        if count > size:
            raise ValueError("the object is cut off")
        if not count:
            if size:
                raise ValueError("there is something behind the object")
            return
        if size > CHECKED:
            return
        # Have msgpack pass over the objects as one array, which builds nothing.
        unpacker = Reader._unpacker
        try:
            unpacker.feed(b"\xdd" + count.to_bytes(4, "big") + self._data[self.at :])
            unpacker.skip()
            if unpacker.read_bytes(1):
                raise ValueError("there is something behind the object")
        except BaseException:
            Reader._unpacker = _make_unpacker()  # the old one holds the rest
            raise

    def _number(self, width: int) -> int:
        """Pass the first byte of an object and a number of `width` bytes; return the number."""
        begin = self.at + 1
        self.at = begin + width
        if self.at > len(self._data):
            raise ValueError("the object is cut off")
        return int.from_bytes(self._data[begin : self.at], "big")

    def _bytes(self, size: int) -> bytes:
        begin = self.at
        self.at = begin + size
        if self.at > len(self._data):
            raise ValueError("the object is cut off")
        return self._data[begin : self.at]
