"""Finds the ring: to join it, and to find another part of it after a partition.

The node looks up its own place through a node that need not be in its ring: one of the endpoints that it was told of at
the start, or a contact that it has lost. If a better successor is found there, it is taken, and stabilise does the
rest. If there is none, the successor that the other ring has for us is told of us: nobody there may know any of our
ring. Rings that were apart become one in this way (Shafaat, Ghodsi and Haridi 2007); the paper leaves them apart.
While the node is in no ring, that is its join.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from dhtd.core.endpoint import Endpoint
from dhtd.core.messages import Contact
from dhtd.sim.chord.fingers import Fingers
from dhtd.sim.chord.policy import ChordPolicy
from dhtd.sim.chord.ring import Ring
from dhtd.sim.chord.search import Search
from dhtd.sim.chord.searches import Searches


class Seeker:
    """Looks for other rings, again and again. It is the finder of its searches."""

    def __init__(
        self,
        ring: Ring,
        fingers: Fingers,
        searches: Searches,
        consider: Callable[[Contact | None, float], None],
        notify: Callable[[Contact, float], None],
        policy: ChordPolicy,
        rng: Random,
        now: float,
    ) -> None:
        """`consider` is told of nodes that may be better successors. `notify` tells a node that we are before it."""
        self._ring = ring
        self._fingers = fingers
        self._searches = searches
        self._consider = consider
        self._notify = notify
        self._policy = policy
        self._rng = rng
        self.bootstrap: tuple[Endpoint, ...] = ()
        self._pause = policy.first_probe
        self.due_at = now + policy.probe * rng.random()

    @property
    def knows_any(self) -> bool:
        """Whether there is somebody to ask."""
        return bool(self.bootstrap or self._ring.lost or self._fingers.contacts)

    def hurry(self, now: float) -> None:
        """Look at once: the node has just begun, or has lost its ring."""
        self._pause = self._policy.first_probe
        self.due_at = now

    def begin(self, now: float) -> None:
        """Ask one of the nodes that may be in another ring."""
        if self._ring.head is None:
            self.due_at = now + self._pause * (0.75 + 0.5 * self._rng.random())
            self._pause = min(2 * self._pause, self._policy.probe)
        else:
            self.due_at = now + self._policy.probe * (0.75 + 0.5 * self._rng.random())
        places = [*self.bootstrap, *self._ring.lost]
        contacts = self._fingers.contacts
        if contacts:
            places.append(self._rng.choice(contacts).endpoint)
        if places:
            at = self._rng.choice(places)
            self._searches.run(self._ring.circle.after(1), self, now, at=at)

    def progressed(self, search: Search, now: float) -> None:
        """Nothing is to be done before the end."""

    def found(self, search: Search, now: float) -> None:
        """Our place is found, or nobody knows it. The nodes that have answered are not lost."""
        for contact in search.path:
            self._ring.lost.pop(contact.endpoint, None)
        better = [holder for holder in search.holders if self._ring.is_nearer(holder)]
        if better:
            self._consider(better[0], now)
        elif search.holders and search.holders[0] not in (self._ring.own, self._ring.head):
            self._notify(search.holders[0], now)
