"""The asking side of a node: queries go out on behalf of operations.

An operation is an object with a purpose: a lookup, a ping for the user. It owns queries, and is told what becomes of
each. Datagrams to send wait in a queue here until the node's owner polls for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from dhtd.core.address.reachability import Reachability
from dhtd.core.address_groups import is_beside
from dhtd.core.codec import Codec
from dhtd.core.counters import Counters
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import NO_OPTIONS, Contact, Error, Find, Found, Request, Result, rest_of
from dhtd.core.policy import Policy
from dhtd.core.querying.observations import Observations
from dhtd.core.querying.pace import Pace
from dhtd.core.querying.transactions import Impatient, InFlight, Transactions
from dhtd.core.routing.overlays import Overlays
from dhtd.core.timers import Timers

if TYPE_CHECKING:
    from random import Random


class Operation(Protocol):
    """The owner of a query, and what it does about the answer. Called by the node only, and never from within `ask`."""

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """`contact` has answered; its ID may be another than the one that was asked for."""

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """The query was refused with `error`, answered with nonsense, or (None) timed out for good."""

    def give_up(self, now: float) -> None:
        """A defect of ours has stopped this: end it as far as it has come, unless it is over. Ask no more nodes."""


Asked = InFlight[Operation]


class Transmit(NamedTuple):
    """A datagram to send."""

    data: bytes
    endpoint: Endpoint
    recipient: Id | None = None  # the node that is expected there, where that is known


class Requester:
    """Sends queries for operations, and keeps what is to go out."""

    __slots__ = (
        "_codec",
        "_counters",
        "_overlays",
        "_pace",
        "_reachability",
        "_waiting",
        "observations",
        "options",
        "policy",
        "traits",
        "transactions",
        "transmits",
    )

    def __init__(
        self,
        overlays: Overlays,
        codec: Codec,
        rng: Random,
        policy: Policy,
        counters: Counters,
        reachability: Reachability,
    ) -> None:
        self.policy = policy
        self.traits = codec.traits  # what can be asked
        self.options = NO_OPTIONS  # that each query has
        self.observations = Observations()
        self._counters = counters
        self.transactions: Transactions[Operation] = Transactions(codec.traits.tid_size, rng, policy)
        self.transmits: deque[Transmit] = deque()
        self._pace = Pace(policy)
        self._waiting: Timers[bytes] = Timers()  # transaction IDs of queries, and when their turn comes
        self._codec = codec
        self._overlays = overlays
        self._reachability = reachability

    def ask(
        self,
        owner: Operation,
        request: Request,
        endpoint: Endpoint,
        id: Id | None,
        now: float,
        attempts: int = 1,
        *,
        insistent: bool = False,
        impatient: Impatient[Operation] | None = None,
        on_retry: Callable[[float], None] | None = None,
    ) -> Asked:
        """Send `request` for `owner`; `id` is the node that is expected there, where that is known.

        An `insistent` query is sent again before it times out: for when one lost datagram must not matter. Before it
        has failed, an `impatient` owner is told that it is overdue, and `on_retry` is called at each further attempt.
        """
        assert type(request) in self.traits.requests
        sent_at = self._pace.take_turn(endpoint, now)
        tid = self.transactions.new_tid()
        datagram = self._codec.encode_query(tid, self._overlays.own_id_towards(endpoint), request, self.options)
        query = InFlight(tid, request, endpoint, id, owner, datagram, sent_at, attempts, insistent)
        query.impatient, query.on_retry = impatient, on_retry
        self.transactions.begin(query, None if id is None else self._overlays.round_trips(id, endpoint))
        self._counters.queries_sent += 1
        self._reachability.contacted(endpoint, now)
        if sent_at > now:
            self._waiting.set(tid, sent_at)
        else:
            self.transmits.append(Transmit(datagram, endpoint, id))
        return query

    def may_ask(self, endpoint: Endpoint, now: float) -> bool:
        """Whether a query to this endpoint would go out now."""
        return self._pace.has_turn(endpoint, now)

    def ask_rest(self, query: Asked, contact: Contact, result: Result, now: float) -> bool:
        """Ask again with its token for what was cut from the answer to `query`, if anything was; return whether.

        It is asked for the same owner, which is told of the answer to that, too.
        """
        if not isinstance(query.request, Find):
            return False
        assert isinstance(result, Found)
        rest = rest_of(query.request, result)
        if rest is None:
            return False
        following = self.ask(
            query.owner,
            rest,
            contact.endpoint,
            contact.id,
            now,
            query.attempts_left,
            insistent=query.is_insistent,
            impatient=query.impatient,
            on_retry=query.on_retry,
        )
        following.is_traced = query.is_traced
        return True

    def is_beside_us(self, endpoint: Endpoint) -> bool:
        """Whether the node there may name private addresses, though it is at a public one."""
        return is_beside(endpoint, self.policy.own_networks)

    def send(self, query: Asked) -> None:
        """Queue a query's datagram."""
        self.transmits.append(Transmit(query.datagram, query.endpoint, query.id))

    def send_again(self, query: Asked, now: float) -> None:
        """Queue a query's datagram once more, when it is its turn; an attempt has its whole time from then on."""
        turn = self._pace.take_turn(query.endpoint, now)
        if turn <= now:
            self.send(query)
            return
        self._waiting.set(query.tid, turn)
        if query.sent_at == now:
            self.transactions.postpone(query, turn)

    def next_timeout(self) -> float | None:
        """Return when the turn of a waiting query comes."""
        return self._waiting.next()

    def send_due(self, now: float) -> None:
        """Send the queries whose turn has come, unless they are over."""
        for tid in self._waiting.pop_due(now):
            query = self.transactions.get(tid)
            if query is not None:
                self.send(query)

    def poll(self) -> Transmit | None:
        """Take and return the next datagram to send."""
        return self.transmits.popleft() if self.transmits else None

    def send_no_more(self, *owners: Operation) -> None:
        """Send no query of these again; an answer that comes all the same is passed on to them."""
        for query in self.transactions:
            if any(query.owner is owner for owner in owners):
                query.send_no_more()
