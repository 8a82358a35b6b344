"""Follows the queries of one search, and tells what becomes of each. A search that nobody follows has no trace."""

from __future__ import annotations

from collections.abc import Callable

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.traces import QueryAnswered, QueryAsked, QuerySilent, QueryStep
from dhtd.sim.chord.circle import Circle
from dhtd.sim.chord.messages import Result, Route, Values
from dhtd.sim.chord.search import Hop

Tell = Callable[[QueryStep], None]


class Trace:
    """The queries of a search: their numbers, and how near to the key they have led.

    The steps are those of a Kademlia search. The `bits` of a node tell its distance on the circle, which has so many
    bits less than the keyspace. One query is in flight at a time, so no query is slow.
    """

    def __init__(self, circle: Circle, key: Id, tell: Tell) -> None:
        self._circle = circle
        self._key = key
        self._tell = tell
        self._last = 0
        self._asked_at = 0.0
        self._nearest = 0  # bits
        self._namers: dict[Endpoint, dict[Endpoint, None]] = {}

    def asked(self, hop: Hop, now: float) -> None:
        """A node is asked."""
        assert hop.id is not None
        self._last += 1
        self._asked_at = now
        bits = self._bits(hop.id)
        self._nearest = max(self._nearest, bits)
        namers = tuple(self._namers.get(hop.endpoint, ()))
        self._tell(QueryAsked(self._last, now, Contact(hop.id, hop.endpoint), hop.depth, bits, namers, None))

    def answered(self, teller: Contact, result: Result, now: float) -> None:
        """The node has answered. Contacts beyond the key are for later, so they count as named as well."""
        named: tuple[Contact, ...] = ()
        endpoints: tuple[Endpoint, ...] = ()
        match result:
            case Route(_, contacts, beyond):
                named = (*contacts, *beyond)
            case Values(endpoints, _):
                pass
            case _:
                self.silent(now)
                return
        before = self._nearest
        for contact in named:
            self._namers.setdefault(contact.endpoint, {})[teller.endpoint] = None
            self._nearest = max(self._nearest, self._bits(contact.id))
        gained, rtt = self._nearest - before, now - self._asked_at
        self._tell(QueryAnswered(self._last, now, teller, rtt, named, endpoints, gained, late=False))

    def silent(self, now: float) -> None:
        """The node has not answered, or has said what was not asked."""
        self._tell(QuerySilent(self._last, now))

    def _bits(self, id: Id) -> int:
        """Return how many bits less than the keyspace the distance has, either way round."""
        keyspace = self._circle.keyspace
        way = self._circle.distance(self._key, id)
        return keyspace.bits - min(way, keyspace.size - way).bit_length()
