"""The operations of a node: single queries, and what is built on a search (lookup, publication, withdrawal, refresh).

Each is started once, is told about its queries, and reports its outcome once. An operation that is over ignores late
answers; the routing table does not, since the node tells it first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, assert_never

from dhtd.core.caps import ENTRY_HOLDERS, LOOKUP_ENDPOINTS, SEARCH_CANDIDATES, SEARCH_QUERIES, WITHDRAWALS
from dhtd.core.endpoint import Endpoint, Family, is_contactable
from dhtd.core.events import (
    Answered,
    Bootstrapped,
    Handle,
    LookupDone,
    LookupProgress,
    LookupStats,
    Published,
    Refreshed,
    Unanswered,
    Withdrawn,
)
from dhtd.core.messages import (
    Contact,
    Error,
    FindNode,
    FindValue,
    Found,
    Ping,
    Request,
    Result,
    Store,
    Withdraw,
)
from dhtd.core.metric import Id
from dhtd.core.overlay import Overlay
from dhtd.core.requester import Asked, Requester
from dhtd.core.search import Ask, Explore, Finished, Search, SearchStats, Wait
from dhtd.core.track import OwnEntry
from dhtd.core.withdrawals import Withdrawals


class SingleQuery:
    """One query to one endpoint, for the user; another one for the rest, where the answer was cut."""

    __slots__ = ("_endpoint", "_op", "_part", "_request", "_requester")

    def __init__(self, op: Handle, requester: Requester, request: Request, endpoint: Endpoint) -> None:
        self._op = op
        self._requester = requester
        self._request = request
        self._endpoint = endpoint
        self._part: Answered | None = None  # the answer that was cut

    def start(self, now: float) -> None:
        """Send the query."""
        attempts = self._requester.policy.ping_attempts
        self._requester.ask(self, self._request, self._endpoint, None, now, attempts)

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """Report the answer, once it is whole."""
        answered = Answered(self._op, contact, result, now - query.sent_at)
        if self._requester.ask_rest(query, contact, result, now):
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


class Traversal:
    """A search of the network towards a target, and the queries that it needs. Subclasses say what it is for.

    In each family's network there is a search of its own (`family` names the only one, where it is not all that are in
    use), which ends on its own: then it has *converged*. Where it is the last one, the traversal is *finished*. Before
    that, nodes of one network may name those of another to its search. So a search in which nobody has answered is
    not over while others go on; but once others have converged, it is not waited for to its last timeout.
    """

    __slots__ = (
        "_dormant",
        "_family",
        "_open",
        "_patient",
        "_requester",
        "_searches",
        "_searching",
        "_target",
        "_thorough",
        "_tokens",
        "op",
    )

    def __init__(
        self,
        op: Handle,
        requester: Requester,
        target: Id,
        *,
        patient: bool,
        thorough: bool,
        family: Family | None = None,
    ) -> None:
        self.op = op
        self._requester = requester
        self._target = target
        self._patient = patient
        self._thorough = thorough
        self._family = family
        self._searches: dict[int, Search] = {}  # by family
        self._open: dict[int, Search] = {}  # those that have not converged
        self._dormant: set[int] = set()  # the families of which nobody has answered, and nobody is left to ask
        self._searching = True  # until the last one has converged
        self._tokens: dict[Endpoint, bytes] = {}

    def start(self, now: float) -> None:
        """Begin, from the nearest contacts that we know."""
        requester, policy = self._requester, self._requester.policy
        overlays = requester.in_use() if self._family is None else [requester.overlays[self._family]]
        for overlay in overlays:
            search = Search(self._target, requester.own_id, policy, patient=self._patient, thorough=self._thorough)
            search.seed(self._seeds(overlay))
            self._searches[overlay.family] = self._open[overlay.family] = search
        self._advance(now, *self._searches)

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """Take what the contact knows, and go on."""
        family = len(contact.endpoint)
        search = self._open.get(family)
        if search is None:
            return
        assert isinstance(result, Found)
        self._tokens[contact.endpoint] = result.token
        named = _contactable(result, contact)
        search.learn(contact.endpoint, [other for other in named if len(other.endpoint) == family])
        self._found(result, now)
        if not self._requester.ask_rest(query, contact, result, now):
            search.answered(contact, is_full=not result.token)
            self._progressed(now)
        self._advance(now, family, *self._pass_on(named, contact, search, now))

    def slow(self, query: Asked, now: float) -> None:
        """Use the slot for another contact."""
        search = self._open.get(len(query.endpoint))
        if search is not None:
            search.slow(query.endpoint)
            self._advance(now, len(query.endpoint))

    def late(self, query: Asked, now: float) -> None:
        """Wait no longer, unless there is nothing else to wait for."""
        search = self._open.get(len(query.endpoint))
        if search is not None:
            search.late(query.endpoint)
            self._advance(now, len(query.endpoint))

    def retried(self, query: Asked, now: float) -> None:
        """Keep waiting."""

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """Do without this contact; without the rest of its answer, where it has given a part."""
        search = self._open.get(len(query.endpoint))
        if search is None:
            return
        if query.endpoint in self._tokens:
            assert query.id is not None
            search.answered(Contact(query.id, query.endpoint))
        else:
            search.failed(query.endpoint, timeout=error is None)
        self._advance(now, len(query.endpoint))

    def explored(self, query: Asked, contact: Contact, about: Id, found: Found, now: float) -> None:
        """Take whom the contact knows near `about`, once its answer is whole."""
        family = len(contact.endpoint)
        search = self._open.get(family)
        if search is not None and not self._requester.ask_rest(query, contact, found, now):
            named = [other for other in _contactable(found, contact) if len(other.endpoint) == family]
            search.explored(contact.endpoint, about, named)
            self._advance(now, family)

    def explored_enough(self, family: int, about: Id, now: float) -> None:
        """Go on in this family without knowing who is near `about`."""
        search = self._open.get(family)
        if search is not None:
            search.explored_enough(about)
            self._advance(now, family)

    def _seeds(self, overlay: Overlay) -> list[Contact]:
        return overlay.state.closest(self._target, 2 * self._requester.policy.k)

    def _pass_on(self, named: Iterable[Contact], namer: Contact, search: Search, now: float) -> list[int]:
        """Tell of contacts that were named to `search` and are of another family; return whose search has news."""
        others = [contact for contact in named if len(contact.endpoint) != len(namer.endpoint)]
        if not others:
            return []
        family = len(others[0].endpoint)  # there are two
        if family not in self._open:
            self._requester.hear_of(others, now)
            return []
        self._open[family].hear(namer.endpoint, others, search.hops(namer.endpoint))
        self._dormant.discard(family)
        return [family]

    def _advance(self, now: float, *families: int) -> None:
        """Go on with the searches of these families, and end what is to end."""
        for family in families:
            if family in self._open and self._is_over(family, now):
                if self._open[family].closest():
                    self._converge(family, now)
                else:
                    self._dormant.add(family)
        if self._searching and not any(self._is_worth_waiting_for(family) for family in self._open):
            for family in list(self._open):
                self._converge(family, now)
            self._searching = False
            self._finished(now)

    def _is_over(self, family: int, now: float) -> bool:
        """Do what a search has to do now; return whether it has nothing to wait for."""
        search = self._open[family]
        while True:
            step = search.next()
            match step:
                case Ask(contact):
                    request, lonely = self._request(), self._requester.overlays[family].is_lonely
                    self._requester.ask(self, request, contact.endpoint, contact.id, now, insistent=lonely)
                case Explore(contact, about):
                    exploration = _Exploration(self, about)
                    self._requester.ask(exploration, FindNode(about), contact.endpoint, contact.id, now)
                case Wait():
                    return False
                case Finished():
                    return True
                case _:
                    assert_never(step)

    def _is_worth_waiting_for(self, family: int) -> bool:
        if family in self._dormant:
            return False
        return len(self._open) == len(self._searches) or not self._open[family].is_silent()

    def _converge(self, family: int, now: float) -> None:
        search = self._open.pop(family)
        caps_hit = self._requester.counters.caps_hit
        caps_hit[SEARCH_CANDIDATES] += search.dropped
        caps_hit[SEARCH_QUERIES] += search.is_exhausted
        for cap, count in search.crowded_out().items():
            caps_hit[cap] += count
        self._converged(search, now)

    def _closest(self) -> tuple[Contact, ...]:
        """Return the K nearest contacts of each family that have answered."""
        k = self._requester.policy.k
        return tuple(contact for search in self._searches.values() for contact in search.closest()[:k])

    def _search_stats(self) -> SearchStats:
        """Return how it has gone so far."""
        stats = [search.stats() for search in self._searches.values()]
        return SearchStats(
            hops=max((each.hops for each in stats), default=0),
            queries=sum(each.queries for each in stats),
            responses=sum(each.responses for each in stats),
            timeouts=sum(each.timeouts for each in stats),
        )

    def _request(self) -> Request:
        return FindNode(self._target)

    def _found(self, found: Found, now: float) -> None:
        """Take the part of an answer that is not contacts."""

    def _progressed(self, now: float) -> None:
        """A contact has given its whole answer."""

    def _converged(self, search: Search, now: float) -> None:
        """Go on after the search of one family."""

    def _finished(self, now: float) -> None:
        """Go on after the last search, or report the outcome."""
        raise NotImplementedError


class _Exploration:
    """One query of a traversal about a place other than its target."""

    __slots__ = ("_about", "_traversal")

    def __init__(self, traversal: Traversal, about: Id) -> None:
        self._traversal = traversal
        self._about = about

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """Pass it on, unless another node has answered from there."""
        assert isinstance(result, Found)
        if contact.id == query.id:
            self._traversal.explored(query, contact, self._about, result, now)
        else:
            self._traversal.explored_enough(len(query.endpoint), self._about, now)

    def slow(self, query: Asked, now: float) -> None:
        """Wait no longer; a late answer still counts."""
        self._traversal.explored_enough(len(query.endpoint), self._about, now)

    def late(self, query: Asked, now: float) -> None:
        """It was given up when it was slow."""

    def retried(self, query: Asked, now: float) -> None:
        """It is sent once."""

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """Do without."""
        self._traversal.explored_enough(len(query.endpoint), self._about, now)


def _contactable(found: Found, told_by: Contact) -> list[Contact]:
    return [contact for contact in found.contacts if is_contactable(contact.endpoint, told_by.endpoint)]


class Refresh(Traversal):
    """A lookup in one family's network for the sake of the contacts on the way."""

    __slots__ = ()

    def __init__(self, op: Handle, requester: Requester, target: Id, family: Family) -> None:
        super().__init__(op, requester, target, patient=False, thorough=False, family=family)

    def _finished(self, now: float) -> None:
        assert self._family is not None
        self._requester.tell(Refreshed(self.op, self._target, self._search_stats().responses, self._family))


