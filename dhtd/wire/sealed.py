"""Sealed datagrams: those of a network with a key. To whoever lacks it they are noise, and its own are refused.

A sealed datagram is four bytes of magic and version, a nonce, and an ordinary datagram under XSalsa20-Poly1305 (NaCl's
`secretbox`) with the network key. The nonce is random, and long enough that none ever comes twice. The magic needs no
seal: a datagram with any other is not opened at all, and what is inside begins with a magic of its own.

This imports libsodium, which takes 12 ms, so it is imported only where there is a key. XChaCha20-Poly1305, which could
bind the magic, costs twice as much through PyNaCl: 4.2 us a datagram, either way, to 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from nacl.bindings import crypto_secretbox, crypto_secretbox_open
from nacl.exceptions import CryptoError

from dhtd.wire.network_key import NetworkKey

if TYPE_CHECKING:
    from random import Random

MAGIC: Final = b"DHS\x01"
NONCE_SIZE: Final = 24
TAG_SIZE: Final = 16
OVERHEAD: Final = len(MAGIC) + NONCE_SIZE + TAG_SIZE  # bytes that a datagram grows by
KEYS_MAX: Final = 2

_BOX_AT: Final = len(MAGIC) + NONCE_SIZE


class Seal:
    """Seals with the first of one or two keys, and opens what is sealed with any: so a network changes its key."""

    __slots__ = ("_rng", "_secret", "_secrets", "keys")

    overhead = OVERHEAD

    def __init__(self, keys: Sequence[NetworkKey], rng: Random) -> None:
        assert 1 <= len(keys) <= KEYS_MAX
        self.keys = tuple(keys)
        self._secrets = tuple(key.secret for key in keys)
        self._secret = self._secrets[0]
        self._rng = rng

    def seal(self, datagram: bytes) -> bytes:
        """Return the sealed datagram, `OVERHEAD` bytes longer."""
        nonce = self._rng.randbytes(NONCE_SIZE)
        return b"%b%b%b" % (MAGIC, nonce, crypto_secretbox(datagram, nonce, self._secret))

    def open(self, sealed: bytes) -> bytes | None:
        """Return the datagram inside; None for anything that was not sealed with one of the keys."""
        if len(sealed) < OVERHEAD or not sealed.startswith(MAGIC):
            return None
        nonce, box = sealed[len(MAGIC) : _BOX_AT], sealed[_BOX_AT:]
        for secret in self._secrets:
            try:
                return crypto_secretbox_open(box, nonce, secret)
            except CryptoError:
                continue
        return None
