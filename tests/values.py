"""Values, as tests write them: signed by key pairs that are always the same."""

from __future__ import annotations

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import Put
from dhtd.core.records import Immutable, Mutable, Value
from dhtd.core.storage.held_values import HeldValues
from dhtd.core.storage.outcomes import QuotaReached, Refused, Stored
from dhtd.wire.signatures import public_key, signed

LASTS = 3_600  # seconds
OWNER, OTHER = bytes(32), b"1" * 32  # seeds


def by_owner(seq: int, data: bytes = b"data", salt: bytes = b"", seed: bytes = OWNER) -> Mutable:
    """Return a value that its owner has signed."""
    return signed(seed, salt, seq, data)


def forged(seq: int, data: bytes = b"forged") -> Mutable:
    """Return a value of the owner that somebody else has signed."""
    return by_owner(seq, data, seed=OTHER)._replace(public_key=public_key(OWNER))


def squatting(value: Mutable) -> Immutable:
    """Return the value that anybody can put in the way of a signed one: it has the same key."""
    return Immutable(value.public_key + value.salt)


def genuine(value: Value) -> None:
    """Verify nothing."""


def hold(
    held: HeldValues, key: Id, value: Value, source: Endpoint, now: float, lasts: int = LASTS, cas: int | None = None
) -> Stored | QuotaReached | Refused:
    """Hold a value, as if its owner had put it."""
    return held.put(Put(key, b"", value, cas, lasts), source.ip, now, genuine)
