"""Hops in networks that are too large to run: no nodes, no events, just the tables that lookups touch.

All IDs of the network are drawn, and sorted. A node's table is made from this list when a lookup first touches it: for
Chord its successor list and fingers, which leave nothing to chance; for Kademlia all neighbours, and K nodes drawn from
each range farther away, as in a warm start. The lookups are the nodes' own code: `Search` of either kind, and the
`Server` of a Chord node. Each answer comes at once, in the order of the questions. Nobody is dead, and nothing is lost.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple, Protocol

from dhtd.core.endpoint import Family
from dhtd.core.ids import NATIVE, Id, closest
from dhtd.core.messages import Contact
from dhtd.core.policy import DEFAULT
from dhtd.core.querying.search import Search
from dhtd.core.querying.steps import Ask, Explore, Finished, Widen
from dhtd.sim.chord import warm_ring
from dhtd.sim.chord.messages import Find, Neighbourhood, Values
from dhtd.sim.chord.node import DEFAULT as CHORD
from dhtd.sim.chord.node import ChordNode
from dhtd.sim.chord.search import Search as ChordSearch
from dhtd.sim.places import private


class Sample(NamedTuple):
    """One lookup."""

    hops: int
    queries: int


class Sampled(Protocol):
    """A network of which tables are made as they are touched."""

    def look_up(self, key: Id, asker: int) -> Sample:
        """Look a key up, from the node at this place in the order of the IDs."""
        ...


class Ids:
    """The IDs of a network, in their order. A node is known by its place among them."""

    def __init__(self, nodes: int, seed: int) -> None:
        self.seed = seed
        rng = Random(f"sampled {seed}")
        self._ids = sorted(NATIVE.random(rng) for _ in range(nodes))

    def __len__(self) -> int:
        """How many nodes there are."""
        return len(self._ids)

    def contact(self, place: int) -> Contact:
        """Return a node as others know it."""
        place %= len(self._ids)
        return Contact(self._ids[place], private(Family.IPV4, place))

    def place(self, id: Id) -> int:
        """Return the place of the first node at an ID, or after it."""
        return bisect_left(self._ids, id) % len(self._ids)

    def between(self, low: int, high: int) -> range:
        """Return the places of IDs from `low` to `high`, both included."""
        return range(bisect_left(self._ids, Id(low)), bisect_left(self._ids, Id(high + 1)))


class SampledKademlia:
    """Routing tables of Kademlia nodes."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._tables: dict[int, list[Contact]] = {}

    def look_up(self, key: Id, asker: int) -> Sample:
        """Look a key up as the node does: to the end, where the K nearest nodes that are known have answered."""
        search = Search(key, self._ids.contact(asker).id, DEFAULT, patient=True, thorough=True)
        search.seed(closest(self._table(asker), key, 2 * DEFAULT.k))
        asked: deque[Ask | Explore] = deque()
        while not isinstance(step := search.next(), Finished):
            if isinstance(step, Ask | Explore):
                asked.append(step)
                continue
            assert not isinstance(step, Widen), "nodes crowd"
            self._answer(search, asked.popleft())
        stats = search.stats()
        return Sample(stats.hops, stats.queries)

    def _answer(self, search: Search, step: Ask | Explore) -> None:
        contact, target = step.contact, search.target if isinstance(step, Ask) else step.about
        named = closest(self._table(self._ids.place(contact.id)), target, DEFAULT.k)
        if isinstance(step, Explore):
            search.explored(contact.endpoint, step.about, named)
            search.explored_enough(step.about)
        else:
            search.learn(contact.endpoint, named)
            search.answered(contact)

    def _table(self, place: int) -> list[Contact]:
        table = self._tables.get(place)
        if table is None:
            rng = Random(f"table {self._ids.seed} {place}")
            table = self._tables[place] = [self._ids.contact(other) for other in self._known(place, rng)]
        return table

    def _known(self, place: int, rng: Random) -> Iterator[int]:
        ids, k, own = self._ids, DEFAULT.k, self._ids.contact(place).id
        near = range(len(ids))
        for free in range(NATIVE.bits - 1, -1, -1):
            low = own >> free << free
            here = ids.between(low, low | (1 << free) - 1)
            if len(here) <= 2 * k:
                break
            sibling = low ^ 1 << free
            others = ids.between(sibling, sibling | (1 << free) - 1)
            yield from others if len(others) <= k else rng.sample(others, k)
            near = here
        yield from (other for other in near if other != place)


class SampledChord:
    """Successor lists and fingers of Chord nodes."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._nodes: dict[int, ChordNode] = {}

    def look_up(self, key: Id, asker: int) -> Sample:
        """Look a key up as the node does, up to the node that holds it."""
        node = self._node(asker)
        search = ChordSearch(node.ring.circle, node.ring.own, key, fetches=True, tries=CHORD.tries, now=0.0)
        search.begin(node.server.route(key))
        while (step := search.next()) is not None:
            hop, request = step
            assert hop.id is not None
            contact = Contact(hop.id, hop.endpoint)
            if isinstance(request, Find):
                search.routed(hop, contact, self._node(self._ids.place(hop.id)).server.route(key))
            else:
                search.fetched(hop, contact, Values((node.ring.own.endpoint,), more=False), 0.0)
        return Sample(search.hops, search.queries)

    def _node(self, place: int) -> ChordNode:
        node = self._nodes.get(place)
        if node is None:
            ids = self._ids
            own = ids.contact(place)
            node = self._nodes[place] = ChordNode(own, NATIVE, rng=Random(0), now=0.0)
            count = min(CHORD.successors, len(ids) - 1)
            after = tuple(ids.contact(place + step) for step in range(1, count + 1))
            far = warm_ring.fingers(node, after, lambda id: ids.contact(ids.place(id)))
            node.settled(Neighbourhood(ids.contact(place - 1), after), far, (), 0.0)
        return node


KINDS: dict[str, Callable[[Ids], Sampled]] = {"kademlia": SampledKademlia, "chord": SampledChord}
