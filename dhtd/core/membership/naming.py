"""Our IDs, where they follow from our address (BEP 42): the address that enough networks agree on decides.

The votes on our address come with the answers of other nodes. An ID is changed once in a while at most, since each
change makes us a stranger to our neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dhtd.core.address.external_address import ExternalAddress
from dhtd.core.codec import IdRule
from dhtd.core.endpoint import Endpoint, Family, Scope, scope_of
from dhtd.core.policy import Policy
from dhtd.core.routing.overlays import Overlays

if TYPE_CHECKING:
    from random import Random


class Naming:
    """Watches whether our IDs suit our addresses."""

    __slots__ = ("_external", "_next", "_overlays", "_policy", "_rng", "_rule", "_suited")

    def __init__(
        self, rule: IdRule, overlays: Overlays, external: ExternalAddress, policy: Policy, rng: Random
    ) -> None:
        self._rule = rule
        self._overlays = overlays
        self._external = external
        self._policy = policy
        self._rng = rng
        self._suited: dict[int, bytes] = {}  # by family: the address that our ID is known to suit
        self._next: dict[int, float] = {}  # by family: when our ID may be changed again

    def observed(self, observed: Endpoint, now: float) -> Family | None:
        """Return the family in which we have another ID, now that a node has said where we are."""
        rule, ip, size = self._rule, observed.ip, len(observed)
        # 1. Most say what we know.
        if self._suited.get(size) == ip or scope_of(observed) is not Scope.PUBLIC:
            return None
        overlay = self._overlays.of(observed)
        if overlay is None or now < self._next.get(size, now):
            return None
        # 2. Do enough agree on it?
        agree = any(seen.endpoint.ip == ip and seen.networks >= self._policy.id_votes for seen in self._external.seen())
        if not agree:
            return None
        # 3. Our ID follows, unless it suits as it is.
        self._suited[size] = ip
        if rule.suits(overlay.own_id, ip):
            return None
        self._next[size] = now + self._policy.id_gap
        self._overlays.rename(overlay.family, rule.id_at(ip, self._rng), now)
        return overlay.family
