"""The iterative lookup as a state machine (Kademlia section 2.3): asked "what next?", told what became of each query.

It converges on its *target*. It ends when the K nearest candidates that are neither failed nor slow have answered: a
slow one's answer still counts if it comes before that, but nobody waits for it. Two cases do wait, until the query's
hard timeout: when nobody has answered at all, and when the search is `patient` (a publication would rather reach a
slow node than leave it without the entry; a lookup that found nothing would rather be late than wrong).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from dhtd.core.endpoint import Endpoint
from dhtd.core.messages import Contact
from dhtd.core.metric import Id
from dhtd.core.policy import Policy


class _Progress(Enum):
    FRESH = auto()  # not asked yet
    WAITING = auto()  # asked, holds a slot
    SLOW = auto()  # asked, late, its slot freed
    ANSWERED = auto()
    FAILED = auto()


class _Candidate:
    __slots__ = ("contact", "distance", "hops", "progress")

    def __init__(self, contact: Contact, distance: int, hops: int) -> None:
        self.contact = contact
        self.distance = distance
        self.hops = hops  # 1 for a contact of our own, one more than the node that named it otherwise
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
        "_candidates",
        "_endpoints",
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
        self._candidates: dict[Id, _Candidate] = {}
        self._order: list[_Candidate] = []  # nearest to the target first
        self._endpoints: set[Endpoint] = set()
        self._queries = 0
        self._timeouts = 0

    def seed(self, contacts: Iterable[Contact]) -> None:
        """Add contacts of our own."""
        self._add(contacts, hops=1)

    def next(self) -> Ask | Wait | Finished:
        """Return what to do now. The contact of an `Ask` is taken to be queried."""
        nearest = self._nearest()
        waiting = sum(candidate.progress is _Progress.WAITING for candidate in nearest)
        if waiting < self._policy.alpha:
            for candidate in nearest:
                if candidate.progress is _Progress.FRESH:
                    candidate.progress = _Progress.WAITING
                    self._queries += 1
                    return Ask(candidate.contact)
        if waiting:
            return Wait()
        if len(nearest) < self._policy.k and (self.patient or not nearest) and self._any_slow():
            return Wait()
        return Finished()

    def slow(self, id: Id) -> None:
        """The query to this contact is late: its slot is free for another."""
        candidate = self._candidates[id]
        if candidate.progress is _Progress.WAITING:
            candidate.progress = _Progress.SLOW

    def learn(self, id: Id, contacts: Iterable[Contact]) -> None:
        """Take contacts that the queried contact `id` named, whether or not its answer is complete."""
        self._add(contacts, hops=self._candidates[id].hops + 1)

    def answered(self, id: Id) -> None:
        """The queried contact has answered, in time or late."""
        self._candidates[id].progress = _Progress.ANSWERED

    def failed(self, id: Id, *, timeout: bool) -> None:
        """The queried contact will not answer, or not with anything of use."""
        self._candidates[id].progress = _Progress.FAILED
        self._timeouts += timeout

    def mistaken(self, id: Id, actual: Contact) -> None:
        """Another node answered than the one that was said to be there: ask it under its own ID, if it is near."""
        wrong = self._candidates[id]
        wrong.progress = _Progress.FAILED
        self._endpoints.discard(wrong.contact.endpoint)
        self._add([actual], wrong.hops)

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
        exhausted = self._queries >= self._policy.search_queries
        for candidate in self._order:
            match candidate.progress:
                case _Progress.FAILED | _Progress.SLOW:
                    continue
                case _Progress.FRESH if exhausted:
                    continue
            nearest.append(candidate)
            if len(nearest) == self._policy.k:
                break
        return nearest

    def _any_slow(self) -> bool:
        return any(candidate.progress is _Progress.SLOW for candidate in self._order)

    def _add(self, contacts: Iterable[Contact], hops: int) -> None:
        """Take each contact whose ID and endpoint are both new; the farthest that nobody asked give way."""
        for contact in contacts:
            if contact.id == self._own_id or contact.id in self._candidates or contact.endpoint in self._endpoints:
                continue  # one endpoint under many IDs is a liar's way to aim a search at a victim
            candidate = _Candidate(contact, contact.id ^ self.target, hops)
            self._candidates[contact.id] = candidate
            self._endpoints.add(contact.endpoint)
            insort(self._order, candidate, key=lambda other: other.distance)
            if len(self._order) > self._policy.search_candidates:
                self._drop_farthest_fresh()

    def _drop_farthest_fresh(self) -> None:
        dropped = next(candidate for candidate in reversed(self._order) if candidate.progress is _Progress.FRESH)
        self._order.remove(dropped)
        del self._candidates[dropped.contact.id]
        self._endpoints.discard(dropped.contact.endpoint)
