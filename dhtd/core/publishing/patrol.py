"""Looking after the holders of own entries, so that losses are noticed soon where many nodes die at once.

A holder of an entry need not be a contact of ours, and a quiet node asks each of its contacts a few times an hour. So a
quiet owner would miss its holders at the next publication only. Until then, nobody would find its entries. So:

1. On a wire without leases, the patrol goes round: it pings one holder every half a minute, entry by entry. While
   nothing is wrong, that is all. On a wire with leases, `Heartbeats` find lost holders.
2. A holder that misses a query of another kind is pinged at once.
3. A node that is given up makes the next turns come sooner. If an entry has lost more than one holder, its other
   holders are pinged, too.
4. While several nodes a minute are given up, each of them leads to some more: to the contacts that were silent longest,
   and to holders of further entries.

Our own network may be down instead. So a holder counts as lost only if somebody else has answered meanwhile. If nobody
has, the holder is pinged again, together with the contact that answered last. If that one is silent as well, `Outage`
looks into it, and the patrol rests until the network is reached again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from dhtd.core.endpoint import Endpoint
from dhtd.core.messages import Contact, Error, Ping, Result
from dhtd.core.publishing.hurrying import Hurrying
from dhtd.core.publishing.own_entry import OwnEntry
from dhtd.core.publishing.own_lease import OwnLease
from dhtd.core.publishing.own_records import OwnRecords
from dhtd.core.querying.requester import Asked, Requester
from dhtd.core.routing.overlays import Overlays

if TYPE_CHECKING:
    from random import Random

_WAITING = 256  # holders that wait for a ping, at most
_MANY = 3  # nodes given up within a minute: then many die at once
_MINUTE = 60.0
_CONTACTS = 4  # contacts that are pinged for each node that is given up then
_ENTRIES = 2  # entries with holders that are pinged as well
_FORGET = 300.0  # seconds in which a node that was given up is neither pinged nor counted again
_GONE = 1_024  # remembered nodes of this kind, at most
_SOON = 1.0  # seconds between two turns, at least
_SOONER = 8  # a loss divides the pause by that; each turn then doubles it again


class Patrol:
    """Pings holders, a few at a time, and tells `Hurrying` of those that are lost."""

    __slots__ = (
        "_gone",
        "_hurrying",
        "_lease",
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
        lease: OwnLease,
        rng: Random,
        now: float,
    ) -> None:
        self._requester = requester
        self._overlays = overlays
        self._rng = rng
        self._records = records
        self._hurrying = hurrying
        self._lease = lease
        self._rota: Iterator[OwnEntry] = iter(())  # the entries that still have a turn in this round
        self._lost_at: deque[float] = deque(maxlen=_MANY)
        self._gone: dict[Contact, float] = {}  # nodes given up, and until when we remember them; the latest last
        self._under_way: set[Endpoint] = set()
        self._waiting: dict[Endpoint, Contact] = {}
        self._round: deque[Contact] = deque()  # the holders of one entry that still have a turn
        self._pause = requester.policy.patrol  # seconds until the turn after the next one
        self._next_at = now + self._pause

    @property
    def is_busy(self) -> bool:
        """Whether somebody is being pinged."""
        return bool(self._under_way or self._waiting)

    def next_timeout(self) -> float | None:
        """Return when `go_round` pings somebody; None while there is nobody to ping."""
        if not len(self._records) or not self._requester.policy.patrol or self._lease.is_renewed:
            return None  # heartbeats do it
        return self._next_at if any(overlay.is_joined for overlay in self._overlays) else None

    def go_round(self, now: float) -> None:
        """Ping the next holder, if it is time."""
        due = self.next_timeout()
        if due is None or now < due:
            return
        # Set the next turn: after a loss the turns come soon, and then ever less so.
        policy, rng = self._requester.policy, self._rng
        self._pause = min(2 * self._pause, policy.patrol)
        self._next_at = now + self._pause * rng.uniform(0.75, 1.0)
        # Ping one holder of the entry, or of the next entry.
        if not self._round:
            self._round.extend(self._some_holders(1))
        if self._round:
            holder = self._round.popleft()
            if self._overlays[len(holder.endpoint)].is_joined:
                self.suspect([holder], now)

    def suspect(self, holders: Iterable[Contact], now: float) -> None:
        """These may be lost: ping them."""
        for holder in holders:
            is_known = holder.endpoint in self._under_way or self.has_lost(holder, now)
            if not is_known and len(self._waiting) < _WAITING:
                self._waiting[holder.endpoint] = holder
        self._go_on(now)

    def lost(self, holder: Contact, now: float) -> None:
        """A node is given up: ping the nodes that this puts in doubt. Without own entries there is nobody to miss."""
        if self.has_lost(holder, now):
            return
        self._gone[holder] = now + _FORGET
        if len(self._gone) > _GONE:
            del self._gone[next(iter(self._gone))]
        if not len(self._records):
            return
        # Come sooner to the next holder.
        self._pause = max(_SOON, self._pause / _SOONER)
        self._next_at = min(self._next_at, now + self._pause)
        # Doubt the other holders of the same entries, and while many die, further nodes.
        suspects = self._hurrying.holder_lost(holder, now)
        self._lost_at.append(now)
        if len(self._lost_at) == _MANY and now - self._lost_at[0] < _MINUTE:
            suspects += self._overlays[len(holder.endpoint)].state.stalest(_CONTACTS)
            suspects += self._some_holders(_ENTRIES)
        self.suspect(suspects, now)

    def taken_over(self, holder: Contact, now: float) -> None:
        """Another ID is at the place of a holder. One new ID is no sign that many nodes die, nor a reason to hurry."""
        self.suspect(self._hurrying.holder_lost(holder, now, is_silent=False), now)

    def has_lost(self, holder: Contact, now: float) -> bool:
        """Whether a node was given up lately."""
        until = self._gone.get(holder)
        if until is not None and until <= now:
            del self._gone[holder]
            return False
        return until is not None

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """The holder is there, unless its place has another ID by now."""
        self._under_way.discard(query.endpoint)
        if query.id is not None and contact.id != query.id:
            self.taken_over(Contact(query.id, query.endpoint), now)
        self._go_on(now)

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """The holder is lost if somebody else has answered meanwhile. Else ping it again, beside a witness."""
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
        """Count no ping as under way: a second ping costs less than none ever again."""
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

    def _go_on(self, now: float) -> None:
        policy = self._requester.policy
        while self._waiting and len(self._under_way) < policy.verifications:
            holder = self._waiting.pop(next(iter(self._waiting)))
            self._requester.ask(self, Ping(), holder.endpoint, holder.id, now, insistent=True)
            self._under_way.add(holder.endpoint)
