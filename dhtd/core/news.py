"""What a node learns of its networks, and of its operations, handed to the parts that it concerns.

Facts and outcomes come about in the middle of something else. They wait until that is done with. Then `settle` hands
them on, and what comes about by that as well, until nothing is new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import assert_never

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.events import Isolated, Joined, Renamed, Unreached
from dhtd.core.membership.facts import CutOff, Doubtful, Fact, GivenUp, Heard, Measured, NewContact, Reached
from dhtd.core.membership.memberships import Memberships
from dhtd.core.membership.naming import Naming
from dhtd.core.membership.waiting import Waiting
from dhtd.core.membership.whereabouts import Whereabouts
from dhtd.core.messages import Contact
from dhtd.core.publishing.publisher import Publisher
from dhtd.core.querying.observations import ContactGained, ContactLost, Observations
from dhtd.core.querying.operations import Operations
from dhtd.core.querying.requester import Asked
from dhtd.core.routing.overlays import Overlays
from dhtd.core.serving.responder import Responder
from dhtd.core.values.values import Values
from dhtd.core.watching.watching import Watching


class News:
    """Knows which part a fact concerns."""

    __slots__ = (
        "_memberships",
        "_naming",
        "_observations",
        "_operations",
        "_overlays",
        "_publisher",
        "_responder",
        "_tell",
        "_values",
        "_waiting",
        "_watching",
        "_whereabouts",
    )

    def __init__(
        self,
        overlays: Overlays,
        memberships: Memberships,
        whereabouts: Whereabouts,
        naming: Naming | None,
        responder: Responder,
        publisher: Publisher,
        watching: Watching,
        values: Values,
        waiting: Waiting,
        operations: Operations,
        tell: Callable[[Joined | Renamed | Isolated | Unreached], None],
        observations: Observations,
    ) -> None:
        """`tell` takes what the owner of the node is to know. There is no `naming` where IDs follow no rule."""
        self._overlays = overlays
        self._memberships = memberships
        self._whereabouts = whereabouts
        self._naming = naming
        self._responder = responder
        self._publisher = publisher
        self._watching = watching
        self._values = values
        self._waiting = waiting
        self._operations = operations
        self._tell = tell
        self._observations = observations

    def settle(self, now: float) -> None:
        """Hand on what has come about, until nothing is new."""
        while True:
            # 1. Operations that waited for the network begin, if they need not wait any longer.
            self._waiting.settle(now)
            # 2. The listeners of operations that have ended are told, and may begin others.
            self._operations.settle(now)
            # 3. Facts go to the parts that they concern.
            facts = self._memberships.poll_facts()
            self._learn(facts, now)
            if not facts and not self._operations:
                return

    # What the answers to queries show

    def observed(self, voter: Endpoint, observed: Endpoint, now: float) -> None:
        """A node sees us at this endpoint."""
        if self._whereabouts.observed(voter, observed, now):
            self.moved(now)
        if self._naming is not None:
            family = self._naming.observed(observed, now)
            if family is not None:
                self._renamed(family, now)

    def heard(self, query: Asked, contact: Contact, rtt: float | None, now: float) -> None:
        """A contact has answered a query."""
        self._learn(self._memberships.heard(query, contact, rtt, now), now)

    def unanswered(self, query: Asked, sent_at: float, now: float) -> None:
        """An attempt at a query was not answered."""
        self._learn(self._memberships.unanswered(query, sent_at, now), now)

    def moved(self, now: float) -> None:
        """This machine is reached at another address: tell the holders of own entries soon, and ask where we are."""
        self._publisher.moved(now)
        self._watching.moved()
        self._whereabouts.ask(now)
        self._memberships.moved(now)

    def _renamed(self, family: Family, now: float) -> None:
        """We have another ID in the network of a family: it is in each answer, and has other neighbours."""
        self._responder.renamed(self._overlays)
        self._values.renamed()
        self._memberships[family].renamed(now)
        self._tell(Renamed(family, self._overlays[family].own_id))

    def _learn(self, facts: Iterable[Fact], now: float) -> None:
        publisher = self._publisher
        for fact in facts:
            match fact:
                case Heard(contact, is_accepted):
                    publisher.withdrawals.heard(contact, now, is_accepted=is_accepted)
                case NewContact(contact):
                    self._observations.note(ContactGained(contact))
                    publisher.newcomers.joined(contact, now)
                    self._watching.met(contact, now)
                    self._values.met(contact, now)
                case Doubtful(contact):
                    publisher.doubtful(contact, now)
                case GivenUp(contact):
                    self._observations.note(ContactLost(contact))
                    publisher.patrol.lost(contact, now)
                case Measured(family, size):
                    publisher.hurrying.network_has(size, family, now)
                case Reached(family, contacts):
                    publisher.reached(family, now)
                    self._watching.reached(now)
                    self._values.reached(now)
                    self._tell(Joined(contacts, family))
                case CutOff(family):
                    self._watching.cut_off(family, now)
                    self._tell(Isolated(family))
                case Unreached():
                    self._tell(fact)
                case _:
                    assert_never(fact)
