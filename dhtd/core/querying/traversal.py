"""A search of the network and the queries that it needs: what every operation has that is more than a query."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from dhtd.core.endpoint import Endpoint, Family, contactable
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, Error, Find, FindNode, FindValue, Found, Result
from dhtd.core.querying.branch import Branch
from dhtd.core.querying.exploration import Exploration
from dhtd.core.querying.requester import Asked, Requester
from dhtd.core.querying.search import Search
from dhtd.core.querying.steps import SearchStats
from dhtd.core.querying.trace import Tell, Trace
from dhtd.core.routing.overlays import Overlays
from dhtd.core.traces import Purpose


class AnswerReader(Protocol):
    """An operation that also needs the part of an answer that is not contacts."""

    def found(self, contact: Contact, request: Find, found: Found, now: float) -> None:
        """An answer of `contact` has come, or a part of one; it may be another node than the one that was asked."""

    def progressed(self, now: float) -> None:
        """A contact has given its whole answer."""


class Traversal:
    """A search of the network towards a target, and the find queries that it needs.

    It has a *branch* in each family's network, with a search of its own (`family` names the only one, where the others
    in use are to be left alone). How it goes:

    1. `start` gives each branch the nearest contacts that we know.
    2. A branch asks the contacts that its search wants asked. Each answer, delay or failure is told to the search, and
       the branch goes on. Contacts of the other family in an answer are passed on to the other branch.
    3. A branch has *converged* when its search is over and some nodes have answered. If none has, it is dormant, since
       the other branch may still name nodes to it. Once another branch has converged, a branch in which all were
       silent so far is not waited for to the last timeout.
    4. When no branch is worth waiting for, all end, and the traversal is *finished*.
    """

    __slots__ = (
        "_branches",
        "_converged",
        "_family",
        "_finished",
        "_first",
        "_gave_up",
        "_in_vain",
        "_overlays",
        "_patient",
        "_purpose",
        "_reader",
        "_regional",
        "_request",
        "_requester",
        "_target",
        "_tell",
        "_thorough",
        "is_cut",
        "is_searching",
        "tokens",
        "trace",
    )

    def __init__(
        self,
        requester: Requester,
        overlays: Overlays,
        target: Id,
        purpose: Purpose,
        *,
        finished: Callable[[float], None],
        gave_up: Callable[[float], None],
        converged: Callable[[Search, float], None] | None = None,
        patient: bool,
        thorough: bool,
        regional: bool = False,
        needs_tokens: bool = False,
        family: Family | None = None,
        first: Sequence[Contact] = (),
        reader: AnswerReader | None = None,
        request: Find | None = None,
        tell: Tell | None = None,
    ) -> None:
        """`finished`, `gave_up` and `converged` are called when that has happened, the last one with the search.

        - `first`: contacts to begin with, before the nearest that we know.
        - `needs_tokens`: something is to be stored, or withdrawn, with the `tokens` that contacts give.
        - `reader`: reads the endpoints that are found as well; with a `request`, what the answers to that have.
        - `tell`: is told what becomes of each query.
        """
        self._finished: Callable[[float], None] | None = finished
        self._gave_up: Callable[[float], None] | None = gave_up
        self._converged = converged
        self._requester = requester
        self._overlays = overlays
        self._target = target
        self._request: Find = FindNode(target)
        if request is not None:
            self._request = request
        elif reader is not None:
            self._request = FindValue(target)
        elif needs_tokens:
            self._request = requester.traits.find_for_token(target)
        self._patient = patient
        self._thorough = thorough
        self._regional = regional  # asks beyond the K nearest where these crowd
        self._family = family
        self._first = first
        self._reader = reader
        self._purpose, self._tell = purpose, tell
        self.trace: Trace | None = None  # where somebody follows it
        self._in_vain = False  # it is to find something, and has not
        self._branches: dict[int, Branch] = {}  # by family
        self.is_searching = True  # until the last one has converged
        self.is_cut = False  # a contact has given a part of its answer, and not the rest
        self.tokens: dict[Endpoint, bytes] = {}  # that contacts have given; empty where there was none

    def start(self, now: float) -> None:
        """Begin, from the nearest contacts that we know."""
        policy = self._requester.policy
        self.trace = Trace.of(self._requester, self._purpose, self._target, self._tell, now)
        overlays = self._overlays.in_use() if self._family is None else [self._overlays[self._family]]
        for overlay in overlays:
            search = Search(self._target, overlay.own_id, policy, patient=self._patient, thorough=self._thorough)
            branch = Branch(search, overlay, policy, regional=self._regional)
            branch.start([contact for contact in self._first if len(contact.endpoint) == overlay.family], now)
            self._branches[overlay.family] = branch
        self._advance(now, *self._branches)

    def stop(self) -> None:
        """Ask no more nodes, send nothing again, and report nothing."""
        self.is_searching = False
        for branch in self._branches.values():
            branch.end()
        self._requester.send_no_more(self)
        if self.trace is not None:
            self.trace.ended(self.stats(), cancelled=True)
        self._forget_owner()

    def give_up(self, now: float) -> None:
        """A defect of ours has stopped this."""
        if self._gave_up is not None:
            self._gave_up(now)

    def goes_on(self, *, in_vain: bool) -> None:
        """Say whether nothing was found yet: then slow contacts are worth waiting for, and a crowd is suspicious."""
        self._in_vain = self._patient = in_vain
        for branch in self._branches.values():
            branch.search.patient = in_vain

    def is_heard(self, family: Family) -> bool:
        """Whether a node of a family's network has answered: no other knows what is known there only."""
        branch = self._branches.get(family)
        return branch is not None and branch.search.stats().responses > 0

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """Take what the contact knows, and go on."""
        family = len(contact.endpoint)
        search = self._open(family)
        if search is None:
            return
        # 1. Take the part of the answer that has come: token, contacts of this family, and values.
        assert isinstance(result, Found)
        self.tokens[contact.endpoint] = result.token or b""
        named = self._contactable(result, contact)
        if self.trace is not None:
            self.trace.answered(query, contact, result, self._without_us(named), now)
        of_others = [other for other in named if len(other.endpoint) != family]  # none, of a node of one family
        own = [other for other in named if len(other.endpoint) == family] if of_others else named
        search.learn(contact.endpoint, own)
        if self._reader is not None:
            assert isinstance(query.request, Find)
            self._reader.found(contact, query.request, result, now)
            if not self.is_searching:
                return  # it has found all that it was to find
        # 2. If it was cut, ask for the rest. Else the contact has answered; without a token, it is full.
        if not self._requester.ask_rest(query, contact, result, now):
            search.answered(contact, is_full=result.token == b"")
            if self._reader is not None:
                self._reader.progressed(now)
        # 3. Go on, and let the other family go on that has news by this answer.
        if of_others:
            self._advance(now, family, *self._pass_on(of_others, contact, search, now))
        else:
            self._advance(now, family)

    def overdue(self, query: Asked, now: float, *, late: bool) -> None:
        """Use the slot for another contact. If it is `late`, wait only while there is nothing else to wait for."""
        search = self._open(len(query.endpoint))
        if search is not None:
            if self.trace is not None and not late:
                self.trace.overdue(query, now)
            (search.late if late else search.slow)(query.endpoint)
            self._advance(now, len(query.endpoint))

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """Do without this contact; without the rest of its answer, where it has given a part."""
        search = self._open(len(query.endpoint))
        if search is None:
            return
        if self.trace is not None:
            self.trace.failed(query, error, now)
        if query.endpoint in self.tokens:
            assert query.id is not None
            self.is_cut = True
            search.answered(Contact(query.id, query.endpoint))
        else:
            search.failed(query.endpoint, timeout=error is None)
        self._advance(now, len(query.endpoint))

    def explored(self, query: Asked, contact: Contact, about: Id, found: Found, now: float) -> None:
        """Take the contacts that one knows near `about`, once its answer is whole."""
        family = len(contact.endpoint)
        search = self._open(family)
        if search is None:
            return
        named = [other for other in self._contactable(found, contact) if len(other.endpoint) == family]
        if self.trace is not None:
            self.trace.answered(query, contact, found, self._without_us(named), now, about)
        if not self._requester.ask_rest(query, contact, found, now):
            search.explored(contact.endpoint, about, named)
            self._advance(now, family)

    def explored_enough(self, family: int, about: Id, now: float) -> None:
        """Go on in this family without the nodes near `about`."""
        search = self._open(family)
        if search is not None:
            search.explored_enough(about)
            self._advance(now, family)

    def find(self, contact: Contact, now: float, *, insistent: bool) -> None:
        """Ask a contact for the nodes, or the records, at the target."""
        request, endpoint, id = self._request, contact.endpoint, contact.id
        query = self._requester.ask(self, request, endpoint, id, now, insistent=insistent, impatient=self)
        if self.trace is not None:
            self.trace.asked(query, self._branches[len(endpoint)].search.candidates[contact])

    def explore(self, contact: Contact, about: Id, now: float) -> None:
        """Ask a contact for the nodes nearest to another place."""
        exploration, request = Exploration(self, about), FindNode(about)
        query = self._requester.ask(exploration, request, contact.endpoint, contact.id, now, impatient=exploration)
        if self.trace is not None:
            self.trace.asked(query, self._branches[len(contact.endpoint)].search.candidates[contact], about)

    def _open(self, family: int) -> Search | None:
        """Return the search in a family's network, unless that is over."""
        branch = self._branches.get(family)
        return None if branch is None or branch.is_over else branch.search

    def _pass_on(self, others: Sequence[Contact], namer: Contact, search: Search, now: float) -> list[int]:
        """Pass on contacts of the other family that were named to `search`; return the family that has news."""
        family = len(others[0].endpoint)  # there are two
        other = self._open(family)
        if other is None:
            self._overlays.hear_of(others, now)
            return []
        other.hear(namer.endpoint, others, search.hops(namer.endpoint))
        self._branches[family].named()
        return [family]

    def _advance(self, now: float, *families: int) -> None:
        """Go on with the searches of these families, and end what is to end."""
        # 1. Each does what its search says next, and may converge by that.
        for family in families:
            branch = self._branches.get(family)
            if branch is not None and not branch.is_over and branch.go_on(self, now, in_vain=self._in_vain):
                self._converge(branch, now)
        # 2. When none is worth waiting for, end those that are left, and then the traversal.
        if self.is_searching and not self._is_any_worth_waiting_for():
            for branch in self._branches.values():
                if not branch.is_over:
                    branch.end()
                    self._converge(branch, now)
            self.is_searching = False
            if self.trace is not None:
                self.trace.ended(self.stats(), cancelled=False)
            assert self._finished is not None
            self._finished(now)
            self._forget_owner()

    def _forget_owner(self) -> None:
        """Hold on to the owner no longer: it holds on to this, and only garbage collection would free the two."""
        self._finished = self._gave_up = self._converged = self._reader = self._tell = None

    def _is_any_worth_waiting_for(self) -> bool:
        branches = self._branches.values()
        over = [branch for branch in branches if branch.is_over]
        return any(branch.is_worth_waiting_for(is_alone=not over) for branch in branches)

    def _converge(self, branch: Branch, now: float) -> None:
        branch.count_caps()
        if self._converged is not None:
            self._converged(branch.search, now)

    def _contactable(self, found: Found, told_by: Contact) -> list[Contact]:
        """Return those of an answer that deserve a query."""
        teller = told_by.endpoint
        beside_us = self._requester.is_beside_us(teller)
        return contactable(found.contacts, teller, beside_us=beside_us)

    def _without_us(self, contacts: Iterable[Contact]) -> list[Contact]:
        own_ids = self._overlays.own_ids
        return [contact for contact in contacts if contact.id not in own_ids]

    def closest(self) -> tuple[Contact, ...]:
        """Return the K nearest contacts of each family that have answered."""
        k = self._requester.policy.k
        return tuple(contact for branch in self._branches.values() for contact in branch.search.closest()[:k])

    def stats(self) -> SearchStats:
        """Return how it has gone so far."""
        stats = [branch.search.stats() for branch in self._branches.values()]
        return SearchStats(
            hops=max((each.hops for each in stats), default=0),
            queries=sum(each.queries for each in stats),
            responses=sum(each.responses for each in stats),
            timeouts=sum(each.timeouts for each in stats),
        )

    @property
    def is_exhausted(self) -> bool:
        """Whether a search had to end before it was through."""
        return any(branch.search.is_exhausted for branch in self._branches.values())
