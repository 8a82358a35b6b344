"""A held record, as others see it: for the disk, and for the owner of the node."""

from __future__ import annotations

from dataclasses import dataclass

from dhtd.core.ids import Id
from dhtd.core.records import Peer, RecordKey


@dataclass(frozen=True, slots=True)
class HeldRecord:
    """A record that is held under a key. `expires_at` is a `now` time."""

    key: Id
    record: Peer
    expires_at: float
    lease: int  # seconds that its session has asked for
    session: bytes  # empty on a wire without sessions

    @property
    def record_key(self) -> RecordKey:
        """What it is found by."""
        return RecordKey.of(self.key, self.record)
