"""The operations of a node: single queries, and what is built on a search; those on own entries are in `publication`.

Each is started once, is told about its queries, and reports its outcome once. An operation that is over ignores late
answers; the routing table does not, since the node tells it first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dhtd.core.caps import LOOKUP_ENDPOINTS
from dhtd.core.endpoint import Endpoint, Family, is_contactable, means_the_same
from dhtd.core.events import (
    INTERNAL,
    Answered,
    Bootstrapped,
    GaveUp,
    Handle,
    LookupDone,
    LookupProgress,
    LookupStats,
    Refreshed,
    Unanswered,
)
from dhtd.core.ids import Id
from dhtd.core.membership.introduction import Introduction
from dhtd.core.messages import Contact, Error, FindValue, Found, Ping, Request, Result
from dhtd.core.querying.requester import Asked, Requester
from dhtd.core.querying.search import Search
from dhtd.core.querying.traversal import Traversal


class SingleQuery:
    """One query to one endpoint, for the user; another one for the rest, where the answer was cut."""

    __slots__ = ("_endpoint", "_is_cancelled", "_op", "_part", "_request", "_requester")

    def __init__(self, op: Handle, requester: Requester, request: Request, endpoint: Endpoint) -> None:
        self._op = op
        self._requester = requester
        self._request = request
        self._endpoint = endpoint
        self._part: Answered | None = None  # the answer that was cut
        self._is_cancelled = False

    def start(self, now: float) -> None:
        """Send the query."""
        attempts = self._requester.policy.ping_attempts
        self._requester.ask(self, self._request, self._endpoint, None, now, attempts)

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """Report the answer, once it is whole."""
        if isinstance(result, Found):
            beside_us = self._requester.is_beside_us(query.endpoint)
            endpoints = tuple(
                each for each in result.endpoints if means_the_same(each, query.endpoint, beside_us=beside_us)
            )
            result = replace(result, endpoints=endpoints)
        answered = Answered(self._op, contact, result, now - query.sent_at)
        if not self._is_cancelled and self._requester.ask_rest(query, contact, result, now):
            self._part = answered
        else:
            self._requester.tell(answered)

    def slow(self, query: Asked, now: float) -> None:
        """Keep waiting."""

    def late(self, query: Asked, now: float) -> None:
        """Keep waiting."""

    def retried(self, query: Asked, now: float) -> None:
        """Keep waiting."""

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """Report the failure; where only the rest of an answer is missing, its part."""
        self._requester.tell(self._part or Unanswered(self._op, self._endpoint, error))

    def cancel(self) -> None:
        """Send nothing more."""
        self._is_cancelled = True
        self._requester.send_no_more(self)

    def give_up(self, now: float) -> None:
        """Report that a defect has ended it."""
        self._requester.tell(GaveUp(self._op))
        self.cancel()


class Refresh(Traversal):
    """A lookup in one family's network for the sake of the contacts on the way.

    After one of our own ID, the nearest nodes are asked to get to know us.
    """

    __slots__ = ("_measures",)

    def __init__(self, op: Handle, requester: Requester, target: Id, family: Family, *, measures: bool = False) -> None:
        """`measures`: the target is ours or chosen by lot, so that the outcome shows how large the network is."""
        super().__init__(op, requester, target, patient=False, thorough=False, family=family)
        self._measures = measures

    def _converged(self, search: Search, now: float) -> None:
        assert self._family is not None
        nearest = search.closest()
        requester = self._requester
        if self._measures and nearest:
            requester.overlays[self._family].size.measured(self._target, nearest)
        if self._target == requester.own_id:
            Introduction(requester).start(nearest[: requester.policy.k], self._tokens, now)

    def _finished(self, now: float) -> None:
        self._tell_responses(self._search_stats().responses)

    def give_up(self, now: float) -> None:
        """Report it as one that nobody has answered."""
        self._tell_responses(0)
        self.cancel()

    def _tell_responses(self, responses: int) -> None:
        assert self._family is not None
        self._tell(Refreshed(self.op, self._target, responses, self._family))


class Lookup(Traversal):
    """Who serves a key? Asks the network to the end, whatever is found before it, and merges all answers."""

    __slots__ = ("_endpoints", "_expected", "_is_cut", "_known", "_news", "_started_at")

    def __init__(self, op: Handle, requester: Requester, key: Id, known: Iterable[Endpoint], now: float) -> None:
        super().__init__(op, requester, key, patient=True, thorough=True, regional=True)
        self._endpoints: dict[Endpoint, None] = {}  # in the order in which they were found
        self._news: list[Endpoint] = []
        self._is_cut = False  # a node serves more endpoints than it could name, or than were taken
        self._known = tuple(known)
        self._expected: list[Family] = []  # whose network this node knows somebody in
        self._started_at = now

    def start(self, now: float) -> None:
        """Begin with what this node knows itself."""
        self._add(self._known)
        overlays = self._requester.overlays.values()
        self._expected = [overlay.family for overlay in overlays if len(overlay.state.table)]
        super().start(now)

    def _request(self) -> Request:
        return FindValue(self._target)

    def _is_in_vain(self) -> bool:
        return not self._endpoints

    def _found(self, query: Asked, found: Found, now: float) -> None:
        limit = self._requester.policy.lookup_endpoints
        is_over = len(found.endpoints) > limit
        self._requester.counters.caps_hit[LOOKUP_ENDPOINTS] += is_over
        assert isinstance(query.request, FindValue)
        is_full = bool(found.endpoints) and not found.token  # and no room for `more`: others may be left out
        self._is_cut |= is_over or is_full or (found.more and query.request.token is not None)
        teller, beside_us = query.endpoint, self._requester.is_beside_us(query.endpoint)
        self._add(each for each in found.endpoints[:limit] if is_contactable(each, teller, beside_us=beside_us))

    def _stays_cut(self) -> None:
        self._is_cut = True

    def _progressed(self, now: float) -> None:
        self._requester.tell(LookupProgress(self.op, tuple(self._news), self._stats(now)))
        self._news.clear()

    def _finished(self, now: float) -> None:
        stats, endpoints = self._stats(now), tuple(self._endpoints)
        is_through = not any(search.is_exhausted for search in self._searches.values())
        complete = is_through and not self._is_cut and stats.responses > 0 and all(map(self._is_heard, self._expected))
        self._tell(LookupDone(self.op, self._target, endpoints, stats, self._closest(), complete))

    def _is_heard(self, family: Family) -> bool:
        """Whether anybody of a family's network has answered: what is known there only, nobody else can tell."""
        search = self._searches.get(family)
        return search is not None and search.stats().responses > 0

    def _add(self, endpoints: Iterable[Endpoint]) -> None:
        for endpoint in endpoints:
            if endpoint not in self._endpoints:
                self._endpoints[endpoint] = None
                self._news.append(endpoint)
        self._patient = not self._endpoints  # waiting for the slow is for those who have found nothing
        for search in self._searches.values():
            search.patient = self._patient

    def _stats(self, now: float) -> LookupStats:
        stats = self._search_stats()
        elapsed = now - self._started_at
        return LookupStats(stats.hops, stats.queries, stats.responses, stats.timeouts, elapsed)


