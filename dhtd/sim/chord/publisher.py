"""Own entries: each is stored at the successor of its key, and renewed there before its lease runs out."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from math import ceil

from dhtd.core.events import Event, Handle, Published, Republished
from dhtd.core.ids import Id, packed
from dhtd.core.messages import Contact
from dhtd.core.timers import Timers
from dhtd.sim.chord.messages import NotMine, Result, Store, Yes
from dhtd.sim.chord.policy import ChordPolicy
from dhtd.sim.chord.requester import Query, Requester
from dhtd.sim.chord.ring import Ring
from dhtd.sim.chord.search import Search
from dhtd.sim.chord.searches import Searches


class EntryState(Enum):
    """How far an own entry is. A failure leads back to WANTED."""

    WANTED = auto()  # to be looked up, when its turn comes
    SOUGHT = auto()  # the successor of its key is being looked up
    OFFERED = auto()  # a node was asked to store it
    HELD = auto()  # a node has stored it, and is asked again when a renewal is due


_FAILURES = 5  # in a row, until the command that has entered the key ends with no replica
_REFERRALS = 4  # that are followed, from a node that is not responsible to its predecessor


class OwnEntry:
    """A key that this machine serves on a port."""

    __slots__ = ("failures", "holder", "key", "op", "port", "referrals", "state")

    def __init__(self, key: Id, port: int, op: Handle | None) -> None:
        self.key = key
        self.port = port
        self.op = op  # the command that waits for its first publication
        self.state = EntryState.WANTED
        self.holder: Contact | None = None
        self.referrals = 0
        self.failures = 0  # in a row

    @property
    def name(self) -> bytes:
        """What it is found by."""
        return packed(self.key) + self.port.to_bytes(2, "big")


class Publisher:
    """The own entries of a node."""

    def __init__(
        self,
        ring: Ring,
        requester: Requester,
        searches: Searches,
        store: Callable[[Id, int, int, float], None],
        tell: Callable[[Event], None],
        policy: ChordPolicy,
    ) -> None:
        """`store` keeps an entry at this node itself: key, port, lease and time."""
        self._ring = ring
        self._requester = requester
        self._searches = searches
        self._store = store
        self._tell = tell
        self._policy = policy
        self.entries: dict[bytes, OwnEntry] = {}
        self._timers: Timers[bytes] = Timers()
        self._sought = 0

    @property
    def period(self) -> float:
        """Seconds between two renewals of an entry: no node sends more than so many in a second."""
        return max(self._policy.renew, len(self.entries) / self._policy.renewals)

    @property
    def lease(self) -> int:
        """Seconds that an entry is held after a renewal."""
        return ceil(self.period * self._policy.lease / self._policy.renew)

    def enter(self, key: Id, port: int, op: Handle | None, now: float) -> None:
        """Serve a key from now on."""
        entry = OwnEntry(key, port, op)
        self.entries[entry.name] = entry
        self._timers.set(entry.name, now)

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is due."""
        return self._timers.next()

    def handle_timeout(self, now: float) -> None:
        """Renew what is due, and look up what is wanted."""
        for name in self._timers.pop_due(now):
            entry = self.entries[name]
            if entry.state is EntryState.HELD and entry.holder is not None:
                self._offer(entry, entry.holder, now)
            elif self._sought < self._policy.publishing:
                self._sought += 1
                entry.state, entry.referrals = EntryState.SOUGHT, 0
                self._searches.run(entry.key, _Placing(self, entry), now)
            else:
                self._timers.set(name, now + self._policy.timeout_least)  # its turn will come

    def found(self, entry: OwnEntry, search: Search, now: float) -> None:
        """The successor of an entry's key is found, or nobody knows it now."""
        self._sought -= 1
        if search.holders:
            self._offer(entry, search.holders[0], now)
        else:
            self._failed(entry, now)

    def stored(self, entry: OwnEntry, holder: Contact, now: float) -> None:
        """A node has stored an entry."""
        is_news = entry.op is not None or entry.holder != holder
        entry.state, entry.holder, entry.referrals = EntryState.HELD, holder, 0
        entry.failures = 0
        self._timers.set(entry.name, now + self.period)
        if is_news:
            is_alone = self._ring.head is None
            self._done(entry, () if is_alone else (holder,))

    def refused(self, entry: OwnEntry, result: Result, now: float) -> None:
        """A node has not stored an entry. If it is not responsible, its predecessor may be."""
        entry.referrals += 1
        if isinstance(result, NotMine) and result.predecessor is not None and entry.referrals <= _REFERRALS:
            self._offer(entry, result.predecessor, now)
        else:
            self._failed(entry, now)

    def silent(self, entry: OwnEntry, now: float) -> None:
        """The node that was asked does not answer."""
        self._failed(entry, now, at_once=entry.op is None and entry.holder is not None)

    def _offer(self, entry: OwnEntry, holder: Contact, now: float) -> None:
        entry.state = EntryState.OFFERED
        if holder == self._ring.own:
            self._store(entry.key, entry.port, self.lease, now)
            self.stored(entry, holder, now)
        else:
            request = Store(entry.key, entry.port, self.lease)
            listener = _Placing(self, entry)
            self._requester.ask(holder.endpoint, holder.id, request, listener, now, attempts=2)

    def _failed(self, entry: OwnEntry, now: float, *, at_once: bool = False) -> None:
        entry.state, entry.holder = EntryState.WANTED, None
        self._timers.set(entry.name, now if at_once else now + self._policy.retry)
        entry.failures += 1
        if entry.op is not None and entry.failures == _FAILURES:
            self._done(entry, ())

    def _done(self, entry: OwnEntry, replicas: tuple[Contact, ...]) -> None:
        op, entry.op = entry.op, None
        if op is None:
            self._tell(Republished(entry.key, entry.port, replicas, asked=1))
        else:
            self._tell(Published(op, entry.key, entry.port, replicas, asked=1))


class _Placing:
    """One attempt to place one entry: the finder of its search, and the listener of its query."""

    def __init__(self, publisher: Publisher, entry: OwnEntry) -> None:
        self._publisher = publisher
        self._entry = entry

    def progressed(self, search: Search, now: float) -> None:
        """Nothing is to be done before the end."""

    def found(self, search: Search, now: float) -> None:
        """Go on with what the search has found."""
        self._publisher.found(self._entry, search, now)

    def answered(self, query: Query, result: Result, now: float) -> None:
        """The node has stored it, or not."""
        if isinstance(result, Yes):
            self._publisher.stored(self._entry, query.contact, now)
        else:
            self._publisher.refused(self._entry, result, now)

    def silent(self, query: Query, now: float) -> None:
        """It does not answer."""
        self._publisher.silent(self._entry, now)
