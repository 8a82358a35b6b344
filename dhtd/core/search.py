"""The iterative lookup as a state machine (Kademlia section 2.3): asked "what next?", told what became of each query.

It converges on its *target*. It ends when the K nearest candidates that are neither failed nor slow have answered: a
slow one's answer still counts if it comes before that, but nobody waits for it. Two cases do wait, until the query's
hard timeout: when nobody has answered at all, and when the search is `patient` (a publication would rather reach a
slow node than leave it without the entry; a lookup that found nothing would rather be late than wrong).

What others name is hearsay. No endpoint is asked twice, but one ID may be asked at several: were the first to name an
ID believed, a liar could hide a node behind a false endpoint. Whose nodes keep failing is heard last.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from dhtd.core.endpoint import Endpoint
from dhtd.core.messages import Contact
from dhtd.core.metric import Id, closest
from dhtd.core.policy import Policy


class _Progress(Enum):
    FRESH = auto()  # not asked yet
    WAITING = auto()  # asked, holds a slot
    SLOW = auto()  # asked, late, its slot freed
    ANSWERED = auto()
    FAILED = auto()


class _Candidate:
    __slots__ = ("contact", "distance", "hops", "namers", "progress")

    def __init__(self, contact: Contact, distance: int, hops: int) -> None:
        self.contact = contact
        self.distance = distance
        self.hops = hops  # 1 for a contact of our own, one more than the first node that named it otherwise
        self.namers: set[Endpoint | None] = set()  # who named it; None are we
        self.progress = _Progress.FRESH


@dataclass(frozen=True, slots=True)
class Ask:
    """Query this contact now."""

    contact: Contact


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to ask until something is told."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The search is over."""


@dataclass(frozen=True, slots=True)
class SearchStats:
    """How a search went. Queries count contacts, so queries >= responses + timeouts."""

    hops: int
    queries: int
    responses: int
    timeouts: int


