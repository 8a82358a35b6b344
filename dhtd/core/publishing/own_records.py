"""This node's own entries: when each is published, which nodes hold it, when it is published again.

One entry has one timer, so entering it twice cannot start two chains of publications. While it is being published it
has none, and `published` sets the next. A publication that never ends, which only a defect explains, is begun anew.

Some news *hurry* an entry: a contact that is nearer than a holder, a network that has doubled, holders that are lost.
Strangers can bring such news again and again. So an entry pauses after a publication: a minute the first time (four,
where a contact is the news and K nodes hold it), and four times as long each time after, up to the usual interval. A
publication that nothing has hurried makes the pause shorter.

Contacts cost a stranger nothing but new IDs. So the entries share a *credit* for that news: a contact hurries one entry
for every four that are published again unhurried. An entry that gets none waits for its usual turn. Its old holders
still answer, and a network that has grown so much that they are hard to find has doubled.

There may be 65,536 entries. News that concerns many of them is a *walk*: it visits some hundreds at once, and some
hundreds more in each `pop_due`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import Id, packed
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy
from dhtd.core.publishing.nearby import Nearby
from dhtd.core.publishing.sightings import Sightings
from dhtd.core.records import RecordKey
from dhtd.core.timers import Timers

if TYPE_CHECKING:
    from random import Random

STEP: Final = 512  # entries that are visited in one call, at most


class OwnEntry:
    """One port that this machine serves a key on."""

    __slots__ = (
        "_changed",
        "_holders",
        "_limit",
        "again_at",
        "failures",
        "hurried",
        "hurries",
        "interval",
        "joined",
        "key",
        "lost",
        "port",
        "published_at",
        "record_key",
        "replicas",
        "sightings",
    )

    def __init__(self, record_key: RecordKey, interval: float, limit: int, changed: set[RecordKey]) -> None:
        self.record_key = record_key
        self.key = record_key.key
        self.port = record_key.port
        self.interval = interval  # seconds until the next publication, while all is well
        self.replicas: tuple[Contact, ...] = ()  # the nodes that took it at its last publication
        self.published_at: float | None = None  # when it was last published, whatever came of it
        self.failures = 0  # publications in a row that no node took
        self.hurried = False  # since it was last published
        self.hurries = 0  # how many publications were, less those since that were not
        self.lost: tuple[Contact, ...] = ()  # of the replicas, those that are given up
        self.joined: set[int] = set()  # the families whose network was reached since it was last published
        self.again_at: float | None = None  # publish it then, whatever comes of the publication under way
        self._holders: dict[Contact, float] = {}  # every node that may hold it, and until when; the latest last
        self._limit = limit  # of these
        self.sightings = Sightings()  # by the same
        self._changed = changed  # is told when they have changed

    def replicas_of(self, family: int) -> list[Contact]:
        """Return the replicas of one address family."""
        return [replica for replica in self.replicas if len(replica.endpoint) == family]

    def may_hold(self, contact: Contact, until: float) -> bool:
        """Note that a store is sent to `contact`, or will be, whether or not it will say that it arrived.

        Return whether the node that would let go first had to be forgotten for it.
        """
        self._changed.add(self.record_key)
        self._holders.pop(contact, None)
        self._holders[contact] = until
        if len(self._holders) <= self._limit:
            return False
        first = next(iter(self._holders))
        del self._holders[first]
        self.sightings.forget(first.endpoint)
        return True

    def seen_at(self, observed: Endpoint, holder: Endpoint, until: float) -> None:
        """A holder has taken the entry, and has seen that the store came from there."""
        if self.sightings.add(holder, observed, until):
            self._changed.add(self.record_key)

    def holders(self, now: float) -> dict[Contact, float]:
        """Return the nodes that may hold the entry now, and until when."""
        return {contact: until for contact, until in self._holders.items() if until > now}

    def forget_expired(self, now: float) -> None:
        """Drop the holders that have let go of the entry by now."""
        self._holders = self.holders(now)
        self.sightings.forget_expired(now)


# What a walk does with an entry. False ends the walk.
Visit = Callable[[OwnEntry], bool]


class OwnRecords:
    """The own entries and their timers."""

    __slots__ = (
        "_bare",
        "_credit",
        "_entries",
        "_grown_at",
        "_moved_at",
        "_nearby",
        "_network_sizes",
        "_notice_at",
        "_policy",
        "_ports",
        "_published",
        "_publishing",
        "_rng",
        "_rota",
        "_timers",
        "_unanswered",
        "_unheld",
        "_walks",
        "_walks_at",
        "changed",
    )

    def __init__(self, rng: Random, policy: Policy, families: Iterable[Family] = Family) -> None:
        self._rng = rng
        self._policy = policy
        self._entries: dict[RecordKey, OwnEntry] = {}
        self._ports: dict[bytes, set[int]] = {}  # of the same, since each find_value asks for them
        self._publishing: dict[RecordKey, float] = {}  # and until when at most; those that began first are first
        self._credit = float(policy.newcomer_credit)  # entries that new contacts may hurry
        self._moved_at = float("-inf")  # when all were, or are to be, published again for a move
        self._network_sizes: dict[int, int] = {}  # by family; when each had last doubled, or halved
        self._grown_at: dict[int, float] = {}  # by family: when all was last hurried since it had doubled
        self._nearby: dict[int, Nearby[OwnEntry]] = {family: Nearby() for family in families}
        self._bare: dict[OwnEntry, None] = {}  # nobody holds them, and nobody has refused them
        self._published = 0  # how many were ever published
        self._walks: deque[tuple[Iterator[OwnEntry], Visit]] = deque()
        self._walks_at: float | None = None  # when the next step of these is due
        self._notice_at: dict[bool, float] = {}  # by whether they were refused
        self._rota: Iterator[OwnEntry] = iter(())
        self._unanswered: dict[OwnEntry, None] = {}  # those that no node took, since none answered
        self._unheld: dict[OwnEntry, None] = {}  # those that no node took, though some answered
        self._timers: Timers[RecordKey] = Timers()
        self.changed: set[RecordKey] = set()  # those whose holders have changed, for whoever keeps them on disk

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self._entries)

    def __iter__(self) -> Iterator[OwnEntry]:
        """Yield each entry."""
        return iter(self._entries.values())

    @property
    def unheld(self) -> int:
        """How many entries no node took when they were last published, though some answered."""
        return len(self._unheld)

    @property
    def unanswered(self) -> int:
        """How many entries no node took when they were last published, since nobody answered."""
        return len(self._unanswered)

    def is_notice_due(self, now: float, *, refused: bool) -> bool:
        """Whether to tell the owner now of entries that were refused, or not answered; the next time is then set."""
        if now < self._notice_at.get(refused, now):
            return False
        self._notice_at[refused] = now + self._policy.unheld_notice
        return True

    def __contains__(self, record_key: RecordKey) -> bool:
        """Whether there is this entry."""
        return record_key in self._entries

    def get(self, record_key: RecordKey) -> OwnEntry | None:
        """Return the entry, if it is tracked."""
        return self._entries.get(record_key)

    def ports(self, key: Id) -> list[int]:
        """Return the ports on which this machine serves `key`."""
        ports = self._ports.get(packed(key)) if self._ports else None
        return sorted(ports) if ports else []

    def add(self, record_key: RecordKey) -> OwnEntry:
        """Return the entry, made where it was not tracked. It has no timer until `due_at` or `published` sets one."""
        entry = self._entries.get(record_key)
        if entry is None:
            entry = OwnEntry(record_key, self._policy.republish_first, self._policy.entry_holders, self.changed)
            self._entries[record_key] = entry
            self._ports.setdefault(record_key.packed_key, set()).add(entry.port)
        return entry

    def remove(self, record_key: RecordKey) -> OwnEntry | None:
        """Stop tracking an entry; return it, if it was tracked."""
        self._timers.cancel(record_key)
        self._publishing.pop(record_key, None)
        entry = self._entries.pop(record_key, None)
        if entry is not None:
            self._take_out(entry)
            self._published -= entry.published_at is not None
            self._unheld.pop(entry, None)
            self._unanswered.pop(entry, None)
            ports = self._ports[record_key.packed_key]
            ports.remove(entry.port)
            if not ports:
                del self._ports[record_key.packed_key]
        return entry

    def began(self, entry: OwnEntry, now: float) -> None:
        """The entry is being published: it has no timer meanwhile."""
        self._take_out(entry)
        self._publishing.pop(entry.record_key, None)
        self._publishing[entry.record_key] = now + self._policy.publication_lasts
        self._timers.cancel(entry.record_key)

    def published(
        self, record_key: RecordKey, replicas: Iterable[Contact], now: float, *, refused: bool = False
    ) -> None:
        """A publication has ended, and these nodes took the entry: set the next one.

        After none did, it is tried again soon, ever later; else once an interval, jittered, which follows from how many
        of the holders before were still there. If nodes have answered and all have `refused`, what they hold is full:
        then it may become an interval as well, and the more entries there are of this kind, the longer they wait.
        """
        entry = self._entries.get(record_key)
        if entry is None or record_key not in self._publishing:
            return
        self._publishing.pop(record_key, None)
        self._unheld.pop(entry, None)
        self._unanswered.pop(entry, None)
        holders = tuple(replicas)
        self._adapt_interval(entry, holders, now)
        entry.replicas = holders
        entry.lost = ()
        if entry.hurried:
            entry.hurries += 1
        else:
            entry.hurries = max(0, entry.hurries - 1)
            if entry.published_at is not None:
                self._earn()
        self._published += entry.published_at is None
        entry.published_at = now
        entry.hurried = False
        entry.forget_expired(now)
        if entry.replicas:
            entry.failures = 0
            self.due_at(entry, now + self._jittered(entry.interval))
            if any(not entry.replicas_of(family) for family in entry.joined):
                self._sooner(entry, now + self._rng.random() * self._policy.startup_spread)
        else:
            self._nobody_took(entry, now, refused=refused)
        entry.joined.clear()
        if entry.again_at is not None:
            self._sooner(entry, max(now, entry.again_at))
            entry.again_at = None
        self._put_in(entry)

    def _nobody_took(self, entry: OwnEntry, now: float, *, refused: bool) -> None:
        policy = self._policy
        wait = policy.republish_retry * 2**entry.failures
        if refused:
            self._unheld[entry] = None
            wait = max(min(wait, policy.republish), policy.refused_pace * len(self._unheld))
        else:
            self._unanswered[entry] = None
            wait = min(wait, policy.republish_retry_max)
        entry.failures = min(entry.failures + 1, 32)
        self.due_at(entry, now + self._jittered(wait))

    def due_at(self, entry: OwnEntry, when: float) -> None:
        """Publish the entry at `when`, unless it is being published."""
        if entry.record_key not in self._publishing:
            self._timers.set(entry.record_key, when)

    def joined(self, family: int, now: float) -> None:
        """The network of a family is reached, at start or after an outage: publish soon what nobody there holds.

        That is spread over `startup_spread`.
        """

        def visit(entry: OwnEntry) -> bool:
            self.may_reach(entry, family, now)
            return True

        self._walk(list(self), visit, now)

    def may_reach(self, entry: OwnEntry, family: int, now: float) -> None:
        """The network of a family can be reached: publish an entry soon that nobody there holds."""
        if not entry.replicas_of(family):
            entry.joined.add(family)
            entry.failures = 0  # they were the outage's
            self._sooner(entry, now + self._rng.random() * self._policy.startup_spread)

    def slept(self, seconds: float, now: float) -> None:
        """Take all publications as so much older, and publish soon what is due by that, spread over `startup_spread`.

        Of the nodes that must have let go of an entry since, none counts as a replica any more.
        """

        def visit(entry: OwnEntry) -> bool:
            if entry.published_at is not None:
                if entry.published_at > now:
                    return True  # since the walk began
                entry.published_at -= seconds
                if now - entry.published_at >= self._policy.store_expiry:
                    entry.replicas = ()
            when = self._timers.get(entry.record_key)
            if when is not None:
                soon = now + self._rng.random() * self._policy.startup_spread
                self._sooner(entry, max(when - seconds, soon))
            return True

        self._walk(list(self), visit, now)

    def moved(self, now: float) -> None:
        """This machine's address has changed: publish all soon, for holders name the one that they were told from.

        That is spread over `startup_spread`, and comes no sooner than `move_gap` after the last time: whoever can make
        us believe in one address after another gets no more than that out of it.
        """
        if self._moved_at <= now:  # else it is to come, and will do for this one as well
            self._moved_at = max(now, self._moved_at + self._policy.move_gap)
        moved_at = self._moved_at

        def visit(entry: OwnEntry) -> bool:
            when = moved_at + self._rng.random() * self._policy.startup_spread
            if entry.record_key in self._publishing:
                entry.again_at = when
            else:
                self._sooner(entry, when)
            return True

        self._walk(list(self), visit, now)

    def contact_joined(self, contact: Contact, now: float) -> None:
        """A contact is new in the table: publish soon the entries that nobody holds, or fewer than K nodes.

        Those that somebody holds, as far as there is credit for them.
        """
        hurries = self._hurries(contact, now)
        wanting = self._nearby[len(contact.endpoint)].anywhere() if self._credit >= 1 else ()
        entries = chain(list(self._bare), wanting)
        self._walk(entries, lambda entry: contact in entry.replicas or hurries(entry), now)

    def contact_stayed(self, contact: Contact, came_at: float, now: float) -> None:
        """A contact that came then is still there: publish soon the entries that it should hold, as `concerns` says.

        As far as there is credit for them.
        """
        hurries = self._hurries(contact, now)
        near = self._near(contact) if self._credit >= 1 else ()  # which may be all that there are
        self._walk(near, lambda entry: not _is_news(contact, came_at, entry) or hurries(entry), now)

    def concerns(self, contact: Contact, came_at: float) -> bool:
        """Whether a contact that came then is nearer to an entry than a holder, and has not been asked to hold it."""
        some = self._nearby[len(contact.endpoint)].some(contact.id, STEP)
        return self._credit >= 1 and any(_is_news(contact, came_at, entry) for entry in some)

    def holds(self, contact: Contact) -> bool:
        """Whether a contact has taken an entry that nothing has hurried since."""
        some = self._nearby[len(contact.endpoint)].some(contact.id, STEP)
        return any(contact in entry.replicas for entry in some)

    def holder_lost(self, contact: Contact, now: float) -> list[Contact]:
        """A node is given up: publish the entries soon that have lost half of their holders by it.

        Return further holders, which may have gone with it: those of entries that have lost more than one.
        """
        doubtful: dict[Contact, None] = {}

        def visit(entry: OwnEntry) -> bool:
            if contact in entry.replicas and contact not in entry.lost:
                entry.lost += (contact,)
                if len(entry.lost) > 1:
                    doubtful.update(dict.fromkeys(other for other in entry.replicas if other not in entry.lost))
                if 2 * len(entry.lost) >= len(entry.replicas):
                    soon = now + self._rng.random() * self._policy.startup_spread
                    self._hurry(entry, soon, self._policy.republish_gap)
            return True

        self._walk(self._near(contact), visit, now)
        return list(doubtful)

    def some_replicas(self, entries: int) -> list[Contact]:
        """Return the holders of so many entries that are not given up; of the next ones each time, round and round."""
        found: list[Contact] = []
        for _ in range(min(entries, len(self._entries))):
            entry = next(self._rota, None)
            if entry is None:
                self._rota = iter(list(self._entries.values()))
                entry = next(self._rota)
            found += [replica for replica in entry.replicas if replica not in entry.lost]
        return found

    def network_has(self, size: int, family: int, now: float) -> None:
        """The network of a family has about `size` nodes: publish all soon where that has doubled.

        Else newcomers hide the holders: one near an entry need not become a contact of ours. It is done no more often
        than entries are published in any case.
        """
        before = self._network_sizes.get(family, 1)
        if size >= 2 * before:
            if self._published:
                if now < self._grown_at.get(family, float("-inf")) + self._policy.republish_first:
                    return
                self._grown_at[family] = now

            def visit(entry: OwnEntry) -> bool:
                if entry.published_at is not None and entry.published_at <= now:
                    self._hurry(entry, now, self._policy.republish_gap)
                return True

            self._walk(list(self), visit, now)
        elif 2 * size > before:
            return
        self._network_sizes[family] = size

    def next_timeout(self) -> float | None:
        """Return when `pop_due` has an entry."""
        if self._walks_at is not None or not self._entries or len(self._publishing) >= self._policy.publishing:
            return self._walks_at
        return self._timers.next()

    def next_overdue(self) -> float | None:
        """Return when `overdue` has an entry."""
        return next(iter(self._publishing.values()), None)

    def overdue(self, now: float) -> list[OwnEntry]:
        """Return the entries whose publication should have ended by now; the caller calls `began` for each."""
        return [self._entries[found_by] for found_by, until in self._publishing.items() if until <= now]

    def pop_due(self, now: float) -> Iterator[OwnEntry]:
        """Take and yield the entries that are to be published now; the caller calls `began` for each.

        No more than `publishing` are under way at once; the others wait for `published`. Walks take a step first.
        """
        self._step(now)
        while len(self._publishing) < self._policy.publishing:
            due = next(self._timers.pop_due(now), None)
            if due is None:
                return
            yield self._entries[due]

    def due_in(self, entry: OwnEntry, now: float) -> float:
        """Return the seconds until the entry is published again; 0 while it is being published."""
        when = self._timers.get(entry.record_key)
        return 0.0 if when is None else max(0.0, when - now)

    def _adapt_interval(self, entry: OwnEntry, holders: tuple[Contact, ...], now: float) -> None:
        """Double the interval, up to `republish`, where the holders stay; halve it again where they do not.

        With a mean session of half an hour, all of eight holders are gone after 45 minutes in one case of seven.
        """
        if not entry.replicas or not holders or entry.published_at is None:
            return
        if now - entry.published_at < entry.interval / 2:
            return  # too short a time to tell
        stayed = len(set(entry.replicas) & set(holders)) / len(entry.replicas)
        if stayed >= 0.75:
            entry.interval = min(2 * entry.interval, self._policy.republish)
        elif stayed < 0.5:
            entry.interval = max(entry.interval / 2, self._policy.republish_first)

    def _near(self, contact: Contact) -> Iterator[OwnEntry]:
        """Yield the published entries that a node of this ID should hold, or holds, and that nothing has hurried."""
        return self._nearby[len(contact.endpoint)].of(contact.id)

    def _put_in(self, entry: OwnEntry) -> None:
        if entry in self._unheld:
            return
        if not entry.replicas:
            self._bare[entry] = None
            return
        for family, nearby in self._nearby.items():
            replicas = entry.replicas_of(family)
            reach = max((replica.id ^ entry.key for replica in replicas), default=0)
            nearby.add(entry, reach if len(replicas) >= self._policy.k else None)

    def _take_out(self, entry: OwnEntry) -> None:
        self._bare.pop(entry, None)
        for nearby in self._nearby.values():
            nearby.remove(entry)

    def _walk(self, entries: Iterable[OwnEntry], visit: Visit, now: float) -> None:
        """Visit the first entries now, and leave the others to `pop_due`."""
        walk = iter(entries), visit
        if self._goes_on(*walk):
            self._walks.append(walk)
            self._walks_at = now

    def _step(self, now: float) -> None:
        """Go on with one walk; the others have their turn after it."""
        if self._walks:
            walk = self._walks.popleft()
            if self._goes_on(*walk):
                self._walks.append(walk)
            self._walks_at = now if self._walks else None

    def _goes_on(self, entries: Iterator[OwnEntry], visit: Visit) -> bool:
        """Visit some entries, those that are still tracked. Return whether there may be more."""
        for visited, entry in enumerate(entries, 1):
            if self._entries.get(entry.record_key) is entry and not visit(entry):
                return False
            if visited == STEP:
                return True
        return False

    def _earn(self) -> None:
        """An entry was published again, and nothing had hurried it."""
        policy = self._policy
        most = max(policy.newcomer_credit, policy.newcomer_share * len(self._entries))
        self._credit = min(most, self._credit + policy.newcomer_share)

    def _hurry(self, entry: OwnEntry, now: float, pause: float) -> None:
        """Publish the entry soon, unless something has hurried it already; the `pause` is that of the first time."""
        if entry.hurried or entry in self._unheld:
            return
        assert entry.published_at is not None
        entry.hurried = True
        self._take_out(entry)
        gap = min(pause * 4 ** min(entry.hurries, 8), entry.interval)
        earliest = entry.published_at + self._jittered(gap) if entry.replicas or entry.hurries else now
        self._sooner(entry, max(now, earliest))

    def _hurries(self, contact: Contact, now: float) -> Visit:
        """Return what a walk does with the entries that a new contact should hold: hurry them while there is credit."""
        policy, family = self._policy, len(contact.endpoint)

        def visit(entry: OwnEntry) -> bool:
            if entry.replicas:
                if self._credit < 1:
                    return False
                self._credit -= not entry.hurried
            is_held_well = len(entry.replicas_of(family)) >= policy.k
            self._hurry(entry, now, policy.newcomer_gap if is_held_well else policy.republish_gap)
            return True

        return visit

    def _sooner(self, entry: OwnEntry, when: float) -> None:
        current = self._timers.get(entry.record_key)
        if current is None or when < current:
            self.due_at(entry, when)

    def _jittered(self, interval: float) -> float:
        spread = self._policy.republish_jitter
        return interval * (1 + self._rng.uniform(-spread, spread))


def _is_news(contact: Contact, came_at: float, entry: OwnEntry) -> bool:
    """Whether an entry may have been published without knowing a contact that came then."""
    assert entry.published_at is not None
    return entry.published_at <= came_at and contact not in entry.replicas
