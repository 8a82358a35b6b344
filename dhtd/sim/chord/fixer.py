"""Keeps the fingers right (fix_fingers), one lookup at a time.

Finger i is the successor of n + 2**i. All fingers that start before that node are the same one, so a round takes about
log2(nodes) lookups, whatever the width of the keyspace.
"""

from __future__ import annotations

from random import Random

from dhtd.core.messages import Contact
from dhtd.sim.chord.fingers import Fingers
from dhtd.sim.chord.policy import ChordPolicy
from dhtd.sim.chord.ring import Ring
from dhtd.sim.chord.search import Search
from dhtd.sim.chord.searches import Searches


class Fixer:
    """Looks fingers up in turn. It is the finder of its searches."""

    def __init__(
        self, ring: Ring, fingers: Fingers, searches: Searches, policy: ChordPolicy, rng: Random, now: float
    ) -> None:
        self._ring = ring
        self._fingers = fingers
        self._searches = searches
        self._policy = policy
        self._rng = rng
        self._next = 0
        self._number: int | None = None  # of the finger that is being looked up
        self._is_thorough = False  # each finger was looked up once
        self.due_at = now + policy.first_fingers

    def is_settled(self, now: float) -> None:
        """The fingers are known to be there: look at them now and then."""
        self._is_thorough = True
        self.due_at = now + self._rng.random() * self._policy.fix_finger

    def dropped(self, number: int | None, now: float) -> None:
        """A finger is gone: look for another soon."""
        if number is not None:
            self._next = number
            self.due_at = min(self.due_at, now + self._policy.first_fingers)

    def begin(self, now: float) -> None:
        """Look the next finger up."""
        quick = not self._is_thorough
        period = self._policy.first_fingers if quick else self._policy.fix_finger * (0.75 + 0.5 * self._rng.random())
        self.due_at = now + period
        if self._ring.head is None:
            for contact in list(self._fingers.contacts):  # a ring of one has no fingers; they may be in another ring
                self._ring.remember(contact)
                self._fingers.drop(contact)
        if self._number is not None or self._ring.head is None:
            return
        number = self._fingers.first_far(self._next)
        if number is None:
            self._round_is_over()
            return
        self._number = number
        self._searches.run(self._ring.circle.after(1 << number), self, now)

    def progressed(self, search: Search, now: float) -> None:
        """Nothing is to be done before the end."""

    def found(self, search: Search, now: float) -> None:
        """The finger is found, or nobody knows it now."""
        number = self._number
        assert number is not None
        self._number = None
        if search.holders:
            self._next = self._fingers.set(number, self._other(search.holders[0]))
        else:
            self._next = number + 1
        if self._next >= self._fingers.bits:
            self._round_is_over()

    def _other(self, contact: Contact) -> Contact | None:
        return None if contact.id == self._ring.own.id else contact

    def _round_is_over(self) -> None:
        self._next, self._is_thorough = 0, True
