"""Looking after the holders of own entries, so that they are missed soon where many die at once.

A holder of an entry need not be a contact of ours, and a quiet node asks each of its contacts a few times an hour. So a
quiet owner would miss its holders at the next publication only, and nobody would find its entries until then. So:

1. The patrol goes round: it pings one holder every half a minute, entry by entry. That is all while nothing is wrong.
2. A holder that misses a query of another kind is pinged at once.
3. A node that is given up makes the next turns come sooner. Where an entry has lost more than one holder, the others
   that hold it are asked, too.
4. While several nodes a minute are given up, each of them leads to some more: to contacts that were not heard for long,
   and to holders of further entries.

Our own network may be down instead. So a holder is lost only if somebody else has answered meanwhile. Where nobody has,
it is asked again together with the contact that has answered last. If that one is silent as well, `Outage` looks into
it, and the patrol rests until the network is reached again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from dhtd.core.endpoint import Endpoint
from dhtd.core.messages import Contact, Error, Ping, Result
from dhtd.core.publishing.hurrying import Hurrying
from dhtd.core.publishing.own_entry import OwnEntry
from dhtd.core.publishing.own_records import OwnRecords
from dhtd.core.querying.requester import Asked, Requester
from dhtd.core.routing.overlays import Overlays

if TYPE_CHECKING:
    from random import Random

_WAITING = 256  # holders that are still to be asked, at most
_MANY = 3  # nodes given up within a minute: more than one by one
_MINUTE = 60.0
_CONTACTS = 4  # that are asked for each node that is given up, then
_ENTRIES = 2  # whose holders are asked as well
_FORGET = 300.0  # seconds for which a node that was given up is neither asked nor counted again
_GONE = 1_024  # of these, at most
_SOON = 1.0  # seconds between two turns, at least
_SOONER = 8  # times, after a loss; each turn then doubles the pause again


class Patrol:
    """Pings holders that are in doubt, a few at a time, and tells the tracker of those that are lost."""

    __slots__ = (
        "_gone",
        "_hurrying",
        "_lost_at",
        "_next_at",
        "_overlays",
        "_pause",
        "_records",
        "_requester",
        "_rng",
        "_rota",
        "_round",
        "_under_way",
        "_waiting",
    )

    def __init__(
        self,
        requester: Requester,
        overlays: Overlays,
        records: OwnRecords,
        hurrying: Hurrying,
        rng: Random,
        now: float,
    ) -> None:
        self._requester = requester
        self._overlays = overlays
        self._rng = rng
        self._records = records
        self._hurrying = hurrying
        self._rota: Iterator[OwnEntry] = iter(())  # the entries whose holders are still to have a turn
        self._lost_at: deque[float] = deque(maxlen=_MANY)
        self._gone: dict[Contact, float] = {}  # given up, and until when we remember it; the latest last
        self._under_way: set[Endpoint] = set()
        self._waiting: dict[Endpoint, Contact] = {}
        self._round: deque[Contact] = deque()  # holders of one entry whose turn is still to come
        self._pause = requester.policy.patrol  # seconds until the turn after the next one
        self._next_at = now + self._pause

    def next_timeout(self) -> float | None:
        """Return when `go_round` asks somebody; None while there is nobody to ask."""
        if not len(self._records) or not self._requester.policy.patrol:
            return None
        return self._next_at if any(overlay.is_joined for overlay in self._overlays) else None

    def go_round(self, now: float) -> None:
        """Ask the holder whose turn it is, if it is time."""
        due = self.next_timeout()
        if due is None or now < due:
            return
        policy, rng = self._requester.policy, self._rng
        self._pause = min(2 * self._pause, policy.patrol)
        self._next_at = now + self._pause * rng.uniform(0.75, 1.0)
        if not self._round:
            self._round.extend(self._some_holders(1))
        if self._round:
            holder = self._round.popleft()
            if self._overlays[len(holder.endpoint)].is_joined:
                self.suspect([holder], now)

    def suspect(self, holders: Iterable[Contact], now: float) -> None:
        """These may be lost: ask them."""
        for holder in holders:
            is_known = holder.endpoint in self._under_way or self._is_gone(holder, now)
            if not is_known and len(self._waiting) < _WAITING:
                self._waiting[holder.endpoint] = holder
        self._go_on(now)

    def lost(self, holder: Contact, now: float) -> None:
        """This one is given up; who is in doubt by that is asked. A node without entries has no holder to miss."""
        if not len(self._records) or self._is_gone(holder, now):
            return
        self._gone[holder] = now + _FORGET
        if len(self._gone) > _GONE:
            del self._gone[next(iter(self._gone))]
        self._pause = max(_SOON, self._pause / _SOONER)
        self._next_at = min(self._next_at, now + self._pause)
        suspects = self._hurrying.holder_lost(holder, now)
        self._lost_at.append(now)
        if len(self._lost_at) == _MANY and now - self._lost_at[0] < _MINUTE:
            suspects += self._overlays[len(holder.endpoint)].state.stalest(_CONTACTS)
            suspects += self._some_holders(_ENTRIES)
        self.suspect(suspects, now)

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """It is there, unless it is another one by now. That one node has another ID is no sign that many die."""
        self._under_way.discard(query.endpoint)
        if query.id is not None and contact.id != query.id:
            self.suspect(self._hurrying.holder_lost(Contact(query.id, query.endpoint), now), now)
        self._go_on(now)

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """It is lost, if somebody else has answered meanwhile. Else ask again, and a contact that should answer."""
        self._under_way.discard(query.endpoint)
        overlay = self._overlays[len(query.endpoint)]
        if error is None and query.id is not None:
            holder = Contact(query.id, query.endpoint)
            if overlay.state.heard_since(query.sent_at):
                self.lost(holder, now)
            elif overlay.is_joined:
                witnesses = [contact for contact in overlay.state.latest(2) if contact != holder]
                self.suspect([*witnesses[:1], holder] if witnesses else [], now)
        self._go_on(now)

    def give_up(self, now: float) -> None:
        """Count nobody as being asked: to ask one twice costs less than to ask nobody ever again."""
        self._under_way.clear()

    def _some_holders(self, entries: int) -> list[Contact]:
        """Return the holders of so many entries that are not given up; of the next ones each time, round and round."""
        found: list[Contact] = []
        for _ in range(min(entries, len(self._records))):
            entry = next(self._rota, None)
            if entry is None:
                self._rota = iter(list(self._records))
                entry = next(self._rota)
            found += [replica for replica in entry.replicas if replica not in entry.lost]
        return found

    def _is_gone(self, holder: Contact, now: float) -> bool:
        until = self._gone.get(holder)
        if until is not None and until <= now:
            del self._gone[holder]
            return False
        return until is not None

    def _go_on(self, now: float) -> None:
        policy = self._requester.policy
        while self._waiting and len(self._under_way) < policy.verifications:
            holder = self._waiting.pop(next(iter(self._waiting)))
            self._requester.ask(self, Ping(), holder.endpoint, holder.id, now, insistent=True)
            self._under_way.add(holder.endpoint)
