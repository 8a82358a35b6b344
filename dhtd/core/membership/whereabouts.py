"""Where this node is, as others see it: their votes, and a question to some of them when a vote raises doubts."""

from __future__ import annotations

from typing import assert_never

from dhtd.core.address.external_address import ExternalAddress, Verdict
from dhtd.core.endpoint import Endpoint
from dhtd.core.policy import Policy
from dhtd.core.querying.check import Check
from dhtd.core.querying.requester import Requester
from dhtd.core.routing.overlays import Overlays


class Whereabouts:
    """Takes votes, and asks for more."""

    __slots__ = ("_ask_at", "_external", "_overlays", "_policy", "_requester")

    def __init__(self, requester: Requester, overlays: Overlays, external: ExternalAddress, policy: Policy) -> None:
        self._requester = requester
        self._overlays = overlays
        self._external = external
        self._policy = policy
        self._ask_at = float("-inf")  # when it may be asked again

    def observed(self, voter: Endpoint, observed: Endpoint, now: float) -> bool:
        """Take a vote for our address; return whether it shows that we have moved."""
        match self._external.vote(voter, observed, now):
            case Verdict.NOTHING:  # as most
                pass
            case Verdict.MOVED:
                return True
            case Verdict.CONTRADICTED:
                self.ask(now)
            case verdict:
                assert_never(verdict)
        return False

    def ask(self, now: float) -> None:
        """Ping the contacts that answered last: what most of them say counts. Once in a while, for whatever reason."""
        if now < self._ask_at:
            return
        self._ask_at = now + self._policy.move_gap
        for overlay in self._overlays:
            for contact in overlay.state.latest(self._policy.external_votes):
                Check(self._requester).start(contact.endpoint, contact.id, now, attempts=1)
