"""A lookup of a key for the user: it asks the network to the end, whatever is found before, and merges all answers."""

from __future__ import annotations

from collections.abc import Iterable

from dhtd.core.counters import LOOKUP_ENDPOINTS
from dhtd.core.endpoint import Endpoint, Family, is_contactable
from dhtd.core.events import GaveUp, Handle, LookupDone, LookupProgress, LookupStats, LookupStep
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, Find, FindValue, Found
from dhtd.core.querying.operations import Report
from dhtd.core.querying.requester import Requester
from dhtd.core.querying.traversal import Traversal
from dhtd.core.routing.overlays import Overlays
from dhtd.core.traces import Purpose, QueryStep


class Lookup:
    """Finds the endpoints under a key, in the network of each family. `known` are those that this node knows itself."""

    __slots__ = (
        "_caps_hit",
        "_endpoints",
        "_expected",
        "_first",
        "_has_ended",
        "_is_cut",
        "_key",
        "_known",
        "_news",
        "_op",
        "_overlays",
        "_report",
        "_requester",
        "_started_at",
        "_traversal",
    )

    def __init__(
        self,
        op: Handle,
        requester: Requester,
        overlays: Overlays,
        report: Report[LookupProgress | LookupStep | LookupDone | GaveUp],
        key: Id,
        known: Iterable[Endpoint],
        caps_hit: dict[str, int],
        now: float,
        *,
        traced: bool = False,
    ) -> None:
        """A `traced` lookup reports what becomes of each query as well."""
        self._op = op
        self._requester = requester
        self._report = report
        self._key = key
        self._caps_hit = caps_hit
        self._traversal = Traversal(
            requester,
            overlays,
            key,
            Purpose.LOOKUP,
            finished=self._finished,
            gave_up=self.give_up,
            patient=True,
            thorough=True,
            regional=True,
            reader=self,
            tell=self._traced if traced else None,
        )
        self._endpoints: dict[Endpoint, None] = {}  # in the order in which they were found
        self._news: list[Endpoint] = []
        self._is_cut = False  # a node serves more endpoints than it could name, or than were taken
        self._known = tuple(known)
        self._overlays = overlays
        self._expected: list[Family] = []  # the families in which this node knows contacts
        self._started_at = now
        self._first: float | None = None  # see `LookupStats.first`
        self._has_ended = False  # the outcome was told, or no owner waits for it

    def start(self, now: float) -> None:
        """Begin with what this node knows itself."""
        self._add(self._known)
        self._expected = [overlay.family for overlay in self._overlays if len(overlay.state.table)]
        self._traversal.start(now)

    def cancel(self) -> None:
        """Ask no more nodes, send nothing again, and report nothing."""
        self._has_ended = True
        self._traversal.stop()

    def give_up(self, now: float) -> None:
        """Report that a defect has ended it."""
        if not self._has_ended:
            self._report(GaveUp(self._op))
        self.cancel()

    def found(self, contact: Contact, request: Find, found: Found, now: float) -> None:
        """Take the endpoints of an answer."""
        limit = self._requester.policy.lookup_endpoints
        is_over = len(found.endpoints) > limit
        self._caps_hit[LOOKUP_ENDPOINTS] += is_over
        assert isinstance(request, FindValue)
        tells_more = self._requester.traits.tells_more and bool(found.token)
        may_be_cut = bool(found.endpoints) and not tells_more
        self._is_cut |= is_over or may_be_cut or (found.more and request.token is not None)
        teller, beside_us = contact.endpoint, self._requester.is_beside_us(contact.endpoint)
        named = [each for each in found.endpoints[:limit] if is_contactable(each, teller, beside_us=beside_us)]
        if named and self._first is None:
            self._first = now - self._started_at
        self._add(named)

    def progressed(self, now: float) -> None:
        """Report what is new."""
        self._report(LookupProgress(self._op, tuple(self._news), self._stats(now)))
        self._news.clear()

    def _traced(self, step: QueryStep) -> None:
        self._report(LookupStep(self._op, step))

    def _finished(self, now: float) -> None:
        self._has_ended = True
        stats, endpoints, traversal = self._stats(now), tuple(self._endpoints), self._traversal
        is_whole = not (traversal.is_exhausted or traversal.is_cut or self._is_cut)
        complete = is_whole and stats.responses > 0 and all(map(traversal.is_heard, self._expected))
        self._report(LookupDone(self._op, self._key, endpoints, stats, traversal.closest(), complete))

    def _add(self, endpoints: Iterable[Endpoint]) -> None:
        for endpoint in endpoints:
            if endpoint not in self._endpoints:
                self._endpoints[endpoint] = None
                self._news.append(endpoint)
        self._traversal.goes_on(in_vain=not self._endpoints)  # only a lookup that found nothing waits for slow nodes

    def _stats(self, now: float) -> LookupStats:
        stats = self._traversal.stats()
        elapsed = now - self._started_at
        return LookupStats(stats.hops, stats.queries, stats.responses, stats.timeouts, elapsed, self._first)
