"""The asking side of a node: queries go out on behalf of operations, and operations report outcomes.

An operation is an object with a purpose (a lookup, a ping for the user); it owns queries and is told what becomes of
each. Datagrams to send and outcomes wait in queues here until the node's owner polls for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from dhtd.core.address.reachability import Outside
from dhtd.core.address_groups import is_beside
from dhtd.core.caps import none_hit
from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Outcome
from dhtd.core.ids import Id
from dhtd.core.messages import METHODS, Codec, Contact, Error, FindNode, FindValue, Found, Request, Result
from dhtd.core.policy import Policy
from dhtd.core.querying.transactions import InFlight, Transactions
from dhtd.core.routing.overlay import Overlay

if TYPE_CHECKING:
    from random import Random


class Operation(Protocol):
    """Who asks, and what to do about each answer. Called by the node only, and never from within `ask`."""

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """`contact` has answered; its ID may be another than the one that was asked for."""

    def slow(self, query: Asked, now: float) -> None:
        """The query takes longer than most; it may still be answered."""

    def late(self, query: Asked, now: float) -> None:
        """The query takes longer than nearly all; it may still be answered."""

    def retried(self, query: Asked, now: float) -> None:
        """An attempt timed out and another goes out."""

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """The query was refused with `error`, answered with nonsense, or (None) timed out for good."""

    def give_up(self, now: float) -> None:
        """A defect of ours has stopped this: end it as far as it has come, unless it is over. Nobody else is asked."""


Asked = InFlight[Operation]


class Transmit(NamedTuple):
    """A datagram to send."""

    data: bytes
    endpoint: Endpoint
    recipient: Id | None = None  # the node that is expected there, where that is known


@dataclass(slots=True)
class Counters:
    """What has gone through this node since it started; a part of section `network` of `dht info`."""

    malformed: int = 0  # datagrams that are no message of this version, answered with silence
    rate_limited: int = 0  # queries above a limit, answered with silence
    cut_short: int = 0  # those in the name of a contact that answers us, answered with a pong or a token alone
    unmatched: int = 0  # replies and errors that belong to no query in flight
    own_id_claimed: int = 0  # datagrams under our own ID, or contacts named with it elsewhere: taken for nothing
    repeated: int = 0  # stores and withdrawals that had been taken before: sent again or replayed, and not done again
    changes_refused: int = 0  # stores and withdrawals beyond the number that is remembered
    queries_received: dict[str, int] = field(default_factory=lambda: dict.fromkeys(METHODS.values(), 0))  # by method
    bad_queries: int = 0  # answered with an error: unknown method, bad arguments, bad token, full
    queries_sent: int = 0
    replies_received: int = 0
    errors_received: int = 0
    retries: int = 0
    timeouts: int = 0
    caps_hit: dict[str, int] = field(default_factory=none_hit)  # by cap; see `dhtd.core.caps`


class Requester:
    """Sends queries for operations, and keeps what is to go out."""

    __slots__ = (
        "_codec",
        "counters",
        "outcomes",
        "outside",
        "overlays",
        "own_id",
        "policy",
        "rng",
        "transactions",
        "transmits",
    )

    def __init__(
        self, own_id: Id, codec: Codec, rng: Random, policy: Policy, overlays: Iterable[Overlay], now: float
    ) -> None:
        self.own_id = own_id
        self.rng = rng
        self.policy = policy
        self.overlays: dict[int, Overlay] = {overlay.family: overlay for overlay in overlays}
        self.counters = Counters()
        for overlay in self.overlays.values():
            overlay.state.caps_hit = self.counters.caps_hit
        self.transactions: Transactions[Operation] = Transactions(codec.tid_size, rng, policy)
        self.transmits: deque[Transmit] = deque()
        self.outcomes: deque[Outcome] = deque()
        self.outside = Outside(policy, now)
        self._codec = codec

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
    ) -> Asked:
        """Send `request` for `owner`; `id` is the node that is expected there, where that is known.

        An `insistent` query is sent again before it times out: for when one lost datagram must not matter.
        """
        tid = self.transactions.new_tid()
        datagram = self._codec.encode_query(tid, self.own_id, request)
        query = InFlight(tid, request, endpoint, id, owner, datagram, now, attempts, insistent)
        overlay = self.overlays.get(len(endpoint))
        measured = None if id is None or overlay is None else overlay.state.round_trips(Contact(id, endpoint))
        self.transactions.begin(query, measured)
        self.counters.queries_sent += 1
        self.outside.contacted(endpoint, now)
        self.send(query)
        return query

    def ask_rest(self, query: Asked, contact: Contact, result: Result, now: float) -> bool:
        """Ask again with its token for what was cut from the answer to `query`, if anything was; return whether.

        Only once, for the same owner, which is told of the answer to that, too.
        """
        request = query.request
        if not isinstance(request, FindNode | FindValue) or request.token is not None:
            return False
        assert isinstance(result, Found)
        if not result.more:
            return False
        again, attempts = replace(request, token=result.token), query.attempts_left
        self.ask(query.owner, again, contact.endpoint, contact.id, now, attempts, insistent=query.is_insistent)
        return True

    def is_beside_us(self, endpoint: Endpoint) -> bool:
        """Whether who is there may name private addresses, though it is at a public one."""
        return is_beside(endpoint, self.policy.own_networks)

    def in_use(self) -> list[Overlay]:
        """Return the overlays in which somebody may be expected to answer; all of them, where in none."""
        overlays = list(self.overlays.values())
        return [overlay for overlay in overlays if overlay.is_in_use] or overlays

    def hear_of(self, contacts: Iterable[Contact], now: float) -> None:
        """Pass on contacts that were named to a search of another family than theirs."""
        for family, overlay in self.overlays.items():
            rumours = [contact for contact in contacts if len(contact.endpoint) == family]
            if rumours:
                overlay.hear_of(rumours, now)

    def send(self, query: Asked) -> None:
        """Queue a query's datagram."""
        self.transmits.append(Transmit(query.datagram, query.endpoint, query.id))

    def send_no_more(self, owner: Operation) -> None:
        """What `owner` has asked is not sent again; an answer that comes all the same is passed on to it."""
        for query in self.transactions:
            if query.owner is owner:
                query.attempts_left = 1
                query.is_insistent = False

    def tell(self, outcome: Outcome) -> None:
        """Queue what has become of an operation."""
        self.outcomes.append(outcome)
