"""Sealed datagrams: those of a network with a key. Without the key they are noise, and unsealed ones are refused.

A sealed datagram is four bytes of magic and version, a nonce, and a box. The box is XSalsa20-Poly1305 (NaCl's
`secretbox`) with the network key over an ordinary datagram. The nonce is random, and too long to come twice. The magic
needs no seal: a datagram with another magic is not opened, and the datagram inside begins with a magic of its own.

Without the key, a caught datagram can still be sent again. So the box of a query ends with a tail: its recipient, and
the time at which it was sealed. It opens once, at one node, for a while:

- at the node with an ID that begins with the recipient's bytes; at any node, if the sender did not know the ID;
- if the two clocks differ by `WINDOW` at most, and the query was sealed after this node had started;
- if its nonce did not come before: see `Nonces`.

An answer has no tail. It counts only beside the query that it answers, by its transaction ID and its source.

This module imports libsodium, which takes 12 ms, so it is imported only if there is a key. XChaCha20-Poly1305 could
bind the magic, but costs twice as much through PyNaCl: 4.2 us a datagram, either way, against 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from nacl.bindings import crypto_secretbox, crypto_secretbox_open
from nacl.exceptions import CryptoError

from dhtd.core.ids import NATIVE, Id
from dhtd.wire.native_layout import ERROR, REPLY
from dhtd.wire.network_key import NetworkKey

if TYPE_CHECKING:
    from random import Random

MAGIC: Final = b"DHS\x01"
NONCE_SIZE: Final = 24
TAG_SIZE: Final = 16
RECIPIENT_SIZE: Final = 8  # bytes of an ID: enough to tell the nodes of a network apart
TAIL_SIZE: Final = RECIPIENT_SIZE + 8
OVERHEAD: Final = len(MAGIC) + NONCE_SIZE + TAG_SIZE  # bytes that an answer grows by, and a query by its tail more
KEYS_MAX: Final = 2
WINDOW: Final = 300.0  # seconds by which the clocks of two nodes may differ
NONCES_DRAWN: Final = 64
NONCES_MAX: Final = 65_536  # remembered in each of the two generations: 14 MB at most

_BOX_AT: Final = len(MAGIC) + NONCE_SIZE
_TAIL: Final = Struct(f">{RECIPIENT_SIZE}sQ")  # the recipient, and milliseconds since the epoch
_NOBODY: Final = bytes(RECIPIENT_SIZE)
# The first bytes of an answer behind its magic: an array of five elements or more, and its kind. No query has these.
ANSWERS: Final = frozenset(bytes((0x90 | size, kind)) for size in range(5, 16) for kind in (REPLY, ERROR))


class Refusal(Enum):
    """Why a datagram does not open. The values are the names of counters."""

    UNOPENED = "unopened"  # not sealed with one of the keys
    MISDIRECTED = "misdirected"  # sealed for another node
    REPLAYED = "replayed"  # it came before, or may have come before this node started


class OutOfTime(NamedTuple):
    """It was sealed with one of the keys, too long ago or too far ahead."""

    ahead: float  # seconds by which its time is ahead of our clock; negative where it is behind


class Seal:
    """Seals with the first of one or two keys, and opens what is sealed with any. So a network can change its key.

    It opens for the node `own_id`. `now` is always the wall clock, in seconds since the epoch.
    """

    __slots__ = ("_fresh", "_nonces", "_own", "_secret", "_secrets", "_since", "keys")

    overhead = OVERHEAD

    def __init__(self, keys: Sequence[NetworkKey], own_id: Id, rng: Random, now: float) -> None:
        self._own = _recipient(own_id)
        self._fresh = _fresh_nonces(rng)
        self._since = now
        self._nonces = Nonces()
        self.change(keys)

    def change(self, keys: Sequence[NetworkKey]) -> None:
        """Go on with other keys. What was opened stays remembered, because it may be sealed with a key that stays."""
        assert 1 <= len(keys) <= KEYS_MAX
        self.keys = tuple(keys)
        self._secrets = tuple(key.secret for key in keys)
        self._secret = self._secrets[0]

    def seal_query(self, query: bytes, recipient: Id | None, now: float) -> bytes:
        """Return the sealed datagram, `OVERHEAD + TAIL_SIZE` bytes longer, for the node with this ID, or for any."""
        to = _NOBODY if recipient is None else _recipient(recipient)
        return self.seal_answer(query + _TAIL.pack(to, max(0, int(1000 * now))))

    def seal_answer(self, answer: bytes) -> bytes:
        """Return the sealed datagram, `OVERHEAD` bytes longer."""
        nonce = next(self._fresh)
        return b"%b%b%b" % (MAGIC, nonce, crypto_secretbox(answer, nonce, self._secret))

    def open(self, sealed: bytes, now: float) -> bytes | Refusal | OutOfTime:
        """Return the datagram inside, or why it does not open. A query opens once."""
        plain = self.decrypt(sealed)
        if plain is None:
            return Refusal.UNOPENED
        # 1. An answer has no tail.
        if plain[4:6] in ANSWERS:
            return plain
        # 2. A query is for us, or for any node.
        if len(plain) < TAIL_SIZE:
            return Refusal.UNOPENED
        recipient, time = _TAIL.unpack_from(plain, len(plain) - TAIL_SIZE)
        if recipient not in (self._own, _NOBODY):
            return Refusal.MISDIRECTED
        # 3. It was sealed at about this time, and since we started.
        time /= 1000
        if not -WINDOW <= time - now <= WINDOW:
            return OutOfTime(time - now)
        if time < self._since:
            self._since = min(self._since, now)  # our clock was ahead when we started, and has been set back
            return Refusal.REPLAYED
        # 4. It comes for the first time.
        if not self._nonces.add(sealed[len(MAGIC) : _BOX_AT], now):
            return Refusal.REPLAYED
        return plain[:-TAIL_SIZE]

    def decrypt(self, sealed: bytes) -> bytes | None:
        """Return what is in the box, with a query's tail; None if none of the keys opens it."""
        if len(sealed) < OVERHEAD or not sealed.startswith(MAGIC):
            return None
        nonce, box = sealed[len(MAGIC) : _BOX_AT], sealed[_BOX_AT:]
        for secret in self._secrets:
            try:
                return crypto_secretbox_open(box, nonce, secret)
            except CryptoError:
                continue
        return None


