"""How fast queries go out to one public address: other clients ban an address that sends too many.

A query above the rate waits until its turn. Private addresses set no pace: a whole swarm may live behind one.
"""

from __future__ import annotations

from typing import Final

from dhtd.core.endpoint import Endpoint, Scope, scope_of
from dhtd.core.policy import Policy

_FEW: Final = 256  # addresses that are too few to be worth forgetting any


class Pace:
    """Says when the next query to an address may go out."""

    __slots__ = ("_allowance", "_due", "_full", "_interval")

    def __init__(self, policy: Policy) -> None:
        self._interval = 1 / policy.pace if policy.pace else 0.0
        self._allowance = (policy.pace_burst - 1) * self._interval
        self._due: dict[bytes, float] = {}  # by address: when one that keeps to the rate would be sent the next query
        self._full = _FEW

    def has_turn(self, endpoint: Endpoint, now: float) -> bool:
        """Whether a query to this endpoint may go out now. Changes nothing."""
        if not self._interval or scope_of(endpoint) is not Scope.PUBLIC:
            return True
        return self._due.get(endpoint.ip, now) - self._allowance <= now

    def take_turn(self, endpoint: Endpoint, now: float) -> float:
        """Return when a query to this endpoint may go out: now, or later. It takes that turn."""
        if not self._interval or scope_of(endpoint) is not Scope.PUBLIC:
            return now
        ip = endpoint.ip
        due = max(now, self._due.get(ip, now))
        self._due[ip] = due + self._interval
        if len(self._due) > self._full:
            self._due = {ip: due for ip, due in self._due.items() if due > now}
            self._full = max(_FEW, 2 * len(self._due))
        return max(now, due - self._allowance)