class Lookup(Traversal):
    """Who serves a key? Asks the network to the end, whatever is found before it, and merges all answers."""

    __slots__ = ("_endpoints", "_known", "_news", "_started_at")

    def __init__(self, op: Handle, requester: Requester, key: Id, known: Iterable[Endpoint], now: float) -> None:
        super().__init__(op, requester, key, patient=True, thorough=True)
        self._endpoints: dict[Endpoint, None] = {}  # in the order in which they were found
        self._news: list[Endpoint] = []
        self._known = tuple(known)
        self._started_at = now

    def start(self, now: float) -> None:
        """Begin with what this node knows itself."""
        self._add(self._known)
        super().start(now)

    def _request(self) -> Request:
        return FindValue(self._target)

    def _found(self, found: Found, now: float) -> None:
        limit = self._requester.policy.lookup_endpoints
        self._requester.counters.caps_hit[LOOKUP_ENDPOINTS] += len(found.endpoints) > limit
        self._add(endpoint for endpoint in found.endpoints[:limit] if endpoint.port and not endpoint.is_mapped)

    def _progressed(self, now: float) -> None:
        self._requester.tell(LookupProgress(self.op, tuple(self._news), self._stats(now)))
        self._news.clear()

    def _finished(self, now: float) -> None:
        endpoints = tuple(self._endpoints)
        self._requester.tell(LookupDone(self.op, self._target, endpoints, self._stats(now), self._closest()))

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


