"""The publications of own values, and the replications of those that are held for others.

A holder that has not heard of a value for an hour stores it at the K nearest nodes, for as long as it holds it yet
(Kademlia section 2.5). So values outlast their owner's absence, and spread to nodes that have come since. The other
holders hear of the value by that, so one of them does this in an hour.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from dhtd.core.events import Handle, ValuePut
from dhtd.core.ids import Id, packed, unpacked
from dhtd.core.membership.waiting import Patience, Waiting
from dhtd.core.messages import Contact
from dhtd.core.querying.attempts import Attempts
from dhtd.core.querying.operations import Operations
from dhtd.core.querying.requester import Requester
from dhtd.core.records import Value, supersedes
from dhtd.core.routing.overlays import Overlays
from dhtd.core.storage.held_values import Silent
from dhtd.core.values.known_values import KnownValues
from dhtd.core.values.placement import Order, Placed, Placement
from dhtd.core.values.verifier import Verifier

if TYPE_CHECKING:
    from random import Random

_LEAST: Final = 60  # seconds: a value that is held for less is not replicated any more
_PAUSE: Final = 0.01  # seconds to the next turn, where many held values are to be looked at


class _Publication:
    """A publication under way, and the commands that end with it: none, if it is due by the clock."""

    __slots__ = ("ops", "order", "placement")

    placement: Placement

    def __init__(self, order: Order, op: Handle | None) -> None:
        self.order = order
        self.ops = [] if op is None else [op]


class Keeping:
    """Keeps values in the network."""

    __slots__ = (
        "_held",
        "_known",
        "_operations",
        "_overlays",
        "_own",
        "_publications",
        "_replications",
        "_requester",
        "_rng",
        "_silent",
        "_sweep_at",
        "_tell",
        "_verifier",
        "_waiting",
    )

    def __init__(
        self,
        requester: Requester,
        overlays: Overlays,
        operations: Operations,
        waiting: Waiting,
        verifier: Verifier,
        known: KnownValues,
        tell: Callable[[ValuePut, float], None],
        rng: Random,
    ) -> None:
        self._requester = requester
        self._overlays = overlays
        self._operations = operations
        self._waiting = waiting
        self._verifier = verifier
        self._known = known
        self._held, self._own = known.held, known.own
        self._tell = tell
        self._rng = rng
        self._publications: dict[bytes, _Publication] = {}
        self._replications: dict[bytes, Placement] = {}
        self._silent: deque[Silent] = deque()  # to be replicated, once there is room for that
        self._sweep_at = 0.0

    # Own values

    def put(self, op: Handle, key: Id, value: Value, now: float, *, wanted: int, cas: int | None, keep: bool) -> None:
        """Publish a value, and keep it from now on: see `Commands.put`.

        If another command is publishing the same, this one ends with that.
        """
        order, known = Order(key, value, cas=cas), self._known.get(key, now)
        current = self._publications.get(packed(key))
        if current is None or not current.ops or current.order != order:
            current = None
            self._call_off(packed(key))
        own = self._own.keep(key, value, wanted) if keep else self._own.get(key)
        if own is not None:
            self._own.began(own)
        if cas is None:
            self._held.supersede(key, value, now)
        # Else others may refuse it: until they have not, what this node holds for others stays.
        if current is None:
            self._publish(order, known, Patience.SOME, now, op)
        else:
            current.ops.append(op)

    def keep(self, key: Id, value: Value, replicas: tuple[Contact, ...], wanted: int, now: float) -> None:
        """Keep a value that was put at these nodes, from now on."""
        own = self._own.keep(key, value, wanted)
        self._held.supersede(key, value, now)
        if packed(key) in self._publications:  # its end sets the next one
            self._own.began(own)
        else:
            self._own.published(own, replicas, now)

    def restore(self, key: Id, value: Value, wanted: int, now: float) -> None:
        """Keep a value of an earlier run, and publish it soon."""
        own = self._own.keep(key, value, wanted)
        self._own.due_at(own, now + self._requester.policy.startup_spread * self._rng.random())

    def drop(self, key: Id) -> bool:
        """Keep the value under `key` no longer; return whether one was kept."""
        self._call_off(packed(key))
        return self._own.drop(key) is not None

    # The clock

    def next_timeout(self) -> float | None:
        """Return when `go_on` has something to do."""
        policy = self._requester.policy
        due = []
        if len(self._publications) < policy.publishing:
            due.append(self._own.next_timeout())
        if len(self._held):
            due.append(self._sweep_at)
        if self._silent and len(self._replications) < policy.replicating:
            due.append(0.0)
        return min((at for at in due if at is not None), default=None)

    def go_on(self, now: float, attempts: Attempts) -> None:
        """Publish own values that are due; drop held ones that have expired, and replicate those nobody has put."""
        policy = self._requester.policy
        # 1. Own values.
        room = policy.publishing - len(self._publications) if self._own.by_key else 0
        for own in self._own.pop_due(now, room) if room > 0 else ():
            order, known = Order(own.key, own.value), self._known.get(own.key, now)
            attempts.do(self._publish, order, known, Patience.LITTLE, now)
        # 2. Held ones.
        if len(self._held) and now >= self._sweep_at:
            silent, is_left = self._held.sweep(now)
            self._sweep_at = now + (_PAUSE if is_left else policy.store_sweep)
            self._silent.extend(silent)
        while self._silent and len(self._replications) < policy.replicating:
            attempts.do(self._replicate, self._silent.popleft(), now)

    # Inside

    def _publish(
        self, order: Order, known: tuple[Value, int] | None, patience: Patience, now: float, op: Handle | None = None
    ) -> None:
        publication = self._publications[packed(order.key)] = _Publication(order, op)
        report = self._operations.report_to(partial(self._published, publication))
        publication.placement = Placement(self._requester, self._overlays, self._verifier, report, order)
        # What this node knows itself is as good as what it would find.
        if known is not None and supersedes(known[0], order.value):
            report(Placed(newer=known[0]))
        else:
            self._waiting.begin(publication.placement, patience, now)

    def _call_off(self, key: bytes) -> None:
        """End the publication of a value under this key: another one takes its place, or none."""
        publication = self._publications.pop(key, None)
        if publication is not None:
            self._waiting.forget(publication.placement)
            publication.placement.cancel()

    def _published(self, publication: _Publication, outcome: Placed, now: float) -> None:
        order, key = publication.order, packed(publication.order.key)
        # It was not called off: set the time of the next one. No node has taken what was superseded meanwhile.
        if self._publications.get(key) is publication:
            del self._publications[key]
            if outcome.newer is not None:
                self._known.learned(order.key, outcome.newer, now)
            if order.cas is not None and len(outcome.replicas) > len(outcome.refusals):
                self._held.supersede(order.key, order.value, now)
            own = self._own.get(order.key)
            if own is not None:
                self._own.published(own, outcome.replicas if own.value == order.value else (), now)
        for op in publication.ops:
            self._tell(ValuePut(op, order.key, *outcome), now)

    def _replicate(self, silent: Silent, now: float) -> None:
        # What was heard of meanwhile, or is published by this node itself, is left alone. So is what still waits.
        key, held = silent.key, self._held.still(silent)
        if held is None or self._own.get(held.key) is not None or key in self._replications:
            return
        if held.expires_at - now < _LEAST:
            return
        report = self._operations.report_to(partial(self._replicated, key))
        order = Order(held.key, held.value, held.expires_at)
        placement = self._replications[key] = Placement(self._requester, self._overlays, self._verifier, report, order)
        self._waiting.begin(placement, Patience.LITTLE, now)

    def _replicated(self, key: bytes, outcome: Placed, now: float) -> None:
        del self._replications[key]
        if outcome.newer is not None:
            self._known.learned(unpacked(key), outcome.newer, now)
