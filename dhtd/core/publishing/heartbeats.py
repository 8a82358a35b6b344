"""Heartbeats: the lease of own records is renewed at each node that holds some of them, by one query for all.

1. A node that has taken a record is asked in every period to renew our session. Its answer has a token for the next
   renewal, and the number of records that it holds for us. The holders are asked in step, so that their leases end
   together (`Step`): an entry is found until the last of them lets go.
2. The token may be too old, or there may be none yet. Then nothing is renewed, and the same query goes out once more,
   with the token of the answer.
3. A node that holds fewer records than it took has lost some: `Restock` stores them there again.
4. A node that holds more of them, twice in a row, has some that we withdrew: a restart may bring them back. It is told
   to drop all, and restocked.
5. A node that misses two heartbeats is lost: its records are published anew. A miss while nobody else answers may mean
   that the network is down: then `Patrol` pings one such node beside a witness. While a network is known to be down,
   nobody there is asked.
6. Where another node is at its place, a node is lost as well, but nothing hurries for that: IDs may change often.

So holders are kept, rather than looked up again and again. The watches that a node holds for us are renewed by the same
queries, and count as records do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import ceil
from typing import TYPE_CHECKING

from dhtd.core.endpoint import Endpoint
from dhtd.core.messages import Contact, Error, Renew, Renewed, Result
from dhtd.core.publishing.holder import Holder, Watching
from dhtd.core.publishing.own_entry import OwnEntry
from dhtd.core.publishing.own_lease import OwnLease
from dhtd.core.publishing.patrol import Patrol
from dhtd.core.publishing.restock import Restock
from dhtd.core.publishing.step import Step
from dhtd.core.querying.attempts import Attempts
from dhtd.core.querying.requester import Asked, Requester
from dhtd.core.records import RecordKey
from dhtd.core.routing.overlays import Overlays
from dhtd.core.timers import Timers

if TYPE_CHECKING:
    from random import Random

_PATIENCE_MAX = 8  # times that the pause between two restocks of a holder doubles


class Heartbeats:
    """The holders of own records, and when each is asked to renew our lease.

    The `patrol` is told of a holder that does not answer any more, or may not, and `dropped` of a record that a holder
    has lost and does not take again.
    """

    __slots__ = (
        "_dropped",
        "_farewell",
        "_holders_of",
        "_in_flight",
        "_overlays",
        "_patrol",
        "_requester",
        "_rng",
        "_step",
        "_timers",
        "holders",
        "lease",
    )

    def __init__(
        self,
        requester: Requester,
        overlays: Overlays,
        lease: OwnLease,
        patrol: Patrol,
        dropped: Callable[[OwnEntry, Contact, float], None],
        rng: Random,
    ) -> None:
        self._requester = requester
        self._overlays = overlays
        self.lease = lease
        self._patrol = patrol
        self._dropped = dropped
        self._rng = rng
        self.holders: dict[Contact, Holder] = {}  # that are asked; read by others
        # The holders of each entry. `OwnEntry` forgets those whose lease has run out, and these are asked all the same.
        self._holders_of: dict[RecordKey, dict[Contact, None]] = {}
        self._timers: Timers[Contact] = Timers()
        self._in_flight = 0
        self._step = Step(rng)
        self._farewell: int | None = None  # seconds: this node stops

    def __len__(self) -> int:
        """How many holders are asked."""
        return len(self.holders)

    # Who holds what

    def took(self, entry: OwnEntry, contact: Contact, now: float) -> None:
        """A node has taken a record."""
        if self.lease.is_renewed:
            self._note(entry, contact, now, now + self.lease.period)

    def restored(self, entry: OwnEntry, contact: Contact, now: float) -> None:
        """A node may hold a record since before a restart: ask it soon, or its lease runs out."""
        if self.lease.is_renewed:
            self._note(entry, contact, now, now + self._rng.random() * self.lease.period / 2)

    def published(self, entry: OwnEntry) -> None:
        """A publication has ended: other nodes than its replicas are asked for this record no more."""
        replicas = set(entry.replicas)
        self._release(entry, [contact for contact in self._asked_for(entry) if contact not in replicas])

    def forget(self, entry: OwnEntry) -> None:
        """The record is deleted."""
        self._release(entry, self._asked_for(entry))

    # Watches

    def watches_at(self, contact: Contact, key: bytes, watching: Watching, token: bytes, now: float) -> None:
        """A node has taken our watch of a packed key, and has given a token for renewals."""
        holder = self._holder(contact, now, now + self.lease.period)
        holder.watches[key] = watching
        holder.token = token

    def watches_no_longer(self, contact: Contact, key: bytes) -> None:
        """Our watch of this key at a node is over, or is to be."""
        holder = self.holders.get(contact)
        if holder is not None and holder.watches.pop(key, None) is not None:
            self._forget_if_empty(contact, holder)

    def token(self, contact: Contact) -> bytes:
        """Return the latest token of a node for our session; empty without one."""
        holder = self.holders.get(contact)
        return b"" if holder is None else holder.token

    # When they are asked

    def next_timeout(self) -> float | None:
        """Return when the next holder is to be asked."""
        return self._timers.next()

    def beat_due(self, now: float, attempts: Attempts) -> None:
        """Ask the holders that are due."""
        for contact in self._timers.pop_due(now):
            attempts.do(self._beat, contact, now)

    def may_have_ended(self, now: float) -> None:
        """This machine stood still, or reaches a network again. Leases may have ended: ask all holders soon."""
        for contact in self.holders:
            self._timers.set(contact, now + self._rng.random() * self.lease.period / 2)

    def say_goodbye(self, seconds: int, now: float) -> None:
        """This node stops: have all holders drop our records after so many seconds. Nothing is renewed after that.

        Where holders are asked rarely, they keep the records for a whole period, so that a restart leaves no gap.
        """
        self._farewell = max(seconds, ceil(self.lease.period)) if seconds else 0
        for contact, holder in self.holders.items():
            self._timers.cancel(contact)
            holder.repeats = False
            self._ask(contact, holder, now)

    @property
    def is_saying_goodbye(self) -> bool:
        """Whether some holders have not answered yet."""
        return self._farewell is not None and self._in_flight > 0

    # What becomes of it

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """A holder has renewed our lease, or has given a token with which it will."""
        self._in_flight -= 1
        asked, holder = self._asked(query)
        if holder is None:
            return
        assert isinstance(result, Renewed)
        assert isinstance(query.request, Renew)
        # Another node is at its place.
        if contact != asked:
            self._let_go(asked, now)
            self._patrol.taken_over(asked, now)
            return
        holder.token = result.token
        # The token was not good: ask once more with the new one. A node that never takes its own token is no holder.
        if result.held is None:
            if holder.repeats:
                self._missed(asked, holder, now)
            else:
                holder.repeats = True
                self._ask(asked, holder, now, query.request.lease)
            return
        # It has renewed our lease, or has dropped all.
        seconds = query.request.lease
        holder.misses = 0
        self.lease.renewed(asked, now + seconds, now)
        if self._farewell is None:
            self._compare(asked, holder, result.held if seconds else 0, now)

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """A holder has not answered: it counts if it has refused, or if somebody else has answered."""
        self._in_flight -= 1
        asked, holder = self._asked(query)
        if holder is None:
            return
        overlay = self._overlays.of(asked.endpoint)
        if error is not None or (overlay is not None and overlay.state.heard_since(query.sent_at)):
            self._missed(asked, holder, now)
        elif self._farewell is None and self._patrol.has_lost(asked, now):
            self._lose(asked, now)
        elif self._farewell is None and not self._patrol.is_busy:  # one is enough to learn whether there is a network
            self._patrol.suspect([asked], now)

    def give_up(self, now: float) -> None:
        """A defect has stopped a heartbeat. The next one comes in its time."""
        self._in_flight = 0

    # Inside

    def _holder(self, contact: Contact, now: float, due_at: float) -> Holder:
        holder = self.holders.get(contact)
        if holder is None:
            holder = self.holders[contact] = Holder()
            self.lease.has_holders(len(self.holders))
            holder.slot = self._rng.random()
            self._timers.set(contact, min(due_at, self._next_beat(holder, now)))
        return holder

    def _note(self, entry: OwnEntry, contact: Contact, now: float, due_at: float) -> None:
        holder = self._holder(contact, now, due_at)
        holder.entries[entry.record_key] = entry
        self._holders_of.setdefault(entry.record_key, {})[contact] = None
        self.lease.renewed(contact, max(now + self.lease.lasts, self.lease.until(contact)), now)

    def _release(self, entry: OwnEntry, contacts: Iterable[Contact]) -> None:
        for contact in contacts:
            holder = self.holders[contact]
            del holder.entries[entry.record_key]
            self._unlink(entry.record_key, contact)
            if holder.restock is not None:
                holder.restock.leave(entry.record_key)
            self._forget_if_empty(contact, holder)

    def _forget_if_empty(self, contact: Contact, holder: Holder) -> None:
        if not holder.entries and not holder.watches:
            self._forget(contact)

    def _forget(self, contact: Contact) -> Holder:
        holder = self.holders.pop(contact)
        self._timers.cancel(contact)
        self.lease.has_holders(len(self.holders))
        for record_key in holder.entries:
            self._unlink(record_key, contact)
            if holder.restock is not None:
                holder.restock.leave(record_key)
        return holder

    def _asked_for(self, entry: OwnEntry) -> list[Contact]:
        return list(self._holders_of.get(entry.record_key, ()))

    def _unlink(self, record_key: RecordKey, contact: Contact) -> None:
        contacts = self._holders_of[record_key]
        del contacts[contact]
        if not contacts:
            del self._holders_of[record_key]

    def _beat(self, contact: Contact, now: float) -> None:
        holder = self.holders[contact]
        holder.repeats = False
        self._timers.set(contact, self._next_beat(holder, now))
        overlay = self._overlays.of(contact.endpoint)
        if overlay is None or overlay.is_joined or not holder.was_asked:  # else it waits until a network is reached
            self._ask(contact, holder, now)

    def _compare(self, contact: Contact, holder: Holder, held: int, now: float) -> None:
        """Put right what a holder has of ours, if it is not as many records as it took."""
        took = len(holder.entries) + len(holder.watches)
        holder.surplus = holder.surplus + 1 if held > took else 0
        if held == took:
            holder.restocks = 0
        elif holder.restock is not None or now < holder.restock_at:
            return
        elif held < took:
            self._restock(contact, holder, now)
        elif holder.surplus > 1:
            self._ask(contact, holder, now, seconds=0)

    def _next_beat(self, holder: Holder, now: float) -> float:
        return self._step.next_for(holder.slot, len(self.holders), self.lease.rate, self.lease.period, now)

    def _set_next(self, contact: Contact, now: float, pause: float) -> None:
        self._timers.set(contact, now + self._step.jittered(pause))

    def _ask(self, contact: Contact, holder: Holder, now: float, seconds: int | None = None) -> None:
        if seconds is None:
            seconds = self.lease.seconds if self._farewell is None else self._farewell
        request = Renew(self.lease.session, seconds, holder.token)
        self._requester.ask(self, request, contact.endpoint, contact.id, now, insistent=True)
        holder.was_asked = True
        self._in_flight += 1

    def _asked(self, query: Asked) -> tuple[Contact, Holder | None]:
        assert query.id is not None
        contact = Contact(query.id, Endpoint(query.endpoint))
        return contact, self.holders.get(contact)

    def _missed(self, contact: Contact, holder: Holder, now: float) -> None:
        if self._farewell is not None:
            return
        holder.misses += 1
        if holder.misses >= self._requester.policy.heartbeats_missed:
            self._lose(contact, now)
        else:
            self._set_next(contact, now, self.lease.period / 2)

    def _lose(self, contact: Contact, now: float) -> None:
        self._let_go(contact, now)
        self._patrol.lost(contact, now)

    def _let_go(self, contact: Contact, now: float) -> None:
        for key, watching in self._forget(contact).watches.items():
            watching.lost(key, contact, now)

    def _restock(self, contact: Contact, holder: Holder, now: float) -> None:
        """Have a holder take again what it should have; ever more rarely at one that loses it again and again."""
        holder.restock_at = now + self.lease.period * 2**holder.restocks
        holder.restocks = min(holder.restocks + 1, _PATIENCE_MAX)
        holder.restock = Restock(self._requester, self.lease, contact, list(holder.entries.values()), self)
        holder.restock.start(now)
        for key, watching in list(holder.watches.items()):
            watching.missing(key, contact, now)

    def restocked(self, entry: OwnEntry, contact: Contact, now: float) -> None:
        """A holder has taken again a record that it had lost."""
        self.took(entry, contact, now)

    def not_restocked(self, entry: OwnEntry, contact: Contact, now: float) -> None:
        """A holder has not taken a record again that it had lost."""
        self._release(entry, [contact])
        self._dropped(entry, contact, now)

    def restock_over(self, contact: Contact) -> None:
        """A holder was asked for all."""
        holder = self.holders.get(contact)
        if holder is not None:
            holder.restock = None