class Publication(Traversal):
    """Stores an own entry on the K nearest nodes of each family that take it.

    A node holds where the store came from, so that the entry is found at this machine's address of either family.
    Several commands may wait for one publication. Nodes that gave no token would refuse it, and are passed over.

    Whom it chooses is put into `unwritten`, where there is such a list, and asked when it is told that they are
    `written` down; else at once. A node that was killed would not know who has its entry, to have it deleted there.
    """

    __slots__ = ("_asked", "_chosen", "_in_flight", "_over", "_replicas", "_targets", "_unwritten", "entry", "watchers")

    def __init__(
        self, op: Handle, requester: Requester, entry: OwnEntry, unwritten: list[Chosen] | None = None
    ) -> None:
        super().__init__(op, requester, entry.key, patient=True, thorough=True)
        self.entry = entry
        self.watchers = [op]
        self._unwritten = unwritten
        self._targets: dict[int, list[Contact]] = {}  # by family: not asked yet, the farthest first
        self._chosen: set[Contact] = set()  # and not written down yet
        self._replicas: list[Contact] = []
        self._asked = 0
        self._in_flight: set[Asked] = set()
        self._over = False

    def cancel(self) -> None:
        """Stop, because the entry is deleted. Stores on their way cannot be called back; the entry knows of them.

        But they are not sent again: that could bring the entry back after it was withdrawn.
        """
        self._searching = False
        self._open.clear()
        self._chosen.clear()
        for query in self._in_flight:
            query.attempts_left = 1
            query.is_insistent = False
        self._report(cancelled=True)

    def written(self, contacts: Iterable[Contact], now: float) -> None:
        """Ask those who were chosen to take the entry, unless it was deleted meanwhile."""
        for contact in contacts:
            if contact in self._chosen:
                self._chosen.remove(contact)
                self._ask_to_store(contact, now)

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """Count a node that has taken the entry."""
        if not isinstance(query.request, Store):
            super().answered(query, contact, result, now)
            return
        self._in_flight.discard(query)
        self._replicas.append(contact)
        self._store(len(query.endpoint), now)

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """Try the next nearest node instead of one that did not take the entry."""
        if not isinstance(query.request, Store):
            super().failed(query, error, now)
            return
        self._in_flight.discard(query)
        self._store(len(query.endpoint), now)

    def slow(self, query: Asked, now: float) -> None:
        """Wait for stores however slow; a replica is worth it."""
        if not isinstance(query.request, Store):
            super().slow(query, now)

    def late(self, query: Asked, now: float) -> None:
        """Wait for stores however late."""
        if not isinstance(query.request, Store):
            super().late(query, now)

    def _converged(self, search: Search, now: float) -> None:
        contacts = search.closest()
        if contacts:
            family = len(contacts[0].endpoint)
            self._targets[family] = [contact for contact in contacts[::-1] if self._tokens[contact.endpoint]]
            self._store(family, now)

    def _finished(self, now: float) -> None:
        self._report_if_over()

    def _store(self, family: int, now: float) -> None:
        """Choose the nearest nodes of this family, as many as are missing to K replicas there."""
        targets = self._targets[family]
        holders = [*self._replicas, *self._chosen]
        stored = sum(len(holder.endpoint) == family for holder in holders)
        stored += sum(len(query.endpoint) == family for query in self._in_flight)
        missing = 0 if self._over else self._requester.policy.k - stored
        chosen = [targets.pop() for _ in range(min(missing, len(targets)))]
        for contact in chosen:
            self._may_hold(contact, now + self._requester.policy.write_ahead)
        if chosen and self._unwritten is not None:
            self._chosen.update(chosen)
            self._unwritten.append(Chosen(self, chosen))
        else:
            for contact in chosen:
                self._ask_to_store(contact, now)
        self._report_if_over()

    def _ask_to_store(self, contact: Contact, now: float) -> None:
        request = Store(self.entry.key, self.entry.port, self._tokens[contact.endpoint])
        store = self._requester.ask(self, request, contact.endpoint, contact.id, now, insistent=True)
        self._in_flight.add(store)
        self._asked += 1
        until = self.entry.may_hold_until(contact)
        if until is not None and until < self._until(now):  # it has taken long to write it down
            self._may_hold(contact, now)

    def _may_hold(self, contact: Contact, now: float) -> None:
        self._requester.counters.caps_hit[ENTRY_HOLDERS] += self.entry.may_hold(contact, self._until(now))

    def _until(self, now: float) -> float:
        """Return until when a node that is asked now may hold the entry."""
        policy = self._requester.policy
        return now + policy.store_expiry + policy.query_timeout

    def _report_if_over(self) -> None:
        if not self._in_flight and not self._chosen and not self._searching and not self._over:
            self._report(cancelled=False)

    def _report(self, *, cancelled: bool) -> None:
        self._over = True
        for op in self.watchers:
            self._requester.tell(
                Published(op, self.entry.key, self.entry.port, tuple(self._replicas), self._asked, cancelled)
            )


