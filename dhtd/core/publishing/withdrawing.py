"""The withdrawals of a node: begun when entries are deleted, and tried again until each holder has acknowledged.

1. Deletion: the holders of an entry become its debtors, in `pending`. A `Withdrawal` asks them, and the nodes near the
   key.
2. Debtors that have not acknowledged by the end of it are asked again, each by a `WithdrawalRetry` when it is due.
3. An entry that is entered again meanwhile is published once no withdrawal of it is `under_way`, which could undo it.

A wire may have no withdrawals. Then the holders keep their copies until these expire, and the owner is told of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from dhtd.core.events import CannotWithdraw, Handle, Withdrawn
from dhtd.core.membership.waiting import Patience, Waiting
from dhtd.core.messages import Contact, Withdraw
from dhtd.core.publishing.own_entry import OwnEntry
from dhtd.core.publishing.own_lease import OwnLease
from dhtd.core.publishing.pending_withdrawals import Holder, PendingWithdrawals
from dhtd.core.publishing.under_way import UnderWay
from dhtd.core.publishing.withdrawal import LetGo, Withdrawal
from dhtd.core.publishing.withdrawal_retry import HolderOver, KeyOver, WithdrawalRetry
from dhtd.core.querying.attempts import Attempts
from dhtd.core.querying.operations import Operations, start
from dhtd.core.querying.requester import Requester
from dhtd.core.records import RecordKey
from dhtd.core.routing.overlays import Overlays

if TYPE_CHECKING:
    from random import Random


class Withdrawing:
    """Begins withdrawals and their retries, and tells what became of them.

    `tell` takes the ends of commands, `find_lost` looks for a holder that does not answer any more, and `release` takes
    the entries that no withdrawal is under way of any more.
    """

    def __init__(
        self,
        requester: Requester,
        overlays: Overlays,
        operations: Operations,
        waiting: Waiting,
        lease: OwnLease,
        tell: Callable[[Withdrawn | CannotWithdraw, float], None],
        find_lost: Callable[[Contact, float], None],
        release: Callable[[Iterable[RecordKey], float], None],
        caps_hit: dict[str, int],
        rng: Random,
    ) -> None:
        self._requester = requester
        self._overlays = overlays
        self._operations = operations
        self._waiting = waiting
        self._lease = lease
        self._tell = tell
        self._find_lost = find_lost
        self._release = release
        self._can_withdraw = Withdraw in requester.traits.requests
        self.pending = PendingWithdrawals(rng, requester.policy, caps_hit, can_ask=self._can_withdraw)
        self.under_way = UnderWay()

    def owe(self, record_key: RecordKey, contact: Contact, until: float) -> None:
        """A node may hold a deleted entry until then."""
        self.pending.add(record_key, contact, until)

    def restore(self, record_key: RecordKey, contact: Contact, until: float) -> None:
        """Put back what a node owes."""
        self.pending.restore(record_key, contact, until)

    def begin(self, op: Handle, entries: Sequence[OwnEntry], now: float) -> None:
        """Withdraw deleted entries of one key from the holders that `owe` has named; ends the command `op`."""
        if not self._can_withdraw:
            self._tell(self._cannot_withdraw(op, entries), now)
            return
        report = self._operations.report_to(partial(self._withdrawn, op))
        withdrawal = Withdrawal(self._requester, self._overlays, report, entries, self._lease, self.pending)
        for entry in entries:
            self.under_way.begin(entry.record_key)
        self._waiting.begin(withdrawal, Patience.LITTLE, now)

    def retry_due(self, now: float, attempts: Attempts) -> None:
        """Ask the debtors again that are due."""
        for holder in self.pending.pop_due(now):
            attempts.do(self._retry, holder, now)

    def _retry(self, holder: Holder, now: float) -> None:
        report = self._operations.report_to(self._retried)
        start(WithdrawalRetry(self._requester, report, self._lease.session, self.pending, self.under_way, holder), now)

    def _cannot_withdraw(self, op: Handle, entries: Sequence[OwnEntry]) -> CannotWithdraw:
        holders = [self.pending.holders(entry.record_key) for entry in entries]
        until = [until for each in holders for until in each.values()]
        ports = tuple(entry.port for entry in entries)
        return CannotWithdraw(op, entries[0].key, ports, len(set().union(*holders)), max(until, default=None))

    def _withdrawn(self, op: Handle, outcome: LetGo, now: float) -> None:
        try:
            over = self._over(outcome.record_keys)
            self.pending.release(outcome.record_keys, now)
            self._release(over, now)
        finally:
            ports = tuple(record_key.port for record_key in outcome.record_keys)
            self._tell(Withdrawn(op, outcome.key, ports, outcome.nodes, outcome.silent, outcome.left_behind), now)

    def _retried(self, outcome: KeyOver | HolderOver, now: float) -> None:
        if isinstance(outcome, KeyOver):
            self._release(self._over(outcome.record_keys), now)
        elif outcome.is_lost:
            self._find_lost(outcome.holder, now)

    def _over(self, record_keys: Iterable[RecordKey]) -> list[RecordKey]:
        """One withdrawal of each of these is over; return those that none is under way of now."""
        return [record_key for record_key in record_keys if self.under_way.end(record_key)]
