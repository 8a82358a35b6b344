"""A lookup, step by step: iterative, so the node that asks sees the whole path.

1. Ask the contact that precedes the key most closely. It names some that do so more closely still, best first.
2. Once a node's successor is that of the key, it names its successor list: the holders of the key.
3. To fetch what is under the key, ask the holders one after another, until one has something.

A node that does not answer is passed over: the next best contact that any answer has named is asked instead, and then
the silent one once more. When it stays silent, the last node before the key may be gone. Then those beyond the key are
asked that a node before it has named.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.sim.chord.circle import Circle
from dhtd.sim.chord.messages import Find, Get, Route, Values


class Stage(Enum):
    """How far a search is. It goes through the stages in their order, and may skip any but the last."""

    WAY = auto()  # asks on the way to the key
    HOLDERS = auto()  # asks those that should hold what is under it
    OVER = auto()


@dataclass(slots=True)
class Hop:
    """A node on the way."""

    endpoint: Endpoint
    id: Id | None  # None: any node there
    depth: int  # how many nodes, each named by the one before it, lead there
    rank: int  # how far before the key it is
    times: int = 0  # it was asked
    is_silent: bool = False


_TIMES: Final = 2  # that a silent node is asked


class Search:
    """One lookup. Its owner does what `next` says, and tells what comes of it."""

    def __init__(self, circle: Circle, own: Contact, key: Id, *, fetches: bool, tries: int, now: float) -> None:
        self.key = key
        self.began_at = now
        self.stage = Stage.WAY
        self.path: list[Contact] = []  # the nodes that have answered, in this order
        self.holders: tuple[Contact, ...] = ()  # the successor of the key, and those after it
        self.endpoints: dict[Endpoint, None] = {}  # what was found under the key
        self.more = False  # the holder had more than it could name
        self.served_by: Contact | None = None
        self.first_at: float | None = None
        self.hops = 0
        self.queries = self.responses = self.timeouts = 0
        self._circle = circle
        self._own = own
        self._fetches = fetches
        self._tries = tries  # holders that may have nothing
        self._hops: dict[Endpoint, Hop] = {}
        self._last: Hop | None = None  # that was asked on the way
        self._held_by: list[Hop] = []
        self._beyond: tuple[int, tuple[Contact, ...], int] | None = None  # rank of the teller, holders, their depth

    def begin(self, route: Route) -> None:
        """Begin with what this node knows itself."""
        self._take(route, 1, self._circle.keyspace.size + 1)

    def begin_at(self, endpoint: Endpoint) -> None:
        """Begin with a node of which the endpoint alone is known."""
        self._hops[endpoint] = Hop(endpoint, None, 1, self._circle.keyspace.size)

    def next(self) -> tuple[Hop, Find | Get] | None:
        """Return the next node to ask, and what; None where the search is over."""
        if self.stage is Stage.WAY:
            hop = min(filter(self._may_be_asked, self._hops.values()), key=lambda hop: hop.rank, default=None)
            if self._beyond is not None and (hop is None or hop.rank >= self._beyond[0]):
                _, holders, depth = self._beyond
                self._arrive(holders, depth)
                return self.next()
            if hop is None:
                hop = self._last if self._last is not None and self._last.is_silent else None
            if hop is not None and hop.times < _TIMES:
                self._last = hop
                return self._ask(hop), Find(self.key)
        elif self.stage is Stage.HOLDERS:
            for times in range(_TIMES):
                for hop in self._held_by:
                    if hop.times == times and (hop.is_silent or not times):
                        return self._ask(hop), Get(self.key)
        self.stage = Stage.OVER
        return None

    def routed(self, hop: Hop, teller: Contact, route: Route) -> None:
        """A node on the way has answered."""
        hop.is_silent = False
        self.path.append(teller)
        self.hops = max(self.hops, hop.depth)
        if teller != self._own:
            self.responses += 1
        self._take(route, hop.depth + 1, self._rank(teller.id))

    def fetched(self, hop: Hop, teller: Contact, values: Values, now: float) -> None:
        """A holder has answered. Where it has nothing, the next one may."""
        hop.is_silent = False
        self.path.append(teller)
        self.hops = max(self.hops, hop.depth)
        if teller != self._own:
            self.responses += 1
        if self.served_by is None or (values.endpoints and not self.endpoints):
            self.served_by = teller
        self._tries -= 1
        if values.endpoints:
            self.first_at = now
            self.endpoints.update(dict.fromkeys(values.endpoints))
            self.more = values.more
        if self.endpoints or not self._tries:
            self.stage = Stage.OVER

    def silent(self, hop: Hop) -> None:
        """A node has not answered."""
        hop.is_silent = True
        self.timeouts += 1

    def _take(self, route: Route, depth: int, rank: int) -> None:
        if route.is_last:
            self._arrive(route.contacts, depth)
            return
        if route.beyond and (self._beyond is None or rank < self._beyond[0]):
            self._beyond = rank, route.beyond, depth
        for contact in route.contacts:
            # Only what is nearer to the key than its teller: so each search ends.
            nearness = self._rank(contact.id)
            if nearness < rank and contact.id != self._own.id and contact.endpoint not in self._hops:
                self._hops[contact.endpoint] = Hop(contact.endpoint, contact.id, depth, nearness)

    def _arrive(self, holders: tuple[Contact, ...], depth: int) -> None:
        self.holders = holders
        self._held_by = [
            Hop(contact.endpoint, contact.id, 0 if contact == self._own else depth, 0) for contact in holders
        ]
        self.stage = Stage.HOLDERS if self._fetches else Stage.OVER

    def _rank(self, id: Id) -> int:
        return self._circle.distance(self.key, id) or self._circle.keyspace.size

    def _ask(self, hop: Hop) -> Hop:
        hop.times += 1
        self.queries += hop.endpoint != self._own.endpoint
        return hop

    def _may_be_asked(self, hop: Hop) -> bool:
        """Whether a node is new, or was silent and another one was asked since."""
        return not hop.times or (hop.is_silent and hop.times < _TIMES and hop is not self._last)
