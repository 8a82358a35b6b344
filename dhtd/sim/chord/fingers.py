"""The finger table: finger i is the successor of our own ID + 2**i."""

from __future__ import annotations

from bisect import bisect_left

from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.sim.chord.ring import Ring


class Fingers:
    """The fingers, and the ways that they and the successors open.

    Most fingers of a node are its successor: all those that start before it. They are not kept.
    """

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._far: dict[int, Contact] = {}  # by number
        self._known: tuple[Contact, ...] = ()  # the successors that are in the ways
        self._ways: list[int] = []  # how far each contact is, in order
        self._contacts: list[Contact] = []  # these contacts
        self._is_stale = False

    @property
    def bits(self) -> int:
        """How many fingers there are."""
        return self._ring.circle.keyspace.bits

    @property
    def contacts(self) -> list[Contact]:
        """Each contact among fingers and successors once, clockwise."""
        self._refresh()
        return self._contacts

    def at(self, number: int) -> Contact | None:
        """Return a finger: None where it is this node itself, or not known."""
        head = self._ring.head
        if head is not None and 1 << number <= self._ring.circle.way(head.id):
            return head
        return self._far.get(number)

    def first_far(self, number: int) -> int | None:
        """Return the first finger from this one on that is not the successor. None: all are."""
        head = self._ring.head
        if head is None:
            return None
        way = self._ring.circle.way(head.id)
        number = max(number, (way - 1).bit_length() if way > 1 else 0)
        while number < self.bits and 1 << number <= way:
            number += 1
        return number if number < self.bits else None

    def set(self, number: int, contact: Contact | None) -> int:
        """Set a finger, and those after it that end at the same node; return the number of the next one."""
        way = self._ring.circle.keyspace.size if contact is None else self._ring.circle.way(contact.id)
        while number < self.bits and 1 << number <= way:
            if self._far.get(number) != contact:
                self._is_stale = True
                if contact is None:
                    self._far.pop(number, None)
                else:
                    self._far[number] = contact
            number += 1
        return number

    def drop(self, contact: Contact) -> int | None:
        """Forget a contact that does not answer; return the number of the first finger that it was."""
        gone = [number for number, finger in self._far.items() if finger == contact]
        for number in gone:
            del self._far[number]
        self._is_stale |= bool(gone)
        return min(gone, default=None)

    def preceding(self, key: Id, count: int) -> tuple[Contact, ...]:
        """Return up to `count` contacts between this node and `key`, nearest to the key first."""
        self._refresh()
        place = bisect_left(self._ways, self._ring.circle.way(key))
        return tuple(reversed(self._contacts[max(0, place - count) : place]))

    def _refresh(self) -> None:
        if not self._is_stale and self._known is self._ring.successors:
            return
        self._known, self._is_stale = self._ring.successors, False
        by_way = {self._ring.circle.way(contact.id): contact for contact in (*self._far.values(), *self._known)}
        self._ways = sorted(by_way)
        self._contacts = [by_way[way] for way in self._ways]
