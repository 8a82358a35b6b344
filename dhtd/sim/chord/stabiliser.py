"""Keeps the place in the ring right: stabilise, notify and check_predecessor.

A round goes so:

1. Ask the successor for its neighbours. Its list, behind it, is ours.
2. If its predecessor lies between us and it, ask that node for its neighbours. Once it answers, it is our successor,
   and its predecessor is asked in the same way. The paper takes it without asking, and so takes the dead
   (Zave, "How to make Chord correct", 2015).
3. Tell the successor that we may be its predecessor.
4. If our predecessor has not told us so for two periods, ask whether it is there. Ask sooner if somebody who wants to
   store a record was sent there.

A node without a successor, which is a ring of one, takes its predecessor for one, once that answers.
"""

from __future__ import annotations

from random import Random

from dhtd.core.messages import Contact
from dhtd.sim.chord.messages import Neighbourhood, Neighbours, Notify, Ping, Result
from dhtd.sim.chord.policy import ChordPolicy
from dhtd.sim.chord.requester import Query, Requester
from dhtd.sim.chord.ring import Ring


class Stabiliser:
    """Runs the rounds. It is the listener of its queries."""

    def __init__(self, ring: Ring, requester: Requester, policy: ChordPolicy, rng: Random, now: float) -> None:
        self._ring = ring
        self._requester = requester
        self._policy = policy
        self._rng = rng
        self._under_way = 0  # queries
        self._has_changed = False  # in this round
        self._checked: Contact | None = None  # the predecessor that was asked whether it is there, and has not answered
        self.due_at = now + rng.random() * policy.stabilise

    def hurry(self, now: float) -> None:
        """Something has changed: begin the next round soon."""
        self._has_changed = True
        self.due_at = min(self.due_at, now + self._policy.hurry)

    def begin(self, now: float) -> None:
        """Begin a round, unless one is under way."""
        period = self._policy.stabilise * (0.75 + 0.5 * self._rng.random())
        self.due_at = now + (self._policy.hurry if self._has_changed and not self._under_way else period)
        if self._under_way:
            return
        self._has_changed = False
        ring = self._ring
        if ring.head is not None:
            self._ask(ring.head, Neighbours(), now, attempts=self._policy.attempts)
        elif ring.predecessor is not None:
            self.consider(ring.predecessor, now)
        if now > ring.predecessor_heard_at + 2 * self._policy.stabilise:
            self._check_predecessor(now)

    def doubt(self, now: float) -> None:
        """Somebody was sent to our predecessor. Unless we have just heard from it, see whether it is there."""
        if now > self._ring.predecessor_heard_at + self._policy.hurry:
            self._check_predecessor(now)

    def consider(self, contact: Contact | None, now: float) -> None:
        """Take a node for our successor if it is nearer than the present one, and answers."""
        if contact is not None and self._ring.is_nearer(contact):
            attempts = 1 if contact.endpoint in self._ring.lost else self._policy.attempts
            self._ask(contact, Neighbours(), now, attempts=attempts)

    def notify(self, contact: Contact, now: float) -> None:
        """Tell a node that we may be its predecessor."""
        self._ask(contact, Notify(), now)

    def answered(self, query: Query, result: Result, now: float) -> None:
        """Take a step of the round."""
        self._ended(query)
        contact, ring = query.contact, self._ring
        match query.request, result:
            case Neighbours(), Neighbourhood(predecessor, successors):
                if contact != ring.head and not ring.is_nearer(contact):
                    return  # a nearer one was found meanwhile
                if ring.adopt(contact, successors):
                    self.hurry(now)
                if predecessor is not None and ring.is_nearer(predecessor):
                    self.consider(predecessor, now)
                self.notify(contact, now)
            case Ping(), _ if contact == ring.predecessor:
                ring.predecessor_heard_at = now
            case _:
                pass  # a notify that was heard, or what has been overtaken

    def silent(self, query: Query, now: float) -> None:
        """A node has answered no attempt. If it was a neighbour, it is lost."""
        self._ended(query)
        if not isinstance(query.request, Notify) and self._ring.lose(query.contact):
            self.hurry(now)

    def _ended(self, query: Query) -> None:
        self._under_way -= 1
        if isinstance(query.request, Ping):
            self._checked = None

    def _check_predecessor(self, now: float) -> None:
        known = self._ring.predecessor
        if known is not None and self._checked != known:
            self._checked = known
            self._ask(known, Ping(), now, attempts=self._policy.attempts)

    def _ask(self, contact: Contact, request: Neighbours | Notify | Ping, now: float, *, attempts: int = 1) -> None:
        self._under_way += 1
        self._requester.ask(contact.endpoint, contact.id, request, self, now, attempts=attempts)
