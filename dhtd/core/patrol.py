"""Looking after the holders of own entries, once there is reason to.

Who holds an entry need not be a contact of ours, and a quiet node asks each of its contacts a few times an hour. So
where many die at once, their entries would be found by nobody until the next publication. But one silent holder is a
sign: it is asked again at once, and where an entry has lost more than one, the others that hold it are asked, too. And
while several nodes a minute are given up, each of them leads to some more: to contacts that were not heard for long,
and to holders of further entries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from dhtd.core.endpoint import Endpoint
from dhtd.core.messages import Contact, Error, Ping, Result
from dhtd.core.requester import Asked, Requester
from dhtd.core.track import Tracker

_WAITING = 256  # holders that are still to be asked, at most
_MANY = 3  # nodes given up within a minute: more than one by one
_MINUTE = 60.0
_CONTACTS = 4  # that are asked for each node that is given up, then
_ENTRIES = 2  # of which the holders are


class Patrol:
    """Pings holders that are in doubt, a few at a time, and tells the tracker of those that are lost."""

    __slots__ = ("_lost_at", "_requester", "_tracker", "_under_way", "_waiting")

    def __init__(self, requester: Requester, tracker: Tracker) -> None:
        self._requester = requester
        self._tracker = tracker
        self._lost_at: deque[float] = deque(maxlen=_MANY)
        self._under_way: set[Endpoint] = set()
        self._waiting: dict[Endpoint, Contact] = {}

    def suspect(self, holders: Iterable[Contact], now: float) -> None:
        """These may be lost: ask them."""
        for holder in holders:
            if holder.endpoint not in self._under_way and len(self._waiting) < _WAITING:
                self._waiting[holder.endpoint] = holder
        self._go_on(now)

    def lost(self, holder: Contact, now: float) -> None:
        """This one is given up; who is in doubt by that is asked."""
        suspects = self._tracker.holder_lost(holder, now)
        self._lost_at.append(now)
        if len(self._lost_at) == _MANY and now - self._lost_at[0] < _MINUTE:
            suspects += self._requester.overlays[len(holder.endpoint)].state.stalest(_CONTACTS)
            suspects += self._tracker.some_replicas(_ENTRIES)
        self.suspect(suspects, now)

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """It is there, unless it is another one by now."""
        self._under_way.discard(query.endpoint)
        if query.id is not None and contact.id != query.id:
            self.lost(Contact(query.id, query.endpoint), now)
        self._go_on(now)

    def slow(self, query: Asked, now: float) -> None:
        """Keep waiting."""

    def late(self, query: Asked, now: float) -> None:
        """Keep waiting."""

    def retried(self, query: Asked, now: float) -> None:
        """Keep waiting."""

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """It is lost, if somebody else has answered meanwhile: else it may be our own network."""
        self._under_way.discard(query.endpoint)
        overlay = self._requester.overlays[len(query.endpoint)]
        if error is None and query.id is not None and overlay.state.heard_since(query.sent_at):
            self.lost(Contact(query.id, query.endpoint), now)
        self._go_on(now)

    def _go_on(self, now: float) -> None:
        policy = self._requester.policy
        while self._waiting and len(self._under_way) < policy.verifications:
            holder = self._waiting.pop(next(iter(self._waiting)))
            self._under_way.add(holder.endpoint)
            self._requester.ask(self, Ping(), holder.endpoint, holder.id, now, policy.ping_attempts)
