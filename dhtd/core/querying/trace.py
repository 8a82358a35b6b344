"""Follows the queries of one traversal, and tells what becomes of each. A traversal without followers has no trace."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from dhtd.core.ids import Id, packed
from dhtd.core.messages import Contact, Error, Found
from dhtd.core.querying.candidate import Candidate
from dhtd.core.querying.observations import Observations, SearchEnded, SearchStep
from dhtd.core.querying.requester import Asked, Requester
from dhtd.core.querying.steps import SearchStats
from dhtd.core.traces import Purpose, QueryAnswered, QueryAsked, QueryRefused, QuerySilent, QuerySlow, QueryStep

if TYPE_CHECKING:
    from dhtd.core.endpoint import Endpoint

Tell = Callable[[QueryStep], None]


class Trace:
    """The queries of a traversal: their numbers, and how near to the target they have led."""

    __slots__ = (
        "_begun_at",
        "_bits",
        "_last",
        "_nearest",
        "_numbers",
        "_observations",
        "_op",
        "_slow",
        "_target",
        "_tell",
    )

    def __init__(
        self, target: Id, bits: int, observations: Observations, op: int | None, tell: Tell | None, now: float
    ) -> None:
        """`bits` of the keyspace; `op` is the number of the search where it is observed; `tell` is its own listener."""
        self._target = target
        self._bits = bits
        self._observations = observations
        self._op = op
        self._tell = tell
        self._begun_at = now
        self._last = 0
        self._numbers: dict[bytes, int] = {}  # of queries, by endpoint and other place
        self._slow: set[int] = set()
        self._nearest: dict[int, int] = {}  # by family: the distance of the nearest node that the search knows

    @classmethod
    def of(cls, requester: Requester, purpose: Purpose, target: Id, tell: Tell | None, now: float) -> Trace | None:
        """Return the trace of a traversal that begins; None if nobody follows it."""
        observations = requester.observations
        op = observations.begin(purpose, target, now)
        if op is None and tell is None:
            return None
        return cls(target, requester.traits.keyspace.bits, observations, op, tell, now)

    def asked(self, query: Asked, candidate: Candidate, about: Id | None = None) -> None:
        """A contact is asked about the target, or about another place."""
        contact = candidate.contact
        self._last += 1
        number = self._numbers[_key(contact.endpoint, about)] = self._last
        query.is_traced = True
        self._approach(contact)
        namers = tuple(namer for namer in candidate.namers if namer is not None)
        bits = self._shared(contact.id ^ self._target)
        self._told(QueryAsked(number, query.sent_at, contact, candidate.hops, bits, namers, about))

    def answered(
        self, query: Asked, contact: Contact, found: Found, news: Iterable[Contact], now: float, about: Id | None = None
    ) -> None:
        """An answer has come. `news` are the contacts in it that are worth a query, and not ourselves."""
        number = self._numbers[_key(query.endpoint, about)]
        family = len(contact.endpoint)
        before = self._shared(self._nearest[family])
        for other in news:
            if len(other.endpoint) == family:
                self._approach(other)
        gained = self._shared(self._nearest[family]) - before
        rtt = None if query.retried else now - query.sent_at
        late = number in self._slow
        self._told(
            QueryAnswered(number, now, contact, rtt, tuple(found.contacts), tuple(found.endpoints), gained, late)
        )

    def overdue(self, query: Asked, now: float, about: Id | None = None) -> None:
        """A query has become slow."""
        number = self._numbers[_key(query.endpoint, about)]
        self._slow.add(number)
        self._told(QuerySlow(number, now))

    def failed(self, query: Asked, error: Error | None, now: float, about: Id | None = None) -> None:
        """A query was refused, or not answered."""
        number = self._numbers[_key(query.endpoint, about)]
        self._told(QuerySilent(number, now) if error is None else QueryRefused(number, now, error.code))

    def ended(self, stats: SearchStats, *, cancelled: bool) -> None:
        """The traversal is over, or was stopped."""
        if self._op is not None:
            self._observations.note(SearchEnded(self._op, self._begun_at, stats, cancelled))
        self._op = self._tell = None

    def _told(self, step: QueryStep) -> None:
        if self._tell is not None:
            self._tell(step)
        if self._op is not None:
            self._observations.note(SearchStep(self._op, self._begun_at, step))

    def _approach(self, contact: Contact) -> None:
        family, distance = len(contact.endpoint), contact.id ^ self._target
        self._nearest[family] = min(self._nearest.get(family, distance), distance)

    def _shared(self, distance: int) -> int:
        """Return how many leading bits are the same at this distance."""
        return self._bits - distance.bit_length()


def _key(endpoint: Endpoint, about: Id | None) -> bytes:
    return endpoint if about is None else endpoint + packed(about)
