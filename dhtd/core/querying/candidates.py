"""The candidates of a search, nearest to its target first. Where there are too many, the farthest gives way."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from dhtd.core.address_groups import outside
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy
from dhtd.core.querying.candidate import ANSWERED, FRESH, FULL, LATE, Candidate


class Candidates:
    """At most `search_candidates` nodes, in order of their distance to `target`."""

    __slots__ = ("_distances", "_most", "_networks", "_own_id", "_target", "doubts", "dropped", "order")

    def __init__(self, target: Id, own_id: Id, policy: Policy) -> None:
        self._target = target
        self._own_id = own_id
        self._most = policy.search_candidates
        self._networks = outside(policy.exempt_networks, policy.own_networks, sites=bool(policy.site_share))
        self._distances: list[int] = []  # those of `order`
        self.order: list[Candidate] = []  # nearest to the target first
        self.dropped = 0  # how many gave way
        self.doubts: Callable[[Contact], bool] | None = None  # whether a contact changes its ID: it is asked last

    def __contains__(self, contact: Contact) -> bool:
        """Whether this contact is a candidate."""
        return self._find(contact, contact.id ^ self._target)[0] is not None

    def __getitem__(self, contact: Contact) -> Candidate:
        """Return the candidate for this contact, which is one."""
        candidate, _ = self._find(contact, contact.id ^ self._target)
        assert candidate is not None
        return candidate

    def add(self, contact: Contact, namer: Endpoint | None, hops: int) -> Candidate | None:
        """Take a contact that `namer` named, or that is our own (None). Return its candidate; None if it is ourselves.

        If that makes too many, the farthest one that was not asked gives way: perhaps the new one.
        """
        if contact.id == self._own_id:
            return None
        distance = contact.id ^ self._target
        candidate, place = self._find(contact, distance)
        if candidate is None:
            party = self._networks.party(contact.endpoint)
            candidate = Candidate(contact, hops, party, is_doubtful=self.doubts is not None and self.doubts(contact))
            self._distances.insert(place, distance)
            self.order.insert(place, candidate)
            if len(self.order) > self._most:
                self._drop_farthest_fresh()
        if namer not in candidate.namers:
            candidate.namers += (namer,)
        return candidate

    def within(self, radius: int) -> list[Candidate]:
        """Return the candidates that are nearer to the target than `radius`."""
        return self.order[: bisect_left(self._distances, radius)]

    def that_answered(self) -> list[Candidate]:
        """Return the candidates that have answered, full ones among them."""
        return [each for each in self.order if each.progress is ANSWERED or each.progress is FULL]

    @property
    def full(self) -> int:
        """How many are full."""
        return sum(candidate.progress is FULL for candidate in self.order)

    @property
    def is_any_late(self) -> bool:
        """Whether one is late."""
        return any(candidate.progress is LATE for candidate in self.order)

    def _drop_farthest_fresh(self) -> None:
        place = len(self.order) - 1
        while self.order[place].progress is not FRESH:
            place -= 1
        self.dropped += 1
        del self.order[place], self._distances[place]

    def _find(self, contact: Contact, distance: int) -> tuple[Candidate | None, int]:
        """Return the candidate for a contact at this distance, if there is one, and its place, or that of a new one."""
        distances = self._distances
        place = bisect_left(distances, distance)
        # A few may share an ID.
        while place < len(distances) and distances[place] == distance:
            candidate = self.order[place]
            if candidate.contact.endpoint == contact.endpoint:
                return candidate, place
            place += 1
        return None, place
