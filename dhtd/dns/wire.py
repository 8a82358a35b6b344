"""Questions and answers as bytes, where time counts: a question that was asked before is answered without a parser.

An answer is kept as the bytes behind its question. Names in them point into the question (RFC 1035, section 4.1.4).
So they stand behind a question in any mix of capitals, which comes back as it was asked.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

HEADER_SIZE: Final = 12
UDP_MAX: Final = 1_232  # bytes of an answer by UDP, whatever the asker would take: no fragments (DNS flag day 2020)
UDP_PLAIN: Final = 512  # bytes of an answer by UDP to an asker without EDNS
TCP_MAX: Final = 65_535

_QR: Final = 0x8000
_AA: Final = 0x0400
_TC: Final = 0x0200
_KEPT: Final = 0x7900 | 0x0010  # of the flags of a question: opcode, RD and CD come back
_OPT_SIZE: Final = 11
_OPT: Final = struct.Struct("!xHHBBHH")  # root, type, size, upper bits of the rcode, version, flags, length
_OPT_TYPE: Final = 41
_DO: Final = 0x8000  # a flag of EDNS
_HEADER: Final = struct.Struct("!6H")


class Head(NamedTuple):
    """A question, as far as every answer to it needs it."""

    id: int
    flags: int
    question: bytes  # name, type and class, as they were sent; without compression
    edns: int | None  # the flags of EDNS; None without
    room: int  # bytes of an answer, at most

    @property
    def key(self) -> bytes:
        """The question in small letters. Type and class are no letters."""
        return self.question[:-4].lower() + self.question[-4:]


def plain(data: bytes, *, is_tcp: bool) -> Head | None:
    """Return the head of a question of the usual form, None for any other datagram.

    Labels are not looked at. So the head counts only if an answer to the same `key` is there: the key is then a name
    that was read before, and so is this, letter by letter.
    """
    if len(data) < HEADER_SIZE + 5:
        return None
    id, flags, questions, answers, authorities, others = _HEADER.unpack_from(data)
    if flags & 0xFECF or questions != 1 or answers or authorities or others > 1:
        return None
    end = data.find(0, HEADER_SIZE) + 5
    if end < HEADER_SIZE + 5 or end > len(data):
        return None
    question = data[HEADER_SIZE:end]
    if not others:
        if end != len(data):
            return None
        return Head(id, flags, question, None, TCP_MAX if is_tcp else UDP_PLAIN)
    if len(data) < end + _OPT_SIZE or data[end]:
        return None
    kind, size, upper, version, edns, length = _OPT.unpack_from(data, end)
    if kind != _OPT_TYPE or upper or version or not _are_options(data, end + _OPT_SIZE, length):
        return None
    return Head(id, flags, question, edns & _DO, room_of(size, is_tcp=is_tcp))


def room_of(size: int, *, is_tcp: bool) -> int:
    """Return the bytes of an answer to an asker that takes `size` by UDP."""
    return TCP_MAX if is_tcp else min(max(size, UDP_PLAIN), UDP_MAX)


def _are_options(data: bytes, start: int, length: int) -> bool:
    """Whether the rest of the data is options of EDNS, of this length in all."""
    if start + length != len(data):
        return False
    while start + 4 <= len(data):
        start += 4 + int.from_bytes(data[start + 2 : start + 4], "big")
    return start == len(data)


class Body:
    """What stands behind the question of an answer. All of its records have the same TTL."""

    __slots__ = ("_at", "_data", "_ttl", "additional", "answers", "authorities")

    def __init__(self, data: bytearray, ttls: Sequence[int], answers: int, authorities: int, additional: int) -> None:
        """`ttls` are the places of the TTLs in the data."""
        self.answers = answers
        self.authorities = authorities
        self.additional = additional
        self._at = tuple(ttls)
        self._data = data
        self._ttl = 0

    def __len__(self) -> int:
        """Return its size."""
        return len(self._data)

    def with_ttl(self, ttl: int) -> bytearray:
        """Return the bytes with this TTL, which is mostly that of the last time."""
        if ttl != self._ttl:
            for at in self._at:
                self._data[at : at + 4] = ttl.to_bytes(4, "big")
            self._ttl = ttl
        return self._data


class Answer:
    """An answer to a question, for everybody who asks it."""

    __slots__ = ("_bodies", "_flags")

    def __init__(self, rcode: int, bodies: tuple[Body, ...], *, is_ours: bool = True) -> None:
        """The first of the `bodies` has everything; the next ones leave out what an asker can do without."""
        self._flags = _QR | rcode | (_AA if is_ours else 0)
        self._bodies = bodies

    def __len__(self) -> int:
        """Return the bytes that it takes in memory, about."""
        return 400 + sum(2 * len(body) for body in self._bodies)

    def to(self, head: Head, ttl: int = 0) -> bytes:
        """Return the answer to an asker. One that has no room for it is told to ask by TCP."""
        flags = self._flags | (head.flags & _KEPT)
        has_edns = head.edns is not None
        opt = b"" if head.edns is None else _OPT.pack(_OPT_TYPE, UDP_MAX, 0, 0, head.edns, 0)
        rest = head.room - HEADER_SIZE - len(head.question) - len(opt)
        for body in self._bodies:
            if len(body) <= rest:
                counts = (body.answers, body.authorities, body.additional + has_edns)
                return _HEADER.pack(head.id, flags, 1, *counts) + head.question + body.with_ttl(ttl) + opt
        return _HEADER.pack(head.id, flags | (_TC if self._bodies else 0), 1, 0, 0, has_edns) + head.question + opt

    def cut(self, head: Head) -> bytes:
        """Return an answer that says no more than to ask by TCP."""
        return _HEADER.pack(head.id, self._flags | _TC | (head.flags & _KEPT), 1, 0, 0, 0) + head.question


def refusal(id: int, flags: int, rcode: int) -> bytes:
    """Return an answer to what has no question that can be repeated."""
    return _HEADER.pack(id, _QR | (flags & _KEPT) | rcode, 0, 0, 0, 0)


def bad_version(id: int, flags: int) -> bytes:
    """Return the answer to a version of EDNS that is not 0 (RFC 6891, section 6.1.3)."""
    return _HEADER.pack(id, _QR | (flags & _KEPT), 0, 0, 0, 1) + _OPT.pack(_OPT_TYPE, UDP_MAX, 1, 0, 0, 0)
