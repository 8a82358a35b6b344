"""What both wires say of a value that is not what it should be."""

from __future__ import annotations


class BadValue(Exception):
    """A value is not what it should be. Its code is that of the error which says so."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
