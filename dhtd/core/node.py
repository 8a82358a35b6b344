"""The node: composes the parts of `dhtd.core` behind `handle_*` (input), `poll_*` (output) and commands.

Drive it like this, from any loop and on any clock:

- hand each datagram to `handle_datagram` and send what it returns, which is the answer to a query;
- whenever `poll_timeout` has passed, call `handle_timeout`; a call too early or too often does nothing;
- after either, or a command, send what `poll_transmit` yields and act on what `poll_event` yields;
- if the node is to `write_ahead`, make durable what `poll_unwritten` returns, and tell it that this is `written`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, ParamSpec, assert_never

from dhtd.core.address.external_address import Verdict
from dhtd.core.caps import (
    ENTRY_HOLDERS,
    OPERATIONS,
    OWN_ENTRIES,
    OWN_PORTS,
    RATE_LIMIT,
    RATE_LIMIT_TOTAL,
    VERIFICATIONS,
    WITHDRAWALS,
)
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.events import (
    INTERNAL,
    Answered,
    Bootstrapped,
    CutOff,
    Event,
    GaveUp,
    Handle,
    Isolated,
    Joined,
    LookupDone,
    LookupProgress,
    Outcome,
    Published,
    Refreshed,
    Reminded,
    Unanswered,
    Unheld,
    Unreached,
    Withdrawn,
)
from dhtd.core.ids import Id
from dhtd.core.membership.joining import Join
from dhtd.core.membership.outage import Doubt, Stage
from dhtd.core.messages import (
    BadQuery,
    Codec,
    Contact,
    Error,
    FindNode,
    FindValue,
    Found,
    Ping,
    Query,
    Reply,
    Request,
    Store,
)
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.publishing.newcomers import Newcomers
from dhtd.core.publishing.own_records import EntryKey, OwnEntry, Tracker, entry_key
from dhtd.core.publishing.patrol import Patrol
from dhtd.core.publishing.pending_withdrawals import Holder, Withdrawals
from dhtd.core.publishing.publication import Publication, Withdrawal
from dhtd.core.publishing.sightings import Seen
from dhtd.core.publishing.withdrawal_retry import Reminder
from dhtd.core.publishing.write_ahead import Chosen, WriteAhead
from dhtd.core.querying.operations import Bootstrap, Check, Lookup, Refresh, SingleQuery
from dhtd.core.querying.requester import Asked, Operation, Requester, Transmit
from dhtd.core.querying.transactions import Late, Retry, Slow, TimedOut
from dhtd.core.querying.traversal import Traversal
from dhtd.core.routing.admission import Contested, Crowded, Full, Inserted, Known, Refused, Replaced, Verify
from dhtd.core.routing.overlay import Overlay
from dhtd.core.routing.standing import Standing
from dhtd.core.serving.malformed import Malformed
from dhtd.core.serving.rate_limit import RateLimit
from dhtd.core.serving.responder import Responder
from dhtd.core.serving.stranger_pings import Strangers
from dhtd.core.storage.store import HeldEntry
from dhtd.errors import Busy, TooManyEntries, WireError

if TYPE_CHECKING:
    from random import Random

P = ParamSpec("P")

_SWEEP_PAUSE: Final = 0.01  # seconds, where much has expired


class Node:
    """One Kademlia node, in the networks of the address `families` that it is reached by: one overlay each.

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
        local: Iterable[Endpoint] = (),
        write_ahead: bool = False,
    ) -> None:
        self.own_id, self.codec, self.policy = own_id, codec, policy
        self.overlays = [Overlay(family, own_id, codec, rng, policy, now) for family in families]
        first = self.overlays[0]  # which for most nodes is the only one
        self.state, self.join = first.state, first.join
        self.tracker = Tracker(rng, policy, [overlay.family for overlay in self.overlays])
        self.withdrawals = Withdrawals(rng, policy, self.tracker.changed)
        self._requester = Requester(own_id, codec, rng, policy, self.overlays, now)
        self.counters = self._requester.counters
        self.outside = self._requester.outside
        self._responder = Responder(own_id, codec, rng, policy, self.overlays, self.tracker, self.counters, now)
        self.store, self.external = self._responder.store, self._responder.external
        self._rng = rng
        self._local = tuple(local)
        self._by_family = self._requester.overlays
        self._patrol, self._newcomers = (
            Patrol(self._requester, self.tracker, now),
            Newcomers(self._requester, self.tracker),
        )
        self._doubts = {overlay.family: Doubt(self._requester, overlay) for overlay in self.overlays}
        is_single = len(self.overlays) == 1
        self._is_settled = self.state.is_settled if is_single else self._is_settled_by_family
        self._answers_us = self.state.answers_us if is_single else self._answers_us_by_family
        self.limit_rate(policy.rate_limit)
        self._write_ahead = WriteAhead(policy.write_ahead) if write_ahead else None
        self._sweep_at = now + policy.store_sweep
        self._next_timeouts = [
            self._requester.transactions.next_timeout,
            self.tracker.next_timeout,
            self.tracker.next_overdue,
            self._patrol.next_timeout,
            self._newcomers.next_timeout,
            self.withdrawals.next_timeout,
        ]
        if self._write_ahead is not None:
            self._next_timeouts.append(self._write_ahead.next_timeout)
        for overlay in self.overlays:
            self._next_timeouts += [overlay.join.next_timeout, overlay.refresher.next_timeout]
            self._next_timeouts.append(overlay.next_introduction)
        self._strangers = Strangers(policy)
        self._verifying: set[Endpoint] = set()  # questionable contacts being pinged
        self._publications: dict[EntryKey, Publication] = {}
        self._withdrawing: Counter[EntryKey] = Counter()  # how many withdrawals of an entry are under way
        self._held_back: dict[EntryKey, Publication] = {}  # until the withdrawals of the same entry are over
        self._deferred: list[Traversal] = []  # operations that wait for the network to be reached
        self._patient: set[Handle] = set()  # commands that wait for it however long that takes
        self._asking: dict[Handle, SingleQuery | Lookup | Bootstrap] = {}  # commands that end with who gave them
        self._open: set[Handle] = set()  # operations whose owner waits for their outcome
        self._running: set[Handle] = set()  # these, and those that go on though nobody waits
        self._events: deque[Event] = deque()
        self._failures: list[Exception] = []  # of what is due now
        self._survey_at, self._last_handle = float("-inf"), 0  # when we may ask again where we are; the last command

    # Input

    def handle_datagram(self, data: bytes, source: Endpoint, now: float) -> bytes | None:
        """Take one datagram; return the datagram that answers it, if it is a query that deserves one."""
        if self._unread and self._malformed.refuses(source, now) and not self.codec.is_plain(data):
            self.counters.malformed += 1
            return None
        try:
            message = self.codec.decode(data)
        except WireError:
            self.counters.malformed += 1
            self._malformed.count(source, now)
            return None
        if type(message) is not Query and type(message) is not BadQuery:
            self._handle_answer(message, source, now)
            return None
        sender = message.sender
        if sender == self.own_id:
            if not self._requester.transactions.has(message.tid):  # else it is our own, to an address that is ours
                self.counters.own_id_claimed += 1
            return None
        cap = self._rate_limit.refusal(source, now)
        if cap is not None:
            return self._above_limit(message, cap, source, len(data), now)
        if type(message) is BadQuery:
            self.counters.bad_queries += 1
            return self.codec.encode_error(message.tid, self.own_id, message.code, message.text)
        if now >= self.outside.look_at:
            self.outside.queried(source, now)
        answer = self._responder.answer(message, source, len(data), now)
        if not self._is_settled(sender, source, now):
            self._consider(message, source, self.policy.amplification * len(data) - len(answer), now)
        return answer

    def handle_timeout(self, now: float) -> None:
        """Do what is due by `now`. What fails takes the turn of nothing else, and is raised once all had theirs."""
        self._try(self._expire, now)
        self._try(self._settle, now)
        self._try(self._sweep, now)
        for overlay in self.overlays:
            self._try(self._keep_up, overlay, now)
        self._try(self._wait_no_longer, now)
        self._try(self._publish_due, now)
        self._try(self._newcomers.go_on, now)
        self._try(self._patrol.go_round, now)
        self._try(self._remind_due, now)
        self._try(self._settle, now)
        if self._failures:
            failures, self._failures = self._failures, []
            raise ExceptionGroup("not all that was due could be done", failures)

    # Output

    def poll_transmit(self) -> Transmit | None:
        """Return the next datagram to send."""
        transmits = self._requester.transmits
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
        return self._events.popleft() if self._events else None

    def poll_unwritten(self) -> list[Chosen]:
        """Return who was chosen to hold own entries, and waits to be written down; `holders` has them already."""
        return [] if self._write_ahead is None else self._write_ahead.poll()

    def written(self, chosen: Iterable[Chosen], now: float) -> None:
        """What `poll_unwritten` has returned is written down, or cannot be: ask these to hold the entries."""
        assert self._write_ahead is not None
        for each in chosen:
            self._write_ahead.over(each)
            each.publication.written(each.contacts, now)

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
        known = self._responder.known(key, now)
        if not self.external.endpoints():
            known += [here.with_port(port) for here in self._local for port in self.tracker.ports(key)]
        op = self._new_handle()
        lookup = self._asking[op] = Lookup(op, self._requester, key, known, now)
        return self._begin(op, lookup, now)

    def enter(self, key: Id, port: int, now: float, *, patient: bool = False) -> Handle:
        """Track an own entry and publish it; ends with `Published`, once for this publication.

        Where the entry is being published already, this waits for that publication. A `patient` command waits until
        the network is reached, however long that takes; another one ends with no replicas where the first attempts to
        join have failed. Raises `TooManyEntries`.
        """
        self.check_room(key, port)
        entry = self.tracker.add(key, port)
        for contact, until in self.withdrawals.take(key, port).items():
            self._may_hold(entry, contact, until)
        op = self._new_handle()
        if patient:
            self._patient.add(op)
        self._publish(op, key, port, now)
        self._settle(now)
        return op

    def delete(self, key: Id, port: int | None, now: float) -> tuple[Handle, list[int]]:
        """Stop tracking a key's entries (all, or that of `port`) and withdraw them; ends with `Withdrawn`.

        Who has not let go of them by then is asked again, until `withdrawals` has nothing of them.
        Also returns the ports that were tracked; if there were none, nothing follows.
        """
        ports = [tracked for tracked in self.tracker.ports(key) if port is None or tracked == port]
        entries = []
        for tracked in ports:
            found_by = entry_key(key, tracked)
            publication = self._publications.pop(found_by, None)
            if publication is not None:
                publication.cancel()
            self._held_back.pop(found_by, None)
            entry = self.tracker.remove(key, tracked)
            assert entry is not None
            entries.append(entry)
            for contact, until in entry.holders(now).items():
                self._owes(key, tracked, contact, until)
        op = self._new_handle()
        if ports:
            withdrawal = Withdrawal(op, self._requester, entries, self.withdrawals)
            self._withdrawing.update(entry_key(key, tracked) for tracked in ports)
            self._begin(op, withdrawal, now)
        else:
            self._open.remove(op)
            self._running.remove(op)
        return op, ports

    def bootstrap(self, endpoints: Iterable[Endpoint], now: float) -> Handle:
        """Join the network by these endpoints; ends with `Bootstrapped`."""
        self.check_free()
        op = self._new_handle()
        bootstrap = self._asking[op] = Bootstrap(op, self._requester, endpoints)
        self._start(bootstrap, now)
        self._settle(now)
        return op

    def check_free(self) -> None:
        """Raise `Busy` where no further command is taken until one has ended."""
        if len(self._running) >= self.policy.operations:
            self.counters.caps_hit[OPERATIONS] += 1
            raise Busy(f"as many operations are under way as are taken at once ({len(self._running)}): try again")

    def check_room(self, key: Id, port: int) -> None:
        """Raise `TooManyEntries` where no further own entry is taken, or none of this key; one that is there is."""
        if self.tracker.get(key, port) is not None:
            return
        if len(self.tracker) >= self.policy.own_entries:
            self.counters.caps_hit[OWN_ENTRIES] += 1
            raise TooManyEntries(
                f"this node has entered as many entries as it takes ({len(self.tracker)}): delete some"
            )
        ports = len(self.tracker.ports(key))
        if ports >= self.policy.own_ports:
            self.counters.caps_hit[OWN_PORTS] += 1
            raise TooManyEntries(f"this node has entered this ID on as many ports as it takes ({ports}): delete some")

    def slept(self, seconds: float, now: float) -> None:
        """The machine stood still for so long, and `now` does not tell: take what is known as so much older.

        Held entries and withdrawals keep their time: perhaps it was only the clock that was set.
        """
        for overlay in self.overlays:
            overlay.slept(seconds)
        self._responder.slept(seconds)
        self.tracker.slept(seconds, now)

    def cancel(self, op: Handle) -> None:
        """Report nothing more of this operation: its owner is gone. It waits for the network no longer.

        A command that only asks ends with it: nothing is sent for it any more.
        """
        self._open.discard(op)
        self._patient.discard(op)
        asking = self._asking.pop(op, None)
        if asking is not None:
            self._running.discard(op)
            if asking in self._deferred:
                self._deferred.remove(asking)
            asking.cancel()

    def limit_rate(self, rate: float, total: float | None = None) -> None:
        """Answer at most `rate` queries a second from each source, and `total` from all, from now on; 0 is no limit.

        Without a `total`, it is that of the policy.
        """
        self._rate_limit = RateLimit(self.policy, self._rng, self._answers_us, rate=rate, total=total)
        self._malformed = Malformed(self.policy, self._rng, self._answers_us, rate)
        self._unread = self._malformed.unread  # asked for each datagram

    # Beginning, and what survives a restart

    @property
    def is_connected(self) -> bool:
        """Whether there is somebody to talk to, in any family."""
        return any(overlay.join.connected for overlay in self.overlays)

    def is_in_doubt(self, family: Family) -> bool:
        """Whether a live contact is silent, and it is being looked into whether anybody in this network answers."""
        return self._doubts[family].stage is Stage.DOUBTFUL

    @property
    def is_asking_around(self) -> bool:
        """Whether it is being looked into whether anybody answers, in any network."""
        return any(doubt.stage is not Stage.SURE for doubt in self._doubts.values())

    def ask_around(self, since: float, now: float) -> None:
        """Look into whether anybody answers, in each network in which nobody has answered after `since`."""
        for overlay in self.overlays:
            if not overlay.state.heard_since(since):
                self._doubts[overlay.family].look(now)
        self._settle(now)

    def contacts(self) -> list[Contact]:
        """Return the contacts of all families."""
        return [contact for overlay in self.overlays for contact in overlay.state.table]

    @property
    def has_somebody_to_join_by(self) -> bool:
        """Whether there is a bootstrap endpoint, or a name that may lead to one."""
        return any(overlay.join.awaits_names or overlay.join.bootstrap for overlay in self.overlays)

    @property
    def awaits_names(self) -> bool:
        """Whether more bootstrap endpoints are to come, once their names are resolved."""
        return any(overlay.join.awaits_names for overlay in self.overlays)

    def start(
        self, bootstrap: Iterable[Endpoint], now: float, *, awaits_names: bool = False, at_once: bool = True
    ) -> None:
        """Join the network by these endpoints and the restored contacts, now and when the network is lost.

        Where the node `awaits_names`, another call brings more endpoints, and commands wait for that. Endpoints that
        are new are tried at once, also while we are connected: they may be another part of the network. The others are
        tried `at_once` only if that is said, and else when it is their turn.
        """
        endpoints = tuple(bootstrap)
        for overlay in self.overlays:
            join, before = overlay.join, overlay.join.bootstrap
            join.awaits_names = awaits_names
            join.bootstrap = tuple(endpoint for endpoint in endpoints if len(endpoint) == overlay.family)
            fresh = [endpoint for endpoint in join.bootstrap if endpoint not in before]
            if at_once or fresh:
                join.begin(now)
            if fresh and join.connected:
                self._start(Bootstrap(INTERNAL, self._requester, fresh), now)
        self._settle(now)

    def live_in(self, networks: tuple[bytes, ...], now: float) -> None:
        """This machine is in other networks of its own now: what limits contacts by network is counted anew.

        Who was turned away before may come in, so we look our neighbours up again.
        """
        self.policy = self._requester.policy = replace(self.policy, own_networks=networks)
        self._responder.own_networks = networks
        self._strangers.live_in(networks)
        for overlay in self.overlays:
            overlay.state.live_in(networks)
            overlay.refresher.expire_far_buckets(now)
            if overlay.join.connected:
                self._refresh(overlay, self.own_id, now)
        self._settle(now)

    def moved(self, now: float) -> None:
        """This machine is reached at another address: tell those who hold own entries soon, and ask where we are."""
        self.tracker.moved(now)
        self._ask_where_we_are(now)
        for overlay in self.overlays:
            overlay.join.begin(now)
            overlay.has_moved(now)

    def restore_contact(self, contact: Contact) -> bool:
        """Put back a contact of an earlier run; it is questionable until it answers. Not one of another family."""
        overlay = self._by_family.get(len(contact.endpoint))
        return overlay is not None and not contact.endpoint.is_mapped and overlay.state.restore(contact)

    def restore_own(self, key: Id, port: int, now: float) -> None:
        """Put back an own entry, unless it is there; it is published once the network is reached."""
        if self.tracker.get(key, port) is not None:
            return
        entry = self.tracker.add(key, port)
        for overlay in self.overlays:
            if overlay.join.is_joined:
                self.tracker.may_reach(entry, overlay.family, now)

    def restored(self, now: float) -> None:
        """All that is to be restored is there: ask holders to let go of what was deleted, where there is a network."""
        for overlay in self.overlays:
            if overlay.join.is_joined:
                self.withdrawals.joined(overlay.family, now)

    def restore_holder(self, key: Id, port: int, contact: Contact, until: float, now: float, seen: Seen = ()) -> bool:
        """Put back who may hold an own entry until then, or one that was deleted; after `restore_own`, if it was not.

        `seen`: see `seen_by`. Return whether there is anything in it. Not one of another family.
        """
        until = min(until, now + self.policy.store_expiry + self.policy.query_timeout)
        is_ours = len(contact.endpoint) in self._by_family and not contact.endpoint.is_mapped
        if until <= now or not is_ours or contact.id == self.own_id:
            return False
        entry = self.tracker.get(key, port)
        if entry is None:
            self._owes(key, port, contact, until)
        else:
            self._may_hold(entry, contact, until)
            entry.sightings.restore(contact.endpoint, seen, until, now)
        return True

    def holders(self, key: Id, port: int, now: float) -> dict[Contact, float]:
        """Return who may hold an own entry, or one that was deleted, and until when."""
        entry = self.tracker.get(key, port)
        return self.withdrawals.holders(key, port) if entry is None else entry.holders(now)

    def seen_by(self, key: Id, port: int, holder: Endpoint) -> Seen:
        """Return the addresses that stores of an own entry came from, as a holder has seen it, and until when."""
        entry = self.tracker.get(key, port)
        return () if entry is None else entry.sightings.of(holder)

    def restore_held(self, entry: HeldEntry, now: float) -> None:
        """Put back an entry that is held for another node, unless it has expired."""
        if entry.expires_at > now:
            self.store.restore(entry, now)

    # What is due

    def _try(self, act: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Do this now; what it raises, `handle_timeout` raises in the end."""
        try:
            act(*args, **kwargs)
        except Exception as failure:  # noqa: BLE001 - see above
            self._failures.append(failure)

    def _expire(self, now: float) -> None:
        for expiry in self._requester.transactions.expire(now):
            self._try(self._expired, expiry, now)

    def _expired(
        self, expiry: Slow[Operation] | Late[Operation] | Retry[Operation] | TimedOut[Operation], now: float
    ) -> None:
        owner = expiry.query.owner
        try:
            match expiry:
                case Slow(query):
                    self._send_again(query)
                    owner.slow(query, now)
                case Late(query):
                    self._send_again(query)
                    owner.late(query, now)
                case Retry(query, sent_at):
                    self.counters.retries += 1
                    self._requester.send(query)
                    self._unanswered(query, sent_at, now)
                    owner.retried(query, now)
                case TimedOut(query):
                    self.counters.timeouts += 1
                    self._unanswered(query, query.sent_at, now)
                    owner.failed(query, None, now)
                case _:
                    assert_never(expiry)
        except Exception:
            owner.give_up(now)
            raise

    def _sweep(self, now: float) -> None:
        """Drop what has expired: some of it, and the rest bit by bit, so that others have their turn."""
        if now >= self._sweep_at:
            self._sweep_at = now + self.policy.store_sweep
            self.store.sweep(now)
            if self.withdrawals.sweep(now) or self.store.has_expired(now):
                self._sweep_at = now + _SWEEP_PAUSE

    def _wait_no_longer(self, now: float) -> None:
        """Ask those to hold own entries who have waited for too long to be written down."""
        if self._write_ahead is not None:
            for publication, contacts in self._write_ahead.pop_due(now):
                self._try(publication.written, contacts, now)

    def _publish_due(self, now: float) -> None:
        for entry in self.tracker.overdue(now):
            self._try(self._publish_anew, entry, now)
        for entry in self.tracker.pop_due(now):
            self.tracker.began(entry, now)  # whatever becomes of this, it has its next turn
            self._try(self._publish, INTERNAL, entry.key, entry.port, now)

    def _publish_anew(self, entry: OwnEntry, now: float) -> None:
        """Give up a publication that should have ended, unless it waits for its turn: a defect stopped it."""
        self.tracker.began(entry, now)
        found_by = entry_key(entry.key, entry.port)
        before, watchers = self._publications.get(found_by), [INTERNAL]
        if before is not None:
            if before in self._deferred or found_by in self._held_back:
                return
            before.abandon()
            del self._publications[found_by]
            watchers = before.watchers
        for op in watchers:
            self._publish(op, entry.key, entry.port, now)

    def _remind_due(self, now: float) -> None:
        for holder in self.withdrawals.pop_due(now):
            self._try(self._remind, holder, now)

    def _remind(self, holder: Holder, now: float) -> None:
        self._start(Reminder(self._requester, self.withdrawals, self._withdrawing, holder), now)

    # Inside

    def _may_hold(self, entry: OwnEntry, contact: Contact, until: float) -> None:
        self.counters.caps_hit[ENTRY_HOLDERS] += entry.may_hold(contact, until)

    def _owes(self, key: Id, port: int, contact: Contact, until: float) -> None:
        self.counters.caps_hit[WITHDRAWALS] += self.withdrawals.add(key, port, contact, until)

    def _above_limit(self, query: Query | BadQuery, cap: str, source: Endpoint, size: int, now: float) -> bytes | None:
        """Answer a query above a limit with silence, unless a token proves its sender, or it may be a contact's.

        Somebody else may have used up the sender's limit, in its very name. Queries that are proved have a rate of
        their own. Silence could cost us a contact that answers us: its ping, or find without a token, gets a brief
        answer. By that it can prove itself, and keeps us for alive.
        """
        counters, limit = self.counters, self._rate_limit
        if cap == RATE_LIMIT and type(query) is Query:
            if self._responder.is_proved(query.request, source, now):
                if limit.allows_proved(source, now):
                    return self._responder.answer(query, source, size, now)
            elif isinstance(query.request, Ping | FindNode | FindValue) and self._answers_us(source):
                if limit.allows_brief(now):
                    counters.cut_short += 1
                    counters.caps_hit[cap] += 1
                    return self._responder.brief_answer(query, source, now)
                cap = RATE_LIMIT_TOTAL
        counters.rate_limited += 1
        counters.caps_hit[cap] += 1
        return None

    def _handle_answer(self, message: Reply | Error, source: Endpoint, now: float) -> None:
        query = self._requester.transactions.match(message.tid, source)
        if query is None:
            self.counters.unmatched += 1
            return
        if message.sender == self.own_id:  # whoever it is, it is not who was asked: as good as no answer
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
        contact = Contact(message.sender, source)
        if isinstance(message, Error):
            self.counters.errors_received += 1
            self._heard(query, contact, now)
            query.owner.failed(query, message, now)
            return
        try:
            result = self.codec.decode_result(query.request, message.body)
        except WireError:
            self.counters.malformed += 1
            self._malformed.count(source, now)
            return
        self.counters.replies_received += 1
        match self.external.vote(source, message.observed, now):
            case Verdict.MOVED:
                self.moved(now)
            case Verdict.CONTRADICTED:
                self._ask_where_we_are(now)
            case Verdict.NOTHING:
                pass
            case verdict:
                assert_never(verdict)
        if isinstance(result, Found):
            self.counters.own_id_claimed += sum(map(self._is_namesake, result.contacts))
        self._heard(query, contact, now)
        query.observed = message.observed
        query.owner.answered(query, contact, result, now)

    def _ask_where_we_are(self, now: float) -> None:
        """Ping those who have answered last: what most of them say counts. Once in a while, whoever gives cause to."""
        if now < self._survey_at:
            return
        self._survey_at = now + self.policy.move_gap
        for overlay in self.overlays:
            for contact in overlay.state.latest(self.policy.external_votes):
                Check(self._requester, set()).start(contact.endpoint, contact.id, now, attempts=1)

    def _is_namesake(self, named: Contact) -> bool:
        """Whether a contact has our ID at an address where nobody sees us. Lookups ask neither it nor ourselves."""
        return named.id == self.own_id and self.external.is_elsewhere(named.endpoint)

    def _heard(self, query: Asked, contact: Contact, now: float) -> None:
        """Bring the routing table up to date with an answer."""
        rtt = self._requester.transactions.conclude(query, now)
        overlay = self._by_family.get(len(contact.endpoint))
        if overlay is None:
            return  # the user has asked somebody in a network that is not ours
        if query.id is not None and query.id != contact.id:
            overlay.state.moved(query.id, query.endpoint)
            overlay.state.changers.answered_instead(contact)
        outcome = overlay.state.answered(contact, rtt, now)
        self.withdrawals.heard(contact, now, is_accepted=isinstance(outcome, Inserted | Replaced | Known))
        match outcome:
            case Inserted() | Replaced():
                self._newcomers.joined(contact, now)
            case Verify(questionable) | Contested(questionable):
                self._verify(questionable, contact, now)
            case Known() | Full() | Refused() | Crowded():
                pass
            case _:
                assert_never(outcome)
        if overlay.join.answered(now):
            self._refresh(overlay, self.own_id, now, measures=True)

    def _send_again(self, query: Asked) -> None:
        if query.is_insistent:
            self.counters.retries += 1
            self._requester.send(query)

    def _unanswered(self, query: Asked, sent_at: float, now: float) -> None:
        overlay = self._by_family.get(len(query.endpoint))
        contact = None if query.id is None else Contact(query.id, query.endpoint)
        if overlay is None or contact is None or not overlay.state.is_live(contact):
            return  # the silence of those who were never heard, or are given up already, says nothing of the network
        overlay.state.timed_out(contact, sent_at)
        if not overlay.state.heard_since(sent_at):
            self._doubts[overlay.family].arise(contact, now)
        elif not overlay.state.is_live(contact):
            self._patrol.lost(contact, now)
        elif self.tracker.holds(contact):
            self._patrol.suspect([contact], now)

    def _is_settled_by_family(self, id: Id, endpoint: Endpoint, now: float) -> bool:
        overlay = self._by_family.get(len(endpoint))
        return overlay is None or overlay.state.is_settled(id, endpoint, now)

    def _answers_us_by_family(self, endpoint: Endpoint) -> bool:
        overlay = self._by_family.get(len(endpoint))
        return overlay is not None and overlay.state.answers_us(endpoint)

    def _consider(self, query: Query, endpoint: Endpoint, room: int, now: float) -> None:
        """Ping a node that queries us if it may belong in the table: never insert it on its word.

        The pings count as a part of the answer: `room` bytes are left for them, unless a token proves the address.
        Whether the node belongs in the table is asked last: it costs most, and of a busy node's strangers few get so
        far.
        """
        overlay = self._by_family.get(len(endpoint))
        if overlay is None:
            return
        attempts = self.policy.ping_attempts if overlay.is_lonely else 1  # else one lost datagram costs a contact
        is_proved = self._responder.is_proved(query.request, endpoint, now)
        if not is_proved:
            attempts = min(attempts, room // self._responder.ping_size)
            if not attempts:
                return
        share = self._strangers.share_for(endpoint, is_proved=is_proved, now=now)
        if isinstance(share, str):
            self.counters.caps_hit[share] += 1
        elif share is not None and overlay.state.queried(query.sender, endpoint, now):
            self._strangers.count(share, endpoint, now)
            Check(self._requester, share.ongoing).start(endpoint, query.sender, now, attempts)

    def _verify(self, questionable: Contact, newcomer: Contact, now: float) -> None:
        if questionable.endpoint in self._verifying:
            return
        if len(self._verifying) >= self.policy.verifications:
            self.counters.caps_hit[VERIFICATIONS] += 1
            return
        check = Check(self._requester, self._verifying, witness=newcomer)
        check.start(questionable.endpoint, questionable.id, now, self.policy.ping_attempts)

    def _keep_up(self, overlay: Overlay, now: float) -> None:
        """Stay in the network of a family: do what is due for it."""
        if overlay.join.is_attempt_due(now):
            self._attempt_join(overlay, now)
        if overlay.join.is_probe_due(now):
            self._probe(overlay, now)
        if overlay.join.is_lookup_due(now):
            self._probe(overlay, now)  # who has joined by us may be all that we know, while our own way in was lost
            self._refresh(overlay, self.own_id, now, measures=True)
            self._settle(now)  # with nobody to ask it is over at once, and another may follow
        if overlay.is_introduction_due(now):
            self._refresh(overlay, self.own_id, now)
            self._settle(now)
        while (target := overlay.refresher.next_target(now)) is not None:
            self._refresh(overlay, target, now, measures=True)
            self._settle(now)

    def _attempt_join(self, overlay: Overlay, now: float) -> None:
        contacts, is_eager = list(overlay.state.table), overlay.join.is_eager(now)
        some = self._rng.sample(contacts, min(self.policy.k, len(contacts)))
        silence, tried = overlay.join.silence(now), overlay.join.bootstrap or tuple(each.endpoint for each in some)
        if silence is not None and tried:
            self._events.append(Unreached(overlay.family, tried, silence))
        for contact in some:
            self._check_for_join(overlay.join, contact.endpoint, contact.id, now, insistent=is_eager)
        for contact in overlay.rumours():  # a stranger's word is worth one datagram
            self._check_for_join(overlay.join, contact.endpoint, contact.id, now)
        for endpoint in overlay.join.bootstrap:
            self._check_for_join(overlay.join, endpoint, None, now, insistent=is_eager)

    def _check_for_join(
        self, join: Join, endpoint: Endpoint, id: Id | None, now: float, *, insistent: bool = False
    ) -> None:
        if endpoint not in join.attempt:
            Check(self._requester, join.attempt).start(endpoint, id, now, attempts=1, insistent=insistent)

    def _probe(self, overlay: Overlay, now: float) -> None:
        """Try bootstrap endpoints, a contact that was lost, and a rumour: they may lead to the rest of the network."""
        state = overlay.state
        lost = [contact for contact in state.table if state.standing(contact, now) is Standing.BAD]
        for others in (lost, overlay.rumours()):
            if others:
                contact = self._rng.choice(others)
                Check(self._requester, set()).start(contact.endpoint, contact.id, now, attempts=1)
        if overlay.join.bootstrap:
            endpoints = overlay.join.bootstrap
            some = self._rng.sample(endpoints, min(self.policy.k, len(endpoints)))
            self._start(Bootstrap(INTERNAL, self._requester, some), now)

    def _refresh(self, overlay: Overlay, target: Id, now: float, *, measures: bool = False) -> None:
        if target == self.own_id:
            overlay.looks_itself_up(now)
        refresh = Refresh(INTERNAL, self._requester, target, overlay.family, measures=measures)
        overlay.refresher.under_way += 1
        self._start(refresh, now)

    def _publish(self, op: Handle, key: Id, port: int, now: float) -> None:
        found_by = entry_key(key, port)
        publication = self._publications.get(found_by)
        if publication is not None:
            publication.watchers.append(op)
            return
        entry = self.tracker.add(key, port)
        self.tracker.began(entry, now)
        publication = self._publications[found_by] = Publication(op, self._requester, entry, self._write_ahead)
        if found_by in self._withdrawing:
            self._held_back[found_by] = publication
        else:
            self._begin(op, publication, now)

    def _ask(self, request: Request, endpoint: Endpoint, now: float) -> Handle:
        self.check_free()
        op = self._new_handle()
        query = self._asking[op] = SingleQuery(op, self._requester, request, endpoint)
        self._start(query, now)
        return op

    def _start(self, operation: SingleQuery | Traversal | Reminder, now: float) -> None:
        """Start an operation; a defect in that is its end."""
        try:
            operation.start(now)
        except Exception:
            operation.give_up(now)
            raise

    def _begin(self, op: Handle, operation: Traversal, now: float) -> Handle:
        """Start an operation; later, if it has to wait for the network to be reached."""
        try:
            if self._has_to_wait(operation, now):
                self._deferred.append(operation)
            else:
                self._start(operation, now)
        finally:
            self._settle(now)
        return op

    def _has_to_wait(self, operation: Traversal, now: float) -> bool:
        """Whether an operation would find nobody, or only contacts of an earlier run, while we are about to join."""
        if self.is_connected:
            return False
        if isinstance(operation, Publication) and any(op in self._patient for op in operation.watchers):
            return True
        joins = [overlay.join for overlay in self.overlays]
        if not any(len(overlay.state.table) for overlay in self.overlays) and any(
            join.attempt or join.awaits_names or join.is_attempt_pending(now) for join in joins
        ):
            return True
        # Nobody waits for what is started on our own account, and a withdrawal knows whom to ask.
        is_asked_for = operation.op != INTERNAL and not isinstance(operation, Withdrawal)
        return is_asked_for and any(self._may_yet_answer(overlay, now) for overlay in self.overlays)

    @staticmethod
    def _may_yet_answer(overlay: Overlay, now: float) -> bool:
        """Whether somebody is being pinged again and again who may not be ready yet."""
        join = overlay.join
        return join.is_eager(now) and bool(join.bootstrap or len(overlay.state.table) or overlay.rumours())

    def _settle(self, now: float) -> None:
        """Act on what became of operations, and pass it on to the owner."""
        while True:
            for operation in list(self._deferred):
                if not self._has_to_wait(operation, now):
                    self._deferred.remove(operation)
                    self._start(operation, now)
            if not self._requester.outcomes:
                return
            outcome = self._requester.outcomes.popleft()
            try:
                self._take(outcome, now)
            finally:
                self._pass_on(outcome)

    def _take(self, outcome: Outcome, now: float) -> None:
        match outcome:
            case Published():
                self._published(outcome, now)
            case Refreshed(_, target, responses, family):
                overlay = self._by_family[family]
                overlay.refresher.under_way -= 1
                self.tracker.network_has(overlay.estimated_size, family, now)
                if target == self.own_id:
                    self._looked_ourselves_up(overlay, responses, now)
            case CutOff(_, family):
                self._events.append(Isolated(family))
            case Withdrawn():
                self._withdrawn(outcome, now)
            case Reminded():
                self._reminded(outcome, now)
            case Answered() | Unanswered() | LookupProgress() | LookupDone() | Bootstrapped() | GaveUp():
                pass
            case _:
                assert_never(outcome)

    def _pass_on(self, outcome: Outcome) -> None:
        if not isinstance(outcome, LookupProgress):
            self._running.discard(outcome.op)
            self._patient.discard(outcome.op)
            self._asking.pop(outcome.op, None)
        if outcome.op in self._open:
            self._events.append(outcome)
            if not isinstance(outcome, LookupProgress):
                self._open.remove(outcome.op)
        elif outcome.op == INTERNAL and isinstance(outcome, Published):
            self._events.append(outcome)

    def _published(self, outcome: Published, now: float) -> None:
        found_by = entry_key(outcome.key, outcome.port)
        publication = self._publications.get(found_by)
        if publication is not None and not outcome.cancelled:
            del self._publications[found_by]
            tracker, refused = self.tracker, outcome.refused
            tracker.published(outcome.key, outcome.port, outcome.replicas, now, refused=refused)
            # While nobody answers at all, that is what the owner is told, and not this.
            is_unheld = not outcome.replicas and (refused or self.is_connected)
            if is_unheld and tracker.is_notice_due(now, refused=refused):
                entries = tracker.unheld if refused else tracker.unanswered
                self._events.append(Unheld(entries, len(tracker), refused))

    def _withdrawn(self, outcome: Withdrawn, now: float) -> None:
        """Publish what was entered again meanwhile: a withdrawal must not undo the publication after it."""
        key, held_back = outcome.key, []
        for port in outcome.ports:
            found_by = entry_key(key, port)
            self._withdrawing[found_by] -= 1
            if not self._withdrawing[found_by]:
                del self._withdrawing[found_by]
                if found_by in self._held_back:
                    held_back.append(self._held_back.pop(found_by))
        if outcome.op != INTERNAL:
            self.withdrawals.release(key, outcome.ports, now)
        for publication in held_back:
            self._begin(publication.op, publication, now)

    def _reminded(self, outcome: Reminded, now: float) -> None:
        """Look for a holder that is lost: it may have come back at another address, and then that will answer."""
        overlay = self._by_family[len(outcome.holder.endpoint)]
        if outcome.is_lost and overlay.is_in_use:
            self._refresh(overlay, outcome.holder.id, now)

    def _looked_ourselves_up(self, overlay: Overlay, responses: int, now: float) -> None:
        """Who answers has connected us, but only who answers this lookup has let us join."""
        contacts = len(overlay.state.table)
        if overlay.join.is_joined:
            overlay.join.looked_up(contacts, now)
            return
        if not responses:
            overlay.join.lost(now)
            return
        overlay.join.joined(contacts, now)
        overlay.refresher.joined(overlay.state.estimated_size())
        overlay.refresher.expire_far_buckets(now)
        self.tracker.joined(overlay.family, now)
        self.withdrawals.joined(overlay.family, now)
        self._events.append(Joined(contacts, overlay.family))

    def _new_handle(self) -> Handle:
        self._last_handle += 1
        op = Handle(self._last_handle)
        self._open.add(op)
        self._running.add(op)
        return op