class Search:
    """One search for the nodes nearest to `target`."""

    __slots__ = (
        "_asked",
        "_candidates",
        "_disappointments",
        "_order",
        "_own_id",
        "_policy",
        "_queries",
        "_timeouts",
        "patient",
        "target",
    )

    def __init__(self, target: Id, own_id: Id, policy: Policy, *, patient: bool = False) -> None:
        self.target = target
        self.patient = patient
        self._own_id = own_id
        self._policy = policy
        self._candidates: dict[Contact, _Candidate] = {}
        self._order: list[_Candidate] = []  # nearest to the target first
        self._asked: dict[Endpoint, _Candidate] = {}
        self._disappointments: dict[
            Endpoint, int
        ] = {}  # by namer: those named that were slow, less those that answered
        self._queries = 0
        self._timeouts = 0

    def seed(self, contacts: Iterable[Contact]) -> None:
        """Add contacts of our own."""
        for contact in contacts:
            self._add(contact, namer=None, hops=1)

    def next(self) -> Ask | Wait | Finished:
        """Return what to do now. The contact of an `Ask` is taken to be queried."""
        nearest = self._nearest()
        waiting = sum(candidate.progress is _Progress.WAITING for candidate in nearest)
        if waiting < self._policy.alpha:
            for candidate in nearest:
                if candidate.progress is _Progress.FRESH:
                    candidate.progress = _Progress.WAITING
                    self._asked[candidate.contact.endpoint] = candidate
                    self._queries += 1
                    return Ask(candidate.contact)
        if waiting:
            return Wait()
        if len(nearest) < self._policy.k and (self.patient or not nearest) and self._any_slow():
            return Wait()
        return Finished()

    def slow(self, endpoint: Endpoint) -> None:
        """The query to this endpoint is late: its slot is free for another."""
        candidate = self._asked[endpoint]
        if candidate.progress is _Progress.WAITING:
            candidate.progress = _Progress.SLOW
            self._judge_namers(candidate, 1)

    def learn(self, endpoint: Endpoint, contacts: Iterable[Contact]) -> None:
        """Take contacts that the node at `endpoint` named, whether or not its answer is complete.

        An honest answer has K contacts of each address family at most, so no more are taken.
        """
        hops = self._asked[endpoint].hops + 1
        for contact in closest(contacts, self.target, 2 * self._policy.k):
            self._add(contact, endpoint, hops)

    def answered(self, contact: Contact) -> None:
        """The node at an endpoint that was asked has answered, in time or late; maybe another than was expected."""
        candidate = self._asked[contact.endpoint]
        if candidate.contact != contact:
            candidate.progress = _Progress.FAILED
            actual = self._add(contact, None, candidate.hops)
            if actual is None:
                return
            self._asked[contact.endpoint] = candidate = actual
        elif candidate.progress is _Progress.SLOW:
            self._judge_namers(candidate, -2)
        else:
            self._judge_namers(candidate, -1)
        candidate.progress = _Progress.ANSWERED

    def failed(self, endpoint: Endpoint, *, timeout: bool) -> None:
        """The node at this endpoint will not answer, or not with anything of use."""
        candidate = self._asked[endpoint]
        if candidate.progress is _Progress.WAITING:
            self._judge_namers(candidate, 1)
        candidate.progress = _Progress.FAILED
        self._timeouts += timeout

    def closest(self) -> list[Contact]:
        """Return every contact that has answered, nearest to the target first."""
        return [candidate.contact for candidate in self._order if candidate.progress is _Progress.ANSWERED]

    def stats(self) -> SearchStats:
        """Return how the search has gone so far."""
        answered = [candidate for candidate in self._order if candidate.progress is _Progress.ANSWERED]
        return SearchStats(
            hops=max((candidate.hops for candidate in answered), default=0),
            queries=self._queries,
            responses=len(answered),
            timeouts=self._timeouts,
        )

    def _nearest(self) -> list[_Candidate]:
        """Return the K nearest candidates that may still be asked, are being asked, or have answered."""
        nearest = []
        doubtful = []
        exhausted = self._queries >= self._policy.search_queries
        for candidate in self._order:
            match candidate.progress:
                case _Progress.FAILED | _Progress.SLOW:
                    continue
                case _Progress.FRESH if exhausted or candidate.contact.endpoint in self._asked:
                    continue
                case _Progress.FRESH if self._is_doubtful(candidate):
                    doubtful.append(candidate)
                    continue
            nearest.append(candidate)
            if len(nearest) == self._policy.k:
                break
        return nearest + doubtful[: self._policy.k - len(nearest)]

    def _is_doubtful(self, candidate: _Candidate) -> bool:
        """Whether all who named the candidate have named many that do not answer."""
        return all(
            namer is not None and self._disappointments.get(namer, 0) >= self._policy.alpha
            for namer in candidate.namers
        )

    def _judge_namers(self, candidate: _Candidate, disappointments: int) -> None:
        for namer in candidate.namers:
            if namer is not None:
                self._disappointments[namer] = self._disappointments.get(namer, 0) + disappointments

    def _any_slow(self) -> bool:
        return any(candidate.progress is _Progress.SLOW for candidate in self._order)

    def _add(self, contact: Contact, namer: Endpoint | None, hops: int) -> _Candidate | None:
        """Take a contact, unless it is ourselves; the farthest that nobody asked gives way. Return its candidate."""
        if contact.id == self._own_id:
            return None
        candidate = self._candidates.get(contact)
        if candidate is None:
            candidate = self._candidates[contact] = _Candidate(contact, contact.id ^ self.target, hops)
            insort(self._order, candidate, key=lambda other: other.distance)
            if len(self._order) > self._policy.search_candidates:
                self._drop_farthest_fresh()
        candidate.namers.add(namer)
        return candidate

    def _drop_farthest_fresh(self) -> None:
        dropped = next(candidate for candidate in reversed(self._order) if candidate.progress is _Progress.FRESH)
        self._order.remove(dropped)
        del self._candidates[dropped.contact]
