"""Own entries: each is stored at the successor of its key, and renewed there before its lease runs out.

An entry is withdrawn in the same way: the successor of its key is told, and tells the other holders. It is tried until
a node has taken it, or no copy can be left.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from dhtd.core.events import Event, Handle, Published, Republished, Withdrawn
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.timers import Timers
from dhtd.sim.chord.messages import NotMine, Result, Store, Yes
from dhtd.sim.chord.own_entry import EntryState, OwnEntry
from dhtd.sim.chord.policy import ChordPolicy
from dhtd.sim.chord.requester import Query, Requester
from dhtd.sim.chord.ring import Ring
from dhtd.sim.chord.search import Search
from dhtd.sim.chord.searches import Searches

_FAILURES = 5  # in a row, until the command that has entered the key ends with no replica
_REFERRALS = 4  # that are followed, from a node that is not responsible to its predecessor


class _Withdrawal:
    """A command that withdraws the entries of a key, on some ports."""

    __slots__ = ("key", "left", "ports", "silent")

    def __init__(self, key: Id, ports: list[int], left: int) -> None:
        self.key = key
        self.ports = ports
        self.left = left  # that are not withdrawn yet
        self.silent = 0  # that no node has taken


class Publisher:
    """The own entries of a node."""

    def __init__(
        self,
        ring: Ring,
        requester: Requester,
        searches: Searches,
        store: Callable[[Store, float], None],
        tell: Callable[[Event], None],
        policy: ChordPolicy,
    ) -> None:
        """`store` keeps an entry at this node itself."""
        self._ring = ring
        self._requester = requester
        self._searches = searches
        self._store = store
        self._tell = tell
        self._policy = policy
        self.entries: dict[bytes, OwnEntry] = {}
        self._timers: Timers[bytes] = Timers()
        self._withdrawals: dict[Handle, _Withdrawal] = {}
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
        entry = OwnEntry(key, port, op, now)
        before = self.entries.get(entry.name)
        if before is not None:
            entry.stamp = max(entry.stamp, before.stamp + 1)
            self._ended(before)  # what it waits for is overtaken
        self.entries[entry.name] = entry
        self._timers.set(entry.name, now)

    def delete(self, key: Id, port: int | None, op: Handle, now: float) -> list[int]:
        """Serve a key no more, on this port or on any; return the ports. With any, it ends with `Withdrawn`."""
        entries = [
            entry
            for entry in self.entries.values()
            if entry.key == key and port in (None, entry.port) and not entry.is_withdrawn
        ]
        ports = [entry.port for entry in entries]
        if ports:
            self._withdrawals[op] = _Withdrawal(key, ports, len(ports))
        for entry in entries:
            self._withdraw(entry, op, now)
        return ports

    def delete_all(self, now: float) -> None:
        """Serve nothing more: this machine stops."""
        for entry in list(self.entries.values()):
            if not entry.is_withdrawn:
                self._withdraw(entry, None, now)

    def forget_all(self) -> None:
        """Renew nothing more. Withdrawals go on."""
        for name, entry in list(self.entries.items()):
            if not entry.is_withdrawn:
                self._timers.cancel(name)
                del self.entries[name]
                self._ended(entry)

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
        if self.entries.get(entry.name) is not entry:
            return
        if search.holders:
            self._offer(entry, search.holders[0], now)
        else:
            self._failed(entry, now)

    def overtakes(self, entry: OwnEntry, query: Query, now: float) -> bool:
        """Whether an entry was withdrawn or replaced after a node was asked to store it. A withdrawal goes on."""
        request = query.request
        assert isinstance(request, Store)
        if self.entries.get(entry.name) is not entry:
            return True
        if request.is_withdrawn == entry.is_withdrawn:
            return False
        self._offer(entry, query.contact, now)
        return True

    def stored(self, entry: OwnEntry, holder: Contact, now: float) -> None:
        """A node has stored an entry, or its withdrawal."""
        if entry.is_withdrawn:
            self._gone(entry)
            return
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
        # A withdrawal outlasts all copies of the record.
        lease = max(self.lease, ceil(entry.lasts_until - now)) if entry.is_withdrawn else self.lease
        entry.lasts_until = max(entry.lasts_until, now + lease)
        store = Store(entry.key, entry.port, lease, entry.stamp, entry.is_withdrawn)
        if holder == self._ring.own:
            self._store(store, now)
            self.stored(entry, holder, now)
        else:
            self._requester.ask(holder.endpoint, holder.id, store, _Placing(self, entry), now, attempts=2)

    def _withdraw(self, entry: OwnEntry, op: Handle | None, now: float) -> None:
        self._ended(entry)
        entry.withdraw(op, now)
        if entry.lasts_until <= now:
            self._gone(entry)  # nobody was ever asked to store it, or no copy is left
        elif entry.state in (EntryState.HELD, EntryState.WANTED):
            self._timers.set(entry.name, now)

    def _gone(self, entry: OwnEntry, silent: int = 0) -> None:
        self._timers.cancel(entry.name)
        del self.entries[entry.name]
        self._withdrawn(entry, silent)

    def _withdrawn(self, entry: OwnEntry, silent: int) -> None:
        if entry.op is None:
            return
        op, entry.op = entry.op, None
        withdrawal = self._withdrawals[op]
        withdrawal.left -= 1
        withdrawal.silent += silent
        if not withdrawal.left:
            del self._withdrawals[op]
            ports, silent = tuple(withdrawal.ports), withdrawal.silent
            self._tell(Withdrawn(op, withdrawal.key, ports, len(ports) - silent, silent))

    def _ended(self, entry: OwnEntry) -> None:
        """Tell a command that still waits for this entry that nothing more comes of it."""
        if entry.op is None:
            return
        if entry.is_withdrawn:
            self._withdrawn(entry, silent=1)
        else:
            self._done(entry, ())

    def _failed(self, entry: OwnEntry, now: float, *, at_once: bool = False) -> None:
        entry.state, entry.holder = EntryState.WANTED, None
        if entry.is_withdrawn and entry.lasts_until <= now:
            self._gone(entry, silent=1)
            return
        self._timers.set(entry.name, now if at_once else now + self._policy.retry)
        entry.failures += 1
        if entry.op is not None and entry.failures == _FAILURES and not entry.is_withdrawn:
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
        if self._publisher.overtakes(self._entry, query, now):
            return
        if isinstance(result, Yes):
            self._publisher.stored(self._entry, query.contact, now)
        else:
            self._publisher.refused(self._entry, result, now)

    def silent(self, query: Query, now: float) -> None:
        """It does not answer."""
        if not self._publisher.overtakes(self._entry, query, now):
            self._publisher.silent(self._entry, now)
