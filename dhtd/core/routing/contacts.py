"""What is asked of the routing table and its standings: who is near, who answers, and who has been silent for long."""

from __future__ import annotations

from dhtd.core.codec import Codec
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy
from dhtd.core.round_trips import RoundTrips
from dhtd.core.routing.diversity import Diversity
from dhtd.core.routing.packed_answers import PackedAnswers
from dhtd.core.routing.standing import Standing, Standings
from dhtd.core.routing.table import RoutingTable


class Contacts:
    """The contacts in the table, for those that ask. It changes nothing: `RoutingState` does."""

    __slots__ = ("_diversity", "_policy", "answers", "heard_at", "meta", "table")

    def __init__(self, own_id: Id, codec: Codec, policy: Policy, now: float) -> None:
        self._policy = policy
        self._diversity = Diversity(policy)
        self.table = RoutingTable(codec.traits.keyspace, own_id, policy.k, now)
        self.meta = Standings(policy)
        self.answers = PackedAnswers(self.table, self.meta, policy.k, codec.pack_contacts, policy.own_networks)
        self.heard_at: float | None = None  # when any other node last answered: evidence that the network is up

    def heard_since(self, when: float) -> bool:
        """Whether another node has answered after `when`: then the network was up."""
        return self.heard_at is not None and self.heard_at > when

    def answers_us(self, endpoint: Endpoint) -> bool:
        """Whether a contact is there that has answered since this node started, and has not stopped to."""
        contact = self.table.at(endpoint)
        return contact is not None and not self.meta.is_bad(contact.id) and self.meta.get(contact.id).reachable

    def is_live(self, contact: Contact) -> bool:
        """Whether the contact is in the table, at this endpoint, and not bad."""
        return self.table.get(contact.id) == contact and not self.meta.is_bad(contact.id)

    def is_neighbour(self, contact: Contact) -> bool:
        """Whether a contact is among the K nearest to us."""
        if not self.meta.bad and not self.table.is_near(contact.id):
            return False
        return contact in self.closest(self.table.own_id, self._policy.k)

    def standing(self, contact: Contact, now: float) -> Standing:
        """Return the standing of a contact in the table."""
        return self.meta.standing(contact.id, now)

    def latest(self, count: int) -> list[Contact]:
        """Return up to `count` contacts that are not bad: those that have answered last, the very last one first."""
        return sorted(self._live(), key=self.meta.last_heard, reverse=True)[:count]

    def stalest(self, count: int) -> list[Contact]:
        """Return up to `count` contacts that are not bad: those that have not answered for the longest time."""
        return sorted(self._live(), key=self.meta.last_heard)[:count]

    def are_kin(self, one: Contact, other: Contact) -> bool:
        """Whether two nodes may well belong to one party."""
        return self._diversity.are_kin(one.endpoint, other.endpoint)

    def round_trips(self, id: Id, endpoint: Endpoint) -> RoundTrips | None:
        """Return the measured round trips of a contact, if it is in the table."""
        contact = self.table.at(endpoint)
        return self.meta.get(id).round_trips if contact is not None and contact.id == id else None

    def closest(self, target: Id, count: int) -> list[Contact]:
        """Return up to `count` contacts that are not bad, nearest to `target` first.

        Questionable contacts are not put behind good ones: that would trade the neighbours of a quiet target for
        strangers farther away, and a lookup must end at the same nodes as the publication before it.
        """
        return self.table.closest(target, count, self.meta.bad)

    def _live(self) -> list[Contact]:
        return [contact for contact in self.table if not self.meta.is_bad(contact.id)]