class Nonces:
    """The nonces that came. Each is remembered while its datagram could open again, for twice the window.

    There are two generations. New nonces go into the young one. When it has lasted for twice the window, or is full, it
    becomes the old one. So memory is fixed. Only what opens is remembered, so it takes the key to fill the memory. If
    members send more than `NONCES_MAX` queries in twice the window, 109 a second, the oldest are forgotten sooner.
    """

    __slots__ = ("_old", "_until", "_young")

    def __init__(self) -> None:
        self._old: set[bytes] = set()
        self._young: set[bytes] = set()
        self._until = 0.0  # when the young generation becomes the old one

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._old) + len(self._young)

    def add(self, nonce: bytes, now: float) -> bool:
        """Remember a nonce; return whether it is new."""
        if nonce in self._young or nonce in self._old:
            return False
        if now >= self._until or len(self._young) >= NONCES_MAX:
            self._old, self._young = self._young, set()
            self._until = now + 2 * WINDOW
        self._young.add(nonce)
        return True


def _fresh_nonces(rng: Random) -> Iterator[bytes]:
    """Yield nonces for ever. Many are drawn at once, which costs a tenth of a system call for each."""
    while True:
        drawn = rng.randbytes(NONCE_SIZE * NONCES_DRAWN)
        for start in range(0, len(drawn), NONCE_SIZE):
            yield drawn[start : start + NONCE_SIZE]


def _recipient(id: Id) -> bytes:
    return NATIVE.to_bytes(id)[:RECIPIENT_SIZE]
