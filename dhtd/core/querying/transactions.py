"""Queries in flight: matching answers to them, noticing that one is slow, sending again, giving up.

An answer counts only if its transaction ID *and* its exact source are those of a query in flight. Each query has one
deadline at a time: first the one after which it is slow (an estimate from round trips, so that a dead contact does not
hold a slot for two seconds), then the one after which it is late (hardly any answer takes so long), then the hard one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import Request
from dhtd.core.policy import Policy
from dhtd.core.round_trips import RoundTrips
from dhtd.core.timers import Timers

if TYPE_CHECKING:
    from random import Random

Owner = TypeVar("Owner")


class Impatient(Protocol[Owner]):
    """An operation that does something about a slow query, before it has failed."""

    def overdue(self, query: InFlight[Owner], now: float, *, late: bool) -> None:
        """The query takes longer than most; if it is `late`, longer than nearly all. It may still be answered."""


@dataclass(slots=True, eq=False)
class InFlight(Generic[Owner]):
    """A query on its way."""

    tid: bytes
    request: Request
    endpoint: Endpoint
    id: Id | None  # the node that should answer, where that is known
    owner: Owner
    datagram: bytes
    sent_at: float  # of the latest attempt
    attempts_left: int
    is_insistent: bool = False  # sent again when it is slow, and when it is late: the attempt is worth three datagrams
    retried: bool = False  # then an answer's round trip is ambiguous (Karn's algorithm, RFC 6298 section 3)
    slow: bool = False
    late_at: float = 0.0
    is_traced: bool = False  # its search tells what becomes of it
    observed: Endpoint | None = None  # once it is answered: where we are, if the answer tells
    impatient: Impatient[Owner] | None = None  # is told that the query is overdue
    on_retry: Callable[[float], None] | None = None  # is called when it is sent again

    def send_no_more(self) -> None:
        """Send it never again; an answer that comes all the same is passed on to its owner."""
        self.attempts_left = 1
        self.is_insistent = False


@dataclass(frozen=True, slots=True)
class Slow(Generic[Owner]):
    """The query takes longer than answers do; it may still be answered."""

    query: InFlight[Owner]


@dataclass(frozen=True, slots=True)
class Late(Generic[Owner]):
    """The query takes longer than nearly all answers do; it may still be answered."""

    query: InFlight[Owner]


@dataclass(frozen=True, slots=True)
class Retry(Generic[Owner]):
    """An attempt timed out; its datagram is to be sent again."""

    query: InFlight[Owner]
    sent_at: float  # of the attempt that timed out


@dataclass(frozen=True, slots=True)
class TimedOut(Generic[Owner]):
    """The last attempt timed out, and the query is over."""

    query: InFlight[Owner]


class Transactions(Generic[Owner]):
    """The table of queries in flight, for owners of any type."""

    __slots__ = ("_deadlines", "_policy", "_queries", "_rng", "_tid_size", "next_timeout", "round_trips")

    def __init__(self, tid_size: int, rng: Random, policy: Policy) -> None:
        self._tid_size = tid_size
        self._rng = rng
        self._policy = policy
        self._queries: dict[bytes, InFlight[Owner]] = {}
        self._deadlines: Timers[bytes] = Timers()
        self.next_timeout = self._deadlines.next  # when `expire` has something to do; asked after each datagram
        # Over all contacts, so that it says little before there are many: the estimate for one that was never measured.
        self.round_trips = RoundTrips(gain=1 / 32)

    def __len__(self) -> int:
        """How many queries are in flight."""
        return len(self._queries)

    def __iter__(self) -> Iterator[InFlight[Owner]]:
        """Yield them."""
        return iter(self._queries.values())

    def new_tid(self) -> bytes:
        """Return a transaction ID that no query in flight has."""
        while (tid := self._rng.randbytes(self._tid_size)) in self._queries:
            pass
        return tid

    def begin(self, query: InFlight[Owner], measured: RoundTrips | None) -> None:
        """Take note of a query that is being sent; `measured` are the round trips of this contact, where known."""
        policy = self._policy
        # This contact's round trips tell how long to wait, or else those of all.
        if measured is None or not measured.samples:
            measured = self.round_trips if self.round_trips.samples >= policy.k else None
        if measured is None:
            slow, late = policy.slow_initial, policy.late_initial
        else:
            slow, late = measured.patience(policy.slow_deviations), measured.patience(policy.late_deviations)
        slow = min(max(slow, policy.slow_floor), policy.query_timeout)
        late = min(max(late, policy.late_floor), policy.query_timeout)
        query.late_at = query.sent_at + max(slow, late)
        self._queries[query.tid] = query
        self._deadlines.set(query.tid, query.sent_at + slow)

    def postpone(self, query: InFlight[Owner], sent_at: float) -> None:
        """An attempt at a query goes out at `sent_at` only."""
        query.sent_at = sent_at
        self._deadlines.set(query.tid, sent_at + self._policy.query_timeout)

    def match(self, tid: bytes, source: Endpoint) -> InFlight[Owner] | None:
        """Return the query that an answer from `source` belongs to, if there is one. Changes nothing."""
        query = self._queries.get(tid)
        return query if query is not None and query.endpoint == source else None

    def get(self, tid: bytes) -> InFlight[Owner] | None:
        """Return the query in flight with this transaction ID, if there is one."""
        return self._queries.get(tid)

    def has(self, tid: bytes) -> bool:
        """Whether a query with this transaction ID is in flight: only the node that it was sent to knows the ID."""
        return tid in self._queries

    def conclude(self, query: InFlight[Owner], now: float) -> float | None:
        """Take out a query that has been answered; return its round trip in seconds, where that is unambiguous."""
        del self._queries[query.tid]
        self._deadlines.cancel(query.tid)
        if query.retried:
            return None
        rtt = now - query.sent_at
        self.round_trips.add(rtt)
        return rtt

    def expire(self, now: float) -> Iterator[Slow[Owner] | Late[Owner] | Retry[Owner] | TimedOut[Owner]]:
        """Yield what happened to queries by `now`. A retried query is in flight again from `now` on."""
        for tid in self._deadlines.pop_due(now):
            query = self._queries[tid]
            hard = query.sent_at + self._policy.query_timeout
            if now < hard:
                query.retried = query.retried or query.is_insistent
                if not query.slow:
                    query.slow = True
                    self._deadlines.set(tid, query.late_at)
                    yield Slow(query)
                else:
                    self._deadlines.set(tid, hard)
                    yield Late(query)
            elif query.attempts_left > 1:
                sent_at = query.sent_at
                query.attempts_left -= 1
                query.retried = True
                query.sent_at = now
                self._deadlines.set(tid, now + self._policy.query_timeout)
                yield Retry(query, sent_at)
            else:
                del self._queries[tid]
                yield TimedOut(query)
