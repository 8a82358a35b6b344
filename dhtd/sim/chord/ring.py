"""The place of a node in the ring: its predecessor, its successor list, and contacts that it has lost."""

from __future__ import annotations

from collections.abc import Iterable

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.sim.chord.circle import Circle
from dhtd.sim.chord.policy import ChordPolicy


class Ring:
    """What a node knows of its neighbours. It believes what it is told: those who tell have verified it."""

    def __init__(self, own: Contact, circle: Circle, policy: ChordPolicy) -> None:
        self.own = own
        self.circle = circle
        self._policy = policy
        self.predecessor: Contact | None = None
        self.predecessor_heard_at = 0.0
        self.successors: tuple[Contact, ...] = ()  # clockwise; none: the node is a ring of one
        self.lost: dict[Endpoint, Contact] = {}  # contacts that fell silent, the longest lost first

    @property
    def head(self) -> Contact | None:
        """The successor, if it is another node."""
        return self.successors[0] if self.successors else None

    def owns(self, key: Id) -> bool:
        """Whether this node is the successor of `key`, as far as it knows. Without a predecessor it cannot know."""
        if self.predecessor is None:
            return not self.successors
        return self.circle.is_in(key, self.predecessor.id, self.own.id)

    def is_nearer(self, contact: Contact) -> bool:
        """Whether a node would be a better successor than the present one."""
        if contact.id == self.own.id:
            return False
        return self.head is None or self.circle.way(contact.id) < self.circle.way(self.head.id)

    def adopt(self, head: Contact, rest: Iterable[Contact]) -> bool:
        """Take a successor and those after it, up to ourselves; return whether that is news."""
        successors, way = [head], self.circle.way(head.id)
        for contact in rest:
            next_way = self.circle.way(contact.id)
            if contact.id == self.own.id or next_way <= way or len(successors) == self._policy.successors:
                break
            successors.append(contact)
            way = next_way
        self.lost.pop(head.endpoint, None)
        return self._replace(tuple(successors))

    def notified(self, contact: Contact, now: float) -> bool:
        """A node takes itself for our predecessor; return whether it is a new one."""
        known = self.predecessor
        if contact.id == self.own.id:
            return False
        is_between = known is None or self.circle.is_in(contact.id, known.id, self.own.id)
        if known is not None and known != contact and (known.id == contact.id or not is_between):
            return False
        self.predecessor, self.predecessor_heard_at = contact, now
        self.lost.pop(contact.endpoint, None)
        return known != contact

    def lose(self, contact: Contact) -> bool:
        """A node does not answer any more; return whether it was a neighbour. It will be tried again, now and then."""
        self.remember(contact)
        return self.forget(contact)

    def forget(self, contact: Contact) -> bool:
        """A node is gone; return whether it was a neighbour."""
        was_predecessor = self.predecessor == contact
        if was_predecessor:
            self.predecessor = None
        return self._replace(tuple(other for other in self.successors if other != contact)) or was_predecessor

    def remember(self, contact: Contact) -> None:
        """Keep a contact among those that are tried now and then."""
        self.lost.pop(contact.endpoint, None)
        self.lost[contact.endpoint] = contact
        if len(self.lost) > self._policy.lost:
            del self.lost[next(iter(self.lost))]

    def _replace(self, successors: tuple[Contact, ...]) -> bool:
        is_news = successors != self.successors
        self.successors = successors
        return is_news
