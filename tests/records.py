"""Record keys, as tests write them."""

from __future__ import annotations

from dhtd.core.ids import Id
from dhtd.core.records import Peer, RecordKey


def own_key(key: Id, port: int) -> RecordKey:
    """Return the record key of an own entry."""
    return RecordKey.of(key, Peer.on(port))
