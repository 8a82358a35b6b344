"""Reads decisions from the bytes of a fuzzer: after their end, everything is zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Reader:
    """Bytes, from the first to the last."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_over(self) -> bool:
        return self._at >= len(self._data)

    def number(self, size: int = 1) -> int:
        """Return so many bytes as a number."""
        return int.from_bytes(self.take(size), "big")

    def take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken.ljust(size, b"\0")

    def some(self, most: int) -> bytes:
        """Return the next bytes: as many as the one or two before them say, and not more than `most`."""
        size = min(self.number(1 if most < 256 else 2), most)
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def rest(self) -> bytes:
        taken = self._data[self._at :]
        self._at = len(self._data)
        return taken

    def one_of(self, choices: Sequence[T]) -> T:
        """Return one of these, by the next byte."""
        return choices[self.number() % len(choices)]
