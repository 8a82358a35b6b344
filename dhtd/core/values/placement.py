"""The placement of a value: at the nodes nearest to its key.

1. A search asks the nodes near the key which value they hold. Each answer brings a token, or none where the node has no
   room.
2. If one of them holds a value that supersedes ours, nothing is placed, and that is the outcome.
3. Else the K nearest with a token are asked to hold ours: more, where the region of the key is crowded. Those that hold
   it already are asked as well: they hold it for longer, or hear that somebody keeps it.
4. A node that does not take it is replaced by the next nearest one, but for one that holds another value.
5. The placement ends once the search is over and nothing is in flight.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from dhtd.core.ids import Id
from dhtd.core.messages import ERROR_CAS, ERROR_SEQ, VALUE_LASTS, Contact, Error, Find, Found, Get, Put, Result
from dhtd.core.querying.operations import Report
from dhtd.core.querying.requester import Asked, Requester
from dhtd.core.querying.search import Search
from dhtd.core.querying.traversal import Traversal
from dhtd.core.records import Immutable, Mutable, Value, salt_of, supersedes
from dhtd.core.routing.overlays import Overlays
from dhtd.core.traces import Purpose
from dhtd.core.values.verifier import Verifier

_HOLDS_ANOTHER: Final = (ERROR_CAS, ERROR_SEQ)


class Placed(NamedTuple):
    """How a placement has ended."""

    replicas: tuple[Contact, ...] = ()  # the nodes that hold the value
    asked: int = 0  # how many nodes were asked to
    refusals: tuple[Error, ...] = ()
    newer: Value | None = None  # what supersedes the value, where a node holds that
    cancelled: bool = False


class Order(NamedTuple):
    """What is to be placed."""

    key: Id
    value: Value
    until: float | None = None  # nodes are to hold it for so long; without that, for as long as they can
    cas: int | None = None

    def lasts(self, now: float) -> int:
        """Return for how many seconds a node is to hold it from now on."""
        return VALUE_LASTS if self.until is None else int(self.until - now)


class Placement:
    """Places one value."""

    __slots__ = (
        "_asked",
        "_in_flight",
        "_newer",
        "_over",
        "_refusals",
        "_replicas",
        "_report",
        "_requester",
        "_targets",
        "_traversal",
        "_verifier",
        "_wanted",
        "order",
    )

    def __init__(
        self, requester: Requester, overlays: Overlays, verifier: Verifier, report: Report[Placed], order: Order
    ) -> None:
        self._requester = requester
        self._verifier = verifier
        self._report = report
        self.order = order
        self._traversal = Traversal(
            requester,
            overlays,
            order.key,
            Purpose.PUT,
            finished=self._finished,
            gave_up=self.give_up,
            converged=self._converged,
            patient=True,
            thorough=True,
            regional=True,
            request=Get(order.key, None, _seq(order.value), salt_of(order.value)),
            reader=self,
        )
        self._targets: dict[int, list[Contact]] = {}  # by family: nodes not asked yet, the farthest first
        self._wanted: dict[int, int] = {}  # by family: how many nodes are to hold the value
        self._replicas: list[Contact] = []
        self._refusals: list[Error] = []
        self._newer: Value | None = None
        self._asked = 0
        self._in_flight: set[Asked] = set()
        self._over = False

    def start(self, now: float) -> None:
        """Begin, from the nearest contacts that we know."""
        self._traversal.start(now)

    def cancel(self) -> None:
        """Stop: the value is placed no longer. Puts on their way cannot be called back."""
        if not self._over:
            self._stop()
            self._end(cancelled=True)

    def give_up(self, now: float) -> None:
        """A defect has stopped it: it ends as far as it has come."""
        if not self._over:
            self._stop()
            self._end(cancelled=False)

    # The search

    def found(self, contact: Contact, request: Find, found: Found, now: float) -> None:
        """Note what a node holds."""
        held, order = found.held, self.order
        if isinstance(held, Immutable | Mutable):
            is_newer = supersedes(held, order.value if self._newer is None else self._newer)
            if is_newer and self._verifier.accepts(order.key, held):
                self._newer = held

    def progressed(self, now: float) -> None:
        """Wait for the end of the search."""

    def _converged(self, search: Search, now: float) -> None:
        contacts = search.closest()
        if contacts:
            family = len(contacts[0].endpoint)
            self._targets[family] = [contact for contact in contacts[::-1] if self._traversal.tokens[contact.endpoint]]
            self._wanted[family] = search.wanted()
            self._choose(family, now)

    def _finished(self, now: float) -> None:
        self._end_if_over()

    # The puts

    def _choose(self, family: int, now: float) -> None:
        """Ask the nearest nodes of this family, as many as are still missing."""
        targets, order = self._targets[family], self.order
        lasts = order.lasts(now)
        missing = 0 if self._over or self._newer is not None or lasts <= 0 else self._wanted[family]
        missing -= sum(len(contact.endpoint) == family for contact in self._replicas)
        missing -= sum(len(query.endpoint) == family for query in self._in_flight)
        while targets and missing > 0:
            contact = targets.pop()
            missing -= 1
            request = Put(order.key, self._traversal.tokens[contact.endpoint], order.value, order.cas, lasts)
            query = self._requester.ask(self, request, contact.endpoint, contact.id, now, insistent=True)
            self._in_flight.add(query)
            self._asked += 1
        self._end_if_over()

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """Count a node that holds the value."""
        self._in_flight.discard(query)
        self._replicas.append(contact)
        self._choose(len(query.endpoint), now)

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """Try the next nearest node instead of one that does not take the value."""
        self._in_flight.discard(query)
        family = len(query.endpoint)
        if error is not None:
            self._refusals.append(error)
            if error.code in _HOLDS_ANOTHER:
                self._wanted[family] -= 1
        self._choose(family, now)

    # The end

    def _stop(self) -> None:
        self._over = True
        self._traversal.stop()
        self._requester.send_no_more(self)

    def _end_if_over(self) -> None:
        if not self._in_flight and not self._traversal.is_searching and not self._over:
            self._over = True
            self._end(cancelled=False)

    def _end(self, *, cancelled: bool) -> None:
        self._report(Placed(tuple(self._replicas), self._asked, tuple(self._refusals), self._newer, cancelled))


def _seq(value: Value) -> int:
    return 0 if isinstance(value, Immutable) else value.seq