class Chosen(NamedTuple):
    """Who is to hold an entry, and must be written down first."""

    publication: Publication
    contacts: list[Contact]


class Withdrawal(Traversal):
    """Withdraws own entries of one key from every node that may hold them: known holders and the 2 K nearest.

    A node that was killed before it had written down who took an entry does not know them all, but they are near. Those
    beyond the K nearest that it did not know are not counted: most of them have held nothing.

    The tokens that came with the entry's publication have expired, so each node is asked for a new one. Holders are
    asked at once, by a find_value of their own, and let go within two round trips; the search finds the others. Who
    owes an acknowledgement in the end is in `withdrawals`.
    """

    __slots__ = ("_acknowledged", "_beyond", "_holders", "_in_flight", "_ports", "_told", "_withdrawals")

    def __init__(
        self, op: Handle, requester: Requester, key: Id, ports: Iterable[int], withdrawals: Withdrawals
    ) -> None:
        super().__init__(op, requester, key, patient=True, thorough=True)
        self._ports = tuple(ports)
        self._withdrawals = withdrawals
        self._holders = tuple(
            dict.fromkeys(contact for port in self._ports for contact in withdrawals.holders(key, port))
        )
        self._in_flight = 0
        self._told: set[Contact] = set()
        self._beyond: set[Endpoint] = set()  # where those are that do not count
        self._acknowledged: set[Contact] = set()

    def start(self, now: float) -> None:
        """Begin with the holders, and from them: they are near the key."""
        for holder in self._holders:
            self._ask(FindValue(self._target), holder, now, attempts=1)
        super().start(now)

    def _seeds(self, overlay: Overlay) -> list[Contact]:
        holders = [holder for holder in self._holders if len(holder.endpoint) == overlay.family]
        return holders + super()._seeds(overlay)

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """Use a holder's token at once; count a node that has let go of the entry."""
        match query.request:
            case FindNode():
                super().answered(query, contact, result, now)
                return
            case FindValue():
                assert isinstance(result, Found)
                self._withdraw(contact, result.token, now)
            case request:
                assert isinstance(request, Withdraw)
                if contact.endpoint not in self._beyond:
                    self._acknowledged.add(contact)
                for holder in self._at(contact.endpoint):
                    self._withdrawals.let_go(self._target, request.port, holder, now)
        self._in_flight -= 1
        self._report_if_over()

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """Leave it to be asked again, if it may hold the entry: whoever has given a token may."""
        request, policy = query.request, self._requester.policy
        if isinstance(request, FindNode):
            super().failed(query, error, now)
            return
        if isinstance(request, Withdraw) and not self._at(query.endpoint):
            assert query.id is not None
            contact, until = Contact(query.id, query.endpoint), now + policy.store_expiry
            if self._withdrawals.add(self._target, request.port, contact, until):
                self._requester.counters.caps_hit[WITHDRAWALS] += 1
        self._in_flight -= 1
        self._report_if_over()

    def slow(self, query: Asked, now: float) -> None:
        """Wait for withdrawals however slow."""
        if isinstance(query.request, FindNode):
            super().slow(query, now)

    def late(self, query: Asked, now: float) -> None:
        """Wait for withdrawals however late."""
        if isinstance(query.request, FindNode):
            super().late(query, now)

    def _converged(self, search: Search, now: float) -> None:
        k = self._requester.policy.k
        for place, contact in enumerate(search.closest()[: 2 * k]):
            if contact not in self._told:
                if place >= k and not self._at(contact.endpoint):
                    self._beyond.add(contact.endpoint)
                self._withdraw(contact, self._tokens[contact.endpoint], now)

    def _finished(self, now: float) -> None:
        self._report_if_over()

    def _withdraw(self, contact: Contact, token: bytes, now: float) -> None:
        self._told.add(contact)
        if not token:  # it holds nothing from our address
            for holder in self._at(contact.endpoint):
                for port in self._ports:
                    self._withdrawals.holds_nothing(self._target, port, holder)
            return
        for port in self._ports:
            attempts = self._requester.policy.withdraw_attempts
            self._ask(Withdraw(self._target, port, token), contact, now, attempts)

    def _ask(self, request: Request, contact: Contact, now: float, attempts: int) -> None:
        self._requester.ask(self, request, contact.endpoint, contact.id, now, attempts, insistent=True)
        self._in_flight += 1

    def _at(self, endpoint: Endpoint) -> list[Contact]:
        """Return the known holders there, of whatever ID."""
        return [holder for holder in self._holders if holder.endpoint == endpoint]

    def _report_if_over(self) -> None:
        if not self._in_flight and not self._searching:
            silent = self._withdrawals.silent(self._target, self._ports)
            self._requester.tell(Withdrawn(self.op, self._target, self._ports, len(self._acknowledged), silent))


