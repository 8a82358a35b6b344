"""Record keys, stores and withdrawals, as tests write them."""

from __future__ import annotations

from dhtd.core.ids import Id
from dhtd.core.messages import SESSION_SIZE, Store, Withdraw
from dhtd.core.records import Peer, RecordKey

LEASE = 60  # seconds
SESSION = bytes(SESSION_SIZE)


def own_key(key: Id, port: int) -> RecordKey:
    """Return the record key of an own entry."""
    return RecordKey.of(key, Peer.on(port))


def to_store(key: Id, port: int, token: bytes, lease: int = LEASE, session: bytes = SESSION) -> Store:
    """Return a store as our nodes send it."""
    return Store(key, port, token, lease, session)


def to_withdraw(key: Id, port: int, token: bytes, session: bytes = SESSION) -> Withdraw:
    """Return a withdrawal as our nodes send it."""
    return Withdraw(key, port, token, session)
