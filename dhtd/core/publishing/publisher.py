"""Own records as a whole: entered, published, looked after, deleted and withdrawn, and put back after a restart.

The life of a publication:
1. It begins when a command asks for it, or when its entry is due (`OwnRecords`).
2. If a withdrawal of the entry is under way, it is held back until that is over: a withdrawal must not undo it.
3. It waits until the network is reached, as long as its commands have patience.
4. Commands that ask for the same entry meanwhile join it. They all end with it.
5. A publication that lasts too long was stopped by a defect. Another one takes its place and its commands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from functools import partial
from typing import TYPE_CHECKING

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import CannotWithdraw, Handle, Published, Republished, Unheld, Withdrawn
from dhtd.core.ids import Id
from dhtd.core.membership.waiting import Patience, Waiting
from dhtd.core.messages import Contact
from dhtd.core.publishing.heartbeats import Heartbeats
from dhtd.core.publishing.hurrying import Hurrying
from dhtd.core.publishing.newcomers import Newcomers
from dhtd.core.publishing.own_entry import OwnEntry
from dhtd.core.publishing.own_lease import OwnLease
from dhtd.core.publishing.own_records import OwnRecords
from dhtd.core.publishing.patrol import Patrol
from dhtd.core.publishing.publication import Placed, Publication
from dhtd.core.publishing.record_timers import RecordTimers
from dhtd.core.publishing.sightings import Seen
from dhtd.core.publishing.upheavals import Upheavals
from dhtd.core.publishing.withdrawing import Withdrawing
from dhtd.core.publishing.write_ahead import Chosen, WriteAhead
from dhtd.core.querying.attempts import Attempts
from dhtd.core.querying.operations import Operations
from dhtd.core.querying.requester import Requester
from dhtd.core.records import Peer, RecordKey
from dhtd.core.routing.overlays import Overlays

if TYPE_CHECKING:
    from random import Random


class _Ongoing:
    """A publication that is under way, and the commands that end with it."""

    __slots__ = ("_is_asked_for", "ops", "patient", "publication")

    publication: Publication

    def __init__(self, ops: Iterable[Handle]) -> None:
        self.ops = list(ops)
        self.patient: set[Handle] = set()  # the commands that wait for the network without an end
        self._is_asked_for = bool(self.ops)

    @property
    def patience(self) -> Patience:
        """How long it waits for the network."""
        if self.patient:
            return Patience.ENDLESS
        return Patience.SOME if self._is_asked_for else Patience.LITTLE


class Publisher:
    """The own records of a node, and the parts that act for them."""

    def __init__(
        self,
        requester: Requester,
        overlays: Overlays,
        operations: Operations,
        waiting: Waiting,
        tell: Callable[[Published | Withdrawn | CannotWithdraw, float], None],
        tell_news: Callable[[Republished | Unheld], None],
        find_lost: Callable[[Contact, float], None],
        caps_hit: dict[str, int],
        rng: Random,
        now: float,
        *,
        session: bytes,
        write_ahead: bool,
    ) -> None:
        """Begin without records.

        `tell` takes the ends of commands, `tell_news` other news for the owner, and `find_lost` looks for a holder that
        does not answer any more.
        """
        policy = requester.policy
        self._requester = requester
        self._overlays = overlays
        self._operations = operations
        self._waiting = waiting
        self._tell = tell
        self._tell_news = tell_news
        self._policy = policy
        self.lease = OwnLease(session, requester.traits, policy)
        self.records = OwnRecords(rng, policy, self.lease, [overlay.family for overlay in overlays], caps_hit)
        self.hurrying = Hurrying(self.records, policy, self.lease)
        self.upheavals = Upheavals(self.records, policy)
        self.withdrawing = Withdrawing(
            requester, overlays, operations, waiting, self.lease, tell, find_lost, self._release, caps_hit, rng
        )
        self.withdrawals = self.withdrawing.pending
        self.patrol = Patrol(requester, overlays, self.records, self.hurrying, self.lease, rng, now)
        self.heartbeats = Heartbeats(requester, overlays, self.lease, self.patrol, self.hurrying.copy_lost, rng)
        self.newcomers = Newcomers(requester, overlays, self.hurrying)
        self._write_ahead = WriteAhead(policy.write_ahead) if write_ahead else None
        self._publications: dict[RecordKey, _Ongoing] = {}
        self._held_back: dict[RecordKey, _Ongoing] = {}  # until their withdrawals are over
        self.record_timers = RecordTimers(self.records, self.heartbeats, self.patrol, self.withdrawals)

    def next_timeouts(self) -> list[Callable[[], float | None]]:
        """Return the functions that tell when a part has something to do."""
        timeouts = [self.newcomers.next_timeout, self.record_timers.next_timeout]
        return timeouts if self._write_ahead is None else [*timeouts, self._write_ahead.next_timeout]

    # Commands

    def enter(self, op: Handle, record_key: RecordKey, now: float, *, patient: bool) -> None:
        """Track an own entry and publish it: see `Commands.enter`."""
        self._add(record_key)
        self._publish(record_key, now, op, patient=patient)

    def track(self, record_key: RecordKey, now: float) -> None:
        """Track an own entry. It is published soon, or once the network is reached."""
        entry = self._add(record_key)
        for overlay in self._overlays:
            if overlay.is_joined:
                self.upheavals.may_reach(entry, overlay.family, now)

    def delete(self, op: Handle, key: Id, port: int | None, now: float) -> list[int]:
        """Stop tracking entries and withdraw them: see `Commands.delete`. Return their ports."""
        ports = [tracked for tracked in self.records.ports(key) if port is None or tracked == port]
        entries = []
        for tracked in ports:
            record_key = RecordKey.of(key, Peer.on(tracked))
            ongoing = self._publications.pop(record_key, None)
            if ongoing is not None:
                ongoing.publication.cancel()
                self._waiting.forget(ongoing.publication)
            self._held_back.pop(record_key, None)
            entry = self.records.remove(record_key)
            assert entry is not None
            self.heartbeats.forget(entry)
            entries.append(entry)
            for contact, until in entry.holders(now).items():
                self.withdrawing.owe(record_key, contact, until)
        if entries:
            self.withdrawing.begin(op, entries, now)
        return ports

    def waits_no_longer(self, op: Handle) -> None:
        """A patient command is given up by its owner."""
        for ongoing in self._publications.values():
            if op in ongoing.patient:
                ongoing.patient.remove(op)
                self._waiting.set_patience(ongoing.publication, ongoing.patience)

    # What the disk is to have

    def changed_records(self) -> set[RecordKey]:
        """Return the entries, own and deleted ones, with changed holders, which `take_changed` would take."""
        return self.records.changed() | self.withdrawals.changed()

    def take_changed(self, among: AbstractSet[RecordKey] | None = None) -> set[RecordKey]:
        """Take and return these, to be saved; of those `among` these alone, if given."""
        return self.records.take_changed(among) | self.withdrawals.take_changed(among)

    def mark_changed(self, record_keys: Iterable[RecordKey]) -> None:
        """Have these among the next changes: they could not be saved, or differ from what was saved."""
        self.records.mark_changed(record_keys)

    def poll_unwritten(self) -> list[Chosen]:
        """Take and return the chosen holders that wait to be written down."""
        return [] if self._write_ahead is None else self._write_ahead.poll()

    def written(self, chosen: Iterable[Chosen], now: float) -> None:
        """These chosen holders, which `poll_unwritten` has returned, are on disk or cannot be: ask them."""
        assert self._write_ahead is not None
        for each in chosen:
            self._write_ahead.over(each)
            each.publication.written(each.contacts, now)

    # What the network and this machine do

    def moved(self, now: float) -> None:
        """This machine's address has changed: see `Upheavals.moved`."""
        self.upheavals.moved(now)

    def slept(self, seconds: float, now: float) -> None:
        """This machine stood still: see `Upheavals.slept`."""
        self.upheavals.slept(seconds, now)
        self.heartbeats.may_have_ended(now)

    def reached(self, family: int, now: float) -> None:
        """The network of a family is reached."""
        self.upheavals.joined(family, now)
        self.withdrawals.joined(family, now)
        self.heartbeats.may_have_ended(now)

    def doubtful(self, contact: Contact, now: float) -> None:
        """A contact has missed a query: if it holds own entries, it is asked soon."""
        if self.hurrying.holds(contact):
            self.patrol.suspect([contact], now)

    # What survives a restart

    def restore_own(self, record_key: RecordKey, now: float) -> None:
        """Put back an own entry, unless it is there: see `track`."""
        if record_key not in self.records:
            self.track(record_key, now)

    def restore_holder(
        self, record_key: RecordKey, contact: Contact, until: float, now: float, seen: Seen = ()
    ) -> bool:
        """Put back a node that may hold an own entry until then, or a deleted one; after `restore_own` of that entry.

        `seen`: see `seen_by`. Return whether there is anything in it: a node of another family may hold nothing.
        """
        if self.lease.is_renewed:  # since it was saved; by now it has at most one lease left
            until = now + self.lease.lasts
        until = min(until, now + self._policy.store_expiry + self._policy.query_timeout)
        overlay = self._overlays.of(contact.endpoint)
        is_ours = overlay is not None and not contact.endpoint.is_mapped and contact.id != overlay.own_id
        if until <= now or not is_ours:
            return False
        entry = self.records.get(record_key)
        if entry is None:
            self.withdrawing.restore(record_key, contact, until)
        else:
            self.records.restore_holder(entry, contact, until, seen, now)
            self.heartbeats.restored(entry, contact, now)
        return True

    def restored(self, now: float) -> None:
        """All is restored: ask holders to let go of deleted entries, where a network is reached."""
        for overlay in self._overlays:
            if overlay.is_joined:
                self.withdrawals.joined(overlay.family, now)

    def holders(self, record_key: RecordKey, now: float) -> dict[Contact, float]:
        """Return the nodes that may hold an own entry, or a deleted one, and until when."""
        entry = self.records.get(record_key)
        return self.withdrawals.holders(record_key) if entry is None else entry.holders(now)

    def seen_by(self, record_key: RecordKey, holder: Endpoint) -> Seen:
        """Return the addresses that stores of an own entry came from, as a holder has seen it, and until when."""
        entry = self.records.get(record_key)
        return () if entry is None else entry.sightings.of(holder)

    # What is due

    def wait_no_longer(self, now: float, attempts: Attempts) -> None:
        """Ask chosen holders that have waited too long for the disk."""
        if self._write_ahead is not None:
            for publication, contacts in self._write_ahead.pop_due(now):
                attempts.do(publication.written, contacts, now)

    def publish_due(self, now: float, attempts: Attempts) -> None:
        """Publish the entries that are due."""
        # Begin anew what a defect has stopped.
        for entry in self.records.overdue(now):
            attempts.do(self._publish_anew, entry, now)
        # Begin what is due. Each entry has its next turn set first, whatever becomes of this one.
        for entry in self.records.pop_due(now):
            self.records.began(entry, now)
            attempts.do(self._publish, entry.record_key, now)
            attempts.do(self._operations.settle, now)  # with nobody to ask it is over at once, and another may follow

    # Inside

    def _add(self, record_key: RecordKey) -> OwnEntry:
        """Return an own entry, made if it is missing; its withdrawals end, and their nodes are its holders again."""
        entry = self.records.add(record_key)
        for contact, until in self.withdrawals.take(record_key).items():
            self.records.may_hold(entry, contact, until)
        return entry

    def _publish(self, record_key: RecordKey, now: float, *ops: Handle, patient: bool = False) -> None:
        # Join the publication that is under way.
        ongoing = self._publications.get(record_key)
        if ongoing is not None:
            ongoing.ops += ops
            ongoing.patient.update(ops if patient else ())
            self._waiting.set_patience(ongoing.publication, ongoing.patience)
            return

        # Or make one. The entry has no timer meanwhile.
        entry = self.records.add(record_key)
        self.records.began(entry, now)
        ongoing = _Ongoing(ops)
        report = self._operations.report_to(partial(self._placed, entry, ongoing))
        publication = Publication(
            self._requester, self._overlays, report, self.records, self.heartbeats, entry, self._write_ahead
        )
        ongoing.publication = publication
        self._publications[record_key] = ongoing
        ongoing.patient.update(ops if patient else ())

        # Begin it, once no withdrawal could undo it, and once the network is reached.
        if record_key in self.withdrawing.under_way:
            self._held_back[record_key] = ongoing
        else:
            self._waiting.begin(publication, ongoing.patience, now)

    def _publish_anew(self, entry: OwnEntry, now: float) -> None:
        """Begin a publication anew that should have ended. One that still waits for its turn goes on waiting."""
        self.records.began(entry, now)
        record_key = entry.record_key
        ongoing = self._publications.get(record_key)
        if ongoing is None:
            self._publish(record_key, now)
        elif ongoing.publication not in self._waiting and record_key not in self._held_back:
            ongoing.publication.abandon()
            del self._publications[record_key]
            self._publish(record_key, now, *ongoing.ops)

    # How operations ended

    def _placed(self, entry: OwnEntry, ongoing: _Ongoing, outcome: Placed, now: float) -> None:
        try:
            if not outcome.cancelled:
                del self._publications[entry.record_key]
                self._note(entry, outcome, now)
        finally:
            for op in ongoing.ops:
                self._tell(Published(op, entry.key, entry.port, *outcome), now)
            if not ongoing.ops:
                self._tell_news(Republished(entry.key, entry.port, *outcome))

    def _note(self, entry: OwnEntry, outcome: Placed, now: float) -> None:
        records, refused = self.records, outcome.refused
        records.published(entry.record_key, outcome.replicas, now, refused=refused)
        self.heartbeats.published(entry)
        # While nobody answers at all, the owner is told of that instead.
        is_unheld = not outcome.replicas and (refused or self._overlays.is_connected)
        if is_unheld and records.untaken.is_notice_due(now, refused=refused):
            entries = records.untaken.refused if refused else records.untaken.unanswered
            self._tell_news(Unheld(entries, len(records), refused))

    def _release(self, record_keys: Iterable[RecordKey], now: float) -> None:
        """No withdrawal of these is under way any more: begin their publications that were held back."""
        for record_key in record_keys:
            ongoing = self._held_back.pop(record_key, None)
            if ongoing is not None:
                self._waiting.begin(ongoing.publication, ongoing.patience, now)
