"""A search of the network and the queries that it needs: what every operation has that is more than a query."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, Protocol, assert_never

from dhtd.core.counters import SEARCH_CANDIDATES, SEARCH_QUERIES
from dhtd.core.endpoint import Endpoint, Family, is_contactable
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, Error, FindNode, FindValue, Found, Result
from dhtd.core.querying.requester import Asked, Requester
from dhtd.core.querying.search import Ask, Explore, Finished, Search, SearchStats, Wait, Widen
from dhtd.core.routing.overlay import Overlay
from dhtd.core.routing.overlays import Overlays

_BEHIND: Final = 4  # times K contacts of our own to ask where the nearest are full


class AnswerReader(Protocol):
    """An operation that also needs the part of an answer that is not contacts."""

    def found(self, query: Asked, found: Found, now: float) -> None:
        """An answer has come, or a part of one."""

    def progressed(self, now: float) -> None:
        """A contact has given its whole answer."""


class Traversal:
    """A search of the network towards a target, and the find queries that it needs.

    In each family's network there is a search of its own (`family` names the only one, where it is not all that are in
    use), which ends on its own: then it has *converged*. Where it is the last one, the traversal is *finished*. Before
    that, nodes of one network may name those of another to its search. So a search in which nobody has answered is
    not over while others go on; but once others have converged, it is not waited for to its last timeout.
    """

    __slots__ = (
        "_converged",
        "_dormant",
        "_family",
        "_finished",
        "_first",
        "_gave_up",
        "_in_vain",
        "_looked_behind",
        "_open",
        "_overlays",
        "_patient",
        "_reader",
        "_regional",
        "_request",
        "_requester",
        "_searches",
        "_target",
        "_thorough",
        "is_cut",
        "is_searching",
        "tokens",
    )

    def __init__(
        self,
        requester: Requester,
        overlays: Overlays,
        target: Id,
        *,
        finished: Callable[[float], None],
        gave_up: Callable[[float], None],
        converged: Callable[[Search, float], None] | None = None,
        patient: bool,
        thorough: bool,
        regional: bool = False,
        family: Family | None = None,
        first: Sequence[Contact] = (),
        reader: AnswerReader | None = None,
    ) -> None:
        """`finished`, `gave_up` and `converged` are called when that has happened, the last one with the search.

        `first`: contacts to begin with, before the nearest that we know. With a `reader`, values are found as well.
        """
        self._finished = finished
        self._gave_up = gave_up
        self._converged = converged
        self._requester = requester
        self._overlays = overlays
        self._target = target
        self._request = FindNode(target) if reader is None else FindValue(target)
        self._patient = patient
        self._thorough = thorough
        self._regional = regional  # asks beyond the K nearest where these crowd
        self._family = family
        self._first = first
        self._reader = reader
        self._in_vain = False  # it is to find something, and has not
        self._searches: dict[int, Search] = {}  # by family
        self._open: dict[int, Search] = {}  # those that have not converged
        self._looked_behind: set[int] = set()  # the families of which more contacts were taken, since many are full
        self._dormant: set[int] = set()  # the families of which nobody has answered, and nobody is left to ask
        self.is_searching = True  # until the last one has converged
        self.is_cut = False  # a contact has given a part of its answer, and not the rest
        self.tokens: dict[Endpoint, bytes] = {}  # that contacts have given; empty where there was none

    def start(self, now: float) -> None:
        """Begin, from the nearest contacts that we know."""
        policy = self._requester.policy
        overlays = self._overlays.in_use() if self._family is None else [self._overlays[self._family]]
        for overlay in overlays:
            search = Search(self._target, overlay.own_id, policy, patient=self._patient, thorough=self._thorough)
            search.doubts = partial(overlay.state.doubts, now)
            search.seed(self._seeds(overlay))
            self._searches[overlay.family] = self._open[overlay.family] = search
        self._advance(now, *self._searches)

    def stop(self) -> None:
        """Ask nobody else, send nothing again, and report nothing."""
        self.is_searching = False
        self._open.clear()
        self._requester.send_no_more(self)

    def give_up(self, now: float) -> None:
        """A defect of ours has stopped this."""
        self._gave_up(now)

    def goes_on(self, *, in_vain: bool) -> None:
        """Say whether nothing was found yet: then slow contacts are worth waiting for, and a crowd is suspicious."""
        self._in_vain = self._patient = in_vain
        for search in self._searches.values():
            search.patient = in_vain

    def is_heard(self, family: Family) -> bool:
        """Whether anybody of a family's network has answered: what is known there only, nobody else can tell."""
        search = self._searches.get(family)
        return search is not None and search.stats().responses > 0

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """Take what the contact knows, and go on."""
        family = len(contact.endpoint)
        search = self._open.get(family)
        if search is None:
            return
        assert isinstance(result, Found)
        self.tokens[contact.endpoint] = result.token or b""
        named = self._contactable(result, contact)
        search.learn(contact.endpoint, [other for other in named if len(other.endpoint) == family])
        if self._reader is not None:
            self._reader.found(query, result, now)
        if not self._requester.ask_rest(query, contact, result, now):
            search.answered(contact, is_full=result.token == b"")
            if self._reader is not None:
                self._reader.progressed(now)
        self._advance(now, family, *self._pass_on(named, contact, search, now))

    def overdue(self, query: Asked, now: float, *, late: bool) -> None:
        """Use the slot for another contact. If it is `late`, wait only while there is nothing else to wait for."""
        search = self._open.get(len(query.endpoint))
        if search is not None:
            (search.late if late else search.slow)(query.endpoint)
            self._advance(now, len(query.endpoint))

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """Do without this contact; without the rest of its answer, where it has given a part."""
        search = self._open.get(len(query.endpoint))
        if search is None:
            return
        if query.endpoint in self.tokens:
            assert query.id is not None
            self.is_cut = True
            search.answered(Contact(query.id, query.endpoint))
        else:
            search.failed(query.endpoint, timeout=error is None)
        self._advance(now, len(query.endpoint))

    def explored(self, query: Asked, contact: Contact, about: Id, found: Found, now: float) -> None:
        """Take whom the contact knows near `about`, once its answer is whole."""
        family = len(contact.endpoint)
        search = self._open.get(family)
        if search is not None and not self._requester.ask_rest(query, contact, found, now):
            named = [other for other in self._contactable(found, contact) if len(other.endpoint) == family]
            search.explored(contact.endpoint, about, named)
            self._advance(now, family)

    def explored_enough(self, family: int, about: Id, now: float) -> None:
        """Go on in this family without knowing who is near `about`."""
        search = self._open.get(family)
        if search is not None:
            search.explored_enough(about)
            self._advance(now, family)

    def _seeds(self, overlay: Overlay) -> list[Contact]:
        first = [contact for contact in self._first if len(contact.endpoint) == overlay.family]
        return first + overlay.state.closest(self._target, 2 * self._requester.policy.k)

    def _pass_on(self, named: Iterable[Contact], namer: Contact, search: Search, now: float) -> list[int]:
        """Tell of contacts that were named to `search` and are of another family; return whose search has news."""
        others = [contact for contact in named if len(contact.endpoint) != len(namer.endpoint)]
        if not others:
            return []
        family = len(others[0].endpoint)  # there are two
        if family not in self._open:
            self._overlays.hear_of(others, now)
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
        if self.is_searching and not any(self._is_worth_waiting_for(family) for family in self._open):
            for family in list(self._open):
                self._converge(family, now)
            self.is_searching = False
            self._finished(now)

    def _is_over(self, family: int, now: float) -> bool:
        """Do what a search has to do now; return whether it has nothing to wait for."""
        search = self._open[family]
        if self._regional and self._requester.policy.region:
            # While we join, we learn how large the network is at the same time.
            search.room = self._overlays[family].usual_room
            search.in_vain = self._in_vain
        while True:
            step = search.next()
            match step:
                case Ask(contact):
                    self._find(contact, now, insistent=self._overlays[family].is_lonely)
                case Explore(contact, about):
                    exploration = _Exploration(self, about)
                    find = FindNode(about)
                    self._requester.ask(exploration, find, contact.endpoint, contact.id, now, impatient=exploration)
                case Widen():
                    overlay = self._overlays[family]
                    own = overlay.state.closest(self._target, 2 * self._requester.policy.region_nodes)
                    search.widen(overlay.region, own, overlay.draw_lot())
                case Wait():
                    return False
                case Finished() if search.is_short and family not in self._looked_behind:
                    self._looked_behind.add(family)
                    search.seed(self._overlays[family].state.closest(self._target, _BEHIND * self._requester.policy.k))
                case Finished():
                    return True
                case _:
                    assert_never(step)

    def _find(self, contact: Contact, now: float, *, insistent: bool) -> None:
        self._requester.ask(self, self._request, contact.endpoint, contact.id, now, insistent=insistent, impatient=self)

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
        if self._converged is not None:
            self._converged(search, now)

    def _contactable(self, found: Found, told_by: Contact) -> list[Contact]:
        """Return those of an answer that deserve a query."""
        teller = told_by.endpoint
        beside_us = self._requester.is_beside_us(teller)
        return [contact for contact in found.contacts if is_contactable(contact.endpoint, teller, beside_us=beside_us)]

    def closest(self) -> tuple[Contact, ...]:
        """Return the K nearest contacts of each family that have answered."""
        k = self._requester.policy.k
        return tuple(contact for search in self._searches.values() for contact in search.closest()[:k])

    def stats(self) -> SearchStats:
        """Return how it has gone so far."""
        stats = [search.stats() for search in self._searches.values()]
        return SearchStats(
            hops=max((each.hops for each in stats), default=0),
            queries=sum(each.queries for each in stats),
            responses=sum(each.responses for each in stats),
            timeouts=sum(each.timeouts for each in stats),
        )

    @property
    def is_exhausted(self) -> bool:
        """Whether a search had to end before it was through."""
        return any(search.is_exhausted for search in self._searches.values())


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

    def overdue(self, query: Asked, now: float, *, late: bool) -> None:
        """Wait no longer; a late answer still counts."""
        if not late:
            self._traversal.explored_enough(len(query.endpoint), self._about, now)

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """Do without."""
        self._traversal.explored_enough(len(query.endpoint), self._about, now)

    def give_up(self, now: float) -> None:
        """It is the traversal that a defect has stopped."""
        self._traversal.give_up(now)
