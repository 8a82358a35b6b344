"""The answers to our queries, and the queries that stay without one.

What an answer says is for the operation that asked. That it came says something of the network, so the parts of the
node that follow the network hear of it first.
"""

from __future__ import annotations

from typing import Protocol, assert_never

from dhtd.core.address.external_address import ExternalAddress
from dhtd.core.codec import Codec
from dhtd.core.counters import Counters
from dhtd.core.endpoint import Endpoint
from dhtd.core.messages import Contact, Error, Found, Reply
from dhtd.core.querying.attempts import Attempts
from dhtd.core.querying.observations import QueryEnded
from dhtd.core.querying.requester import Asked, Operation, Requester
from dhtd.core.querying.transactions import Late, Retry, Slow, TimedOut
from dhtd.core.routing.overlays import Overlays
from dhtd.errors import WireError


class Witness(Protocol):
    """Follows what answers show of the network."""

    def observed(self, voter: Endpoint, observed: Endpoint, now: float) -> None:
        """A node sees us at this endpoint."""

    def heard(self, query: Asked, contact: Contact, rtt: float | None, now: float) -> None:
        """A contact has answered a query, `rtt` seconds after it was sent, where that is unambiguous."""

    def unanswered(self, query: Asked, sent_at: float, now: float) -> None:
        """An attempt at a query, which was sent at `sent_at`, was not answered."""


class Answers:
    """Brings answers and timeouts to the operations that own the queries."""

    __slots__ = (
        "_codec",
        "_counters",
        "_external",
        "_observations",
        "_overlays",
        "_requester",
        "_transactions",
        "_witness",
    )

    def __init__(
        self,
        requester: Requester,
        codec: Codec,
        overlays: Overlays,
        external: ExternalAddress,
        counters: Counters,
        witness: Witness,
    ) -> None:
        self._transactions = requester.transactions
        self._requester = requester
        self._observations = requester.observations
        self._codec = codec
        self._overlays = overlays
        self._external = external
        self._counters = counters
        self._witness = witness

    def match(self, message: Reply | Error, source: Endpoint) -> Asked | None:
        """Return the query that a message answers, if it answers any."""
        query = self._transactions.match(message.tid, source)
        if query is None:
            self._counters.unmatched += 1
        elif message.sender in self._overlays.own_ids:  # this is not the node that was asked: as good as no answer
            self._counters.own_id_claimed += 1
            return None
        return query

    def take(self, query: Asked, message: Reply | Error, source: Endpoint, now: float) -> bool:
        """Take the answer to a query; return whether it could be read. If not, the query is still in flight."""
        try:
            if isinstance(message, Error):
                self._refused(query, message, source, now)
                return True
            return self._replied(query, message, source, now)
        except Exception:
            query.owner.give_up(now)
            raise

    def _refused(self, query: Asked, error: Error, source: Endpoint, now: float) -> None:
        self._counters.errors_received += 1
        if error.sender is None:  # the error concerns the query, and says nothing of a node
            self._transactions.conclude(query, now)
        else:
            self._heard(query, Contact(error.sender, source), now)
        if self._observations.is_on and not query.is_traced:
            ended = QueryEnded(query.request, source, error.sender, _rtt(query, now), "refused", error.code)
            self._observations.note(ended)
        query.owner.failed(query, error, now)

    def _replied(self, query: Asked, reply: Reply, source: Endpoint, now: float) -> bool:
        # 1. Can it be read as an answer to this query?
        try:
            result = self._codec.decode_result(query.request, reply.body)
        except WireError:
            self._counters.malformed += 1
            return False
        self._counters.replies_received += 1
        # 2. It tells where we are.
        if reply.observed is not None:
            self._witness.observed(source, reply.observed, now)
        if isinstance(result, Found):
            own_ids = self._overlays.own_ids
            named = [contact for contact in result.contacts if contact.id in own_ids]  # mostly none
            self._counters.own_id_claimed += sum(map(self._is_namesake, named))
        # 3. The node is there.
        contact = Contact(reply.sender, source)
        self._heard(query, contact, now)
        # 4. The operation learns what it asked for.
        if self._observations.is_on and not query.is_traced:
            self._observations.note(QueryEnded(query.request, source, contact.id, _rtt(query, now), "answered"))
        query.observed = reply.observed
        query.owner.answered(query, contact, result, now)
        return True

    def expire(self, now: float, attempts: Attempts) -> None:
        """Tell what has become of queries by `now`: slow, late, sent again, or timed out for good."""
        for expiry in self._transactions.expire(now):
            attempts.do(self._expired, expiry, now)

    def _expired(
        self, expiry: Slow[Operation] | Late[Operation] | Retry[Operation] | TimedOut[Operation], now: float
    ) -> None:
        query = expiry.query
        try:
            match expiry:
                case Slow() | Late():
                    if query.is_insistent:
                        self._send_again(query, now)
                    if query.impatient is not None:
                        query.impatient.overdue(query, now, late=isinstance(expiry, Late))
                case Retry(sent_at=sent_at):
                    self._send_again(query, now)
                    self._witness.unanswered(query, sent_at, now)
                    if query.on_retry is not None:
                        query.on_retry(now)
                case TimedOut():
                    self._counters.timeouts += 1
                    self._witness.unanswered(query, query.sent_at, now)
                    if self._observations.is_on and not query.is_traced:
                        self._observations.note(QueryEnded(query.request, query.endpoint, query.id, None, "silent"))
                    query.owner.failed(query, None, now)
                case _:
                    assert_never(expiry)
        except Exception:
            query.owner.give_up(now)
            raise

    def _send_again(self, query: Asked, now: float) -> None:
        self._counters.retries += 1
        self._requester.send_again(query, now)

    def _heard(self, query: Asked, contact: Contact, now: float) -> None:
        self._witness.heard(query, contact, self._transactions.conclude(query, now), now)

    def _is_namesake(self, named: Contact) -> bool:
        """Whether a contact has our ID at an address where no node sees us. Lookups ask neither it nor ourselves."""
        return named.id == self._overlays.own_id_towards(named.endpoint) and self._external.is_elsewhere(named.endpoint)


def _rtt(query: Asked, now: float) -> float | None:
    return None if query.retried else now - query.sent_at
