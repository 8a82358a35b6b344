"""Runs searches: one query of each is in flight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.sim.chord.messages import Result, Route, Values
from dhtd.sim.chord.policy import ChordPolicy
from dhtd.sim.chord.requester import Query, Requester
from dhtd.sim.chord.ring import Ring
from dhtd.sim.chord.search import Hop, Search, Stage
from dhtd.sim.chord.trace import Tell, Trace


class Finder(Protocol):
    """Takes what comes of a search: any number of times `progressed`, then `found` once."""

    def progressed(self, search: Search, now: float) -> None: ...

    def found(self, search: Search, now: float) -> None: ...


class Searches:
    """The searches of one node."""

    def __init__(
        self,
        ring: Ring,
        requester: Requester,
        policy: ChordPolicy,
        route: Callable[[Id], Route],
        values: Callable[[Id, float], Values],
    ) -> None:
        """`route` and `values` are what this node answers itself."""
        self._ring = ring
        self._requester = requester
        self._policy = policy
        self._route = route
        self._values = values

    def run(
        self,
        key: Id,
        finder: Finder,
        now: float,
        *,
        fetches: bool = False,
        at: Endpoint | None = None,
        tell: Tell | None = None,
    ) -> Search:
        """Look `key` up, from what this node knows, or from the node `at` an endpoint; `tell` is told each step."""
        tries = self._policy.tries
        search = Search(self._ring.circle, self._ring.own, key, fetches=fetches, tries=tries, now=now)
        if at is None:
            search.begin(self._route(key))
        else:
            search.begin_at(at)
        trace = None if tell is None else Trace(self._ring.circle, key, tell)
        _Run(self._ring, self._requester, self._policy, self._values, search, finder, trace).go_on(now)
        return search


class _Run:
    """One search under way. It is the listener of its queries."""

    def __init__(
        self,
        ring: Ring,
        requester: Requester,
        policy: ChordPolicy,
        values: Callable[[Id, float], Values],
        search: Search,
        finder: Finder,
        trace: Trace | None,
    ) -> None:
        self._ring = ring
        self._requester = requester
        self._policy = policy
        self._values = values
        self._search = search
        self._finder = finder
        self._trace = trace
        self._asked: Hop | None = None

    def go_on(self, now: float) -> None:
        """Ask the next node, or end."""
        search = self._search
        while search.stage is not Stage.OVER and now < search.began_at + self._policy.lookup:
            step = search.next()
            if step is None:
                break
            self._asked, request = step
            if self._asked.endpoint != self._ring.own.endpoint:
                if self._trace is not None:
                    self._trace.asked(self._asked, now)
                self._requester.ask(self._asked.endpoint, self._asked.id, request, self, now)
                return
            search.fetched(self._asked, self._ring.own, self._values(search.key, now), now)  # it is we ourselves
            self._finder.progressed(search, now)
        self._finder.found(search, now)

    def answered(self, query: Query, result: Result, now: float) -> None:
        """The node that was asked has answered."""
        hop = self._asked
        assert hop is not None
        if self._trace is not None:
            self._trace.answered(query.contact, result, now)
        match result:
            case Route():
                self._search.routed(hop, query.contact, result)
            case Values():
                self._search.fetched(hop, query.contact, result, now)
            case _:
                self._search.silent(hop)  # it says what was not asked: it is no use
        self._finder.progressed(self._search, now)
        self.go_on(now)

    def silent(self, query: Query, now: float) -> None:
        """It has not: others will."""
        assert self._asked is not None
        if self._trace is not None:
            self._trace.silent(now)
        self._search.silent(self._asked)
        self.go_on(now)
