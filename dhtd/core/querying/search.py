"""The iterative lookup, without its queries (Kademlia section 2.3): asked "what next?", told what became of each query.

A search converges on its *target*. It ends when the K nearest candidates that are neither failed nor late have
answered. `Search.next` says step by step what it does until then. Why:

- *Slow nodes.* A slow node holds no slot, so another one is asked in its stead. While it is not late, the search does
  not end without it: a node near the target knows best of all which nodes are near. A late answer still counts if it
  comes before the end. In two cases the search waits for late nodes as well, until the query's hard timeout: if no node
  has answered at all, and if the search is `patient`. (A publication would rather reach a slow node than leave it
  without the entry. A lookup that found nothing would rather be late than wrong.)
- *Slots.* At most alpha queries are in flight among the K nearest candidates, and at most twice as many in all. A query
  that was sent before nearer nodes were named should not take a slot of theirs; but a chain of ever nearer names makes
  no burst of queries.
- *Dead nodes.* They hide live ones: see `explorer`. Only a `thorough` search explores.
- *Full nodes.* A full node answers, and does not count among the K: the entry that would be stored there is stored on
  the next nearest node, and so it is looked for there.
- *Liars.* Names are hearsay: see `places`, `namers` and `address_quota`. One ID may be asked at several endpoints. If
  only the first name were believed, a liar could hide a node behind a false endpoint.
- *Accomplices.* See `opinions`: a search that is patient at its end asks some of our own contacts as well.
- *Crowds.* Attackers may take all places nearest to the target. Where the nearest crowd, the search widens: see
  `region`.

All contacts of a search are of one address family. Nodes of the other family may name some, too (`hear`).
`dhtd.core.querying.branch` has the states of a search as a whole, `candidate` those of one node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, closest
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy
from dhtd.core.querying.candidate import ANSWERED, FAILED, FRESH, FULL, LATE, SLOW, WAITING, Candidate, Change
from dhtd.core.querying.candidates import Candidates
from dhtd.core.querying.explorer import Explorer
from dhtd.core.querying.namers import Namers
from dhtd.core.querying.opinions import Opinions
from dhtd.core.querying.places import Places
from dhtd.core.querying.region import Region, crowds
from dhtd.core.querying.steps import Ask, Explore, Finished, SearchStats, Step, Wait, Widen

_WAIT, _FINISHED, _WIDEN = Wait(), Finished(), Widen()


class Search:
    """One search for the nodes nearest to `target`."""

    __slots__ = (
        "_explorer",
        "_namers",
        "_opinions",
        "_places",
        "_policy",
        "_refusals",
        "_region",
        "_thorough",
        "_timeouts",
        "candidates",
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
        self.room = 0  # how far from a place the K-th nearest node usually is; 0 where that does not matter
        self._thorough = thorough
        self._policy = policy
        self.candidates = Candidates(target, own_id, policy)
        self._places = Places(policy)
        self._namers = Namers(policy.alpha)
        self._explorer = Explorer(target, policy)
        self._opinions = Opinions(policy, self.candidates)
        self._region: Region | None = None  # once the nearest crowd: nodes all over it are asked
        self._refusals = self._timeouts = 0

    def seed(self, contacts: Iterable[Contact]) -> None:
        """Add contacts of our own."""
        for contact in contacts:
            self.candidates.add(contact, namer=None, hops=1)

    def next(self) -> Step:
        """Return what to do now. The contact of an `Ask` or `Explore` is taken to be queried."""
        alpha = self._policy.alpha
        nearest = self._nearest()
        progress = [each.progress for each in nearest]
        waiting = progress.count(WAITING)
        fresh = nearest[progress.index(FRESH)] if FRESH in progress else None
        # 1. Ask the nearest candidate that was not asked, while there are slots.
        if fresh is not None and waiting < alpha and self._places.waiting < 2 * alpha:
            return self._ask(fresh)
        # 2. While the last of the nearest are waited for, use the free slots to look for nodes hidden by dead ones.
        if fresh is None and 2 * waiting <= alpha and (exploration := self._explore(nearest)) is not None:
            self._explorer.begin(exploration.about)
            self._places.queries += 1
            return exploration
        # 3. The nearest decide the result, so wait for them.
        if waiting or fresh is not None or self._explorer.under_way:
            return _WAIT
        # 4. A slow one may yet be among the nearest.
        if self._is_slow_one_missed(nearest):
            return _WAIT
        # 5. With too few answers, late ones are worth waiting for.
        if len(nearest) < self._policy.k and (self.patient or not nearest) and self.candidates.is_any_late:
            return _WAIT
        # 6. Nodes that crowd around the target may hide others: look farther away, once.
        if self._is_crowded(nearest):
            return _WIDEN
        # 7. All answers may be accomplices': hear some contacts of our own.
        return self._hear_others() if self.patient else _FINISHED

    def widen(self, radius: int, contacts: Iterable[Contact], lot: int) -> None:
        """Ask all over the region of the target from now on, not just the nearest; `contacts` are our own around it.

        The region reaches to the distance `radius`. Where it has too many nodes, the `lot` draws, and no node can
        choose its ID by it.
        """
        crowd = self._nearest()[-1].contact.id ^ self.target
        self._region = Region(self.target, radius, self._policy.region_nodes, lot, crowd)
        self.seed(contacts)

    # What becomes of queries

    def slow(self, endpoint: Endpoint) -> None:
        """The query to this endpoint is slow: its slot is free for another."""
        candidate = self._places.asked[endpoint]
        if candidate.progress is WAITING:
            self._missed_by(candidate)
            candidate.take(Change.OVERDUE)

    def late(self, endpoint: Endpoint) -> None:
        """The query to this endpoint is late: nothing depends on it any more."""
        self._places.asked[endpoint].take(Change.LATE)

    def learn(self, endpoint: Endpoint, contacts: Iterable[Contact]) -> None:
        """Take contacts that the node at `endpoint` named, whether or not its answer is complete.

        An honest answer has K contacts of each address family at most, so no more are taken.
        """
        named = self._learn(endpoint, self.target, contacts)
        if len(named) >= self._policy.k:
            target = self.target
            self._places.asked[endpoint].reach = max([contact.id ^ target for contact in named])

    def hear(self, endpoint: Endpoint, contacts: Iterable[Contact], hops: int) -> None:
        """Take contacts that the node at `endpoint` named: a node of the other family, asked by another search.

        They are reached in so many `hops`. They are no whole answer, so nodes that they leave out may be nearer.
        """
        for contact in self._few(contacts, self.target):
            self.candidates.add(contact, endpoint, hops)

    def hops(self, endpoint: Endpoint) -> int:
        """Return in which hop the nodes are reached that the node at `endpoint`, which was asked, names."""
        return self._places.asked[endpoint].hops + 1

    def explored(self, endpoint: Endpoint, about: Id, contacts: Iterable[Contact]) -> None:
        """Take the contacts that the node at `endpoint` named as nearest to `about`, in time or late."""
        self._explorer.heard(about, self._learn(endpoint, about, contacts))

    def explored_enough(self, about: Id) -> None:
        """Wait no longer for the answer about this place."""
        self._explorer.end(about)

    def answered(self, contact: Contact, *, is_full: bool = False) -> None:
        """A node has answered, in time or late, at an endpoint that was asked. It may be another than was expected.

        `is_full`: it would take no entry, so that the entries that belong there are on other nodes.
        """
        candidate = self._places.asked[contact.endpoint]
        self._places.answered(candidate)
        if candidate.contact != contact:
            # 1. Another node is at the endpoint. It takes the place of the one that was expected.
            candidate.take(Change.FAILED)
            actual = self.candidates.add(contact, None, candidate.hops)
            if actual is None or contact not in self.candidates:  # it is ourselves, or had to give way at once
                return
            self._places.asked[contact.endpoint] = candidate = actual
        else:
            # 2. Its namers told the truth.
            self._namers.confirmed_by(candidate, was_slow=candidate.progress is SLOW or candidate.progress is LATE)
        # 3. While it was slow, others of its network may have taken the places that it could have had.
        if self._places.hold(candidate):
            candidate.take(Change.FULL if is_full else Change.ANSWERED)
        else:
            candidate.take(Change.FAILED)

    def failed(self, endpoint: Endpoint, *, timeout: bool) -> None:
        """The node at this endpoint will not answer, or not with anything of use."""
        candidate = self._places.asked[endpoint]
        if candidate.progress is WAITING:
            self._missed_by(candidate)
        candidate.take(Change.FAILED)
        self._timeouts += timeout
        self._refusals += not timeout

    # The result

    def closest(self) -> list[Contact]:
        """Return every contact that has answered, nearest to the target first."""
        return [candidate.contact for candidate in self.candidates.that_answered()]

    def wanted(self) -> int:
        """Return how many of the nodes that answered should hold what belongs at the target."""
        if self._region is None:
            return self._policy.k
        return max(self._policy.k, sum(each.progress is ANSWERED for each in self._nearest()))

    def is_silent(self) -> bool:
        """Whether no node has answered, though by now alpha, or all that there are to ask, should have."""
        missed = 0
        for candidate in self._places.asked.values():
            if candidate.progress is ANSWERED or candidate.progress is FULL:
                return False
            missed += candidate.progress is LATE or candidate.progress is FAILED
        return missed >= min(self._policy.alpha, len(self._places.asked))

    @property
    def is_exhausted(self) -> bool:
        """Whether it has asked as often as it may."""
        return self._places.is_exhausted

    @property
    def is_short(self) -> bool:
        """Whether fewer than K nodes have answered that would take a record, since others are full or refuse a find."""
        full = self.candidates.full
        return full + self._refusals > 0 and len(self.candidates.that_answered()) - full < self._policy.k

    def stats(self) -> SearchStats:
        """Return how the search has gone so far."""
        answered = self.candidates.that_answered()
        return SearchStats(
            hops=max((candidate.hops for candidate in answered), default=0),
            queries=self._places.queries,
            responses=len(answered),
            timeouts=self._timeouts,
        )

    def crowded_out(self) -> Counter[str]:
        """Return, by cap, how many would have been asked if their address or network had had a place left."""
        refused: Counter[str] = Counter()
        nearest = self._nearest()
        last = nearest[-1] if len(nearest) == self._policy.k else None
        for candidate in self.candidates.order:
            if candidate is last:
                break
            if candidate.progress is FRESH and (cap := self._places.cap_reached(candidate)) is not None:
                refused[cap] += 1
        return refused

    # Inside

    def _nearest(self) -> list[Candidate]:
        """Return the K nearest candidates that may still be asked, are being asked, or have answered.

        In the region, return all that have a place there, or are to get one.
        """
        if self._region is not None:
            return self._region.choose(self.candidates.within(self._region.radius), self._may_be_asked)
        k, exhausted, places = self._policy.k, self.is_exhausted, self._places
        nearest: list[Candidate] = []
        doubtful: list[Candidate] = []
        for candidate in self.candidates.order:
            progress = candidate.progress
            if progress is FAILED or progress is SLOW or progress is LATE or progress is FULL:
                continue
            if progress is FRESH:
                if exhausted or not places.has_room_for(candidate, in_region=False):
                    continue
                if candidate.is_doubtful or self._namers.doubts(candidate):
                    doubtful.append(candidate)
                    continue
            nearest.append(candidate)
            if len(nearest) == k:
                return nearest
        return nearest + doubtful[: k - len(nearest)]

    def _may_be_asked(self, candidate: Candidate) -> bool:
        return self._places.has_room_for(candidate, in_region=self._region is not None)

    def _ask(self, candidate: Candidate) -> Ask:
        self._places.ask(candidate)
        return Ask(candidate.contact)

    def _explore(self, nearest: list[Candidate]) -> Explore | None:
        """Return which contact to ask for nodes that no answer has named, if the K nearest reach as far as those."""
        explorer, region = self._explorer, self._region
        if self.is_exhausted or len(explorer.under_way) >= (1 if region is None else self._policy.alpha):
            return None
        if region is not None:
            survey = region.survey(self.closest(), explorer.under_way)
        elif self._thorough and not explorer.is_exhausted and (answered := self.candidates.that_answered()):
            last = nearest[-1] if len(nearest) == self._policy.k else self.candidates.order[-1]
            survey = explorer.next(answered, last.contact.id ^ self.target)
        else:
            survey = None
        return None if survey is None else Explore(*survey)

    def _is_slow_one_missed(self, nearest: list[Candidate]) -> bool:
        """Whether the result would be another if a slow one answered; in the region, whether it is worth a wait."""
        if self._region is not None:
            inside = self.candidates.within(self._region.radius)
            return self.patient and any(each.progress is SLOW for each in inside)
        last = nearest[-1] if len(nearest) == self._policy.k else None
        for candidate in self.candidates.order:
            if candidate.progress is SLOW:
                return True
            if candidate is last:
                break
        return False

    def _is_crowded(self, nearest: list[Candidate]) -> bool:
        """Whether the K nearest have too little room to be there by chance, and that is news."""
        if not self.room or self._region is not None or len(nearest) < self._policy.k:
            return False
        return crowds(nearest[-1].contact.id ^ self.target, self.room, self._policy, in_vain=self.in_vain)

    def _hear_others(self) -> Step:
        """Ask contacts of our own that had no part in the result so far, if that was not done."""
        other = None if self.is_exhausted else self._opinions.next(self._may_be_asked)
        if other is not None and self._places.waiting < self._policy.alpha:
            self._opinions.ask(other)
            return self._ask(other)
        return _WAIT if other is not None or self._opinions.is_awaited else _FINISHED

    def _learn(self, endpoint: Endpoint, about: Id, contacts: Iterable[Contact]) -> list[Contact]:
        hops, add = self.hops(endpoint), self.candidates.add
        named = self._few(contacts, about)
        for contact in named:
            add(contact, endpoint, hops)
        return named

    def _few(self, contacts: Iterable[Contact], about: Id) -> list[Contact]:
        named = list(contacts)
        return closest(named, about, 2 * self._policy.k) if len(named) > 2 * self._policy.k else named

    def _missed_by(self, candidate: Candidate) -> None:
        self._places.missed_by(candidate)
        self._namers.disappointed_by(candidate)
