"""This node's own entries: which there are, when each is published, which nodes hold it.

A publication begins with `began` and ends with `published`, which sets the next one:

1. An entry that nodes hold is published again after an interval, jittered: 15 to 45 minutes, longer where holders stay.
2. An entry that no node took is tried again soon, and ever later.
3. An entry that all nodes refused waits longer, the more entries there are of this kind.

News of the network may hurry an entry: see `Hurrying` and `Upheavals`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from dhtd.core.counters import ENTRY_HOLDERS, OWN_ENTRIES, OWN_PORTS, none_hit
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import Id, packed, unpacked
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy
from dhtd.core.publishing.changed_holders import ChangedHolders
from dhtd.core.publishing.credit import Credit
from dhtd.core.publishing.own_entry import OwnEntry
from dhtd.core.publishing.own_lease import OwnLease
from dhtd.core.publishing.reach import Reach
from dhtd.core.publishing.sightings import Seen
from dhtd.core.publishing.timetable import Timetable
from dhtd.core.publishing.untaken import Untaken
from dhtd.core.publishing.walks import Visit, Walks
from dhtd.core.records import RecordKey
from dhtd.errors import TooManyEntries

if TYPE_CHECKING:
    from random import Random

_FAILURES_MAX = 32  # that are counted: more would overflow the pause that doubles with each


class OwnRecords:
    """The own entries, their timers and their holders."""

    __slots__ = (
        "_caps_hit",
        "_changed",
        "_entries",
        "_lease",
        "_policy",
        "_ports",
        "_published",
        "_rng",
        "_timetable",
        "_walks",
        "credit",
        "reach",
        "untaken",
        "work",
    )

    def __init__(
        self,
        rng: Random,
        policy: Policy,
        lease: OwnLease,
        families: Iterable[Family] = Family,
        caps_hit: dict[str, int] | None = None,
    ) -> None:
        self._caps_hit = none_hit() if caps_hit is None else caps_hit  # where hits are counted
        self._rng = rng
        self._policy = policy
        self._lease = lease
        self._entries: dict[RecordKey, OwnEntry] = {}
        self._ports: dict[bytes, set[int]] = {}  # of the same, by packed key: each find_value asks for them
        self._published = 0  # how many were ever published
        self._timetable = Timetable(policy)
        self._walks = Walks(self._is_tracked)
        self.work = (self._entries, self._walks.under_way)  # while both are empty, nothing is due
        self._changed = ChangedHolders()
        self.reach = Reach(families, policy.k)
        self.credit = Credit(policy)
        self.untaken = Untaken(policy.unheld_notice)

    # Which there are

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self._entries)

    def __iter__(self) -> Iterator[OwnEntry]:
        """Yield each entry."""
        return iter(self._entries.values())

    def __contains__(self, record_key: RecordKey) -> bool:
        """Whether there is this entry."""
        return record_key in self._entries

    @property
    def published_before(self) -> int:
        """How many entries were ever published."""
        return self._published

    def get(self, record_key: RecordKey) -> OwnEntry | None:
        """Return the entry, if there is one."""
        return self._entries.get(record_key)

    def ports(self, key: Id) -> list[int]:
        """Return the ports on which this machine serves `key`."""
        ports = self._ports.get(packed(key)) if self._ports else None
        return sorted(ports) if ports else []

    def check_room(self, *record_keys: RecordKey) -> None:
        """Raise `TooManyEntries` if these entries are not all taken. One that is there always is."""
        most, ports = self._policy.own_entries, self._policy.own_ports
        new = {record_key for record_key in record_keys if record_key not in self}
        if new and len(self) + len(new) > most:
            self._caps_hit[OWN_ENTRIES] += 1
            raise TooManyEntries(f"this node has entered as many entries as it takes ({most}): delete some")
        for packed_key, many in Counter(record_key.packed_key for record_key in new).items():
            if len(self.ports(unpacked(packed_key))) + many > ports:
                self._caps_hit[OWN_PORTS] += 1
                raise TooManyEntries(
                    f"this node has entered this ID on as many ports as it takes ({ports}): delete some"
                )

    def add(self, record_key: RecordKey) -> OwnEntry:
        """Return the entry, made where it was missing. It has no timer until `due_at` or `published` sets one."""
        entry = self._entries.get(record_key)
        if entry is None:
            entry = self._entries[record_key] = OwnEntry(record_key, self._policy, self._lease)
            self._ports.setdefault(record_key.packed_key, set()).add(entry.port)
        return entry

    def remove(self, record_key: RecordKey) -> OwnEntry | None:
        """Drop an entry; return it, if there was one."""
        self._timetable.forget(record_key)
        entry = self._entries.pop(record_key, None)
        if entry is not None:
            self.reach.take_out(entry)
            self.untaken.drop(entry)
            self._published -= entry.published_at is not None
            ports = self._ports[record_key.packed_key]
            ports.remove(entry.port)
            if not ports:
                del self._ports[record_key.packed_key]
        return entry

    # Publications

    def began(self, entry: OwnEntry, now: float) -> None:
        """The entry is being published: it has no timer meanwhile, and no news hurries it."""
        self.reach.take_out(entry)
        self._timetable.began(entry.record_key, now)

    def published(
        self, record_key: RecordKey, replicas: Iterable[Contact], now: float, *, refused: bool = False
    ) -> None:
        """A publication has ended, and these nodes took the entry: set the next one.

        `refused`: nodes have answered, and none took it. A publication that was called off changes nothing.
        """
        entry = self._entries.get(record_key)
        if entry is None or not self._timetable.is_publishing(record_key):
            return
        self._timetable.ended(record_key)
        self.untaken.drop(entry)

        # Note how it went.
        holders = tuple(replicas)
        entry.adapt_interval(holders, now, self._policy)
        entry.replicas = holders
        entry.lost = ()
        if entry.hurried:
            entry.hurries += 1
        else:
            entry.hurries = max(0, entry.hurries - 1)
            if entry.published_at is not None:
                self.credit.earn(len(self._entries))
        self._published += entry.published_at is None
        entry.published_at = now
        entry.hurried = False
        entry.forget_expired(now)

        # Set the next publication by how many nodes took the entry.
        if entry.replicas:
            entry.failures = 0
            self.due_at(entry, now + self.jittered(entry.interval))
            # A network that was reached meanwhile may have no holder yet.
            if any(not entry.replicas_of(family) for family in entry.joined):
                self.sooner(entry, self.soon(now))
        else:
            self._nobody_took(entry, now, refused=refused)
        entry.joined.clear()

        # A move of this machine may have asked for one more.
        if entry.again_at is not None:
            self.sooner(entry, max(now, entry.again_at))
            entry.again_at = None

        # From now on news may hurry it, unless what the nodes hold is full: then news changes nothing.
        if not self.untaken.is_refused(entry):
            self.reach.put_in(entry)

    def _nobody_took(self, entry: OwnEntry, now: float, *, refused: bool) -> None:
        policy = self._policy
        wait = policy.republish_retry * 2**entry.failures
        self.untaken.add(entry, refused=refused)
        if refused:
            wait = max(min(wait, policy.republish), policy.refused_pace * self.untaken.refused)
        else:
            wait = min(wait, policy.republish_retry_max)
        entry.failures = min(entry.failures + 1, _FAILURES_MAX)
        self.due_at(entry, now + self.jittered(wait))

    def is_publishing(self, entry: OwnEntry) -> bool:
        """Whether the entry is being published."""
        return self._timetable.is_publishing(entry.record_key)

    # Timers

    def due_at(self, entry: OwnEntry, when: float) -> None:
        """Publish the entry at `when`, unless it is being published."""
        self._timetable.set(entry.record_key, when)

    def sooner(self, entry: OwnEntry, when: float) -> None:
        """Publish the entry at `when`, unless that is later than it would be anyway."""
        self._timetable.sooner(entry.record_key, when)

    def next_publication(self, entry: OwnEntry) -> float | None:
        """Return when the entry is published next; None while it is being published, and before its first timer."""
        return self._timetable.at(entry.record_key)

    def due_in(self, entry: OwnEntry, now: float) -> float:
        """Return the seconds until the entry is published next; 0 while it is being published."""
        when = self._timetable.at(entry.record_key)
        return 0.0 if when is None else max(0.0, when - now)

    def soon(self, now: float) -> float:
        """Return a moment within `startup_spread`, so that what becomes due together is spread out."""
        return now + self._rng.random() * self._policy.startup_spread

    def jittered(self, interval: float) -> float:
        """Return an interval, give or take a tenth."""
        spread = self._policy.republish_jitter
        return interval * (1 + self._rng.uniform(-spread, spread))

    def next_timeout(self) -> float | None:
        """Return when `pop_due` has something to do."""
        walks_at = self._walks.due_at
        if walks_at is not None or not self._entries:
            return walks_at
        return self._timetable.next_timeout()

    def pop_due(self, now: float) -> Iterator[OwnEntry]:
        """Take a step of the walks; then take and yield the entries to publish. The caller calls `began` for each.

        No more than `publishing` are under way at once; the others wait for `published`.
        """
        self._walks.step(now)
        for record_key in self._timetable.pop_due(now):
            yield self._entries[record_key]

    def next_overdue(self) -> float | None:
        """Return when `overdue` has an entry."""
        return self._timetable.next_overdue()

    def overdue(self, now: float) -> list[OwnEntry]:
        """Return the entries with a publication that should have ended by now; the caller calls `began` for each."""
        return [self._entries[record_key] for record_key in self._timetable.overdue(now)]

    # Visits to many

    def visit(self, entries: Iterable[OwnEntry], visit: Visit, now: float) -> None:
        """Visit the first of these entries now, and the others bit by bit, each in a `pop_due`."""
        self._walks.begin(entries, visit, now)

    def visit_all(self, visit: Visit, now: float) -> None:
        """Visit all entries in the same way."""
        self._walks.begin(list(self), visit, now)

    def _is_tracked(self, entry: OwnEntry) -> bool:
        return self._entries.get(entry.record_key) is entry

    # Holders

    def may_hold(self, entry: OwnEntry, contact: Contact, until: float) -> None:
        """Note that a store is sent to `contact`, or will be: it may arrive, even if no answer says so."""
        self._changed.note(entry.record_key)
        self._caps_hit[ENTRY_HOLDERS] += entry.may_hold(contact, until)

    def seen_at(self, entry: OwnEntry, observed: Endpoint, holder: Endpoint, until: float) -> None:
        """A holder has taken the entry, and saw the store come from `observed`."""
        if entry.seen_at(observed, holder, until):
            self._changed.note(entry.record_key)

    def restore_holder(self, entry: OwnEntry, contact: Contact, until: float, seen: Seen, now: float) -> None:
        """Put back a holder and what it saw. It is on disk, and so no change."""
        self._caps_hit[ENTRY_HOLDERS] += entry.may_hold(contact, until)
        entry.restore_seen(contact.endpoint, seen, until, now)

    def changed(self) -> set[RecordKey]:
        """Return the entries with changed holders, which `take_changed` would take."""
        return set(self._changed)

    def take_changed(self, among: AbstractSet[RecordKey] | None = None) -> set[RecordKey]:
        """Take and return the entries with changed holders; of those `among` these alone, if given."""
        return self._changed.take(among)

    def mark_changed(self, record_keys: Iterable[RecordKey]) -> None:
        """Have these among the next changes."""
        self._changed.put_back(record_keys)
