"""Watches that this node holds for others, each with what its watcher was told.

A watch belongs to a session at an address, and a renewal prolongs all watches of these together: O(1), as for records.

A key, a source and the whole node have a quota of watches. Under a key at its quota, and in a full node, the source
with most watches loses one to a source with fewer, as with records. Else the new watch is refused. So one source keeps
no other from watching.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from dhtd.core.counters import WATCHES, WATCHES_PER_KEY, WATCHES_PER_SOURCE
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, packed
from dhtd.core.messages import VERSION_MAX, Contact
from dhtd.core.policy import Policy
from dhtd.core.storage.outcomes import QuotaReached
from dhtd.core.storage.watched_keys import WatchedKeys
from dhtd.core.timers import Timers
from dhtd.core.watching.watch_pool import WatchPool

REFUSED: Final = {
    WATCHES: QuotaReached(WATCHES, "too many watches"),
    WATCHES_PER_KEY: QuotaReached(WATCHES_PER_KEY, "too many watches of this key"),
    WATCHES_PER_SOURCE: QuotaReached(WATCHES_PER_SOURCE, "too many watches from this address"),
}


class HeldWatch:
    """A watch of one key, held for another node."""

    __slots__ = ("contact", "is_answered", "is_unsure", "key", "packed_key", "told", "version", "watcher")

    def __init__(self, watcher: Watcher, key: Id, contact: Contact, version: int) -> None:
        self.watcher = watcher
        self.key = key
        self.packed_key = packed(key)
        self.contact = contact  # is told of changes
        self.version = version  # of what it was told
        self.told: dict[Endpoint, None] = {}  # the endpoints that it knows from us
        self.is_answered = False  # once before, at least
        self.is_unsure = False  # the last answer had news, and may be one that nobody waited for

    def next_version(self) -> int:
        """Count one more change."""
        self.version = self.version + 1 if self.version < VERSION_MAX else 0
        return self.version


class Watcher:
    """A session at one address, and its watches here."""

    __slots__ = ("name", "until", "watches")

    def __init__(self, name: bytes, until: float) -> None:
        self.name = name
        self.until = until
        self.watches: dict[bytes, HeldWatch] = {}  # by packed key


class HeldWatches:
    """The watches, by key and by watcher."""

    __slots__ = ("_all", "_by_key", "_caps_hit", "_policy", "_timers", "_watched", "_watchers")

    def __init__(self, policy: Policy, watched: WatchedKeys, caps_hit: dict[str, int]) -> None:
        self._policy = policy
        self._caps_hit = caps_hit
        self._watched = watched
        self._watchers: dict[bytes, Watcher] = {}
        self._all: WatchPool[HeldWatch] = WatchPool()
        self._by_key: dict[bytes, WatchPool[HeldWatch]] = {}
        self._timers: Timers[bytes] = Timers()  # by name of watcher: when to look whether its lease is over

    def __len__(self) -> int:
        """How many watches there are."""
        return len(self._all.watches)

    def __contains__(self, watch: HeldWatch) -> bool:
        """Whether this watch is held still."""
        return watch in self._all.watches

    def put(
        self, key: Id, contact: Contact, session: bytes, lease: int, version: int, now: float
    ) -> HeldWatch | QuotaReached:
        """Hold a watch of `key`, and all watches of its session, for `lease` seconds from now.

        `version`: to begin with, if it is new.
        """
        name = _name(contact.endpoint[:-2], session)
        watcher = self._watchers.get(name)
        watch = None if watcher is None else watcher.watches.get(packed(key))
        if watch is None:
            used_up = self._make_room(packed(key), contact.endpoint[:-2])
            if used_up is not None:
                return REFUSED[used_up]
            if watcher is None:
                watcher = self._watchers[name] = Watcher(name, now + lease)
                self._timers.set(name, watcher.until)
            watch = HeldWatch(watcher, key, contact, version)
            self._add(watch)
        watch.contact = contact
        self._prolong(watch.watcher, now + lease)
        return watch

    def renew(self, ip: bytes, session: bytes, seconds: int, now: float) -> int:
        """Hold the watches of a session at this address for so long from now; return how many these are."""
        watcher = self._watchers.get(_name(ip, session))
        if watcher is None:
            return 0
        held = len(watcher.watches)
        if seconds:
            self._prolong(watcher, now + seconds)
        else:
            self._end(watcher)
        return held

    def drop(self, watch: HeldWatch) -> None:
        """End a watch that is held."""
        watcher, key = watch.watcher, watch.packed_key
        del watcher.watches[key]
        if not watcher.watches:
            del self._watchers[watcher.name]
            self._timers.cancel(watcher.name)
        ip = watch.contact.endpoint[:-2]
        self._all.drop(watch, ip)
        of_key = self._by_key[key]
        of_key.drop(watch, ip)
        if not of_key.watches:
            del self._by_key[key]
        self._watched.leave(key)

    def leave(self, key: Id, ip: bytes, session: bytes) -> None:
        """End the watch of a session, if there is one."""
        watcher = self._watchers.get(_name(ip, session))
        watch = None if watcher is None else watcher.watches.get(packed(key))
        if watch is not None:
            self.drop(watch)

    def of(self, key: bytes) -> Collection[HeldWatch]:
        """Return the watches of a packed key."""
        pool = self._by_key.get(key)
        return () if pool is None else pool.watches

    def next_timeout(self) -> float | None:
        """Return when `expire` may have something to do."""
        return self._timers.next()

    def expire(self, now: float) -> None:
        """Drop the watches of leases that are over."""
        for name in self._timers.pop_due(now):
            watcher = self._watchers[name]
            if watcher.until > now:
                self._timers.set(name, watcher.until)
            else:
                self._end(watcher)

    def _end(self, watcher: Watcher) -> None:
        self._drop_all(list(watcher.watches.values()))

    def _drop_all(self, watches: Iterable[HeldWatch]) -> None:
        for watch in watches:
            self.drop(watch)

    def _prolong(self, watcher: Watcher, until: float) -> None:
        """A shorter lease needs an earlier look; for a longer one, the look that is due anyway sets the next."""
        if until < watcher.until:
            self._timers.set(watcher.name, until)
        watcher.until = until

    def _add(self, watch: HeldWatch) -> None:
        watch.watcher.watches[watch.packed_key] = watch
        ip = watch.contact.endpoint[:-2]
        self._all.add(watch, ip)
        self._by_key.setdefault(watch.packed_key, WatchPool()).add(watch, ip)
        self._watched.watch(watch.packed_key)

    def _make_room(self, key: bytes, ip: bytes) -> str | None:
        """End a watch that gives way to a new one, if that is needed; return the quota that leaves no room."""
        policy, of_key = self._policy, self._by_key.get(key)
        if self._all.of(ip) >= policy.watches_per_source:
            return WATCHES_PER_SOURCE
        # The key first: the watch that gives way there makes room in the whole node as well.
        if of_key is not None and len(of_key.watches) >= policy.watches_per_key:
            used_up, pool = WATCHES_PER_KEY, of_key
        elif len(self) >= policy.watches:
            used_up, pool = WATCHES, self._all
        else:
            return None
        loser = pool.loser(ip)
        if loser is None:
            return used_up
        self.drop(loser)
        self._caps_hit[used_up] += 1
        return None


def _name(ip: bytes, session: bytes) -> bytes:
    return ip + session
