"""What must hold of leases at any moment, while daemons are killed and come back.

- *The owner's death.* A holder keeps the entries of a dead owner for one lease. If the holder was restarted meanwhile,
  it keeps them for one lease from then on. An entry that a holder has for longer is stale.
- *The holder's death.* An elder finds each entry that was acknowledged a while ago, and of which the owner is up. The
  owner may have been away, and has a while to publish again if it was away for long. What an elder does not find is
  missed.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final

from dhtd.core.policy import DEFAULT
from tests.soak.swarm import Presence

LEASE: Final = DEFAULT.heartbeat * DEFAULT.heartbeats_in_lease  # seconds
SLACK: Final = 5.0  # seconds: a busy machine is late
SETTLED: Final = 30.0  # seconds until an acknowledged entry is published, and until an owner is back with its entries

Held = tuple[str, str, float]  # ID, endpoint, and the seconds that are left of the lease


class Truth:
    """Judges what daemons hold and find, by who was up when."""

    def __init__(self, presence: Mapping[str, Presence]) -> None:
        self._presence = presence  # by address
        self._lock = threading.Lock()
        self.deaths: set[tuple[str, float]] = set()  # owners that were away for longer than a lease, and since when
        self.stale: set[str] = set()
        self.missed: set[str] = set()

    def overdue(self, now: float) -> dict[str, float]:
        """Return the addresses of the owners that have been away for longer than a lease, and since when."""
        away = [(address, each.away_since) for address, each in self._presence.items()]
        return {address: since for address, since in away if since and now - since > LEASE + SLACK}

    def holds(self, holder: str, held: list[Held], overdue: Mapping[str, float], now: float) -> None:
        """A daemon has told what it holds, after `overdue` was asked for at `now`."""
        self.deaths |= set(overdue.items())
        for id, endpoint, left in held:
            since = overdue.get(endpoint.rpartition(":")[0])
            if since and left > 0 and now - max(since, self._presence[holder].up_since) > LEASE + SLACK:
                self.stale.add(f"{id} {endpoint} at {holder}")

    def must_find(self, owner: str, entered_at: float, now: float) -> bool:
        """Whether every elder finds an entry of this owner."""
        presence = self._presence[owner]
        if presence.away_since or now - entered_at < SETTLED:
            return False
        return presence.was_away < LEASE / 2 or now - presence.up_since > SETTLED

    def miss(self, id: str, endpoint: str, elder: str) -> None:
        """An elder has not found what it must find."""
        with self._lock:
            self.missed.add(f"{id} {endpoint} by {elder}")