class Bootstrap(Traversal):
    """Pings endpoints whose IDs are unknown, and looks up our own ID as soon as one has answered."""

    __slots__ = ("_contacted", "_endpoints", "_silent")

    def __init__(self, op: Handle, requester: Requester, endpoints: Iterable[Endpoint]) -> None:
        super().__init__(op, requester, requester.own_id, patient=True, thorough=False)
        self._endpoints = tuple(dict.fromkeys(endpoints))
        self._contacted = 0
        self._silent: list[Endpoint] = []

    def start(self, now: float) -> None:
        """Ping them all."""
        for endpoint in self._endpoints:
            self._requester.ask(self, Ping(), endpoint, None, now, self._requester.policy.ping_attempts)
        self._report_if_over()

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """Start the lookup with the first pong."""
        if not isinstance(query.request, Ping):
            super().answered(query, contact, result, now)
            return
        if self._has_ended:
            return
        self._contacted += 1
        if self._contacted == 1:
            super().start(now)  # reports itself if it ends at once
        else:
            self._report_if_over()

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """Count an endpoint where nobody answers."""
        if not isinstance(query.request, Ping):
            super().failed(query, error, now)
            return
        self._silent.append(query.endpoint)
        self._report_if_over()

    def slow(self, query: Asked, now: float) -> None:
        """Wait for pongs however slow."""
        if not isinstance(query.request, Ping):
            super().slow(query, now)

    def late(self, query: Asked, now: float) -> None:
        """Wait for pongs however late."""
        if not isinstance(query.request, Ping):
            super().late(query, now)

    def _converged(self, search: Search, now: float) -> None:
        requester = self._requester
        if self.op != INTERNAL:  # else it is a probe, and a lookup of our own ID goes along with it
            Introduction(requester).start(search.closest()[: requester.policy.k], self._tokens, now)

    def _finished(self, now: float) -> None:
        self._report_if_over()

    def _report_if_over(self) -> None:
        failed = len(self._silent)
        settled = self._contacted + failed == len(self._endpoints)
        if settled and not (self._contacted and self._searching):
            self._tell(Bootstrapped(self.op, self._contacted, failed, tuple(self._silent)))


class Check:
    """A ping on the node's own account. What it decides, the routing table decides when it hears of the answer.

    `witness`, a contact that is known to answer, is pinged along with each attempt: only its answer shows that silence
    is the checked contact's fault and not the network's.
    """

    __slots__ = ("_endpoint", "_ongoing", "_requester", "_witness")

    def __init__(self, requester: Requester, ongoing: set[Endpoint], witness: Contact | None = None) -> None:
        self._requester = requester
        self._ongoing = ongoing  # the endpoints under check, for whoever bounds them
        self._witness = witness
        self._endpoint: Endpoint | None = None  # until it is started

    def start(self, endpoint: Endpoint, id: Id | None, now: float, attempts: int, *, insistent: bool = False) -> None:
        """Send the ping."""
        self._endpoint = endpoint
        self._requester.ask(self, Ping(), endpoint, id, now, attempts, insistent=insistent)
        self._ongoing.add(endpoint)
        self._ping_witness(now)

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """The check is over."""
        self._ongoing.discard(query.endpoint)

    def slow(self, query: Asked, now: float) -> None:
        """Keep waiting."""

    def late(self, query: Asked, now: float) -> None:
        """Keep waiting."""

    def retried(self, query: Asked, now: float) -> None:
        """Ask the witness again, too."""
        self._ping_witness(now)

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """The check is over."""
        self._ongoing.discard(query.endpoint)

    def give_up(self, now: float) -> None:
        """Whoever bounds the checks has one less to wait for."""
        self._ongoing -= {self._endpoint}

    def _ping_witness(self, now: float) -> None:
        if self._witness is not None:
            witness = Check(self._requester, set())
            self._requester.ask(witness, Ping(), self._witness.endpoint, self._witness.id, now)
