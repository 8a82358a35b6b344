"""Values as a whole: those that this node holds for others, those that it keeps, and those that it reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from dhtd.core.codec import Codec
from dhtd.core.counters import Counters
from dhtd.core.events import GaveUp, GetDone, GetProgress, Handle, ValuePut, ValueSuperseded
from dhtd.core.membership.waiting import Waiting
from dhtd.core.messages import Contact
from dhtd.core.querying.attempts import Attempts
from dhtd.core.querying.operations import Operations, Report
from dhtd.core.querying.requester import Requester
from dhtd.core.routing.overlays import Overlays
from dhtd.core.storage.held_values import HeldValues
from dhtd.core.values.handing_on import HandingOn
from dhtd.core.values.keeping import Keeping
from dhtd.core.values.known_values import KnownValues
from dhtd.core.values.own_values import OwnValues
from dhtd.core.values.reading import Reading, Wanted
from dhtd.core.values.verifier import Verifier

if TYPE_CHECKING:
    from random import Random


class Values:
    """The parts that have to do with values."""

    __slots__ = ("_overlays", "_requester", "_verifier", "_work", "handing_on", "held", "keeping", "known", "own")

    def __init__(
        self,
        requester: Requester,
        overlays: Overlays,
        operations: Operations,
        waiting: Waiting,
        codec: Codec,
        counters: Counters,
        tell: Callable[[ValuePut, float], None],
        tell_news: Callable[[ValueSuperseded], None],
        rng: Random,
    ) -> None:
        """`tell` takes the ends of commands, `tell_news` other news for the owner."""
        self._requester = requester
        self._overlays = overlays
        self._verifier = verifier = Verifier(codec, counters)
        self.held = held = HeldValues(overlays.own_id, requester.policy, rng)
        self.own = own = OwnValues(requester.policy, rng, counters.caps_hit)
        self.known = known = KnownValues(held, own, tell_news)
        self.keeping = Keeping(requester, overlays, operations, waiting, verifier, known, tell, rng)
        self.handing_on = HandingOn(requester, overlays, verifier, known, rng)
        self._work = (own.by_key, held.by_key)  # while both are empty, nothing is due

    def read(self, op: Handle, wanted: Wanted, report: Report[GetProgress | GetDone | GaveUp], now: float) -> Reading:
        """Return a get of a value, which is not begun yet."""
        known = self.known.get(wanted.key, now)
        learned = self.known.learned
        return Reading(op, self._requester, self._overlays, self._verifier, report, wanted, known, learned, now)

    def reached(self, now: float) -> None:
        """A network is reached."""
        self.own.hurry(now)

    def met(self, contact: Contact, now: float) -> None:
        """A contact is new."""
        self.handing_on.met(contact, now)

    def renamed(self) -> None:
        """We have another ID."""
        self.held.renamed(self._overlays.own_id)

    def slept(self, seconds: float, now: float) -> None:
        """Take all values as so much older."""
        self.held.slept(seconds)
        self.own.slept(seconds, now)

    def next_timeout(self) -> float | None:
        """Return when `go_on` has something to do. It is asked after each datagram, and many nodes have no values."""
        if not any(self._work):
            return None
        due = (self.keeping.next_timeout(), self.handing_on.next_timeout())
        return min((at for at in due if at is not None), default=None)

    def go_on(self, now: float, attempts: Attempts) -> None:
        """Do what is due."""
        self.keeping.go_on(now, attempts)
        attempts.do(self.handing_on.go_on, now)
