"""Store tokens (BEP 5): a node that shows one has received our answer, so the address that it sends from is its own.

A token is a keyed hash over the requester's IP address and the key, so nothing is remembered per requester. The secret
rotates; the current and the previous one are accepted. Rotation happens at the next query, so no timer wakes for it.
"""

from __future__ import annotations

from hashlib import blake2s
from hmac import compare_digest
from typing import TYPE_CHECKING

from dhtd.core.policy import Policy

if TYPE_CHECKING:
    from random import Random

_SECRET_SIZE = 32


class Tokens:
    """Issues and checks tokens."""

    __slots__ = ("_current", "_previous", "_rng", "_rotates_at", "_rotation", "_size", "generation")

    def __init__(self, rng: Random, policy: Policy, now: float) -> None:
        self._rng = rng
        self._rotation = policy.token_rotation
        self._size = policy.token_size
        self._current = self._new_secret()
        self._previous = self._new_secret()
        self._rotates_at = now + self._rotation
        self.generation = 0  # of the current secret; one that was skipped, because no query came, counts too

    def issue(self, ip: bytes, key: bytes, now: float) -> bytes:
        """Return the token for `key` and the requester at `ip`."""
        if now >= self._rotates_at:
            self._rotate(now)
        keyed = self._current.copy()
        keyed.update(ip + key)
        return keyed.digest()

    def is_valid(self, token: bytes, ip: bytes, key: bytes, now: float) -> bool:
        """Whether `token` was issued for `key` to `ip`, one rotation ago at most."""
        if compare_digest(token, self.issue(ip, key, now)):
            return True
        keyed = self._previous.copy()
        keyed.update(ip + key)
        return compare_digest(token, keyed.digest())

    def slept(self, seconds: float) -> None:
        """Take the secrets as so much older."""
        self._rotates_at -= seconds

    def _new_secret(self) -> blake2s:
        """Return a hash that has taken in a new secret (BLAKE2s with a key, RFC 7693).

        A copy of it costs two thirds of a new hash with the key. BLAKE2b would cost a fifth more: its state is larger.
        """
        return blake2s(key=self._rng.randbytes(_SECRET_SIZE), digest_size=self._size)

    def _rotate(self, now: float) -> None:
        late = now - self._rotates_at >= self._rotation  # then the current secret is too old to be the previous one
        self._previous = self._new_secret() if late else self._current
        self._current = self._new_secret()
        self.generation += 2 if late else 1
        self._rotates_at = now + self._rotation if late else self._rotates_at + self._rotation
