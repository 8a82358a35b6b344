"""Store tokens (BEP 5): a node that shows one has received our answer, so the address that it sends from is its own.

A token is a keyed hash over the requester's IP address and the key, so nothing is remembered per requester. The secret
rotates; the current and the previous one are accepted. Rotation happens at the next query, so no timer wakes for it.

A token for renewals is bound to the address and the session, and has the second of its end in front: it is good for as
long as the lease that was asked for. An owner that renews rarely would need a second query each time otherwise. And
a renewal that somebody has caught and sends again brings a dead entry one more lease at most.
"""

from __future__ import annotations

from hashlib import blake2s
from hmac import compare_digest
from math import ceil
from typing import TYPE_CHECKING

from dhtd.core.policy import Policy

if TYPE_CHECKING:
    from random import Random

_SECRET_SIZE = 32
_SECOND_SIZE = 8  # bytes of the second at the head of a token for renewals


class Tokens:
    """Issues and checks tokens."""

    __slots__ = (
        "_current",
        "_of_sessions",
        "_previous",
        "_rng",
        "_rotates_at",
        "_rotation",
        "_size",
        "_slept",
        "generation",
    )

    def __init__(self, rng: Random, policy: Policy, now: float) -> None:
        self._rng = rng
        self._rotation = policy.token_rotation
        self._size = policy.token_size
        self._current = self._new_secret()
        self._previous = self._new_secret()
        self._of_sessions = self._new_secret()  # for renewals
        self._slept = 0.0  # seconds that `now` does not tell
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

    def issue_for(self, session: bytes, ip: bytes, lasts: int, now: float) -> bytes:
        """Return the token for renewals of a session by the machine at `ip`, good for so many seconds."""
        return self._of_session(session, ip, _packed_second(now + self._slept + lasts))

    def is_valid_for(self, token: bytes, session: bytes, ip: bytes, now: float) -> bool:
        """Whether `token` was issued for this session to `ip`, and is still good."""
        until = token[:_SECOND_SIZE]
        if not compare_digest(token, self._of_session(session, ip, until)):
            return False
        return int.from_bytes(until, "big") >= now + self._slept

    def slept(self, seconds: float) -> None:
        """Take the secrets and the tokens as so much older."""
        self._rotates_at -= seconds
        self._slept += seconds

    def _of_session(self, session: bytes, ip: bytes, until: bytes) -> bytes:
        keyed = self._of_sessions.copy()
        keyed.update(until + ip + session)
        return until + keyed.digest()

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


def _packed_second(when: float) -> bytes:
    return max(0, ceil(when)).to_bytes(_SECOND_SIZE, "big")
