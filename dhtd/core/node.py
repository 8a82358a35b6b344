"""The node: composes the parts of `dhtd.core` behind `handle_*` (input), `poll_*` (output) and commands.

Drive it like this, from any loop and on any clock:

- hand each datagram to `handle_datagram` and send what it returns, which is the answer to a query;
- whenever `poll_timeout` has passed, call `handle_timeout`; a call too early or too often does nothing;
- after either, or a command, send what `poll_transmit` yields and act on what `poll_event` yields;
- if the node is to `write_ahead`, make durable what `poll_unwritten` returns, and tell it that this is `written`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, assert_never

from dhtd.core.address.external_address import Verdict
from dhtd.core.address.reachability import Reachability
from dhtd.core.codec import Codec
from dhtd.core.counters import Counters
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.events import Bootstrapped, Event, GaveUp, Handle, Isolated, Joined, LookupProgress, Outcome, Unreached
from dhtd.core.ids import Id
from dhtd.core.membership.bootstrap import Bootstrap, Tried
from dhtd.core.membership.facts import CutOff, Doubtful, Fact, GivenUp, Heard, Measured, NewContact, Reached
from dhtd.core.membership.membership import Membership, Verifying
from dhtd.core.membership.waiting import Patience, Waiting
from dhtd.core.messages import BadQuery, Contact, Error, FindNode, FindValue, Found, Ping, Query, Reply, Request, Store
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.publishing.publisher import Publisher
from dhtd.core.publishing.sightings import Seen
from dhtd.core.publishing.write_ahead import Chosen
from dhtd.core.querying.attempts import Attempts
from dhtd.core.querying.check import Check
from dhtd.core.querying.commands import Commands
from dhtd.core.querying.lookup import Lookup
from dhtd.core.querying.operations import Operations, start
from dhtd.core.querying.requester import Asked, Operation, Requester, Transmit
from dhtd.core.querying.single_query import SingleQuery
from dhtd.core.querying.transactions import Late, Retry, Slow, TimedOut
from dhtd.core.records import Peer, RecordKey
from dhtd.core.routing.overlay import Overlay
from dhtd.core.routing.overlays import Overlays
from dhtd.core.serving.gate import Gate
from dhtd.core.serving.responder import Responder
from dhtd.core.serving.strangers import Strangers
from dhtd.core.storage.store import HeldRecord
from dhtd.errors import WireError

if TYPE_CHECKING:
    from random import Random


_SWEEP_PAUSE: Final = 0.01  # seconds, where much has expired


class Node:
    """One Kademlia node, in the networks of the address `families` that it is reached by: one overlay each.

    `own_ids`: the IDs in the networks of families where it has another one than `own_id`.

    `local`: where this machine reaches itself. Its own lookups answer with that for its own entries, until others have
    told how they see it; nobody else is told.

    `write_ahead`: whom a publication asks to hold an own entry is in `poll_unwritten` before, and is asked when the
    owner calls `written`, or has not done that for long.
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
        write_ahead: bool = False,
    ) -> None:
        self.codec, self.policy, self._rng = codec, policy, rng
        self.counters = Counters()
        caps_hit = self.counters.caps_hit
        self.overlays = [
            Overlay(family, own_ids.get(family, own_id), codec, rng, policy, now, caps_hit) for family in families
        ]
        self.state = self.overlays[0].state  # which for most nodes is the only one
        self._overlays = Overlays(self.overlays)
        self.own_id = self._overlays.own_id  # in its first network, by which users know it
        self.outside = Reachability(policy, now)
        self.requester = Requester(self._overlays, codec, rng, policy, self.counters, self.outside)
        # What is under way
        self.commands = Commands(policy.operations, caps_hit)
        self._operations = Operations()
        self._attempts = Attempts()
        self.waiting = Waiting(self._must_wait)
        self._asking: dict[Handle, SingleQuery | Lookup | Bootstrap] = {}  # commands that end with their owner
        # The network
        self.verifying = Verifying(self.requester)
        self.memberships = {
            overlay.family: Membership(self.requester, self._operations, self._overlays, overlay, self.verifying, rng)
            for overlay in self.overlays
        }
        self.membership = self.memberships[self.overlays[0].family]  # which is the only one as well
        # Own records
        self.publisher = Publisher(
            self.requester,
            self._overlays,
            self._operations,
            self.waiting,
            self.commands.tell,
            self.commands.events.append,
            self._find_lost,
            rng,
            now,
            write_ahead=write_ahead,
        )
        self.tracker, self.withdrawals = self.publisher.records, self.publisher.withdrawals
        # The answering side
        self.responder = Responder(codec, rng, policy, self._overlays, self.tracker, self.counters, now)
        self.store, self.external = self.responder.store, self.responder.external
        self.strangers = Strangers(self.requester, self._overlays, self.responder, policy)
        is_single = len(self.overlays) == 1
        self._own_ids = self._overlays.own_ids
        self._is_settled = self.state.is_settled if is_single else self._overlays.is_settled
        self.limit_rate(policy.rate_limit)

        self._local = tuple(local)
        self._survey_at = float("-inf")  # when we may ask again where we are
        self._sweep_at = now + policy.store_sweep
        self._next_timeouts = [self.requester.transactions.next_timeout, *self.publisher.next_timeouts()]
        for membership in self.memberships.values():
            self._next_timeouts += membership.next_timeouts()

    # Input

    def handle_datagram(self, data: bytes, source: Endpoint, now: float) -> bytes | None:
        """Take one datagram; return the datagram that answers it, if it is a query that deserves one."""
        if self._unread and self._gate.malformed.refuses(source, now) and not self.codec.is_plain(data):
            self.counters.malformed += 1
            return None
        try:
            message = self.codec.decode(data)
        except WireError:
            self.counters.malformed += 1
            self._gate.malformed.count(source, now)
            return None
        if type(message) is not Query and type(message) is not BadQuery:
            self._handle_answer(message, source, now)
            return None
        sender = message.sender
        if sender in self._own_ids:
            if not self.requester.transactions.has(message.tid):  # else it is our own, to an address that is ours
                self.counters.own_id_claimed += 1
            return None
        cap = self._limit.refusal(source, now)
        if cap is not None:
            return self._gate.answer_above(message, cap, source, len(data), now)
        if type(message) is BadQuery:
            self.counters.bad_queries += 1
            return self.codec.encode_error(
                message.tid, self._overlays.own_id_towards(source), message.code, message.text
            )
        if now >= self.outside.look_at:
            self.outside.queried(source, now)
        answer = self.responder.answer(message, source, len(data), now)
        is_settled = self._is_settled
        if not is_settled(sender, source, now):
            self.strangers.consider(message, source, len(data), len(answer), now)
        return answer

    def handle_timeout(self, now: float) -> None:
        """Do what is due by `now`. What fails takes the turn of nothing else, and is raised once all had theirs."""
        attempts = self._attempts
        attempts.do(self._expire, now)
        attempts.do(self._settle, now)
        attempts.do(self._sweep, now)
        for membership in self.memberships.values():
            attempts.do(membership.keep_up, now)
            attempts.do(self._settle, now)
        attempts.do(self.publisher.wait_no_longer, now, attempts)
        attempts.do(self.publisher.publish_due, now, attempts)
        attempts.do(self.publisher.patrol.go_round, now)
        attempts.do(self.publisher.newcomers.go_on, now)
        attempts.do(self.publisher.withdrawing.retry_due, now, attempts)
        attempts.do(self._settle, now)
        attempts.conclude()

    # Output

    def poll_transmit(self) -> Transmit | None:
        """Return the next datagram to send."""
        transmits = self.requester.transmits
        return transmits.popleft() if transmits else None

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is next to be called. Asking again after any input is cheap."""
        earliest = self._sweep_at
        for next_timeout in self._next_timeouts:
            deadline = next_timeout()
            if deadline is not None and deadline < earliest:
                earliest = deadline
        return earliest

    def poll_event(self) -> Event | None:
        """Return the next event."""
        events = self.commands.events
        return events.popleft() if events else None

    def poll_unwritten(self) -> list[Chosen]:
        """Return who was chosen to hold own entries, and waits to be written down; `holders` has them already."""
        return self.publisher.poll_unwritten()

    def written(self, chosen: Iterable[Chosen], now: float) -> None:
        """What `poll_unwritten` has returned is written down, or cannot be: ask these to hold the entries."""
        self.publisher.written(chosen, now)

    # Commands. Each returns at once; its handle comes back in events, of which the last is named here.
    # With `operations` of them under way, all but `enter` and `delete` raise `Busy`. The caller of these has a disk to
    # change as well, and first of all: before that, it asks `check_free` and `check_room` itself.

    def ping(self, endpoint: Endpoint, now: float) -> Handle:
        """Ping an endpoint; ends with `Answered` or `Unanswered`."""
        return self._ask(Ping(), endpoint, now)

    def find_node(self, endpoint: Endpoint, target: Id, now: float) -> Handle:
        """Ask one node for the nodes nearest to `target`; ends with `Answered` or `Unanswered`."""
        return self._ask(FindNode(target), endpoint, now)

    def find_value(self, endpoint: Endpoint, key: Id, now: float) -> Handle:
        """Ask one node who serves `key`; ends with `Answered` or `Unanswered`."""
        return self._ask(FindValue(key), endpoint, now)

    def store_at(self, endpoint: Endpoint, key: Id, port: int, token: bytes, now: float) -> Handle:
        """Ask one node to hold an entry, once; ends with `Answered` or `Unanswered`."""
        return self._ask(Store(key, port, token), endpoint, now)

    def lookup(self, key: Id, now: float) -> Handle:
        """Find who serves `key`; `LookupProgress` as answers come in, ends with `LookupDone`."""
        self.check_free()
        known = self.responder.known(key, now)
        if not self.external.endpoints():
            known += [here.with_port(port) for here in self._local for port in self.tracker.ports(key)]
        op, report = self.commands.begin(), self._operations.report_to(self._told)
        lookup = self._asking[op] = Lookup(op, self.requester, self._overlays, report, key, known, now)
        self._begin(lookup, now)
        return op

    def enter(self, key: Id, port: int, now: float, *, patient: bool = False) -> Handle:
        """Track an own entry and publish it; ends with `Published`, once for this publication.

        Where the entry is being published already, this waits for that publication. A `patient` command waits until
        the network is reached, however long that takes; another one ends with no replicas where the first attempts to
        join have failed. Raises `TooManyEntries`.
        """
        self.check_room(key, port)
        op = self.commands.begin()
        try:
            self.publisher.enter(op, RecordKey.of(key, Peer.on(port)), now, patient=patient)
        finally:
            self._settle(now)
        return op

    def delete(self, key: Id, port: int | None, now: float) -> tuple[Handle, list[int]]:
        """Stop tracking a key's entries (all, or that of `port`) and withdraw them; ends with `Withdrawn`.

        Holders that have not let go of them by then are asked again until none is left in `withdrawals`. On a wire that
        has no withdrawals it ends with `CannotWithdraw`, and `withdrawals` has the holders until their copies expire.
        Also returns the ports that were tracked; if there were none, nothing follows.
        """
        op = self.commands.begin()
        try:
            ports = self.publisher.delete(op, key, port, now)
            if not ports:
                self.commands.end(op)
        finally:
            self._settle(now)
        return op, ports

    def bootstrap(self, endpoints: Iterable[Endpoint], now: float) -> Handle:
        """Join the network by these endpoints; ends with `Bootstrapped`."""
        self.check_free()
        op = self.commands.begin()

        report = self._operations.report_to(partial(self._bootstrapped, op))
        bootstrap = self._asking[op] = Bootstrap(self.requester, self._overlays, report, endpoints)
        start(bootstrap, now)
        self._settle(now)
        return op

    def cancel(self, op: Handle) -> None:
        """Report nothing more of this operation: its owner is gone. It waits for the network no longer.

        A command that only asks ends with it: nothing is sent for it any more.
        """
        self.commands.open.discard(op)
        self.publisher.waits_no_longer(op)
        asking = self._asking.pop(op, None)
        if asking is not None:
            self.commands.end(op)
            if isinstance(asking, Lookup):
                self.waiting.forget(asking)
            asking.cancel()

    def check_free(self) -> None:
        """Raise `Busy` where no further command is taken until one has ended."""
        self.commands.check_free()

    def check_room(self, key: Id, port: int) -> None:
        """Raise `TooManyEntries` where no further own entry is taken, or none of this key; one that is there is."""
        self.publisher.check_room(RecordKey.of(key, Peer.on(port)))

    def limit_rate(self, rate: float, total: float | None = None) -> None:
        """Answer at most `rate` queries a second from each source, and `total` from all, from now on; 0 is no limit.

        Without a `total`, it is that of the policy.
        """
        self._gate = Gate(self.policy, self._rng, self._overlays, self.responder, self.counters, rate, total)
        self._limit, self._unread = self._gate.limit, self._gate.malformed.unread  # asked for each datagram

    # Beginning, and what survives a restart

    @property
    def is_connected(self) -> bool:
        """Whether there is somebody to talk to, in any family."""
        return self._overlays.is_connected

    def is_in_doubt(self, family: Family) -> bool:
        """Whether a live contact is silent, and it is being looked into whether anybody in this network answers."""
        return self.memberships[family].is_in_doubt

    @property
    def is_asking_around(self) -> bool:
        """Whether it is being looked into whether anybody answers, in any network."""
        return any(membership.is_asking_around for membership in self.memberships.values())

    def ask_around(self, since: float, now: float) -> None:
        """Look into whether anybody answers, in each network in which nobody has answered after `since`."""
        for membership in self.memberships.values():
            membership.ask_around(since, now)
        self._settle(now)

    def contacts(self) -> list[Contact]:
        """Return the contacts of all families."""
        return self._overlays.contacts()

    def endpoints_to_join_by(self) -> list[Endpoint]:
        """Return the bootstrap endpoints of all families."""
        return [endpoint for membership in self.memberships.values() for endpoint in membership.join.bootstrap]

    @property
    def has_somebody_to_join_by(self) -> bool:
        """Whether there is a bootstrap endpoint, or a name that may lead to one."""
        joins = [membership.join for membership in self.memberships.values()]
        return any(join.awaits_names or join.bootstrap for join in joins)

    @property
    def awaits_names(self) -> bool:
        """Whether more bootstrap endpoints are to come, once their names are resolved."""
        return any(membership.join.awaits_names for membership in self.memberships.values())

    def start(
        self, bootstrap: Iterable[Endpoint], now: float, *, awaits_names: bool = False, at_once: bool = True
    ) -> None:
        """Join the network by these endpoints and the restored contacts, now and when the network is lost.

        Where the node `awaits_names`, another call brings more endpoints, and commands wait for that. Endpoints that
        are new are tried at once, also while we are connected: they may be another part of the network. The others are
        tried `at_once` only if that is said, and else when it is their turn.
        """
        endpoints = tuple(bootstrap)
        for membership in self.memberships.values():
            membership.start(endpoints, now, awaits_names=awaits_names, at_once=at_once)
        self._settle(now)

    def live_in(self, networks: tuple[bytes, ...], now: float) -> None:
        """This machine is in other networks of its own now: what limits contacts by network is counted anew.

        Who was turned away before may come in, so we look our neighbours up again.
        """
        self.policy = self.requester.policy = replace(self.policy, own_networks=networks)
        self.responder.own_networks = networks
        self.strangers.pings.live_in(networks)
        for membership in self.memberships.values():
            membership.live_in(networks, now)
        self._settle(now)

    def moved(self, now: float) -> None:
        """This machine is reached at another address: tell those who hold own entries soon, and ask where we are."""
        self.publisher.moved(now)
        self._ask_where_we_are(now)
        for membership in self.memberships.values():
            membership.moved(now)

    def slept(self, seconds: float, now: float) -> None:
        """The machine stood still for so long, and `now` does not tell: take what is known as so much older.

        Held entries and withdrawals keep their time: perhaps it was only the clock that was set.
        """
        for overlay in self.overlays:
            overlay.slept(seconds)
        self.responder.slept(seconds)
        self.publisher.slept(seconds, now)

    def restore_contact(self, contact: Contact) -> bool:
        """Put back a contact of an earlier run; it is questionable until it answers. Not one of another family."""
        overlay = self._overlays.of(contact.endpoint)
        return overlay is not None and not contact.endpoint.is_mapped and overlay.state.restore(contact)

    def restore_own(self, record_key: RecordKey, now: float) -> None:
        """Put back an own entry, unless it is there; it is published once the network is reached."""
        self.publisher.restore_own(record_key, now)

    def restored(self, now: float) -> None:
        """All that is to be restored is there: ask holders to let go of what was deleted, where there is a network."""
        self.publisher.restored(now)

    def restore_holder(
        self, record_key: RecordKey, contact: Contact, until: float, now: float, seen: Seen = ()
    ) -> bool:
        """Put back who may hold an own entry until then, or one that was deleted; after `restore_own`, if it was not.

        `seen`: see `seen_by`. Return whether there is anything in it. Not one of another family.
        """
        return self.publisher.restore_holder(record_key, contact, until, now, seen)

    def holders(self, record_key: RecordKey, now: float) -> dict[Contact, float]:
        """Return who may hold an own entry, or one that was deleted, and until when."""
        return self.publisher.holders(record_key, now)

    def seen_by(self, record_key: RecordKey, holder: Endpoint) -> Seen:
        """Return the addresses that stores of an own entry came from, as a holder has seen it, and until when."""
        entry = self.tracker.get(record_key)
        return () if entry is None else entry.sightings.of(holder)

    def restore_held(self, entry: HeldRecord, now: float) -> None:
        """Put back an entry that is held for another node, unless it has expired."""
        if entry.expires_at > now:
            self.store.restore(entry, now)

    # Inside

    def _handle_answer(self, message: Reply | Error, source: Endpoint, now: float) -> None:
        query = self.requester.transactions.match(message.tid, source)
        if query is None:
            self.counters.unmatched += 1
            return
        if message.sender in self._own_ids:  # this is not the node that was asked: as good as no answer
            self.counters.own_id_claimed += 1
            return
        try:
            self._take_answer(query, message, source, now)
        except Exception:
            query.owner.give_up(now)
            raise
        finally:
            self._settle(now)

    def _take_answer(self, query: Asked, message: Reply | Error, source: Endpoint, now: float) -> None:
        if isinstance(message, Error):
            self.counters.errors_received += 1
            if message.sender is None:  # the error concerns the query, and says nothing of a node
                self.requester.transactions.conclude(query, now)
            else:
                self._heard(query, Contact(message.sender, source), now)
            query.owner.failed(query, message, now)
            return
        try:
            result = self.codec.decode_result(query.request, message.body)
        except WireError:
            self.counters.malformed += 1
            self._gate.malformed.count(source, now)
            return
        self.counters.replies_received += 1
        if message.observed is not None:
            self._observed(source, message.observed, now)
        if isinstance(result, Found):
            self.counters.own_id_claimed += sum(map(self._is_namesake, result.contacts))
        contact = Contact(message.sender, source)
        self._heard(query, contact, now)
        query.observed = message.observed
        query.owner.answered(query, contact, result, now)

    def _observed(self, voter: Endpoint, observed: Endpoint, now: float) -> None:
        match self.external.vote(voter, observed, now):
            case Verdict.MOVED:
                self.moved(now)
            case Verdict.CONTRADICTED:
                self._ask_where_we_are(now)
            case Verdict.NOTHING:
                pass
            case verdict:
                assert_never(verdict)

    def _expire(self, now: float) -> None:
        for expiry in self.requester.transactions.expire(now):
            self._attempts.do(self._expired, expiry, now)

    def _expired(
        self, expiry: Slow[Operation] | Late[Operation] | Retry[Operation] | TimedOut[Operation], now: float
    ) -> None:
        query = expiry.query
        try:
            match expiry:
                case Slow() | Late():
                    if query.is_insistent:
                        self.counters.retries += 1
                        self.requester.send(query)
                    if query.impatient is not None:
                        query.impatient.overdue(query, now, late=isinstance(expiry, Late))
                case Retry(sent_at=sent_at):
                    self.counters.retries += 1
                    self.requester.send(query)
                    self._unanswered(query, sent_at, now)
                    if query.on_retry is not None:
                        query.on_retry(now)
                case TimedOut():
                    self.counters.timeouts += 1
                    self._unanswered(query, query.sent_at, now)
                    query.owner.failed(query, None, now)
                case _:
                    assert_never(expiry)
        except Exception:
            query.owner.give_up(now)
            raise

    def _sweep(self, now: float) -> None:
        """Drop what has expired: some of it, and the rest bit by bit, so that others have their turn."""
        if now >= self._sweep_at:
            self._sweep_at = now + self.policy.store_sweep
            self.store.sweep(now)
            if self.withdrawals.sweep(now) or self.store.has_expired(now):
                self._sweep_at = now + _SWEEP_PAUSE

    def _ask_where_we_are(self, now: float) -> None:
        """Ping those who have answered last: what most of them say counts. Once in a while, whoever gives cause to."""
        if now < self._survey_at:
            return
        self._survey_at = now + self.policy.move_gap
        for overlay in self.overlays:
            for contact in overlay.state.latest(self.policy.external_votes):
                Check(self.requester).start(contact.endpoint, contact.id, now, attempts=1)

    def _is_namesake(self, named: Contact) -> bool:
        """Whether a contact has our ID at an address where nobody sees us. Lookups ask neither it nor ourselves."""
        own_id = self._overlays.own_id_towards(named.endpoint)
        return named.id == own_id and self.external.is_elsewhere(named.endpoint)

    def _ask(self, request: Request, endpoint: Endpoint, now: float) -> Handle:
        self.check_free()
        op, report = self.commands.begin(), self._operations.report_to(self._told)
        query = self._asking[op] = SingleQuery(op, self.requester, report, request, endpoint)
        start(query, now)
        return op

    def _begin(self, lookup: Lookup, now: float) -> None:
        try:
            self.waiting.begin(lookup, Patience.SOME, now)
        finally:
            self._settle(now)

    def _must_wait(self, patience: Patience, now: float) -> bool:
        """Whether an operation would find nobody, or only contacts of an earlier run, while we are about to join."""
        if self._overlays.is_connected:
            return False
        return any(membership.must_wait(patience, now) for membership in self.memberships.values())

    def _heard(self, query: Asked, contact: Contact, now: float) -> None:
        rtt = self.requester.transactions.conclude(query, now)
        membership = self._membership(contact.endpoint)
        if membership is not None:  # else the user has asked somebody in a network that is not ours
            self._take(membership.heard(query, contact, rtt, now), now)

    def _unanswered(self, query: Asked, sent_at: float, now: float) -> None:
        membership = self._membership(query.endpoint)
        if membership is not None and query.id is not None:
            self._take(membership.unanswered(Contact(query.id, query.endpoint), sent_at, now), now)

    def _membership(self, endpoint: Endpoint) -> Membership | None:
        overlay = self._overlays.of(endpoint)
        return None if overlay is None else self.memberships[overlay.family]

    def _find_lost(self, contact: Contact, now: float) -> None:
        membership = self._membership(contact.endpoint)
        assert membership is not None
        membership.find_lost(contact, now)

    def _bootstrapped(self, op: Handle, outcome: Tried | None, now: float) -> None:
        if outcome is None:
            self._told(GaveUp(op), now)
        else:
            self._told(Bootstrapped(op, outcome.contacted, len(outcome.silent), outcome.silent), now)

    def _told(self, outcome: Outcome, now: float) -> None:
        if not isinstance(outcome, LookupProgress):
            self._asking.pop(outcome.op, None)
        self.commands.tell(outcome, now)

    def _settle(self, now: float) -> None:
        """Tell those that it concerns what became of operations, and what was learned of the network."""
        while True:
            self.waiting.settle(now)
            self._operations.settle(now)
            facts = [fact for membership in self.memberships.values() for fact in membership.poll_facts()]
            self._take(facts, now)
            if not facts and not self._operations:
                return

    def _take(self, facts: Iterable[Fact], now: float) -> None:
        publisher, events = self.publisher, self.commands.events
        for fact in facts:
            match fact:
                case Heard(contact, is_accepted):
                    publisher.withdrawals.heard(contact, now, is_accepted=is_accepted)
                case NewContact(contact):
                    publisher.newcomers.joined(contact, now)
                case Doubtful(contact):
                    publisher.doubtful(contact, now)
                case GivenUp(contact):
                    publisher.patrol.lost(contact, now)
                case Measured(family, size):
                    publisher.hurrying.network_has(size, family, now)
                case Reached(family, contacts):
                    publisher.reached(family, now)
                    events.append(Joined(contacts, family))
                case CutOff(family):
                    events.append(Isolated(family))
                case Unreached():
                    events.append(fact)
                case _:
                    assert_never(fact)
