"""Brings records to where they belong: to the successors as replicas, and to a new predecessor as its own.

A node is responsible for the keys from its predecessor, excluded, to itself. It sees to it that the nodes after it hold
these records, too:

- a record that is new, or has a new lease, goes to all of them;
- a node that has become one of them, or has lost its memory, gets all records;
- when the predecessor is gone, the keys of that are ours, and their records go to all of them;
- when another one has come in its place, it may be new there: it gets all that we hold of its keys;
- when a nearer predecessor has come, the records of its keys go to it: the hand-over at a join.

What is on its way to a node is sent again until it is acknowledged, or the node is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.sim.chord.messages import Copy, Hold, Result
from dhtd.sim.chord.policy import ChordPolicy
from dhtd.sim.chord.requester import Query, Requester
from dhtd.sim.chord.ring import Ring
from dhtd.sim.chord.shelf import Place, Shelf


class _Target:
    """A node that is to hold records."""

    __slots__ = ("contact", "hold", "pending", "sent", "session")

    def __init__(self, contact: Contact) -> None:
        self.contact = contact
        self.pending: dict[Place, bool] = {}  # whether each is there for good: it, or a node before it, is responsible
        self.sent: dict[Place, bool] = {}  # what is in flight; none if nothing is
        self.hold: Hold | None = None  # the request that has it
        self.session: bytes | None = None  # None: not heard yet

    def want(self, place: Place, *, is_for_good: bool) -> None:
        """A copy of this record is to go there."""
        self.pending[place] = is_for_good or self.pending.get(place, False)

    @property
    def copies(self) -> int:
        """How many copies it has not acknowledged."""
        return len(self.pending) + len(self.sent)


class Replicator:
    """Knows which records are on their way to which node. It is the listener of its queries."""

    def __init__(self, ring: Ring, shelf: Shelf, requester: Requester, policy: ChordPolicy, batch: int) -> None:
        self._ring = ring
        self._shelf = shelf
        self._requester = requester
        self._policy = policy
        self.batch = batch  # records in one datagram
        self._targets: dict[Endpoint, _Target] = {}
        self._low: Id | None = None  # where our keys begin; None: the whole circle is ours
        self._seen: tuple[Contact | None, tuple[Contact, ...]] = (None, ())
        self._predecessor_session: tuple[Contact, bytes] | None = None
        self.taken_over = 0  # records that came here for good, and are ours

    def is_ours(self, key: Id) -> bool:
        """Whether we see to the replicas of this key."""
        return self._low is None or self._ring.circle.is_in(key, self._low, self._ring.own.id)

    def owes(self, contact: Contact) -> bool:
        """Whether some copies are on their way to a node."""
        target = self._targets.get(contact.endpoint)
        return target is not None and target.copies > 0

    @property
    def pending(self) -> int:
        """How many copies are on their way."""
        return sum(target.copies for target in self._targets.values())

    def settle(self, now: float) -> None:
        """Look whether the ring has changed; to be called after any input."""
        seen = (self._ring.predecessor, self._ring.successors)
        if seen == self._seen:
            return
        was_vacant = self._seen[0] is None and self._low is not None
        before, self._seen = set(self._seen[1][: self._policy.replicas - 1]), seen
        predecessor, replicas = seen[0], seen[1][: self._policy.replicas - 1]
        stay = {contact.endpoint for contact in replicas}
        if predecessor is not None:
            stay.add(predecessor.endpoint)
            self._predecessor_is(predecessor)
            if was_vacant:
                self._remind(predecessor)  # those before it may be gone with the one that we have lost
        elif not replicas:
            self._low = None  # a ring of one
        for contact in replicas:
            if contact not in before:
                self._add(contact, self._ours())
        for endpoint in [endpoint for endpoint in self._targets if endpoint not in stay]:
            del self._targets[endpoint]
        self.push(now)

    def changed(self, key: Id, place: Place, now: float, *, is_for_good: bool) -> None:
        """A record is new here, or has a new lease. What is here for good, and is not ours, belongs before us."""
        self.settle(now)
        self.taken_over += is_for_good and self.is_ours(key)
        if self.is_ours(key):
            for contact in self._ring.successors[: self._policy.replicas - 1]:
                self._add(contact, [place])
            self.push(now)
        elif is_for_good and self._ring.predecessor is not None:
            self._add(self._ring.predecessor, [place], is_for_good=True)
            self.push(now)

    def heard(self, contact: Contact, session: bytes) -> None:
        """A node has answered. If it has started again, it has no records any more."""
        target = self._targets.get(contact.endpoint)
        if target is None or target.contact != contact:
            return
        if target.session not in (None, session):
            self._add(contact, self._ours())
        target.session = session

    def notified(self, contact: Contact, session: bytes, now: float) -> None:
        """A node takes itself for our predecessor. If it has started again, it has no records any more."""
        self.settle(now)
        known = self._predecessor_session
        self._predecessor_session = (contact, session)
        if known is not None and known[0] == contact == self._ring.predecessor and known[1] != session:
            self._remind(contact)
            self.push(now)

    def complete(self, contact: Contact, held: Mapping[Place, int], now: float) -> None:
        """Give a successor what it lacks of ours. It has told us what it holds: the stamp of each record."""
        if contact in self._ring.successors[: self._policy.replicas - 1]:
            ours = ((place, self._shelf.at(place, now)) for place in self._ours())
            self._add(contact, [place for place, copy in ours if copy is not None and held.get(place, -1) < copy.stamp])
            self.push(now)

    def hand_all_to(self, contact: Contact, now: float) -> None:
        """Give a node all that is ours, before we leave."""
        self._add(contact, self._ours())
        self.push(now)

    def push(self, now: float) -> None:
        """Send what is on its way to nodes that have acknowledged the last batch."""
        for target in list(self._targets.values()):
            if not target.sent and target.pending:
                self._send(target, now)

    def answered(self, query: Query, result: Result, now: float) -> None:
        """A batch has arrived."""
        target = self._targets.get(query.endpoint)
        if target is not None and target.hold is query.request:
            target.sent = {}
            self.push(now)

    def silent(self, query: Query, now: float) -> None:
        """A batch has not. The next round tries it again, if the node is still there."""
        target = self._targets.get(query.endpoint)
        if target is not None and target.hold is query.request:
            sent, target.sent = target.sent, {}
            for place, is_for_good in sent.items():
                target.want(place, is_for_good=is_for_good)

    def _predecessor_is(self, predecessor: Contact) -> None:
        circle, own, low = self._ring.circle, self._ring.own.id, self._low
        if predecessor.id == low:
            return
        self._low = predecessor.id
        if low is None or circle.is_in(predecessor.id, low, own):
            # The predecessor is nearer than the one before: what lies between them is its own from now on.
            start = own if low is None else low
            places = [place for key, place in self._shelf.places() if circle.is_in(key, start, predecessor.id)]
            self._add(predecessor, places, is_for_good=True)
        else:
            # It is farther: our keys begin there from now on.
            places = [place for key, place in self._shelf.places() if circle.is_in(key, predecessor.id, low)]
            for contact in self._ring.successors[: self._policy.replicas - 1]:
                self._add(contact, places)

    def _remind(self, predecessor: Contact) -> None:
        """Give the predecessor all that we hold and is not ours: it may be new there, or have lost its memory."""
        circle, own = self._ring.circle, self._ring.own.id
        self._add(
            predecessor,
            [place for key, place in self._shelf.places() if circle.is_in(key, own, predecessor.id)],
            is_for_good=True,
        )

    def _ours(self) -> list[Place]:
        return [place for key, place in self._shelf.places() if self.is_ours(key)]

    def _add(self, contact: Contact, places: Iterable[Place], *, is_for_good: bool = False) -> None:
        target = self._targets.get(contact.endpoint)
        if target is None or target.contact != contact:
            target = self._targets[contact.endpoint] = _Target(contact)
        for place in places:
            target.want(place, is_for_good=is_for_good)

    def _send(self, target: _Target, now: float) -> None:
        copies: list[Copy] = []
        is_for_good = next(iter(target.pending.values()))
        for place, belongs in list(target.pending.items()):
            if belongs is not is_for_good:
                continue  # that is for the next datagram
            copy = self._shelf.at(place, now)
            if copy is None:  # it has expired, or is about to
                del target.pending[place]
                continue
            copies.append(copy)
            target.sent[place] = target.pending.pop(place)
            if len(copies) == self.batch:
                break
        if copies:
            contact, target.hold = target.contact, Hold(is_for_good, tuple(copies))
            attempts = self._policy.attempts
            self._requester.ask(contact.endpoint, contact.id, target.hold, self, now, attempts=attempts)
