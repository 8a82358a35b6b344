"""News of the network that hurries the publication of own entries: nearer contacts, lost holders, a doubled network.

Strangers can bring such news again and again. Two limits keep that cheap:

- An entry pauses after each publication: a minute the first time (four, where a contact is the news and K nodes hold
  the entry), four times as long each time after, up to the usual interval. A publication that nothing has hurried makes
  the pause shorter again.
- New contacts need `Credit`, unless no node holds the entry.
"""

from __future__ import annotations

from itertools import chain
from typing import Final

from dhtd.core.messages import Contact
from dhtd.core.policy import Policy
from dhtd.core.publishing.own_entry import OwnEntry
from dhtd.core.publishing.own_lease import OwnLease
from dhtd.core.publishing.own_records import OwnRecords
from dhtd.core.publishing.walks import Visit

_LONGER: Final = 4  # times: the next pause
_LONGER_MAX: Final = 8  # times that it is; by then it is the usual interval


class Hurrying:
    """Takes the news, and hurries the entries that it concerns."""

    __slots__ = ("_grown_at", "_lease", "_network_sizes", "_policy", "_records")

    def __init__(self, records: OwnRecords, policy: Policy, lease: OwnLease) -> None:
        self._lease = lease
        self._records = records
        self._policy = policy
        self._network_sizes: dict[int, int] = {}  # by family: its size when it had last doubled, or halved
        self._grown_at: dict[int, float] = {}  # by family: when all entries were last hurried for that

    # Contacts come

    def contact_joined(self, contact: Contact, now: float) -> None:
        """A contact is new in the table: publish soon the entries that no node holds, or fewer than K.

        Entries that some nodes hold need credit.
        """
        records, hurries = self._records, self._hurries(contact, now)
        wanting = records.reach.wanting(len(contact.endpoint)) if records.credit.is_left else ()
        entries = chain(records.reach.unheld(), wanting)
        records.visit(entries, lambda entry: contact in entry.replicas or hurries(entry), now)

    def contact_stayed(self, contact: Contact, came_at: float, now: float) -> None:
        """A contact that came at `came_at` is still there: publish soon the entries that it should hold.

        These are those of `concerns`, as far as there is credit.
        """
        hurries = self._hurries(contact, now)
        near = self._records.reach.of(contact) if self._records.credit.is_left else ()  # which may be all entries
        self._records.visit(near, lambda entry: not _is_news(contact, came_at, entry) or hurries(entry), now)

    def concerns(self, contact: Contact, came_at: float) -> bool:
        """Whether a contact is nearer to an entry than a holder, and came after the entry was last published."""
        some = self._records.reach.some(contact)
        return self._records.credit.is_left and any(_is_news(contact, came_at, entry) for entry in some)

    def _hurries(self, contact: Contact, now: float) -> Visit:
        """Return the visit that hurries an entry for a new contact; it ends the walk when no credit is left."""
        policy, family, credit = self._policy, len(contact.endpoint), self._records.credit

        def visit(entry: OwnEntry) -> bool:
            if entry.replicas:
                if not credit.is_left:
                    return False
                credit.spend(0 if entry.hurried else 1)
            is_held_well = len(entry.replicas_of(family)) >= policy.k
            self._hurry(entry, now, policy.newcomer_gap if is_held_well else policy.republish_gap)
            return True

        return visit

    # Holders go

    def holds(self, contact: Contact) -> bool:
        """Whether a contact holds an entry that nothing has hurried since its publication."""
        return any(contact in entry.replicas for entry in self._records.reach.some(contact))

    def holder_lost(self, contact: Contact, now: float, *, is_silent: bool = True) -> list[Contact]:
        """A node is given up: publish soon the entries that have lost half of their holders by it.

        Where a lease is renewed, the loss of one that `is_silent` is enough. Nodes that change their IDs every minute
        would have entries published without end. Return further holders, which may have gone with it: those
        of entries that have lost more than one.
        """
        doubtful: dict[Contact, None] = {}

        def visit(entry: OwnEntry) -> bool:
            if contact in entry.replicas and contact not in entry.lost:
                entry.lost += (contact,)
                if len(entry.lost) > 1:
                    doubtful.update(dict.fromkeys(other for other in entry.replicas if other not in entry.lost))
                if self._lease.is_renewed and is_silent:
                    self._replace(entry, now)
                elif 2 * len(entry.lost) >= len(entry.replicas):
                    self._hurry(entry, self._records.soon(now), self._policy.republish_gap)
            return True

        self._records.visit(self._records.reach.of(contact), visit, now)
        return list(doubtful)

    def copy_lost(self, entry: OwnEntry, contact: Contact, now: float) -> None:
        """A holder has lost an entry, and does not take it again: publish it soon."""
        if contact in entry.replicas and contact not in entry.lost:
            entry.lost += (contact,)
            self._replace(entry, now)

    def _replace(self, entry: OwnEntry, now: float) -> None:
        """Publish an entry that has lost a holder. Losses go on, so their pauses do not grow as those of other news."""
        if entry.hurried or entry.published_at is None or self._records.is_publishing(entry):
            return
        entry.hurried = True
        self._records.reach.take_out(entry)
        earliest = entry.published_at + self._records.jittered(self._policy.republish_gap)
        self._records.sooner(entry, max(self._records.soon(now), earliest))

    # The network grows

    def network_has(self, size: int, family: int, now: float) -> None:
        """The network of a family has about `size` nodes: publish all entries soon where that has doubled.

        Else newcomers would hide the holders: one near an entry need not become a contact of ours. All entries are
        hurried no more often than they are published anyway.
        """
        before = self._network_sizes.get(family, 1)
        if size >= 2 * before:
            if self._records.published_before:
                if now < self._grown_at.get(family, float("-inf")) + self._policy.republish_first:
                    return
                self._grown_at[family] = now

            def visit(entry: OwnEntry) -> bool:
                if entry.published_at is not None and entry.published_at <= now:
                    self._hurry(entry, now, self._policy.republish_gap)
                return True

            self._records.visit_all(visit, now)
        elif 2 * size > before:
            return
        self._network_sizes[family] = size

    def _hurry(self, entry: OwnEntry, when: float, pause: float) -> None:
        """Publish the entry at `when`, or once its pause is over; `pause` is the first one of this kind."""
        # What is hurried already comes soon anyway; what all nodes refuse would be refused again.
        if entry.hurried or self._records.untaken.is_refused(entry):
            return
        assert entry.published_at is not None
        entry.hurried = True
        self._records.reach.take_out(entry)
        # The more it was hurried of late, the longer it pauses. An entry that no node holds does not pause at first.
        gap = min(pause * _LONGER ** min(entry.hurries, _LONGER_MAX), entry.interval)
        earliest = entry.published_at + self._records.jittered(gap) if entry.replicas or entry.hurries else when
        self._records.sooner(entry, max(when, earliest))


def _is_news(contact: Contact, came_at: float, entry: OwnEntry) -> bool:
    """Whether the entry's last publication may have missed a contact that came at `came_at`."""
    assert entry.published_at is not None
    return entry.published_at <= came_at and contact not in entry.replicas
