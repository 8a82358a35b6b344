"""How a node takes part in the network of one family: it joins, stays, keeps its table fresh, and notices an outage.

What it learns by that are facts. It returns them, or keeps them for `poll_facts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, assert_never

from dhtd.core.counters import VERIFICATIONS
from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Unreached
from dhtd.core.ids import Id
from dhtd.core.membership.bootstrap import Bootstrap
from dhtd.core.membership.facts import CutOff, Doubtful, Fact, GivenUp, Heard, Measured, NewContact, Reached
from dhtd.core.membership.introduction import Introduction
from dhtd.core.membership.joining import JoiningClock
from dhtd.core.membership.outage import Doubt, Outage
from dhtd.core.membership.waiting import Patience
from dhtd.core.messages import Contact
from dhtd.core.querying.check import Check
from dhtd.core.querying.operations import Operations, start
from dhtd.core.querying.refreshing import Refreshed, Refreshing
from dhtd.core.querying.requester import Asked, Requester
from dhtd.core.routing.outcomes import Contested, Crowded, Full, Inserted, Known, Refused, Replaced, Verify
from dhtd.core.routing.overlay import Overlay
from dhtd.core.routing.overlays import Overlays
from dhtd.core.routing.standing import Standing

if TYPE_CHECKING:
    from random import Random


_ACCEPTED = (Inserted, Replaced, Known)


class Verifying:
    """The questionable contacts that are being pinged, in all families: `verifications` at most."""

    __slots__ = ("_caps_hit", "_endpoints", "_requester")

    def __init__(self, requester: Requester, caps_hit: dict[str, int]) -> None:
        self._requester = requester
        self._caps_hit = caps_hit
        self._endpoints: set[Endpoint] = set()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._endpoints)

    def verify(self, questionable: Contact, newcomer: Contact, now: float) -> None:
        """Ping a contact, since a newcomer wants its place. The newcomer, which has just answered, is a witness."""
        policy = self._requester.policy
        if questionable.endpoint in self._endpoints:
            return
        if len(self._endpoints) >= policy.verifications:
            self._caps_hit[VERIFICATIONS] += 1
            return
        check = Check(self._requester, self._endpoints.discard, witness=newcomer)
        check.start(questionable.endpoint, questionable.id, now, policy.ping_attempts)
        self._endpoints.add(questionable.endpoint)


class Membership:
    """The part that a node has in the network of one family."""

    __slots__ = (
        "_facts",
        "_operations",
        "_outage",
        "_overlays",
        "_policy",
        "_requester",
        "_rng",
        "_verifying",
        "join",
        "overlay",
    )

    def __init__(
        self,
        requester: Requester,
        operations: Operations,
        overlays: Overlays,
        overlay: Overlay,
        verifying: Verifying,
        rng: Random,
    ) -> None:
        self._requester = requester
        self._operations = operations
        self._overlays = overlays
        self._policy = requester.policy
        self._rng = rng
        self._verifying = verifying
        self.overlay = overlay
        self.join = JoiningClock(overlay, rng, requester.policy)
        self._outage = Outage(requester, overlay, self.join, operations.report_to(self._is_down))
        self._facts: list[Fact] = []

    @property
    def is_in_doubt(self) -> bool:
        """Whether a live contact is silent, and others are asked whether this network still answers."""
        return self._outage.doubt is Doubt.DOUBTFUL

    @property
    def is_asking_around(self) -> bool:
        """Whether contacts are asked whether this network still answers."""
        return self._outage.is_asking

    def next_timeouts(self) -> list[Callable[[], float | None]]:
        """Return what tells when `keep_up` has something to do."""
        overlay = self.overlay
        return [self.join.next_timeout, overlay.refresher.next_timeout, overlay.next_introduction]

    def poll_facts(self) -> list[Fact]:
        """Take and return what is new."""
        if not self._facts:
            return []
        facts, self._facts = self._facts, []
        return facts

    # Beginning

    def start(self, bootstrap: Iterable[Endpoint], now: float, *, awaits_names: bool, at_once: bool) -> None:
        """Join by those of these endpoints that are of this family: see `Node.start`."""
        join, before = self.join, self.join.bootstrap
        join.awaits_names = awaits_names
        join.bootstrap = tuple(endpoint for endpoint in bootstrap if len(endpoint) == self.overlay.family)
        fresh = [endpoint for endpoint in join.bootstrap if endpoint not in before]
        if at_once or fresh:
            join.begin(now)
        if fresh and self.overlay.is_connected:
            self._try_endpoints(fresh, now)

    def live_in(self, networks: tuple[bytes, ...], now: float) -> None:
        """This machine is in other networks of its own: see `Machine.live_in`."""
        self.overlay.state.live_in(networks)
        self.overlay.refresher.expire_far_buckets(now)
        if self.overlay.is_connected:
            self.refresh(self.overlay.own_id, now)

    def moved(self, now: float) -> None:
        """This machine is reached at another address."""
        self.join.begin(now)
        self.overlay.has_moved(now)

    def renamed(self, now: float) -> None:
        """We have another ID: get to know the nodes that are nearest to it, and let them know us."""
        self.overlay.refresher.expire_far_buckets(now)
        if self.overlay.is_connected:
            self.refresh(self.overlay.own_id, now, measures=True)

    def ask_around(self, since: float, now: float) -> None:
        """Find out whether this network still answers, if no node has after `since`."""
        if not self.overlay.state.heard_since(since):
            self._outage.look(now)

    def must_wait(self, patience: Patience, now: float) -> bool:
        """Whether an operation of this patience should wait for nodes that may yet answer in this network."""
        join, knows_somebody = self.join, len(self.overlay.state.table) > 0
        if patience is Patience.ENDLESS:
            return True
        if not any(len(overlay.state.table) for overlay in self._overlays) and (
            join.attempt or join.awaits_names or join.is_attempt_pending(now)
        ):
            return True
        may_yet_answer = bool(join.bootstrap) or knows_somebody or bool(self.overlay.rumours())
        return patience is Patience.SOME and join.is_eager(now) and may_yet_answer

    # What the answers to queries say

    def heard(self, query: Asked, contact: Contact, rtt: float | None, now: float) -> list[Fact]:
        """Bring the routing table up to date with an answer."""
        overlay = self.overlay
        if query.id is not None and query.id != contact.id:
            overlay.state.moved(query.id, query.endpoint)
            overlay.state.changers.answered_instead(contact)
        outcome = overlay.state.answered(contact, rtt, now)
        facts: list[Fact] = [Heard(contact, isinstance(outcome, _ACCEPTED))]
        match outcome:
            case Known():  # as most are
                pass
            case Inserted() | Replaced():
                facts.append(NewContact(contact))
            case Verify(questionable) | Contested(questionable):
                self._verifying.verify(questionable, contact, now)
            case Full() | Refused() | Crowded():
                pass
            case _:
                assert_never(outcome)
        if self.join.answered(now):
            is_router = contact.endpoint in overlay.state.routers
            self.refresh(self.overlay.own_id, now, measures=True, first=[contact] if is_router else ())
        return facts

    def unanswered(self, contact: Contact, sent_at: float, now: float) -> list[Fact]:
        """A query that was sent at `sent_at` was not answered."""
        state = self.overlay.state
        if not state.is_live(contact):
            return []  # the silence of a contact that never answered, or is given up, says nothing
        state.timed_out(contact, sent_at)
        if not state.heard_since(sent_at):
            self._outage.arise(contact, now)
            return []
        return [Doubtful(contact) if state.is_live(contact) else GivenUp(contact)]

    # What is due

    def keep_up(self, now: float) -> None:
        """Do what is due to stay in the network."""
        own_id = self.overlay.own_id
        if self.join.is_attempt_due(now):
            self._attempt_join(now)
        if self.join.is_probe_due(now):
            self._probe(now)
        if self.join.is_lookup_due(now):
            self._probe(now)  # perhaps we know only nodes that have joined by us, while our own way in was lost
            self.refresh(own_id, now, measures=True)
            self._operations.settle(now)  # without contacts to ask it is over at once, and another may follow
        if self.overlay.is_introduction_due(now):
            self.refresh(own_id, now)
            self._operations.settle(now)
        while (target := self.overlay.refresher.next_target(now)) is not None:
            self.refresh(target, now, measures=True)
            self._operations.settle(now)

    def refresh(self, target: Id, now: float, *, measures: bool = False, first: Sequence[Contact] = ()) -> None:
        """Look up a target; one that is ours, or chosen by lot, shows how large the network is, and so `measures`.

        `first`: nodes to begin with that are no contacts.
        """
        if target == self.overlay.own_id:
            self.overlay.looks_itself_up(now)
        report = self._operations.report_to(self._measured if measures else self._refreshed)
        refreshing = Refreshing(self._requester, self._overlays, report, target, self.overlay.family, first)
        self.overlay.refresher.under_way += 1
        start(refreshing, now)

    def find_lost(self, contact: Contact, now: float) -> None:
        """Look for a node that does not answer: it may have come back at another address, and then that will answer."""
        if self.overlay.is_in_use:
            self.refresh(contact.id, now)

    def _attempt_join(self, now: float) -> None:
        overlay, join = self.overlay, self.join
        contacts, is_eager = list(overlay.state.table), join.is_eager(now)
        some = self._rng.sample(contacts, min(self._policy.k, len(contacts)))
        silence, tried = join.silence(now), join.bootstrap or tuple(each.endpoint for each in some)
        if silence is not None and tried:
            self._facts.append(Unreached(overlay.family, tried, silence))
        for contact in some:
            self._ping_to_join(contact.endpoint, contact.id, now, insistent=is_eager)
        for contact in overlay.rumours():  # a stranger's word is worth one datagram
            self._ping_to_join(contact.endpoint, contact.id, now)
        for endpoint in join.bootstrap:
            self._ping_to_join(endpoint, None, now, insistent=is_eager)

    def _ping_to_join(self, endpoint: Endpoint, id: Id | None, now: float, *, insistent: bool = False) -> None:
        attempt = self.join.attempt
        if endpoint not in attempt:
            Check(self._requester, attempt.discard).start(endpoint, id, now, attempts=1, insistent=insistent)
            attempt.add(endpoint)

    def _probe(self, now: float) -> None:
        """Try bootstrap endpoints, a contact that was lost, and a rumour: they may lead to the rest of the network."""
        state = self.overlay.state
        lost = [contact for contact in state.table if state.standing(contact, now) is Standing.BAD]
        for others in (lost, self.overlay.rumours()):
            if others:
                contact = self._rng.choice(others)
                Check(self._requester).start(contact.endpoint, contact.id, now, attempts=1)
        if self.join.bootstrap:
            endpoints = self.join.bootstrap
            self._try_endpoints(self._rng.sample(endpoints, min(self._policy.k, len(endpoints))), now)

    def _try_endpoints(self, endpoints: Iterable[Endpoint], now: float) -> None:
        # A lookup of our own ID goes along with it, which introduces us.
        start(Bootstrap(self._requester, self._overlays, None, endpoints, introduces=False), now)

    # How operations ended

    def _measured(self, outcome: Refreshed, now: float) -> None:
        if outcome.nearest:
            self.overlay.size.measured(outcome.target, outcome.nearest)
        self._refreshed(outcome, now)

    def _refreshed(self, outcome: Refreshed, now: float) -> None:
        overlay = self.overlay
        overlay.refresher.under_way -= 1
        is_own = outcome.target == self.overlay.own_id
        if is_own:
            nearest = outcome.nearest[: self._policy.k]
            Introduction(self._requester).start(outcome.target, nearest, outcome.tokens, now)
        self._facts.append(Measured(overlay.family, overlay.estimated_size))
        if is_own:
            self._looked_ourselves_up(outcome.responses, now)

    def _looked_ourselves_up(self, responses: int, now: float) -> None:
        """Any answer connects us, but only an answer to this lookup lets us join."""
        overlay, contacts = self.overlay, len(self.overlay.state.table)
        if overlay.is_joined:
            self.join.looked_up(contacts, now)
            return
        if not responses:
            self.join.lost(now)
            return
        self.join.joined(contacts, now)
        overlay.refresher.joined(overlay.size_by_neighbours())
        overlay.refresher.expire_far_buckets(now)
        self._facts.append(Reached(overlay.family, contacts))

    def _is_down(self, _: None, now: float) -> None:
        self._facts.append(CutOff(self.overlay.family))
