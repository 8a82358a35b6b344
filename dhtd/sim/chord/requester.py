"""Queries in flight: a timeout for each, and for some of them another attempt."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Protocol

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.querying.requester import Transmit
from dhtd.core.round_trips import RoundTrips
from dhtd.core.timers import Timers
from dhtd.sim.chord.messages import Message, Request, Result
from dhtd.sim.chord.policy import ChordPolicy
from dhtd.sim.chord.wire import TID_SIZE, ChordWire

_DEVIATIONS = 4  # of round trips, that an answer is waited for


class Query:
    """A request to one node, until it is answered, or all attempts have failed."""

    __slots__ = ("attempts", "endpoint", "id", "listener", "request", "sent_at", "timeout")

    def __init__(self, endpoint: Endpoint, id: Id | None, request: Request, listener: Listener, attempts: int) -> None:
        self.endpoint = endpoint
        self.id = id  # of the node that is asked; None: any node there
        self.request = request
        self.listener = listener
        self.attempts = attempts  # that are left
        self.sent_at = 0.0
        self.timeout = 0.0

    @property
    def contact(self) -> Contact:
        """The node that was asked. Its ID must be known, at the latest by its answer."""
        assert self.id is not None
        return Contact(self.id, self.endpoint)


class Listener(Protocol):
    """Takes what becomes of a query: exactly one of these."""

    def answered(self, query: Query, result: Result, now: float) -> None: ...

    def silent(self, query: Query, now: float) -> None: ...


class Health(Protocol):
    """Takes what queries tell of the nodes that were asked."""

    def heard(self, contact: Contact, session: bytes, now: float) -> None: ...

    def missed(self, contact: Contact, now: float) -> None: ...

    def replaced(self, contact: Contact, now: float) -> None: ...


class Requester:
    """Sends queries, and hands each answer to the listener of its query."""

    def __init__(
        self, own: Contact, session: bytes, wire: ChordWire, policy: ChordPolicy, rng: Random, health: Health
    ) -> None:
        self._own = own
        self._session = session
        self._wire = wire
        self._policy = policy
        self._health = health
        self._queries: dict[bytes, Query] = {}
        self._timers: Timers[bytes] = Timers()
        self._round_trips = RoundTrips()
        self._serial = rng.getrandbits(8 * TID_SIZE)
        self.outbox: deque[Transmit] = deque()

    def ask(
        self, endpoint: Endpoint, id: Id | None, request: Request, listener: Listener, now: float, *, attempts: int = 1
    ) -> None:
        """Ask the node at an endpoint, up to `attempts` times, each with twice the patience."""
        query = Query(endpoint, id, request, listener, attempts)
        patience = self._round_trips.patience(_DEVIATIONS)
        least, most = self._policy.timeout_least, self._policy.timeout_most
        query.timeout = min(most, max(least, patience)) if self._round_trips.samples else most
        self._send(query, now)

    def handle_result(self, message: Message, result: Result, source: Endpoint, now: float) -> bool:
        """Take an answer; return whether it answers a query in flight. It must come from the very node."""
        query = self._queries.get(message.tid)
        if query is None or query.endpoint != source:
            return False
        del self._queries[message.tid]
        self._timers.cancel(message.tid)
        if query.id is not None and query.id != message.sender:
            self._health.replaced(query.contact, now)
            query.listener.silent(query, now)
            return True
        query.id = message.sender
        self._round_trips.add(max(0.0, now - query.sent_at))
        self._health.heard(query.contact, message.session, now)
        query.listener.answered(query, result, now)
        return True

    def handle_timeout(self, now: float) -> None:
        """Give up what has waited for too long, or try it again."""
        for tid in self._timers.pop_due(now):
            query = self._queries.pop(tid)
            if query.id is not None:
                self._health.missed(query.contact, now)
            if query.attempts:
                query.timeout = min(2 * query.timeout, self._policy.timeout_most)
                self._send(query, now)
            else:
                query.listener.silent(query, now)

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is due."""
        return self._timers.next()

    def _send(self, query: Query, now: float) -> None:
        self._serial = (self._serial + 1) % (1 << 8 * TID_SIZE)
        tid = self._serial.to_bytes(TID_SIZE, "big")
        query.attempts -= 1
        query.sent_at = now
        self._queries[tid] = query
        self._timers.set(tid, now + query.timeout)
        message = Message(tid, self._session, self._own.id, query.request)
        self.outbox.append(Transmit(self._wire.encode(message), query.endpoint))
