"""Finds the records of our keys that we lack, or that a node after us lacks.

The replicator gives a newcomer its records. A node may die before any step of that. Then others hold the records, and
do not know that the newcomer lacks them. So each node compares what it holds with the nodes after it:

- with all of them, when keys have become its own, as at a join, or at the death of its predecessor;
- with a node that has become one of them, as after a death or a partition;
- with one of them in each round, in turn: one that has started again may have lost its records.

It sends a digest of what it holds. A node that holds the same says so; another one tells what it holds, and each gets
what it lacks. A node that is silent is asked again in the next round, until it answers or is no successor any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b

from dhtd.core.ids import Id, packed
from dhtd.core.messages import Contact
from dhtd.sim.chord.circle import Circle
from dhtd.sim.chord.messages import Compare, Copies, Copy, Mark, Result, Yes
from dhtd.sim.chord.policy import ChordPolicy
from dhtd.sim.chord.replicator import Replicator
from dhtd.sim.chord.requester import Query, Requester
from dhtd.sim.chord.ring import Ring
from dhtd.sim.chord.shelf import Place, Shelf
from dhtd.sim.chord.wire import DIGEST_SIZE, STAMP_SIZE

Keep = Callable[[Copy, float], None]


class Comparer:
    """Compares our records with those of our successors. It is the listener of its queries."""

    def __init__(
        self,
        ring: Ring,
        shelf: Shelf,
        replicator: Replicator,
        requester: Requester,
        keep: Keep,
        policy: ChordPolicy,
    ) -> None:
        """`keep` takes a record that is ours."""
        self._ring = ring
        self._shelf = shelf
        self._replicator = replicator
        self._requester = requester
        self._keep = keep
        self._policy = policy
        self._start: Id | None = None  # where our keys began when we last looked
        self._successors: tuple[Contact, ...] = ()
        self._open: dict[Contact, None] = {}  # successors that are to be compared with
        self._is_busy = False
        self._told: dict[Place, int] = {}  # what the successor that is being asked holds, and the stamps of that
        self._turn = 0

    def begin(self, now: float) -> None:
        """Begin a round: if all is compared, it is the next one's turn."""
        here = self._successors[: self._policy.replicas - 1]
        if here and not self._open:
            self._turn = (self._turn + 1) % len(here)
            self._open[here[self._turn]] = None
        self.go_on(now)

    def settle(self, now: float) -> None:
        """Look whether the ring has changed; to be called after any input."""
        ring = self._ring
        predecessor, successors = ring.predecessor, ring.successors
        if not successors:
            self._start, self._successors = None, ()  # whatever ring comes next, we have been away from it
        if predecessor is None or not successors:
            return
        if predecessor.id == self._start and successors is self._successors:
            return
        here = successors[: self._policy.replicas - 1]
        known = () if self._has_grown(predecessor.id) else self._successors[: self._policy.replicas - 1]
        wanted = {contact for contact in here if contact in self._open or contact not in known}
        self._open = {contact: None for contact in here if contact in wanted}
        self._start, self._successors = predecessor.id, successors
        self.go_on(now)

    def go_on(self, now: float) -> None:
        """Ask the next successor, unless one is being asked. One that is to get copies from us is asked after them."""
        if self._is_busy or self._ring.predecessor is None or self._start is None:
            return
        for contact in self._open:
            if not self._replicator.owes(contact):
                self._ask(contact, self._start, None, now)
                return

    def answered(self, query: Query, result: Result, now: float) -> None:
        """A successor holds the same, or has told what it holds."""
        self._is_busy = False
        request = query.request
        assert isinstance(request, Compare)
        if isinstance(result, Copies):
            for copy in result.copies:
                self._keep(copy, now)
            self._told.update({(packed(copy.key), copy.endpoint): copy.stamp for copy in result.copies})
            if result.more and result.copies:
                last = result.copies[-1]
                self._ask(query.contact, request.start, Mark(last.key, last.endpoint), now)
                return
            self._replicator.complete(query.contact, self._told, now)
        if request.start == self._start:
            self._open.pop(query.contact, None)
        self.go_on(now)

    def silent(self, query: Query, now: float) -> None:
        """A successor is silent. The next round asks it again, if it is still there; others can be asked now."""
        self._is_busy = False
        if query.contact in self._open:
            del self._open[query.contact]
            self._open[query.contact] = None

    def _has_grown(self, start: Id) -> bool:
        """Whether keys are ours now that were not before."""
        circle, own = self._ring.circle, self._ring.own.id
        return self._start is None or circle.distance(own, start) > circle.distance(own, self._start)

    def _ask(self, contact: Contact, start: Id, after: Mark | None, now: float) -> None:
        self._is_busy = True
        if after is None:
            self._told = {}
        held = self._shelf.within(self._ring.circle, start, self._ring.own.id, now)
        request = Compare(start, _digest(held), after)
        self._requester.ask(contact.endpoint, contact.id, request, self, now, attempts=self._policy.attempts)


def compared(circle: Circle, shelf: Shelf, asker: Id, request: Compare, room: int, now: float) -> Result:
    """Return the answer to a node that compares: up to `room` records of its keys, if what it holds is not the same."""
    start, after = request.start, request.after
    held = shelf.within(circle, start, asker, now)
    if after is None and _digest(held) == request.digest:
        return Yes()
    if after is not None:
        last = circle.distance(after.key, start), after.endpoint
        held = [copy for copy in held if (circle.distance(copy.key, start), copy.endpoint) > last]
    return Copies(tuple(held[:room]), more=len(held) > room)


def _digest(held: Iterable[Copy]) -> bytes:
    """Return the exclusive or of their hashes. Leases are left out: they differ by the way that they came."""
    total = 0
    for copy in held:
        each = packed(copy.key) + copy.endpoint + copy.stamp.to_bytes(STAMP_SIZE, "big")
        total ^= int.from_bytes(blake2b(each, digest_size=DIGEST_SIZE).digest(), "big")
    return total.to_bytes(DIGEST_SIZE, "big")
