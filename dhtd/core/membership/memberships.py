"""How a node takes part in all its networks: one `Membership` for each address family."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from dhtd.core.endpoint import Endpoint
from dhtd.core.membership.facts import Fact
from dhtd.core.membership.membership import Membership, Verifying
from dhtd.core.membership.waiting import Patience
from dhtd.core.messages import Contact
from dhtd.core.querying.operations import Operations
from dhtd.core.querying.requester import Asked, Requester
from dhtd.core.routing.overlays import Overlays

if TYPE_CHECKING:
    from random import Random


class Memberships:
    """The memberships of a node, by family."""

    __slots__ = ("_by_family", "_overlays", "verifying")

    def __init__(
        self,
        requester: Requester,
        operations: Operations,
        overlays: Overlays,
        caps_hit: dict[str, int],
        rng: Random,
    ) -> None:
        self._overlays = overlays
        self.verifying = Verifying(requester, caps_hit)
        self._by_family: dict[int, Membership] = {
            overlay.family: Membership(requester, operations, overlays, overlay, self.verifying, rng)
            for overlay in overlays
        }

    @property
    def first(self) -> Membership:
        """The only membership, for most nodes."""
        return next(iter(self))

    def __iter__(self) -> Iterator[Membership]:
        """Yield each membership."""
        return iter(self._by_family.values())

    def __getitem__(self, family: int) -> Membership:
        """Return the membership of a family that the node speaks."""
        return self._by_family[family]

    # What the owner may want to know

    @property
    def is_asking_around(self) -> bool:
        """Whether contacts are asked whether their network still answers, in any family."""
        return any(membership.is_asking_around for membership in self)

    @property
    def awaits_names(self) -> bool:
        """Whether more bootstrap endpoints are to come, once their names are resolved."""
        return any(membership.join.awaits_names for membership in self)

    @property
    def has_somebody_to_join_by(self) -> bool:
        """Whether there is a bootstrap endpoint, or a name that may lead to one."""
        return self.awaits_names or bool(self.endpoints_to_join_by())

    def endpoints_to_join_by(self) -> list[Endpoint]:
        """Return the bootstrap endpoints of all families."""
        return [endpoint for membership in self for endpoint in membership.join.bootstrap]

    def must_wait(self, patience: Patience, now: float) -> bool:
        """Whether an operation would find no node, or only contacts of an earlier run, while we are about to join."""
        if self._overlays.is_connected:
            return False
        return any(membership.must_wait(patience, now) for membership in self)

    # What happens to us

    def start(
        self,
        bootstrap: Iterable[Endpoint],
        routers: Iterable[Endpoint],
        now: float,
        *,
        awaits_names: bool,
        at_once: bool,
    ) -> None:
        """Join by these endpoints: see `Node.start`."""
        ways = frozenset(routers)
        endpoints = (*bootstrap, *ways)
        for membership in self:
            state = membership.overlay.state
            state.routers = ways
            for contact in [each for each in state.table if each.endpoint in ways]:
                state.moved(contact.id, contact.endpoint)
            membership.start(endpoints, now, awaits_names=awaits_names, at_once=at_once)

    def live_in(self, networks: tuple[bytes, ...], now: float) -> None:
        """This machine is in other networks of its own: see `Machine.live_in`."""
        for membership in self:
            membership.live_in(networks, now)

    def moved(self, now: float) -> None:
        """This machine is reached at another address."""
        for membership in self:
            membership.moved(now)

    def ask_around(self, since: float, now: float) -> None:
        """Find out whether each network still answers in which no node has after `since`."""
        for membership in self:
            membership.ask_around(since, now)

    def find_lost(self, contact: Contact, now: float) -> None:
        """Look for a node of one of our networks that does not answer."""
        self._by_family[len(contact.endpoint)].find_lost(contact, now)

    # What the answers to queries say

    def heard(self, query: Asked, contact: Contact, rtt: float | None, now: float) -> list[Fact]:
        """A contact has answered; it may be in a network that is not ours, where the user has asked a node."""
        membership = self._of(contact.endpoint)
        return [] if membership is None else membership.heard(query, contact, rtt, now)

    def unanswered(self, query: Asked, sent_at: float, now: float) -> list[Fact]:
        """A query that was sent at `sent_at` was not answered."""
        membership = self._of(query.endpoint)
        if membership is None or query.id is None:
            return []
        return membership.unanswered(Contact(query.id, query.endpoint), sent_at, now)

    def poll_facts(self) -> list[Fact]:
        """Take and return what is new."""
        facts: list[Fact] = []
        for membership in self._by_family.values():
            facts += membership.poll_facts()
        return facts

    def next_timeouts(self) -> list[Callable[[], float | None]]:
        """Return what tells when a membership has something to do."""
        return [next_timeout for membership in self for next_timeout in membership.next_timeouts()]

    def _of(self, endpoint: Endpoint) -> Membership | None:
        overlay = self._overlays.of(endpoint)
        return None if overlay is None else self._by_family[overlay.family]
