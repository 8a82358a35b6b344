"""The owner's lookups: what they tell, and how long they wait for a node that has not joined yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dhtd.core.events import Event, Handle, LookupDone, LookupProgress, LookupStats, LookupStep
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.traces import QueryStep
from dhtd.sim.chord.policy import ChordPolicy
from dhtd.sim.chord.search import Search
from dhtd.sim.chord.searches import Searches


@dataclass(frozen=True, slots=True)
class ChordLookupDone(LookupDone):
    """A lookup has ended. Its path has the nodes that have answered, in this order; `closest` has the holder alone."""

    path: tuple[Contact, ...] = ()


class Lookups:
    """The lookups that the owner of a node has begun."""

    def __init__(self, searches: Searches, tell: Callable[[Event], None], policy: ChordPolicy) -> None:
        self._searches = searches
        self._tell = tell
        self._policy = policy
        self._waiting: list[tuple[float, Id, Handle, bool]] = []  # until when, in this order; the last: traced

    def begin(self, key: Id, op: Handle, now: float, *, waits: bool, traced: bool = False) -> None:
        """Look a key up: at once, or when the node has joined, if it `waits` for that."""
        if waits:
            self._waiting.append((now + self._policy.patience, key, op, traced))
        else:
            lookup = _Lookup(op, self._tell)
            self._searches.run(key, lookup, now, fetches=True, tell=lookup.traced if traced else None)

    def poll_timeout(self) -> float | None:
        """Return when the first lookup has waited for long enough."""
        return self._waiting[0][0] if self._waiting else None

    def joined(self, now: float) -> None:
        """The node has joined: nothing needs to wait."""
        waiting, self._waiting = self._waiting, []
        for _, key, op, traced in waiting:
            self.begin(key, op, now, waits=False, traced=traced)

    def handle_timeout(self, now: float) -> None:
        """What has waited for long enough is tried, whatever comes of it."""
        due = [entry for entry in self._waiting if entry[0] <= now]
        self._waiting = [entry for entry in self._waiting if entry[0] > now]
        for _, key, op, traced in due:
            self.begin(key, op, now, waits=False, traced=traced)


class _Lookup:
    """One of them: the finder of its search."""

    def __init__(self, op: Handle, tell: Callable[[Event], None]) -> None:
        self._op = op
        self._tell = tell
        self._told = 0  # endpoints

    def traced(self, step: QueryStep) -> None:
        """Something has become of a query."""
        self._tell(LookupStep(self._op, step))

    def progressed(self, search: Search, now: float) -> None:
        """An answer has come."""
        endpoints = tuple(search.endpoints)
        if len(endpoints) > self._told:
            self._tell(LookupProgress(self._op, endpoints[self._told :], _stats(search, now)))
            self._told = len(endpoints)

    def found(self, search: Search, now: float) -> None:
        """It is over."""
        holder = search.served_by
        self._tell(
            ChordLookupDone(
                self._op,
                search.key,
                tuple(search.endpoints),
                _stats(search, now),
                () if holder is None else (holder,),
                complete=holder is not None and not search.more,
                path=tuple(search.path),
            )
        )


def _stats(search: Search, now: float) -> LookupStats:
    first = None if search.first_at is None else search.first_at - search.began_at
    elapsed = now - search.began_at
    return LookupStats(search.hops, search.queries, search.responses, search.timeouts, elapsed, first)
