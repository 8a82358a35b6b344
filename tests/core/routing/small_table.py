"""A routing table in the keyspace of seven bits, and how its far bucket is filled."""

from __future__ import annotations

from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy
from dhtd.core.routing.admission import RoutingState
from dhtd.core.routing.outcomes import Inserted
from tests.core.small import CODEC, contact

POLICY = Policy(k=3, replacements=2)
FAR = (64, 80, 96)  # fill the far bucket of a node with ID 0 ...
NEAR = (1, 2, 4)  # ... which does not split, once these are known


def make(policy: Policy = POLICY, own_id: int = 0) -> RoutingState:
    return RoutingState(Id(own_id), CODEC, policy, now=0.0)


def full(now: float = 0.0) -> RoutingState:
    """Return a state with a full far bucket of contacts that answered at `now`, a millisecond apart."""
    state = make()
    for place, id in enumerate((*NEAR, *FAR)):
        assert state.answered(contact(id), 0.1, now + place / 1000) == Inserted()
    return state


def make_bad(state: RoutingState, victim: Contact, now: float) -> list[Contact | None]:
    """Let two queries to `victim` time out while a neighbour answers."""
    outcomes = []
    for _ in range(2):
        state.answered(contact(NEAR[0]), None, now + 0.1)
        outcomes.append(state.timed_out(victim, sent_at=now))
    return outcomes
