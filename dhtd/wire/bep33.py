"""How many endpoints there are under a key, and how many of them have all of it: Bloom filters of 256 bytes (BEP 33).

Nodes that hold different endpoints give different filters, and the bitwise or of these is the filter of all.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha1
from math import log
from typing import Final

SIZE: Final = 256  # bytes
_BITS: Final = 8 * SIZE
_HASHES: Final = 2


def filter_of(addresses: Iterable[bytes]) -> bytes:
    """Return the filter of these IP addresses, of 4 or 16 bytes each."""
    bits = bytearray(SIZE)
    for address in addresses:
        digest = sha1(address, usedforsecurity=False).digest()
        for first in range(0, 2 * _HASHES, 2):
            index = (digest[first] | digest[first + 1] << 8) % _BITS
            bits[index // 8] |= 1 << index % 8
    return bytes(bits)


def estimate(bloom: bytes) -> float:
    """Return how many addresses are in a filter, about; at least 6,000 of a full one."""
    zeros = min(_BITS - 1, sum(8 - byte.bit_count() for byte in bloom))
    return log(max(zeros, 1) / _BITS) / (_HASHES * log(1 - 1 / _BITS))