class Bootstrap(Traversal):
    """Pings endpoints whose IDs are unknown, and looks up our own ID as soon as one has answered."""

    __slots__ = ("_contacted", "_endpoints", "_failed")

    def __init__(self, op: Handle, requester: Requester, endpoints: Iterable[Endpoint]) -> None:
        super().__init__(op, requester, requester.own_id, patient=True, thorough=False)
        self._endpoints = tuple(dict.fromkeys(endpoints))
        self._contacted = 0
        self._failed = 0

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
        self._failed += 1
        self._report_if_over()

    def slow(self, query: Asked, now: float) -> None:
        """Wait for pongs however slow."""
        if not isinstance(query.request, Ping):
            super().slow(query, now)

    def late(self, query: Asked, now: float) -> None:
        """Wait for pongs however late."""
        if not isinstance(query.request, Ping):
            super().late(query, now)

    def _finished(self, now: float) -> None:
        self._report_if_over()

    def _report_if_over(self) -> None:
        settled = self._contacted + self._failed == len(self._endpoints)
        if settled and not (self._contacted and self._searching):
            self._requester.tell(Bootstrapped(self.op, self._contacted, self._failed))


class Check:
    """A ping on the node's own account. What it decides, the routing table decides when it hears of the answer.

    `witness`, a contact that is known to answer, is pinged along with each attempt: only its answer shows that silence
    is the checked contact's fault and not the network's.
    """

    __slots__ = ("_ongoing", "_requester", "_witness")

    def __init__(self, requester: Requester, ongoing: set[Endpoint], witness: Contact | None = None) -> None:
        self._requester = requester
        self._ongoing = ongoing  # the endpoints under check, for whoever bounds them
        self._witness = witness

    def start(self, endpoint: Endpoint, id: Id | None, now: float, attempts: int) -> None:
        """Send the ping."""
        self._ongoing.add(endpoint)
        self._requester.ask(self, Ping(), endpoint, id, now, attempts)
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

    def _ping_witness(self, now: float) -> None:
        if self._witness is not None:
            witness = Check(self._requester, set())
            self._requester.ask(witness, Ping(), self._witness.endpoint, self._witness.id, now)
