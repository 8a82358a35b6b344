"""What a Chord node answers to others."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from dhtd.core.ids import Id, packed
from dhtd.core.messages import Contact
from dhtd.sim.chord.comparer import compared
from dhtd.sim.chord.fingers import Fingers
from dhtd.sim.chord.messages import (
    Compare,
    Copy,
    Find,
    Get,
    Hold,
    Leave,
    Neighbourhood,
    Neighbours,
    Notify,
    NotMine,
    Ping,
    Request,
    Result,
    Route,
    Store,
    Values,
    Yes,
)
from dhtd.sim.chord.policy import ChordPolicy
from dhtd.sim.chord.replicator import Replicator
from dhtd.sim.chord.ring import Ring
from dhtd.sim.chord.shelf import Shelf


class Server:
    """Answers requests, from what the parts of the node know."""

    def __init__(
        self,
        ring: Ring,
        fingers: Fingers,
        shelf: Shelf,
        replicator: Replicator,
        policy: ChordPolicy,
        room: int,
        doubt: Callable[[float], None],
    ) -> None:
        """`room` is how many endpoints go into a datagram. `doubt` is told when somebody is sent to our predecessor."""
        self._ring = ring
        self._fingers = fingers
        self._shelf = shelf
        self._replicator = replicator
        self._policy = policy
        self._room = room
        self._doubt = doubt
        self.has_joined = False  # until then, this node cannot say who is the successor of what
        self.stores = 0  # that have come

    def answer(self, request: Request, asker: Contact, session: bytes, now: float) -> Result:
        """Do what is asked, and return the result."""
        match request:
            case Ping():
                return Yes()
            case Find(key):
                return self.route(key)
            case Neighbours():
                return Neighbourhood(self._ring.predecessor, self._ring.successors)
            case Notify():
                self._ring.notified(asker, now)
                self._replicator.notified(asker, session, now)
                return Yes()
            case Get(key):
                return self.values(key, now)
            case Store(key, port, lease, stamp, is_withdrawn):
                self.stores += 1
                if not self._ring.owns(key):
                    self._doubt(now)
                    return NotMine(self._ring.predecessor)
                self.keep(Copy(key, asker.endpoint.with_port(port), lease, stamp, is_withdrawn), now)
                return Yes()
            case Hold(is_yours, copies):
                for copy in copies:
                    self.keep(copy, now, is_for_good=is_yours)
                return Yes()
            case Compare():
                return compared(self._ring.circle, self._shelf, asker.id, request, self._replicator.batch, now)
            case Leave(predecessor, successors):
                self._left(asker, predecessor, successors, now)
                return Yes()
            case _:
                assert_never(request)

    def route(self, key: Id) -> Route:
        """Return the successor of `key` and those after it, if we know it; else contacts that precede the key."""
        ring, head = self._ring, self._ring.head
        if not self.has_joined:
            return Route(False, ())
        if ring.owns(key):
            return Route(True, (ring.own, *ring.successors))
        if head is None:
            return Route(True, (ring.own,))
        if ring.circle.is_in(key, ring.own.id, head.id):
            return Route(True, ring.successors)
        way = ring.circle.way(key)
        beyond = tuple(contact for contact in ring.successors if ring.circle.way(contact.id) >= way)
        return Route(False, self._fingers.preceding(key, self._policy.alternatives), beyond)

    def values(self, key: Id, now: float) -> Values:
        """Return what stands under `key`, as much as a datagram has room for."""
        endpoints = self._shelf.under(key, now)
        return Values(endpoints[: self._room], len(endpoints) > self._room)

    def keep(self, copy: Copy, now: float, *, is_for_good: bool = True) -> None:
        """Hold a record. What is new, or has a new lease, is the business of others, too."""
        if self._shelf.put(copy, now):
            self._replicator.changed(copy.key, (packed(copy.key), copy.endpoint), now, is_for_good=is_for_good)

    def keep_own(self, store: Store, now: float) -> None:
        """Hold an entry of this machine, or its withdrawal."""
        endpoint = self._ring.own.endpoint.with_port(store.port)
        self.keep(Copy(store.key, endpoint, store.lease, store.stamp, store.is_withdrawn), now)

    def _left(self, leaver: Contact, predecessor: Contact | None, successors: tuple[Contact, ...], now: float) -> None:
        ring = self._ring
        was_predecessor, was_head = leaver == ring.predecessor, leaver == ring.head
        ring.forget(leaver)
        if was_predecessor and predecessor is not None:
            ring.notified(predecessor, now)
        if was_head and successors and successors[0].id != ring.own.id:
            ring.adopt(successors[0], successors[1:])
