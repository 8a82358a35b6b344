"""The lease under which holders keep our own records, and the secret session that it belongs to."""

from __future__ import annotations

from math import ceil
from typing import Final

from dhtd.core.codec import Traits
from dhtd.core.messages import LEASE_MAX, Contact, Renew
from dhtd.core.policy import Policy

REGULAR: Final = 0.95  # of the rate of renewals: the rest is for holders that are asked again
_SLACK = 64


class OwnLease:
    """How long holders keep own records.

    On a wire with leases, each holder is sent a heartbeat in every `period`, and keeps our records for some periods
    after the last one. The more holders there are, the longer is the period. On another wire, a holder keeps a record
    for a fixed time after its store: the session is empty, and the lease is 0 seconds.
    """

    __slots__ = ("_most", "_policy", "_until", "is_renewed", "period", "seconds", "session")

    def __init__(self, session: bytes, traits: Traits, policy: Policy) -> None:
        self._policy = policy
        self.is_renewed = Renew in traits.requests
        self.session = session if self.is_renewed else b""
        self.period = policy.heartbeat
        self.seconds = 0
        self._until: dict[Contact, float] = {}  # by node: what it has renewed; some have expired
        self._most = _SLACK  # of these, until the expired ones are dropped
        self.has_holders(0)

    @property
    def lasts(self) -> float:
        """Seconds for which a holder keeps a record after it was stored, or renewed."""
        return self.seconds if self.is_renewed else self._policy.store_expiry

    @property
    def rate(self) -> float:
        """Holders that are asked in a second, at most. Some are asked again: for a token, or since nothing came."""
        return self._policy.heartbeat_rate * REGULAR

    def has_holders(self, count: int) -> None:
        """Stretch the lease so that no more than `heartbeat_rate` renewals a second are sent to so many holders."""
        policy = self._policy
        if self.is_renewed:
            self.period = max(policy.heartbeat, count / self.rate)
            self.seconds = min(ceil(policy.heartbeats_in_lease * self.period), LEASE_MAX)

    def renewed(self, contact: Contact, until: float, now: float) -> None:
        """A node keeps all that it holds of ours until then."""
        self._until[contact] = until
        if len(self._until) > self._most:
            self._until = {each: then for each, then in self._until.items() if then > now}
            self._most = 2 * len(self._until) + _SLACK

    def until(self, contact: Contact) -> float:
        """Return until when a node keeps what it holds, by its last renewal; the far past without one."""
        return self._until.get(contact, float("-inf"))
