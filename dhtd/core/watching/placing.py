"""The search for nodes that are to tell us of changes under a key.

1. A search finds the nodes nearest to the key, in each family, as for the publication of an entry.
2. The K nearest are chosen: more, where the region of the key is crowded, or where nodes are full. Those that are not
   holders of the watch yet are asked.
3. A node that does not take the watch is replaced by the next nearest one.
4. The search is over once nothing is in flight, or what is in flight takes longer than nearly all answers do.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from dhtd.core.messages import Contact
from dhtd.core.querying.operations import Report
from dhtd.core.querying.requester import Requester
from dhtd.core.querying.search import Search
from dhtd.core.querying.traversal import Traversal
from dhtd.core.routing.overlays import Overlays
from dhtd.core.traces import Purpose
from dhtd.core.watching.own_watch import OwnWatch


class Placed(NamedTuple):
    """How a search has ended."""

    near: frozenset[Contact]  # the nodes that are to be holders
    families: frozenset[int]  # in which some node has answered
    is_refused: bool = False  # some node near the key does not take the watch


class Asks(Protocol):
    """Asks nodes."""

    def ask(self, watch: OwnWatch, contact: Contact, token: bytes, placing: Placing | None, now: float) -> None:
        """Have a node tell us of changes; tell `placing` whether it does."""


class Placing:
    """Finds holders for one watch."""

    __slots__ = (
        "_asks",
        "_in_flight",
        "_is_refused",
        "_near",
        "_over",
        "_report",
        "_requester",
        "_targets",
        "_traversal",
        "watch",
    )

    def __init__(
        self, requester: Requester, overlays: Overlays, report: Report[Placed], asks: Asks, watch: OwnWatch
    ) -> None:
        self._requester = requester
        self._report = report
        self._asks = asks
        self.watch = watch
        self._traversal = Traversal(
            requester,
            overlays,
            watch.key,
            Purpose.WATCH,
            finished=self._finished,
            gave_up=self.give_up,
            converged=self._converged,
            patient=False,
            thorough=True,
            regional=True,
            needs_tokens=True,
        )
        self._targets: dict[int, list[Contact]] = {}  # by family: nodes not chosen yet, the farthest first
        self._near: dict[Contact, None] = {}
        self._in_flight: dict[Contact, None] = {}
        self._is_refused = False
        self._over = False

    def start(self, now: float) -> None:
        """Begin, from the nearest contacts that we know."""
        self._traversal.start(now)

    def cancel(self) -> None:
        """Stop, and report nothing."""
        self._over = True
        self._traversal.stop()

    def give_up(self, now: float) -> None:
        """A defect has stopped it: it ends as far as it has come."""
        if not self._over:
            self._traversal.stop()
            self._in_flight.clear()
            self._report_if_over()

    def taken(self, contact: Contact, now: float) -> None:
        """A node tells us of changes from now on."""
        self._in_flight.pop(contact, None)
        self._report_if_over()

    def not_taken(self, contact: Contact, now: float) -> None:
        """Ask the next nearest node instead of one that does not take the watch."""
        self._near.pop(contact, None)
        if self._in_flight.pop(contact, 0) is None:
            self._choose(len(contact.endpoint), 1, now)
        self._report_if_over()

    def refused(self, contact: Contact, now: float) -> None:
        """A node has no room for the watch. The next nearest one is asked, but may not have what is there."""
        self._is_refused = True
        self.not_taken(contact, now)

    def overdue(self, contact: Contact, now: float) -> None:
        """Wait no longer for a node, and ask the next nearest one as well. It may answer yet."""
        if self._in_flight.pop(contact, 0) is None:
            self._choose(len(contact.endpoint), 1, now)
        self._report_if_over()

    def _converged(self, search: Search, now: float) -> None:
        contacts = search.closest()
        if contacts:
            family = len(contacts[0].endpoint)
            self._targets[family] = contacts[::-1]
            self._choose(family, search.wanted(), now)

    def _finished(self, now: float) -> None:
        self._report_if_over()

    def _choose(self, family: int, count: int, now: float) -> None:
        targets, tokens = self._targets[family], self._traversal.tokens
        full = count  # so many nodes without a token do not count: what has no room there is on the next nodes
        while targets and count:
            contact = targets.pop()
            if tokens[contact.endpoint] or not full:
                count -= 1
            else:
                full -= 1
            self._near[contact] = None
            if contact not in self.watch.words:
                self._in_flight[contact] = None
                self._asks.ask(self.watch, contact, tokens[contact.endpoint], self, now)

    def _report_if_over(self) -> None:
        if not self._over and not self._in_flight and not self._traversal.is_searching:
            self._over = True
            families = frozenset(len(endpoint) for endpoint in self._traversal.tokens)
            self._report(Placed(frozenset(self._near), families, self._is_refused))
