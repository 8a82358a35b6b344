"""Deleted entries that other nodes may still hold, and when to ask each of these nodes again.

A node that is down while an entry is deleted comes back with it, from its state file. So does a node that is killed
before it has written down the deletion. So each holder of a deleted entry owes us two acknowledgements,
`withdraw_confirm` apart, and must not have had the entry again in between. The holder is asked

- until it has given both,
- until its copy must have expired,
- or until the entry is entered again, which makes it a holder like any other.

The copy is at the place that the store was sent to. So that place is asked, with any ID. An ID proves nothing: another
node may have taken it, and an acknowledgement from there would bring the entry back. Another place is asked, and
counts, only if the first one is silent and the routing table has accepted the holder's ID at the other.

Holders have timers, entries have none: a silent holder costs one query a pause, whatever it may hold. The pause
doubles, so a holder that comes back is asked again within about the time that it was away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from dhtd.core.counters import WITHDRAWALS, none_hit
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import packed
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy
from dhtd.core.publishing.changed_holders import ChangedHolders
from dhtd.core.records import RecordKey
from dhtd.core.timers import Timers

if TYPE_CHECKING:
    from random import Random

SWEPT: Final = 256  # withdrawals that one `sweep` drops, at most


class Pending(NamedTuple):
    """A deleted entry that a node may still hold."""

    record_key: RecordKey
    holder: Contact
    until: float  # when its copy must have expired
    acknowledged: bool  # once; the holder is asked once more
    attempts: int  # failed attempts at the holder in a row
    due_at: float | None  # when it is asked again; None while it is being asked, and until the network is reached


class _Owed:
    """One deleted entry at one holder."""

    __slots__ = ("confirm_at", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        self.confirm_at: float | None = None  # after the first acknowledgement: when to ask for the second one


class Holder:
    """A node that may hold deleted entries."""

    __slots__ = ("contact", "failures", "has_left", "in_hand", "moved_to", "owed", "tried_at")

    def __init__(self, contact: Contact) -> None:
        self.contact = contact
        self.owed: dict[RecordKey, _Owed] = {}
        self.failures = 0  # attempts in a row
        self.tried_at = 0.0  # when the last of them ended
        self.in_hand = False  # it is being asked
        self.moved_to: Endpoint | None = None  # where the routing table has its ID, if that is elsewhere
        self.has_left = False  # nobody has answered at its old place this time

    @property
    def endpoint(self) -> Endpoint:
        """The place to ask."""
        return self.moved_to if self.moved_to is not None and self.has_left else self.contact.endpoint


class PendingWithdrawals:
    """The withdrawals that are not acknowledged, and the timers of the holders that owe them.

    On a wire without withdrawals, nothing `can_ask` holders: they are kept until their copies have expired.
    """

    __slots__ = (
        "_can_ask",
        "_caps_hit",
        "_changed",
        "_count",
        "_holders",
        "_in_hand",
        "_policy",
        "_rng",
        "_timers",
        "by_record",
    )

    def __init__(
        self, rng: Random, policy: Policy, caps_hit: dict[str, int] | None = None, *, can_ask: bool = True
    ) -> None:
        self._caps_hit = none_hit() if caps_hit is None else caps_hit  # where hits are counted
        self._rng = rng
        self._policy = policy
        self._changed = ChangedHolders()
        self._can_ask = can_ask
        self.by_record: dict[RecordKey, dict[Contact, _Owed]] = {}  # the first deleted first; read by others
        self._holders: dict[bytes, dict[Endpoint, Holder]] = {}  # of the same, by packed ID
        self._timers: Timers[Contact] = Timers()  # of holders that are not in hand
        self._count = 0
        self._in_hand = 0

    def __len__(self) -> int:
        """How many there are, each holder of each entry counted."""
        return self._count

    def __iter__(self) -> Iterator[Pending]:
        """Yield each."""
        for entry in self.by_record:
            yield from self.pending(entry)

    def entries(self) -> list[RecordKey]:
        """Return the deleted entries; `pending` tells of each."""
        return list(self.by_record)

    def pending(self, record_key: RecordKey) -> list[Pending]:
        """Return the withdrawals of one entry; none where there are none any more."""
        owed_by = self.by_record.get(record_key, {})
        return [self._pending(record_key, contact, owed) for contact, owed in owed_by.items()]

    def _pending(self, record_key: RecordKey, contact: Contact, owed: _Owed) -> Pending:
        holder = self._holder(contact)
        acknowledged, due_at = owed.confirm_at is not None, self._timers.get(contact)
        return Pending(record_key, contact, owed.until, acknowledged, holder.failures, due_at)

    def holders(self, record_key: RecordKey) -> dict[Contact, float]:
        """Return the nodes that may hold this entry, and until when."""
        return {contact: owed.until for contact, owed in self.by_record.get(record_key, {}).items()}

    def silent(self, record_keys: Iterable[RecordKey]) -> int:
        """Return how many of the holders of these entries have acknowledged nothing."""
        owed = [owed_by.items() for record_key in record_keys if (owed_by := self.by_record.get(record_key))]
        return len({contact for each in owed for contact, owed in each if owed.confirm_at is None})

    # What changes

    def changed(self) -> set[RecordKey]:
        """Return the entries with changed holders, which `take_changed` would take."""
        return set(self._changed)

    def take_changed(self, among: AbstractSet[RecordKey] | None = None) -> set[RecordKey]:
        """Take and return the entries with changed holders; of those `among` these alone, if given."""
        return self._changed.take(among)

    def add(self, record_key: RecordKey, contact: Contact, until: float) -> None:
        """Note that a node may hold a deleted entry until then. It is asked after `release` or `joined`.

        There may be too many. Then another withdrawal is forgotten for it: one of the entry that was deleted first.
        """
        self._changed.note(record_key)
        self.restore(record_key, contact, until)

    def restore(self, record_key: RecordKey, contact: Contact, until: float) -> None:
        """Do the same for a holder that is on disk, which is no change."""
        owed_by = self.by_record.setdefault(record_key, {})
        owed = owed_by.get(contact)
        if owed is not None:
            owed.until = max(owed.until, until)
            owed.confirm_at = None
            return
        holder = self._holders.setdefault(packed(contact.id), {}).setdefault(contact.endpoint, Holder(contact))
        owed_by[contact] = holder.owed[record_key] = _Owed(until)
        self._count += 1
        if self._count > self._policy.withdrawals:
            first, owed_by = next(iter(self.by_record.items()))
            self._drop(first, next(iter(owed_by)))
            self._caps_hit[WITHDRAWALS] += 1

    def take(self, record_key: RecordKey) -> dict[Contact, float]:
        """Forget an entry, which is entered again; return the nodes that may hold it, and until when."""
        holders = self.holders(record_key)
        for contact in holders:
            self._drop(record_key, contact)
        return holders

    def let_go(self, record_key: RecordKey, contact: Contact, now: float, *, had_it: bool = False) -> None:
        """A holder has acknowledged a withdrawal. If it `had_it` until then, this is the first of the two."""
        owed = self.by_record.get(record_key, {}).get(contact)
        if owed is None:
            return
        if owed.confirm_at is None or had_it:
            owed.confirm_at = now + self._jittered(self._policy.withdraw_confirm)
        elif owed.confirm_at <= now:
            self._drop(record_key, contact)

    def holds_nothing(self, record_key: RecordKey, contact: Contact) -> None:
        """A holder has given no token, so it holds nothing from our address."""
        if contact in self.by_record.get(record_key, {}):
            self._drop(record_key, contact)

    def first_until(self) -> float:
        """Return when a copy of the entry that was deleted first expires; there must be one."""
        return next(iter(next(iter(self.by_record.values())).values())).until

    def sweep(self, now: float) -> bool:
        """Forget withdrawals with expired copies, `SWEPT` at most; return whether more may be left."""
        expired = (
            (record_key, contact)
            for record_key, owed_by in self.by_record.items()
            for contact, owed in owed_by.items()
            if owed.until <= now
        )
        dropped = list(islice(expired, SWEPT))
        for record_key, contact in dropped:
            self._drop(record_key, contact)
        return len(dropped) == SWEPT

    # When to ask which holder

    def release(self, record_keys: Iterable[RecordKey], now: float) -> None:
        """The first withdrawal of these entries has ended: set when to ask the holders again."""
        for record_key in record_keys:
            for contact, owed in self.by_record.get(record_key, {}).items():
                holder = self._holder(contact)
                if owed.confirm_at is not None:
                    self._ask_by(holder, owed.confirm_at)
                elif not holder.failures:
                    holder.failures, holder.tried_at = 1, now
                    self._ask_by(holder, now + self._pause(holder))

    def joined(self, family: int, now: float) -> None:
        """A network is reached, at start or after an outage: ask all its holders soon, as if none had failed."""
        for holders in self._holders.values():
            for holder in holders.values():
                if len(holder.contact.endpoint) == family:
                    holder.failures = 0
                    self._ask_by(holder, now + self._rng.random() * self._policy.startup_spread)

    def heard(self, contact: Contact, now: float, *, is_accepted: bool) -> None:
        """A node has answered some query: if it is a holder that failed, ask it soon.

        A holder may have moved if its ID answers elsewhere, and `is_accepted` there by the routing table.
        """
        for holder in self._holders.get(packed(contact.id), {}).values() if self._holders else ():
            is_there = holder.contact == contact
            if is_there or (is_accepted and len(holder.contact.endpoint) == len(contact.endpoint)):
                holder.moved_to = None if is_there else contact.endpoint
                if holder.failures:
                    self._ask_by(holder, max(now, holder.tried_at + self._policy.withdraw_retry))

    def next_timeout(self) -> float | None:
        """Return when `pop_due` has a holder."""
        if not self._count or self._in_hand >= self._policy.withdrawing:
            return None
        return self._timers.next()

    def pop_due(self, now: float) -> Iterator[Holder]:
        """Take and yield the holders to ask now; the caller calls `over` for each.

        No more than `withdrawing` are in hand at once.
        """
        while self._in_hand < self._policy.withdrawing:
            due = next(self._timers.pop_due(now), None)
            if due is None:
                return
            holder = self._holder(due)
            holder.in_hand = True
            self._in_hand += 1
            yield holder

    def due(self, holder: Holder, now: float) -> dict[bytes, list[RecordKey]]:
        """Return what to ask of a holder: entries by packed key."""
        due: dict[bytes, list[RecordKey]] = {}
        for record_key, owed in holder.owed.items():
            if owed.until > now and (owed.confirm_at is None or owed.confirm_at <= now):
                due.setdefault(record_key.packed_key, []).append(record_key)
        return due

    def postpone(self, holder: Holder, record_keys: Iterable[RecordKey]) -> None:
        """The holder has failed over these: ask for them last the next time."""
        for record_key in record_keys:
            if (owed := holder.owed.pop(record_key, None)) is not None:
                holder.owed[record_key] = owed

    def over(self, holder: Holder, endpoint: Endpoint, now: float, *, failed: bool, nobody_there: bool = False) -> None:
        """An attempt at a holder is over, which was asked at `endpoint`: set the next one.

        It has `failed`, or was asked for all that was due.

        Where `nobody_there` has answered anything, its other place comes next, at once.
        """
        assert holder.in_hand
        holder.in_hand = False
        self._in_hand -= 1
        holder.tried_at = now
        holder.failures = min(holder.failures + 1, 32) if failed else 0
        holder.has_left = nobody_there and endpoint == holder.contact.endpoint and holder.moved_to is not None
        if failed and holder.moved_to == endpoint:
            holder.moved_to = None
        if not holder.owed:
            self._forget(holder)
            return
        if holder.has_left:
            self._ask_by(holder, now)
            return
        soonest = now + self._pause(holder)
        confirmations = [owed.confirm_at for owed in holder.owed.values() if owed.confirm_at is not None]
        if len(confirmations) < len(holder.owed):
            self._ask_by(holder, soonest)
        else:  # those that are due in a row are asked for together
            self._ask_by(holder, max(soonest, min(confirmations)))

    def _ask_by(self, holder: Holder, when: float) -> None:
        if holder.in_hand or not self._can_ask:
            return
        current = self._timers.get(holder.contact)
        if current is None or when < current:
            self._timers.set(holder.contact, when)

    def _drop(self, record_key: RecordKey, contact: Contact) -> None:
        owed_by = self.by_record[record_key]
        del owed_by[contact]
        if not owed_by:
            del self.by_record[record_key]
        self._changed.note(record_key)
        self._count -= 1
        holder = self._holder(contact)
        del holder.owed[record_key]
        if not holder.owed and not holder.in_hand:
            self._forget(holder)

    def _forget(self, holder: Holder) -> None:
        contact, id = holder.contact, packed(holder.contact.id)
        self._timers.cancel(contact)
        del self._holders[id][contact.endpoint]
        if not self._holders[id]:
            del self._holders[id]

    def _holder(self, contact: Contact) -> Holder:
        return self._holders[packed(contact.id)][contact.endpoint]

    def _pause(self, holder: Holder) -> float:
        pause = self._policy.withdraw_retry * 2 ** max(0, holder.failures - 1)
        return self._jittered(min(pause, self._policy.withdraw_retry_max))

    def _jittered(self, interval: float) -> float:
        spread = self._policy.republish_jitter
        return interval * (1 + self._rng.uniform(-spread, spread))
