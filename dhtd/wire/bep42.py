"""IDs that follow from the address of a node (BEP 42), so that nobody chooses a place in the keyspace at will.

The first 21 bits are a checksum of the masked address and of three random bits, which stand at the end of the ID. A
checksum takes about 2 microseconds: it is made once a contact, not once a query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dhtd.core.endpoint import IPV4_SIZE
from dhtd.core.ids import Id

if TYPE_CHECKING:
    from random import Random

_MASK4: Final = bytes.fromhex("030f3fff")
_MASK6: Final = bytes.fromhex("0103070f1f3f7fff")
_POLYNOMIAL: Final = 0x82F63B78  # of CRC-32C, reversed (RFC 3720 appendix B.4)
_PREFIX: Final = 21  # bits that the address decides
_RANDOM: Final = 160 - 32  # bits behind the checksum


def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)  # noqa: PLW2901 - it is shifted out bit by bit
        table.append(byte)
    return tuple(table)


_CRC32C: Final = _table()


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of some bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC32C[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def id_at(ip: bytes, rng: Random) -> Id:
    """Return an ID for a node at this address of 4 or 16 bytes."""
    seed = rng.getrandbits(8)
    bits = _checksum(ip, seed) >> 32 - _PREFIX << 32 - _PREFIX | rng.getrandbits(32 - _PREFIX)
    return Id((bits << _RANDOM | rng.getrandbits(_RANDOM)) & ~0xFF | seed)


def suits(id: Id, ip: bytes) -> bool:
    """Whether an ID is one for this address."""
    return _checksum(ip, id & 0xFF) >> 32 - _PREFIX == id >> 160 - _PREFIX


def _checksum(ip: bytes, seed: int) -> int:
    mask = _MASK4 if len(ip) + 2 == IPV4_SIZE else _MASK6
    masked = bytearray(byte & kept for byte, kept in zip(ip, mask, strict=False))
    masked[0] |= (seed & 7) << 5
    return crc32c(bytes(masked))
