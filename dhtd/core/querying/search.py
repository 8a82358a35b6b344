"""The iterative lookup as a state machine (Kademlia section 2.3): asked "what next?", told what became of each query.

It converges on its *target*. It ends when the K nearest candidates that are neither failed nor late have answered. A
slow one holds no slot, so that others are asked in its stead, but while it is not late, the search does not end
without it: it knows best of all who is near. A late one's answer still counts if it comes before the end. Two cases do
wait for late ones, until the query's hard timeout: when nobody has answered at all, and when the search is `patient` (a
publication would rather reach a slow node than leave it without the entry; a lookup that found nothing would rather be
late than wrong).

At most alpha queries are in flight among the K nearest candidates, and at most twice as many in all: one asked before
nearer ones were named is not worth a slot of theirs, but no chain of ever nearer names makes a burst of queries.

An answer names K nodes, and where some of these are dead, live ones that are nearly as near stay unnamed. So a
`thorough` search also *explores*: while the last of the K nearest are waited for, one that has answered already is
asked for the nodes of the range behind those that it has named.

A node that is full answers, and does not count among the K: what would be stored there is stored on the next nearest
node, and so that is where it is looked for.

What others name is hearsay. No endpoint is asked twice, but one ID may be asked at several: were the first to name an
ID believed, a liar could hide a node behind a false endpoint. Whose nodes keep failing is heard last. And no address or
network may hold more than its share of the places: the K nearest would else be whoever makes up the most IDs. A place
is held by being asked and not known to be silent, never by being named, so that nobody can be kept out by hearsay.
What liars can aim at one address is in `address_quota`.

Accomplices may answer, and name each other only: then a search that they have captured ends among them, and nothing
shows it. So one that is still patient at its end asks some more contacts of our own, who had no part in it.

Nodes that take all places nearest to a target crowd there, which chance does as well, though seldom. With half of the
usual room for a threshold, chance makes a crowd in 6 % of all searches. Attackers who know all other nodes pass for the
nearest at one key in 55: where no other node is nearer to the key than the threshold. With 0.8 that is 31 %, and one
key in 600; with 0.35 it is 1 %, and one key in 16. No rule that sees nothing but distances does better. A lookup that
has found nothing can afford more: hardly any finds nothing where there is something, unless it is hidden.

All contacts of a search are of one address family. Nodes of another may name some, too (`hear`).
"""

from __future__ import annotations

from bisect import bisect, bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dhtd.core.address_groups import outside
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, closest, packed
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy
from dhtd.core.querying.address_quota import AddressQuota
from dhtd.core.querying.candidate import (
    ANSWERED,
    FAILED,
    FRESH,
    FULL,
    LATE,
    SLOW,
    WAITING,
    Candidate,
)
from dhtd.core.querying.region import Region
from dhtd.core.routing.diversity import Quota


@dataclass(frozen=True, slots=True)
class Ask:
    """Query this contact now."""

    contact: Contact


@dataclass(frozen=True, slots=True)
class Explore:
    """Query this contact, which has answered before, for the nodes nearest to `about`, a place near the target."""

    contact: Contact
    about: Id


@dataclass(frozen=True, slots=True)
class Widen:
    """The nearest crowd: call `widen`, so that all in the region of the target are asked."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to ask until something is told."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The search is over."""


@dataclass(frozen=True, slots=True)
class SearchStats:
    """How a search went. Queries count contacts and explorations, so queries >= responses + timeouts."""

    hops: int
    queries: int
    responses: int
    timeouts: int


_WAIT, _FINISHED, _WIDEN = Wait(), Finished(), Widen()


