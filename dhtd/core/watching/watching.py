"""Watches as a whole: those of other nodes here, and our own there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from dhtd.core.endpoint import Family
from dhtd.core.events import WatchUpdate
from dhtd.core.membership.waiting import Waiting
from dhtd.core.messages import Contact
from dhtd.core.publishing.heartbeats import Heartbeats
from dhtd.core.querying.attempts import Attempts
from dhtd.core.querying.operations import Operations
from dhtd.core.querying.requester import Requester
from dhtd.core.routing.overlays import Overlays
from dhtd.core.storage.watched_keys import WatchedKeys
from dhtd.core.watching.held_watches import HeldWatches
from dhtd.core.watching.known_endpoints import KnownEndpoints
from dhtd.core.watching.notices import Notices
from dhtd.core.watching.own_watches import OwnWatches

if TYPE_CHECKING:
    from random import Random


class Watching:
    """Brings what changes here to all watches of the key."""

    __slots__ = ("held", "keys", "known", "notices", "own")

    def __init__(
        self,
        requester: Requester,
        overlays: Overlays,
        operations: Operations,
        waiting: Waiting,
        heartbeats: Heartbeats,
        known: KnownEndpoints,
        keys: WatchedKeys,
        tell: Callable[[WatchUpdate, float], None],
        caps_hit: dict[str, int],
        rng: Random,
    ) -> None:
        """`keys`: the parts that hold endpoints note there what they change. `tell` takes the updates for commands."""
        self.keys = keys
        self.known = known
        self.held = HeldWatches(requester.policy, keys, caps_hit)
        self.notices = Notices(requester, self.held, known, rng)
        self.own = OwnWatches(requester, overlays, operations, waiting, heartbeats, known, keys, tell, caps_hit, rng)

    def moved(self) -> None:
        """This machine is reached at another address, and so are our own entries."""
        self.keys.note_all()

    def reached(self, now: float) -> None:
        """A network is reached: find nodes that tell us of changes."""
        self.own.reached(now)

    def met(self, contact: Contact, now: float) -> None:
        """A contact is new."""
        self.own.met(contact, now)

    def cut_off(self, family: Family, now: float) -> None:
        """No node of a family answers any more."""
        self.own.cut_off(family, now)

    def next_timeout(self) -> float | None:
        """Return when `go_on` has something to do. It is asked after each datagram, and mostly nothing is watched."""
        if not self.keys.watches:
            return None
        if self.keys.are_stirred:
            return 0.0
        due = (self.held.next_timeout(), self.notices.next_timeout(), self.own.next_timeout())
        return min((at for at in due if at is not None), default=None)

    def go_on(self, now: float, attempts: Attempts) -> None:
        """Hand on what has changed, and do what is due."""
        self.held.expire(now)
        for key in self.keys.take():
            self.notices.stirred(key)
            attempts.do(self.own.stirred, key, now)
        attempts.do(self.notices.go_on, now)
        self.own.go_on(now, attempts)
