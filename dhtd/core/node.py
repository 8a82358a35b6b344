"""The node: composes the parts of `dhtd.core` behind `handle_*` (input) and `poll_*` (output).

Drive it like this, from any loop and on any clock:

- hand each datagram to `handle_datagram` and send what it returns, which is the answer to a query;
- whenever `poll_timeout` has passed, call `handle_timeout`; a call too early or too often does nothing;
- after either, or one of its `commands`, send what `poll_transmit` yields and act on what `poll_event` yields;
- if the node is to `write_ahead`, make durable what `publisher.poll_unwritten` returns, and tell `publisher.written`.

The parts are attributes, for the owner to use: `commands` (lookup, enter, ...), `publisher` (own entries), `store`
(entries held for others), `values`, `watching` (watches), `memberships`, `overlays`, `external` (our address),
`outside` (whether others reach us), `gate` (the limits on queries) and `machine` (to be told what happens to it).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from dhtd.core.address.external_address import ExternalAddress
from dhtd.core.address.reachability import Reachability
from dhtd.core.codec import Codec
from dhtd.core.commands import Commands
from dhtd.core.counters import Counters
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.events import Event
from dhtd.core.ids import Id
from dhtd.core.machine import Machine
from dhtd.core.membership.memberships import Memberships
from dhtd.core.membership.naming import Naming
from dhtd.core.membership.waiting import Waiting
from dhtd.core.membership.whereabouts import Whereabouts
from dhtd.core.messages import SESSION_SIZE, BadQuery, Error, Query, Reply
from dhtd.core.news import News
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.publishing.publisher import Publisher
from dhtd.core.publishing.sweep import Sweep
from dhtd.core.querying.answers import Answers
from dhtd.core.querying.attempts import Attempts
from dhtd.core.querying.handles import Handles
from dhtd.core.querying.observations import Observation
from dhtd.core.querying.operations import Operations
from dhtd.core.querying.requester import Requester, Transmit
from dhtd.core.routing.overlay import Overlay
from dhtd.core.routing.overlays import Overlays
from dhtd.core.serving.gate import Gate, Serves
from dhtd.core.serving.responder import Responder
from dhtd.core.serving.strangers import Strangers
from dhtd.core.storage.store import HeldRecords
from dhtd.core.values.values import Values
from dhtd.core.watching.known_endpoints import KnownEndpoints
from dhtd.core.watching.watching import Watching
from dhtd.errors import WireError

if TYPE_CHECKING:
    from random import Random


_ALL: Final = Serves.ALL  # an attribute of an enumeration is looked up slowly


class Node:
    """One Kademlia node, in the networks of the address `families` that it is reached by: one overlay each.

    `own_ids`: the IDs in the networks of families where it has another one than `own_id`.

    `local`: where this machine reaches itself. Its own lookups answer with that for its own entries, until others have
    told how they see it. Answers to others never have it.

    `session`: the secret under which holders keep own records, of an earlier run. Without it, a new one is drawn.

    `write_ahead`: the nodes that a publication asks to hold an own entry are in `publisher.poll_unwritten` first. They
    are asked once the owner has called `publisher.written`, or after a while without that.
    """

    def __init__(
        self,
        own_id: Id,
        codec: Codec,
        *,
        rng: Random,
        now: float,
        policy: Policy = DEFAULT,
        families: Iterable[Family] = (Family.IPV4,),
        own_ids: Mapping[Family, Id] = MappingProxyType({}),
        local: Iterable[Endpoint] = (),
        session: bytes | None = None,
        write_ahead: bool = False,
    ) -> None:
        self.codec = codec
        self.counters = Counters()
        caps_hit = self.counters.caps_hit
        self.overlays = overlays = Overlays(
            Overlay(family, own_ids.get(family, own_id), codec, rng, policy, now, caps_hit) for family in families
        )
        self.state = overlays.first.state  # of the only one, for most nodes
        self.outside = Reachability(policy, now)
        # The asking side
        self.requester = requester = Requester(overlays, codec, rng, policy, self.counters, self.outside)
        self.handles = handles = Handles(policy.operations, caps_hit, requester.observations)
        operations = Operations()
        self.memberships = memberships = Memberships(requester, operations, overlays, caps_hit, rng)
        self.waiting = waiting = Waiting(memberships.must_wait)
        # Own records
        self.publisher = publisher = Publisher(
            requester,
            overlays,
            operations,
            waiting,
            handles.tell,
            handles.tell_news,
            memberships.find_lost,
            caps_hit,
            rng,
            now,
            session=rng.randbytes(SESSION_SIZE) if session is None else session,
            write_ahead=write_ahead,
        )
        self.own_records, self.withdrawals = publisher.records, publisher.withdrawals
        # Watches
        self.store, self.external = HeldRecords(policy), ExternalAddress(policy)
        known = KnownEndpoints(self.store, self.own_records, self.external, policy.own_networks, tuple(local))
        self.watching = watching = Watching(
            requester,
            overlays,
            operations,
            waiting,
            publisher.heartbeats,
            known,
            self.store.changed.watched,
            handles.tell,
            caps_hit,
            rng,
        )
        # Values
        self.values = values = Values(
            requester, overlays, operations, waiting, codec, self.counters, handles.tell, handles.tell_news, rng
        )
        # The answering side
        self.responder = responder = Responder(
            codec, rng, policy, overlays, self.store, watching, values.known, self.counters, now
        )
        self.strangers = Strangers(requester, overlays, responder, policy, caps_hit)
        self.gate = Gate(policy, rng, overlays, responder, self.counters, self.outside)
        # These are asked for each datagram, and stay the same.
        self._limit, self._unread = self.gate.limit, self.gate.malformed.unread
        self._is_settled = self.state.is_settled if len(overlays.own_ids) == 1 else overlays.is_settled
        # What brings them together
        whereabouts = Whereabouts(requester, overlays, self.external, policy)
        rule = codec.traits.id_rule
        naming = None if rule is None else Naming(rule, overlays, self.external, policy, rng)
        self._news = news = News(
            overlays,
            memberships,
            whereabouts,
            naming,
            responder,
            publisher,
            watching,
            values,
            waiting,
            operations,
            handles.tell_news,
            requester.observations,
        )
        self._answers = Answers(requester, codec, overlays, self.external, self.counters, news)
        self.machine = Machine(
            requester, overlays, memberships, publisher, responder, self.strangers.pings, values, self.gate, news
        )
        self.commands = Commands(
            requester, overlays, operations, waiting, handles, publisher, watching, values, news.settle, caps_hit
        )
        # The clock
        self._sweep = Sweep(policy, self.store, self.withdrawals, now)
        self._attempts = Attempts()
        self._is_paced = bool(policy.pace)
        self._next_timeouts = [
            requester.transactions.next_timeout,
            *publisher.next_timeouts(),
            watching.next_timeout,
            values.next_timeout,
            *memberships.next_timeouts(),
            *([requester.next_timeout] if policy.pace else []),  # each is asked after each datagram
        ]

    @property
    def policy(self) -> Policy:
        """What it follows; `machine.live_in` changes the networks in it."""
        return self.requester.policy

    @property
    def own_id(self) -> Id:
        """Its ID in its first network, by which users know it."""
        return self.overlays.own_id

    # Input

    def handle_datagram(self, data: bytes, source: Endpoint, now: float) -> bytes | None:
        """Take one datagram; return the datagram that answers it, if it is a query that deserves one."""
        # 1. Read it: not everything from a source of rubbish.
        if self._unread and self.gate.malformed.refuses(source, now) and not self.codec.is_plain(data):
            self.counters.malformed += 1
            return None
        try:
            message = self.codec.decode(data)
        except WireError:
            self.counters.malformed += 1
            self.gate.malformed.count(source, now)
            return None
        # 2. An answer goes to the operation that asked.
        if type(message) is not Query and type(message) is not BadQuery:
            self._handle_answer(message, source, now)
            return None
        # 3. A query. No node answers itself.
        sender = message.sender
        if sender in self.overlays.own_ids:
            if not self.requester.transactions.has(message.tid):  # else it is our own, to an address that is ours
                self.counters.own_id_claimed += 1
            return None
        # 4. Is its source served, and within the limits?
        if self.gate.serves is not _ALL and self.gate.turns_away(source, now):
            self.counters.unserved += 1
            return None
        cap = self._limit.refusal(source, now)
        if cap is not None:
            return self.gate.answer_above(message, cap, source, len(data), now)
        if type(message) is BadQuery:
            self.counters.bad_queries += 1
            return self.codec.encode_error(
                message.tid, self.overlays.own_id_towards(source), message.code, message.text, source
            )
        # 5. Answer it, and learn from it that the node is there: a ping finds out whether it belongs in the table.
        if now >= self.outside.look_at:
            self.outside.queried(source, now)
        answer = self.responder.answer(message, source, len(data), now)
        is_settled = self._is_settled
        if not is_settled(sender, source, now):
            self.strangers.consider(message, source, len(data), len(answer), now)
        return answer

    def handle_timeout(self, now: float) -> None:
        """Do what is due by `now`. A step that fails takes the turn of no other; its error is raised at the end."""
        attempts, publisher, settle = self._attempts, self.publisher, self._news.settle
        # 1. Queries that stayed without an answer, and those that waited for their turn.
        attempts.do(self._answers.expire, now, attempts)
        if self._is_paced:
            attempts.do(self.requester.send_due, now)
        attempts.do(settle, now)
        # 2. What has expired.
        attempts.do(self._sweep.go_on, now)
        # 3. The networks: joining, refreshing, introductions.
        for membership in self.memberships:
            attempts.do(membership.keep_up, now)
            attempts.do(settle, now)
        # 4. Own records.
        attempts.do(publisher.wait_no_longer, now, attempts)
        has_records = bool(publisher.record_timers)
        if has_records:
            attempts.do(publisher.publish_due, now, attempts)
            attempts.do(publisher.heartbeats.beat_due, now, attempts)
            attempts.do(publisher.patrol.go_round, now)
        attempts.do(publisher.newcomers.go_on, now)
        if has_records:
            attempts.do(publisher.withdrawing.retry_due, now, attempts)
        attempts.do(settle, now)
        # 5. Watches, those of others and our own.
        if self.watching.keys.watches:
            self.watching.go_on(now, attempts)
            attempts.do(settle, now)
        # 6. Values.
        self.values.go_on(now, attempts)
        attempts.do(settle, now)
        attempts.conclude()

    # Output

    def poll_transmit(self) -> Transmit | None:
        """Return the next datagram to send."""
        transmits = self.requester.transmits
        return transmits.popleft() if transmits else None

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is next to be called. Asking again after any input is cheap."""
        earliest = self._sweep.next_timeout()
        for next_timeout in self._next_timeouts:
            deadline = next_timeout()
            if deadline is not None and deadline < earliest:
                earliest = deadline
        return earliest

    def poll_event(self) -> Event | None:
        """Return the next event."""
        return self.handles.poll()

    def poll_observation(self) -> Observation | None:
        """Return what was observed next, once `observe` was called."""
        return self.requester.observations.poll()

    def observe(self, *, on: bool = True) -> None:
        """Tell what this node does from now on, by `poll_observation`; or no longer."""
        self.requester.observations.turn(on=on)

    # The networks

    def start(
        self,
        bootstrap: Iterable[Endpoint],
        now: float,
        *,
        routers: Iterable[Endpoint] = (),
        awaits_names: bool = False,
        at_once: bool = True,
    ) -> None:
        """Join the network by these endpoints and the restored contacts, now and when the network is lost.

        Where the node `awaits_names`, another call brings more endpoints, and commands wait for that. Endpoints that
        are new are tried at once, also while we are connected: they may be another part of the network. The others are
        tried `at_once` only if that is said, and else when it is their turn.

        `routers` are bootstrap endpoints that show the way alone: all use them, so they never become contacts.
        """
        self.memberships.start(bootstrap, routers, now, awaits_names=awaits_names, at_once=at_once)
        self._news.settle(now)

    def ask_around(self, since: float, now: float) -> None:
        """Find out whether each network still answers in which no node has after `since`."""
        self.memberships.ask_around(since, now)
        self._news.settle(now)

    # Inside

    def _handle_answer(self, message: Reply | Error, source: Endpoint, now: float) -> None:
        query = self._answers.match(message, source)
        if query is None:
            return
        try:
            if not self._answers.take(query, message, source, now):
                self.gate.malformed.count(source, now)
        finally:
            self._news.settle(now)
