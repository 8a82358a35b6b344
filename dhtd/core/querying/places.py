"""Which candidates a search may ask: limits on its queries, and on the share of each party.

Whatever others name is hearsay, and costs a liar nothing. So no endpoint is asked twice, and no address or network has
more than its share of the places (`Quota`): the K nearest would else belong to the party that makes up the most IDs. A
candidate holds a place from when it is asked until it is slow, and again once it has answered. It never holds one for
being named, so hearsay keeps no candidate out. `AddressQuota` limits what liars can aim at one address.
"""

from __future__ import annotations

from dhtd.core.endpoint import Endpoint
from dhtd.core.policy import Policy
from dhtd.core.querying.address_quota import AddressQuota
from dhtd.core.querying.candidate import LATE, SLOW, WAITING, Candidate, Change
from dhtd.core.routing.diversity import Quota


class Places:
    """The candidates that were asked, and the places that they hold."""

    __slots__ = ("_address_quota", "_most", "_quota", "asked", "queries", "waiting")

    def __init__(self, policy: Policy) -> None:
        self._most = policy.search_queries
        self._quota = Quota(policy)
        self._address_quota = AddressQuota(policy)
        self.asked: dict[Endpoint, Candidate] = {}
        self.waiting = 0  # how many were asked and are not slow yet, whether or not among the K nearest
        self.queries = 0  # explorations as well

    @property
    def is_exhausted(self) -> bool:
        """Whether the search has asked as often as it may."""
        return self.queries >= self._most

    def has_room_for(self, candidate: Candidate, *, in_region: bool) -> bool:
        """Whether a candidate may be asked. `in_region`, where the nearest crowd, no network gets a second place."""
        if candidate.contact.endpoint in self.asked or self.queries >= self._most:
            return False
        if not self._address_quota.allows(candidate):
            return False
        party = candidate.party
        if party is None:
            return True
        if in_region and self._quota.has_place(party):
            return False
        return self._quota.cap_reached(party) is None

    def cap_reached(self, candidate: Candidate) -> str | None:
        """Return the name of the cap that leaves no place for a candidate that was not asked, if one does."""
        return None if candidate.contact.endpoint in self.asked else self._quota.cap_reached(candidate.party)

    def ask(self, candidate: Candidate) -> None:
        """Note that a candidate is asked."""
        candidate.take(Change.ASKED)
        self.waiting += 1
        self.queries += 1
        self.asked[candidate.contact.endpoint] = candidate
        self._quota.hold(candidate.party)
        self._address_quota.asked(candidate)

    def missed_by(self, candidate: Candidate) -> None:
        """Free the slot and the place of a candidate that is slow, or failed before it was slow."""
        self.waiting -= 1
        self._quota.free(candidate.party)
        self._address_quota.silent(candidate)

    def answered(self, candidate: Candidate) -> None:
        """Free the slot and the place of a candidate that answered; `hold` tells whether the place is its own again."""
        is_late = candidate.progress is SLOW or candidate.progress is LATE
        self._address_quota.answered(candidate, late=is_late)
        if candidate.progress is WAITING:
            self.waiting -= 1
            self._quota.free(candidate.party)

    def hold(self, candidate: Candidate) -> bool:
        """Give a candidate that answered a place, if its party has one left; return whether."""
        if self._quota.cap_reached(candidate.party) is not None:
            return False
        self._quota.hold(candidate.party)
        return True
