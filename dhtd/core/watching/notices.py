"""Watchers of this node are told what has changed.

1. A key is stirred: an endpoint came, was removed, or has expired. Each watch of the key waits for its turn.
2. The turn: what is there now is compared with what the watcher was told. If both are the same, that is all.
3. A notice with up to `CHANGED_MAX` differences goes out. It is sent again, until it is acknowledged.
4. Then the watch waits for its next turn, since there may be more. So there is one notice under way for each watch, and
   what changes meanwhile is put together.
5. After three silences, or an error, the watch is dropped. The watcher finds that out by its next heartbeat.
6. Where a further query of the watcher is answered with news, a notice follows, though it may have none: the query may
   have come twice, and the second answer goes to nobody. Then the watcher sees that a version is missing, and asks.

A watcher is told of `watch_endpoints` endpoints of a key at once, at most.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from dhtd.core.endpoint import Endpoint
from dhtd.core.messages import CHANGED_MAX, VERSION_MAX, Changed, Contact, Error, Result, Watch
from dhtd.core.querying.requester import Asked, Requester
from dhtd.core.storage.outcomes import QuotaReached
from dhtd.core.watching.held_watches import HeldWatch, HeldWatches
from dhtd.core.watching.known_endpoints import KnownEndpoints

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

_SILENCES: Final = 3
_TURNS: Final = 64  # turns at once: a key with many endpoints and watchers must not hold up other work
_PAUSE: Final = 0.01  # seconds in which so many more turns are earned
_CROWD: Final = 64  # endpoints that are as much work as a turn by itself


class Notices:
    """The notices under way, and the watches that wait for their turn."""

    __slots__ = (
        "_due_at",
        "_earned_at",
        "_known",
        "_requester",
        "_rng",
        "_turns",
        "_under_way",
        "_waiting",
        "watches",
    )

    def __init__(self, requester: Requester, watches: HeldWatches, known: KnownEndpoints, rng: Random) -> None:
        self._requester = requester
        self.watches = watches
        self._known = known
        self._rng = rng
        self._waiting: dict[HeldWatch, None] = {}
        self._under_way: dict[HeldWatch, _Notice] = {}
        self._turns: float = _TURNS  # that are left for now
        self._earned_at = 0.0  # they were counted then
        self._due_at = 0.0  # no sooner is there another turn

    def begin(self, request: Watch, contact: Contact, now: float) -> HeldWatch | QuotaReached:
        """Hold a watch, or prolong it. Its answer is `there` next, and then `told` is called.

        The version goes up: a notice that is under way belongs to the time before the answer.
        """
        version = self._rng.randrange(VERSION_MAX)
        watch = self.watches.put(request.key, contact, request.session, request.lease, version, now)
        if isinstance(watch, HeldWatch):
            watch.next_version()
            notice = self._under_way.pop(watch, None)
            if notice is not None:
                watch.is_unsure = True
                notice.query.send_no_more()
        return watch

    def there(self, watch: HeldWatch, now: float) -> list[Endpoint]:
        """Return the endpoints under its key that the watcher is to know."""
        return list(self._chosen(watch, self._all(watch, now)))

    def told(self, watch: HeldWatch, endpoints: Sequence[Endpoint]) -> None:
        """The watcher knows of these now, and of no others. What was left out follows in notices."""
        known = dict.fromkeys(endpoints)
        watch.is_unsure |= watch.is_answered and known.keys() != watch.told.keys()
        watch.is_answered = True
        watch.told = known
        self._waiting[watch] = None

    def stirred(self, key: bytes) -> None:
        """Something may have changed under this packed key."""
        self._waiting.update(dict.fromkeys(self.watches.of(key)))

    def next_timeout(self) -> float | None:
        """Return when `go_on` has something to do."""
        return self._due_at if self._waiting else None

    def go_on(self, now: float) -> None:
        """Give the watches that wait their turn, some of them."""
        if now < self._due_at:
            return
        self._turns = min(_TURNS, self._turns + (now - self._earned_at) * _TURNS / _PAUSE)
        self._earned_at = now
        while self._waiting and self._turns > 0:
            watch = next(iter(self._waiting))
            del self._waiting[watch]
            self._turns -= self._tell(watch, now) if watch in self.watches else 1
        if self._turns <= 0:
            self._due_at = now + _PAUSE

    def acknowledged(self, notice: _Notice, contact: Contact) -> None:
        """The watcher knows of it now. Another node at its place is told nothing more."""
        watch = notice.watch
        if self._under_way.get(watch) is notice:
            del self._under_way[watch]
            if contact != watch.contact:
                self.watches.drop(watch)
            elif watch in self.watches:
                self._waiting[watch] = None

    def failed(self, notice: _Notice) -> None:
        """The watcher was silent, or watches no more."""
        watch = notice.watch
        if self._under_way.get(watch) is notice:
            del self._under_way[watch]
            if watch in self.watches:
                self.watches.drop(watch)

    def _all(self, watch: HeldWatch, now: float) -> Sequence[Endpoint]:
        """Return the endpoints under its key."""
        return self._known.for_node_at(watch.contact.endpoint, watch.key, now)

    def _chosen(self, watch: HeldWatch, endpoints: Sequence[Endpoint]) -> dict[Endpoint, None]:
        """Return the endpoints that it is to know: those first that it was told of, and only so many."""
        there = dict.fromkeys(endpoints)
        most = self._requester.policy.watch_endpoints
        if len(there) <= most:
            return there
        stay = [endpoint for endpoint in watch.told if endpoint in there]
        come = (endpoint for endpoint in there if endpoint not in watch.told)
        return dict.fromkeys([*stay, *islice(come, max(0, most - len(stay)))])

    def _tell(self, watch: HeldWatch, now: float) -> int:
        """Tell a watcher what is new, if anything is; return how many turns that was worth."""
        if watch in self._under_way:
            return 1  # its acknowledgement brings the next turn
        endpoints = self._all(watch, now)
        turns = 1 + len(endpoints) // _CROWD
        there = self._chosen(watch, endpoints)
        removed = tuple(islice((each for each in watch.told if each not in there), CHANGED_MAX))
        added = tuple(islice((each for each in there if each not in watch.told), CHANGED_MAX - len(removed)))
        if not added and not removed and not watch.is_unsure:
            return turns
        watch.is_unsure = False
        for endpoint in removed:
            del watch.told[endpoint]
        watch.told.update(dict.fromkeys(added))
        notice = self._under_way[watch] = _Notice(self, watch)
        request = Changed(watch.key, watch.next_version(), added, removed)
        id, endpoint = watch.contact
        notice.query = self._requester.ask(notice, request, endpoint, id, now, attempts=_SILENCES, insistent=True)
        return turns


class _Notice:
    """A `Changed` on its way."""

    __slots__ = ("_notices", "query", "watch")

    query: Asked

    def __init__(self, notices: Notices, watch: HeldWatch) -> None:
        self._notices = notices
        self.watch = watch

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """The watcher has acknowledged it."""
        self._notices.acknowledged(self, contact)

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """The watcher was silent, or has refused."""
        self._notices.failed(self)

    def give_up(self, now: float) -> None:
        """A defect has stopped it: the watcher asks anew."""
        self._notices.failed(self)