class Search:
    """One search for the nodes nearest to `target`."""

    __slots__ = (
        "_aim",
        "_asked",
        "_candidates",
        "_disappointments",
        "_distances",
        "_doubted",
        "_explored",
        "_explored_to",
        "_exploring",
        "_networks",
        "_opinions",
        "_order",
        "_own_id",
        "_policy",
        "_queries",
        "_quota",
        "_region",
        "_thorough",
        "_timeouts",
        "_waiting",
        "doubts",
        "dropped",
        "in_vain",
        "patient",
        "room",
        "target",
    )

    def __init__(
        self, target: Id, own_id: Id, policy: Policy, *, patient: bool = False, thorough: bool = False
    ) -> None:
        self.target = target
        self.patient = patient
        self.in_vain = False  # it is a lookup, and has found nothing
        self._thorough = thorough
        self._own_id = own_id
        self._policy = policy
        self._networks = outside(policy.exempt_networks, policy.own_networks, sites=bool(policy.site_share))
        self._quota = Quota(policy)
        self._aim = AddressQuota(policy)
        self._candidates: dict[Contact, Candidate] = {}
        self._order: list[Candidate] = []  # nearest to the target first
        self._distances: list[int] = []  # theirs
        self._asked: dict[Endpoint, Candidate] = {}
        self._disappointments: dict[
            Endpoint, int
        ] = {}  # by namer: those named that were slow, less those that answered
        self._doubted: set[Endpoint] = set()  # the namers of whose nodes too many were slow
        self._exploring: set[bytes] = set()  # the places that are being asked about
        self._explored: set[bytes] = set()  # the places that were
        self._explored_to = 1  # the distance to which the answers have named everybody
        self._opinions: list[
            Candidate
        ] = []  # contacts of our own that were asked when all was settled by what others had named
        self._queries = 0
        self._timeouts = 0
        self.dropped = 0  # candidates, since there were too many
        self.doubts: Callable[[Contact], bool] | None = None  # who changes its ID is asked last
        self.room = 0  # how far from a place the K-th nearest node usually is; 0 where that does not matter
        self._region: Region | None = None  # where the nearest crowd: all that is asked
        self._waiting = 0  # asked and not known to be slow, whether or not among the K nearest

    def seed(self, contacts: Iterable[Contact]) -> None:
        """Add contacts of our own."""
        for contact in contacts:
            self._add(contact, namer=None, hops=1)

    def next(self) -> Ask | Explore | Widen | Wait | Finished:
        """Return what to do now. The contact of an `Ask` or `Explore` is taken to be queried."""
        nearest = self._nearest()
        waiting = 0
        fresh = None
        for candidate in nearest:
            if candidate.progress is WAITING:
                waiting += 1
            elif candidate.progress is FRESH and fresh is None:
                fresh = candidate
        alpha = self._policy.alpha
        if fresh is not None and waiting < alpha and self._waiting < 2 * alpha:
            return self._ask(fresh)
        if fresh is None and 2 * waiting <= alpha and len(self._exploring) < (1 if self._region is None else alpha):
            exploration = self._exploration(nearest)
            if exploration is not None:
                self._exploring.add(packed(exploration.about))
                self._queries += 1
                return exploration
        if waiting or fresh is not None or self._exploring:
            return _WAIT
        if self._is_slow_one_missed(nearest):
            return _WAIT
        if len(nearest) < self._policy.k and (self.patient or not nearest) and self._is_any_late():
            return _WAIT
        if self._is_crowded(nearest):
            return _WIDEN
        return self._hear_others() if self.patient else _FINISHED

    def widen(self, radius: int, contacts: Iterable[Contact], lot: int) -> None:
        """Ask all over the region of the target from now on, not just the nearest; `contacts` are our own around it.

        All in it are nearer than `radius`. Where there are too many, the `lot` draws: nobody can place himself by it.
        """
        crowd = self._nearest()[-1].contact.id ^ self.target
        self._region = Region(self.target, radius, self._policy.region_nodes, lot, crowd)
        self.seed(contacts)

    def wanted(self) -> int:
        """Return how many of the nodes that answered should hold what belongs at the target."""
        if self._region is None:
            return self._policy.k
        return max(self._policy.k, sum(each.progress is ANSWERED for each in self._nearest()))

    def slow(self, endpoint: Endpoint) -> None:
        """The query to this endpoint is slow: its slot is free for another."""
        candidate = self._asked[endpoint]
        if candidate.progress is WAITING:
            candidate.progress = SLOW
            self._waiting -= 1
            self._quota.free(candidate.party)
            self._aim.silent(candidate)
            self._judge_namers(candidate, 1)

    def late(self, endpoint: Endpoint) -> None:
        """The query to this endpoint is late: nothing depends on it any more."""
        candidate = self._asked[endpoint]
        if candidate.progress is SLOW:
            candidate.progress = LATE

    def learn(self, endpoint: Endpoint, contacts: Iterable[Contact]) -> None:
        """Take contacts that the node at `endpoint` named, whether or not its answer is complete.

        An honest answer has K contacts of each address family at most, so no more are taken.
        """
        named = self._learn(endpoint, self.target, contacts)
        if len(named) >= self._policy.k:
            self._asked[endpoint].reach = max(contact.id ^ self.target for contact in named)

    def hear(self, endpoint: Endpoint, contacts: Iterable[Contact], hops: int) -> None:
        """Take contacts that the node at `endpoint` has named: one of another family, which another search has asked.

        They are reached in so many `hops`. They are no whole answer, and so do not show that nobody is nearer.
        """
        for contact in self._few(contacts, self.target):
            self._add(contact, endpoint, hops)

    def hops(self, endpoint: Endpoint) -> int:
        """Return in which hop whom the node at `endpoint` names is reached; it was asked."""
        return self._asked[endpoint].hops + 1

    def explored(self, endpoint: Endpoint, about: Id, contacts: Iterable[Contact]) -> None:
        """Take the contacts that the node at `endpoint` named as nearest to `about`, in time or late."""
        distances = [contact.id ^ self.target for contact in self._learn(endpoint, about, contacts)]
        begin = about ^ self.target
        if len(distances) >= self._policy.k and min(distances) >= begin:
            self._explored_to = max(self._explored_to, *distances)
        else:  # it has named the whole range
            self._explored_to = max(self._explored_to, 2 * begin - 1)
        self.explored_enough(about)

    def explored_enough(self, about: Id) -> None:
        """Wait no longer for the answer about this place."""
        self._exploring.discard(packed(about))

    def answered(self, contact: Contact, *, is_full: bool = False) -> None:
        """The node at an endpoint that was asked has answered, in time or late; maybe another than was expected.

        `is_full`: it would take no entry, so that one that belongs here is with others. Late, it may find that others
        of its network have taken the places that it could have had: then it has failed.
        """
        candidate = self._asked[contact.endpoint]
        self._aim.answered(candidate, late=candidate.progress is SLOW or candidate.progress is LATE)
        if candidate.progress is WAITING:
            self._waiting -= 1
            self._quota.free(candidate.party)
        if candidate.contact != contact:
            candidate.progress = FAILED
            actual = self._add(contact, None, candidate.hops)
            if actual is None or contact not in self._candidates:  # it is ourselves, or has had to give way at once
                return
            self._asked[contact.endpoint] = candidate = actual
        elif candidate.progress is SLOW or candidate.progress is LATE:
            self._judge_namers(candidate, -2)
        else:
            self._judge_namers(candidate, -1)
        if self._quota.cap_reached(candidate.party) is None:
            candidate.progress = FULL if is_full else ANSWERED
            self._quota.hold(candidate.party)
        else:
            candidate.progress = FAILED

    def failed(self, endpoint: Endpoint, *, timeout: bool) -> None:
        """The node at this endpoint will not answer, or not with anything of use."""
        candidate = self._asked[endpoint]
        if candidate.progress is WAITING:
            self._waiting -= 1
            self._quota.free(candidate.party)
            self._aim.silent(candidate)
            self._judge_namers(candidate, 1)
        candidate.progress = FAILED
        self._timeouts += timeout

    def is_silent(self) -> bool:
        """Whether nobody has answered, though by now alpha contacts, or all that there are to ask, should have."""
        missed = 0
        for candidate in self._asked.values():
            if candidate.progress is ANSWERED or candidate.progress is FULL:
                return False
            missed += candidate.progress is LATE or candidate.progress is FAILED
        return missed >= min(self._policy.alpha, len(self._asked))

    def closest(self) -> list[Contact]:
        """Return every contact that has answered, nearest to the target first."""
        return [candidate.contact for candidate in self._that_answered()]

    @property
    def is_exhausted(self) -> bool:
        """Whether it has asked as often as it may."""
        return self._queries >= self._policy.search_queries

    def stats(self) -> SearchStats:
        """Return how the search has gone so far."""
        answered = self._that_answered()
        return SearchStats(
            hops=max((candidate.hops for candidate in answered), default=0),
            queries=self._queries,
            responses=len(answered),
            timeouts=self._timeouts,
        )

    @property
    def is_short(self) -> bool:
        """Whether fewer than K nodes have answered that would take an entry, since others are full."""
        answered = self._that_answered()
        full = sum(candidate.progress is FULL for candidate in answered)
        return full > 0 and len(answered) - full < self._policy.k

    def _that_answered(self) -> list[Candidate]:
        return [each for each in self._order if each.progress is ANSWERED or each.progress is FULL]

    def crowded_out(self) -> Counter[str]:
        """Return, by cap, how many would have been asked if their address or network had had a place left."""
        refused: Counter[str] = Counter()
        nearest = self._nearest()
        last = nearest[-1] if len(nearest) == self._policy.k else None
        for candidate in self._order:
            if candidate is last:
                break
            if candidate.progress is FRESH and candidate.contact.endpoint not in self._asked:
                cap = self._quota.cap_reached(candidate.party)
                if cap is not None:
                    refused[cap] += 1
        return refused

    def _nearest(self) -> list[Candidate]:
        """Return the K nearest candidates that may still be asked, are being asked, or have answered."""
        if self._region is not None:
            return self._region.choose(self._inside(self._region), self._may_be_asked)
        k = self._policy.k
        nearest: list[Candidate] = []
        doubtful: list[Candidate] = []
        exhausted = self.is_exhausted
        for candidate in self._order:
            progress = candidate.progress
            if progress is FAILED or progress is SLOW or progress is LATE or progress is FULL:
                continue
            if progress is FRESH:
                if exhausted or not self._may_be_asked(candidate):
                    continue
                if candidate.is_doubtful or (self._doubted and self._doubted.issuperset(candidate.namers)):
                    doubtful.append(candidate)
                    continue
            nearest.append(candidate)
            if len(nearest) == k:
                return nearest
        return nearest + doubtful[: k - len(nearest)]

    def _inside(self, region: Region) -> list[Candidate]:
        return self._order[: bisect_left(self._distances, region.radius)]

    def _is_crowded(self, nearest: list[Candidate]) -> bool:
        """Whether the K nearest have too little room to be there by chance, and that is news."""
        policy = self._policy
        if not self.room or self._region is not None or len(nearest) < policy.k:
            return False
        crowded = policy.crowded_in_vain if self.in_vain else policy.crowded
        return nearest[-1].contact.id ^ self.target < crowded * self.room

    def _ask(self, candidate: Candidate) -> Ask:
        candidate.progress = WAITING
        self._waiting += 1
        self._quota.hold(candidate.party)
        self._aim.asked(candidate)
        self._asked[candidate.contact.endpoint] = candidate
        self._queries += 1
        return Ask(candidate.contact)

    def _hear_others(self) -> Ask | Wait | Finished:
        """Ask contacts of our own who had no part in what is settled by now, if that was not done."""
        other = self._other()
        if other is not None and self._waiting < self._policy.alpha:
            self._opinions.append(other)
            return self._ask(other)
        if other is not None or any(asked.progress is WAITING for asked in self._opinions):
            return _WAIT
        return _FINISHED

    def _other(self) -> Candidate | None:
        """Return the nearest contact of our own that may be asked for its opinion."""
        if len(self._opinions) >= self._policy.search_opinions or self._queries >= self._policy.search_queries:
            return None
        for candidate in self._order:
            if candidate.progress is FRESH and None in candidate.namers and self._may_be_asked(candidate):
                return candidate
        return None

    def _may_be_asked(self, candidate: Candidate) -> bool:
        """Whether its endpoint has not been asked under another ID, and its party has a place left."""
        if candidate.contact.endpoint in self._asked or self.is_exhausted or not self._aim.allows(candidate):
            return False
        party = candidate.party
        if party is None:
            return True
        if self._region is not None and self._quota.has_place(party):
            return False  # where the nearest crowd, no network gets a second place
        return self._quota.cap_reached(party) is None

    def _exploration(self, nearest: list[Candidate]) -> Explore | None:
        """Return whom to ask for nodes that nobody has named, if the K nearest candidates reach as far as those.

        Distances with one highest bit are a range of the keyspace: a half next to the half that the target is in. Who
        is asked about the place in it that is nearest to the target names its nodes from the nearest on.
        """
        policy = self._policy
        if self._region is not None:
            return self._explore_region(self._region)
        if not self._thorough or len(self._explored) >= policy.search_explorations:
            return None
        answered = self._that_answered()
        if not answered or answered[0].reach is None or self._queries >= policy.search_queries:
            return None
        named_to = max(answered[0].reach, self._explored_to)
        last = nearest[-1] if len(nearest) == policy.k else self._order[-1]
        farthest = last.contact.id ^ self.target
        begin = 1 << named_to.bit_length() >> 1
        while begin <= farthest and packed(Id(self.target ^ begin)) in self._explored:
            begin <<= 1
        if farthest <= named_to or farthest < begin:
            return None
        about = Id(self.target ^ begin)
        self._explored.add(packed(about))
        contact = min((candidate.contact for candidate in answered), key=lambda contact: contact.id ^ about)
        return Explore(contact, about)

    def _explore_region(self, region: Region) -> Explore | None:
        """Return whom to ask for the nodes of a part of the region, if there is news to be expected."""
        if self.is_exhausted:
            return None
        survey = region.survey(self.closest(), self._exploring)
        return None if survey is None else Explore(*survey)

    def _learn(self, endpoint: Endpoint, about: Id, contacts: Iterable[Contact]) -> list[Contact]:
        hops = self.hops(endpoint)
        named = self._few(contacts, about)
        for contact in named:
            self._add(contact, endpoint, hops)
        return named

    def _few(self, contacts: Iterable[Contact], about: Id) -> list[Contact]:
        named = list(contacts)
        return closest(named, about, 2 * self._policy.k) if len(named) > 2 * self._policy.k else named

    def _judge_namers(self, candidate: Candidate, disappointments: int) -> None:
        """Note what has become of the candidate: with too many disappointments, who named it is doubted."""
        for namer in candidate.namers:
            if namer is not None:
                total = self._disappointments[namer] = self._disappointments.get(namer, 0) + disappointments
                if total >= self._policy.alpha:
                    self._doubted.add(namer)
                else:
                    self._doubted.discard(namer)

    def _is_slow_one_missed(self, nearest: list[Candidate]) -> bool:
        """Whether the result would be another if a slow one answered; in the region, whether it is worth a wait."""
        if self._region is not None:
            return self.patient and any(each.progress is SLOW for each in self._inside(self._region))
        last = nearest[-1] if len(nearest) == self._policy.k else None
        for candidate in self._order:
            if candidate.progress is SLOW:
                return True
            if candidate is last:
                break
        return False

    def _is_any_late(self) -> bool:
        return any(candidate.progress is LATE for candidate in self._order)

    def _add(self, contact: Contact, namer: Endpoint | None, hops: int) -> Candidate | None:
        """Take a contact, unless it is ourselves; the farthest that nobody asked gives way. Return its candidate."""
        if contact.id == self._own_id:
            return None
        candidate = self._candidates.get(contact)
        if candidate is None:
            distance = contact.id ^ self.target
            party = self._networks.party(contact.endpoint)
            candidate = self._candidates[contact] = Candidate(
                contact, hops, party, is_doubtful=self.doubts is not None and self.doubts(contact)
            )
            place = bisect(self._distances, distance)
            self._distances.insert(place, distance)
            self._order.insert(place, candidate)
            if len(self._order) > self._policy.search_candidates:
                self._drop_farthest_fresh()
        if namer not in candidate.namers:
            candidate.namers += (namer,)
        return candidate

    def _drop_farthest_fresh(self) -> None:
        place = len(self._order) - 1
        while self._order[place].progress is not FRESH:
            place -= 1
        self.dropped += 1
        del self._candidates[self._order[place].contact]
        del self._order[place], self._distances[place]
