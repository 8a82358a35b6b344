"""Keyspaces, IDs and the XOR metric (Kademlia section 2.1).

An `Id` is an integer: distance is one `^`, and the order of integers is the order of ranges. Only a `Keyspace` knows
how wide IDs are and how they look as bytes and as text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NewType, Protocol, TypeVar, cast

from dhtd.errors import InvalidId

if TYPE_CHECKING:
    from random import Random

Id = NewType("Id", int)

_PACKED_SIZE: Final = 32  # bytes of an ID; of a wider one, as many as it needs


class HasId(Protocol):
    """Anything with a place in the keyspace."""

    @property
    def id(self) -> Id: ...


T = TypeVar("T", bound=HasId)


@dataclass(frozen=True, slots=True)
class Keyspace:
    """The IDs from 0 to 2**bits - 1; `hash` makes IDs of data, by its name in hashlib."""

    bits: int
    hash: str = "sha256"

    @property
    def size(self) -> int:
        """How many IDs there are."""
        return 1 << self.bits

    @property
    def width(self) -> int:
        """Bytes of an ID on the wire."""
        return (self.bits + 7) // 8

    def id(self, value: int) -> Id:
        """Return `value` as an ID; raise `InvalidId` where it is out of range."""
        if not 0 <= value < self.size:
            raise InvalidId(f"{value} is not an ID of {self.bits} bits")
        return Id(value)

    def from_bytes(self, data: bytes) -> Id:
        """Return the ID that `width` big-endian bytes spell; raise `InvalidId` for any other bytes."""
        if len(data) != self.width:
            raise InvalidId(f"an ID has {self.width} bytes, not {len(data)}")
        return self.id(int.from_bytes(data, "big"))

    def to_bytes(self, id: Id) -> bytes:
        """Return the ID as `width` big-endian bytes."""
        return id.to_bytes((self.bits + 7) // 8, "big")  # `width`, without a call: each query needs it

    def parse(self, text: str) -> Id:
        """Return the ID that exactly 2 * `width` hex digits spell, in either case; raise `InvalidId`."""
        digits = 2 * self.width
        if len(text) != digits:
            characters = "1 character" if len(text) == 1 else f"{len(text)} characters"
            raise InvalidId(f"an ID is {digits} hex digits, and {_shown(text)} has {characters}")
        if not all(character in "0123456789abcdefABCDEF" for character in text):
            raise InvalidId(f"an ID is {digits} hex digits, and {_shown(text)} has a character that is none")
        return self.id(int(text, 16))

    def format(self, id: Id) -> str:
        """Return the ID as 2 * `width` lower-case hex digits."""
        return f"{id:0{2 * self.width}x}"

    def digest(self, data: bytes) -> Id:
        """Return the ID of `data`: the leading bits of its hash (FIPS 180-4), all of them where it has as many."""
        digest = hashlib.new(self.hash, data, usedforsecurity=False).digest()
        return Id(int.from_bytes(digest, "big") >> (8 * len(digest) - self.bits))

    def random(self, rng: Random) -> Id:
        """Return any ID, each as likely."""
        return Id(rng.getrandbits(self.bits))


to_id = cast("Callable[[bytes, Literal['big']], Id]", int.from_bytes)  # an ID from its bytes, without the call of `Id`


def packed(id: Id) -> bytes:
    """Return the ID as bytes, to key a dictionary or a set by; `unpacked` is the way back.

    None is keyed by the ID itself. The hash of an integer is its rest modulo 2**61 - 1, so strangers can choose any
    number of IDs that collide, and each step in a dictionary of them is a walk over them all. The hash of bytes is
    keyed by a secret of this process.
    """
    try:
        return id.to_bytes(_PACKED_SIZE, "big")
    except OverflowError:
        return id.to_bytes((id.bit_length() + 7) // 8, "big")


def unpacked(data: bytes) -> Id:
    """Return the ID that `packed` has made into `data`."""
    return Id(int.from_bytes(data, "big"))


def random_between(rng: Random, low: Id, high: Id) -> Id:
    """Return any ID from `low` to `high`, both included, each as likely."""
    return Id(rng.randint(low, high))


def distance(a: Id, b: Id) -> int:
    """Return how far apart two IDs are: their exclusive or."""
    return a ^ b


def closest(candidates: Iterable[T], target: Id, count: int) -> list[T]:
    """Return the `count` candidates nearest to `target`, nearest first. Sorts, in C: faster than a heap in Python."""
    return sorted(candidates, key=lambda candidate: candidate.id ^ target)[:count]


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


NATIVE = Keyspace(256)
MAINLINE = Keyspace(160, "sha1")
