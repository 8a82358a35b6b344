"""Record keys, stores and withdrawals, as tests write them."""

from __future__ import annotations

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import SESSION_SIZE, Store, Withdraw
from dhtd.core.records import Peer, RecordKey
from dhtd.core.storage.leases import SESSION_KEPT
from dhtd.core.storage.outcomes import QuotaReached, Stored
from dhtd.core.storage.store import HeldRecords

LEASE = 3_600  # seconds
SESSION = bytes(SESSION_SIZE)
KEPT = SESSION[:SESSION_KEPT]  # of it, by a holder


def own_key(key: Id, port: int) -> RecordKey:
    """Return the record key of an own entry."""
    return RecordKey.of(key, Peer.on(port))


def to_store(key: Id, port: int, token: bytes, lease: int = LEASE, session: bytes = SESSION) -> Store:
    """Return a store as our nodes send it."""
    return Store(key, port, token, lease, session)


def to_withdraw(key: Id, port: int, token: bytes, session: bytes = SESSION) -> Withdraw:
    """Return a withdrawal as our nodes send it."""
    return Withdraw(key, port, token, session)


def hold_peer(
    store: HeldRecords, key: Id, endpoint: Endpoint, now: float, lease: int = LEASE, session: bytes = SESSION
) -> Stored | QuotaReached:
    """Hold a peer for an hour, as if its owner had stored it."""
    return store.put(key, endpoint, session, lease, now)


def let_go(store: HeldRecords, key: Id, endpoint: Endpoint, session: bytes = SESSION) -> bool:
    """Drop a peer, as if its owner had withdrawn it."""
    return store.remove(key, endpoint, session)
