"""The searches for nodes near watched keys: when each begins, and what follows.

- A key is searched at once, and then every few minutes, since nodes come and go. It is searched sooner where a holder
  was lost, or where holders are few and a contact is new.
- While no node tells of changes, it is searched again and again, ever more rarely.
- On a wire without watches, each search is a lookup: every quarter of a minute, and ever more rarely while nothing
  changes. It is the same where nodes near the key have no room for a watch, until nodes are asked again.

A few searches are under way at once. The others wait for their turn.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from dhtd.core.events import GaveUp, Handle, LookupDone, LookupProgress, LookupStep
from dhtd.core.membership.waiting import Patience, Waiting
from dhtd.core.messages import Watch
from dhtd.core.querying.attempts import Attempts
from dhtd.core.querying.lookup import Lookup
from dhtd.core.querying.operations import Operations
from dhtd.core.querying.requester import Requester
from dhtd.core.routing.overlays import Overlays
from dhtd.core.timers import Timers
from dhtd.core.watching.own_watch import OwnWatch
from dhtd.core.watching.placing import Asks, Placed, Placing

if TYPE_CHECKING:
    from random import Random

_AT_ONCE: Final = 16
_JITTER: Final = 0.1  # of a pause


class Listener(Asks, Protocol):
    """Takes what searches have found, and asks the nodes that they choose."""

    def placed(self, watch: OwnWatch, placed: Placed, now: float) -> None:
        """The nodes near the key are known."""

    def looked_up(self, watch: OwnWatch, done: LookupDone | None, now: float) -> bool:
        """A lookup has ended, None if a defect has ended it; return whether it has news."""


class Searches:
    """Searches the keys of watches, by packed key."""

    __slots__ = (
        "_again",
        "_caps_hit",
        "_due",
        "_is_polling",
        "_listener",
        "_operations",
        "_overlays",
        "_place_at",
        "_requester",
        "_rng",
        "_searched_at",
        "_timers",
        "_under_way",
        "_waiting",
    )

    def __init__(
        self,
        requester: Requester,
        overlays: Overlays,
        operations: Operations,
        waiting: Waiting,
        listener: Listener,
        caps_hit: dict[str, int],
        rng: Random,
    ) -> None:
        self._requester = requester
        self._overlays = overlays
        self._operations = operations
        self._waiting = waiting
        self._listener = listener
        self._caps_hit = caps_hit
        self._rng = rng
        self._is_polling = Watch not in requester.traits.requests
        self._under_way: dict[bytes, Placing | Lookup] = {}
        self._due: dict[bytes, OwnWatch] = {}  # they wait for others
        self._again: dict[bytes, None] = {}  # they are under way, and there is news already
        self._place_at: dict[bytes, float] = {}  # until then, a refused watch is looked up
        self._searched_at: dict[bytes, float] = {}  # when the last search began
        self._timers: Timers[OwnWatch] = Timers()  # when each key is searched next

    def begin(self, watch: OwnWatch, now: float) -> None:
        """Search this key, unless that is under way."""
        if watch.packed_key not in self._under_way:
            self._timers.cancel(watch)
            self._due[watch.packed_key] = watch
        self._begin_some(now)

    def soon(self, watch: OwnWatch, now: float) -> None:
        """Search this key sooner: there is news of nodes."""
        key = watch.packed_key
        if key in self._under_way:
            self._again[key] = None
        elif watch in self._timers:
            at = max(now, self._searched_at[key] + self._requester.policy.watch_gap)
            self._timers.set(watch, min(at, self._timers.get(watch) or at))

    def forget(self, watch: OwnWatch) -> None:
        """Search this key no more. Another search takes its place at the next `go_on`."""
        key = watch.packed_key
        self._timers.cancel(watch)
        self._due.pop(key, None)
        self._again.pop(key, None)
        self._searched_at.pop(key, None)
        self._place_at.pop(key, None)
        search = self._under_way.pop(key, None)
        if search is not None:
            self._waiting.forget(search)
            search.cancel()

    def next_timeout(self) -> float | None:
        """Return when `go_on` has something to do."""
        return self._timers.next()

    def go_on(self, now: float, attempts: Attempts) -> None:
        """Begin the searches that are due, and those that others have made room for."""
        for watch in self._timers.pop_due(now):
            attempts.do(self.begin, watch, now)
        attempts.do(self._begin_some, now)

    def _begin_some(self, now: float) -> None:
        for key in list(islice(self._due, max(0, _AT_ONCE - len(self._under_way)))):
            self._search(self._due.pop(key), now)

    def _search(self, watch: OwnWatch, now: float) -> None:
        key = watch.packed_key
        self._searched_at[key] = now
        search: Placing | Lookup
        if self._is_polling or (watch.is_refused and now < self._place_at[key]):
            report = self._operations.report_to(partial(self._looked_up, watch))
            search = Lookup(Handle(0), self._requester, self._overlays, report, watch.key, (), self._caps_hit, now)
        else:
            self._place_at[key] = now + self._requester.policy.watch_again
            placed = self._operations.report_to(partial(self._placed, watch))
            search = Placing(self._requester, self._overlays, placed, self._listener, watch)
        self._under_way[key] = search
        self._waiting.begin(search, Patience.SOME, now)

    def _placed(self, watch: OwnWatch, placed: Placed, now: float) -> None:
        self._listener.placed(watch, placed, now)
        if watch.is_refused:
            self._over(watch, 0.0, now)
        elif watch.words:
            watch.pause = self._requester.policy.watch_retry
            self._over(watch, self._requester.policy.watch_again, now)
        else:
            self._over(watch, self._longer(watch), now)

    def _looked_up(
        self, watch: OwnWatch, outcome: LookupProgress | LookupStep | LookupDone | GaveUp, now: float
    ) -> None:
        if isinstance(outcome, LookupProgress | LookupStep):
            return
        if self._listener.looked_up(watch, outcome if isinstance(outcome, LookupDone) else None, now):
            watch.pause = self._requester.policy.watch_retry
        self._over(watch, self._longer(watch), now)

    def _longer(self, watch: OwnWatch) -> float:
        """Return the pause until the next search, and double the one after that."""
        pause = watch.pause
        watch.pause = min(2 * pause, self._requester.policy.watch_retry_max)
        return pause

    def _over(self, watch: OwnWatch, pause: float, now: float) -> None:
        del self._under_way[watch.packed_key]
        if self._again.pop(watch.packed_key, 0) is None:
            pause = self._requester.policy.watch_gap
        self._timers.set(watch, now + pause * (1 - _JITTER * self._rng.random()))
        self._begin_some(now)
