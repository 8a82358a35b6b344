"""Asking one holder again to let go of deleted entries, key by key.

1. The first key is asked alone, by a find_value for a token: it shows whether anybody is there.
2. Once that is answered, `alpha` keys are asked at once.
3. With the token of a key, its entries are withdrawn. Without one, the holder has nothing of them; but if it names an
   entry of ours and gives no token, it keeps that, and is asked again later.
4. A failure ends the attempt once all open keys are over. The rest has to wait for the next one.

A node that answers at the holder's endpoint is asked whatever its ID is: it may have changed its ID and kept its file.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from dhtd.core.ids import packed, unpacked
from dhtd.core.messages import Contact, Error, FindValue, Found, Request, Result, Withdraw
from dhtd.core.publishing.pending_withdrawals import Holder, PendingWithdrawals
from dhtd.core.publishing.under_way import UnderWay
from dhtd.core.publishing.withdrawal import may_name_us
from dhtd.core.querying.operations import Report
from dhtd.core.querying.requester import Asked, Operation, Requester
from dhtd.core.records import RecordKey


class KeyOver(NamedTuple):
    """The holder was asked about a key: these are its entries."""

    record_keys: tuple[RecordKey, ...]


class HolderOver(NamedTuple):
    """The attempt has ended. The holder `is_lost` if it has answered nothing for the second time."""

    holder: Contact
    is_lost: bool


class WithdrawalRetry:
    """One attempt at one holder.

    The entries that it asks for are `under_way` meanwhile, so that one which is entered again is published afterwards.
    """

    __slots__ = (
        "_endpoint",
        "_had",
        "_has_failed",
        "_holder",
        "_is_over",
        "_open",
        "_owners",
        "_queries",
        "_report",
        "_requester",
        "_session",
        "_under_way",
        "_width",
        "_withdrawals",
        "_work",
    )

    def __init__(
        self,
        requester: Requester,
        report: Report[KeyOver | HolderOver],
        session: bytes,
        withdrawals: PendingWithdrawals,
        under_way: UnderWay,
        holder: Holder,
    ) -> None:
        self._requester = requester
        self._report = report
        self._session = session
        self._withdrawals = withdrawals
        self._under_way = under_way
        self._holder = holder
        self._endpoint = holder.endpoint
        self._work: dict[bytes, list[RecordKey]] = {}  # entries not asked for yet, by packed key
        self._open: dict[bytes, list[RecordKey]] = {}  # entries being asked for
        self._had: set[RecordKey] = set()  # entries that the holder has named
        self._queries: Counter[bytes] = Counter()  # queries on their way, by packed key
        self._width = 1  # keys that are asked at once
        self._has_failed = False
        self._is_over = False
        self._owners: list[Operation] = [self]  # of what was asked

    def start(self, now: float) -> None:
        """Ask for the entries that are due."""
        self._work = self._withdrawals.due(self._holder, now)
        self._go_on(now, silent=False)

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """The holder has named what it has of a key: withdraw, if it has given a token."""
        if self._is_over:
            return
        request = query.request
        assert isinstance(request, FindValue)
        assert isinstance(result, Found)
        key, observed = request.key, query.observed
        # Somebody is there, so more keys can be asked at once.
        self._width = self._requester.policy.alpha
        asked = self._open[packed(key)]
        self._had.update(each for each in asked if may_name_us(result, each.port, observed))
        if self._requester.ask_rest(query, contact, result, now):
            return  # the rest of the answer may name our entry
        for record_key in asked:
            if result.token:
                attempts = self._requester.policy.withdraw_attempts
                self._owners.append(_ToLetGoOf(self, record_key))
                request = Withdraw(key, record_key.port, result.token, self._session)
                self._ask(self._owners[-1], request, record_key.packed_key, now, attempts)
            elif record_key in self._had:  # the holder keeps it from us
                self._has_failed = True
                self._withdrawals.postpone(self._holder, [record_key])
            else:
                self._withdrawals.holds_nothing(record_key, self._holder.contact)
        self._is_done(packed(key), now)

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """Ask for nothing more this time."""
        assert isinstance(query.request, FindValue)
        self.has_failed(packed(query.request.key), error, now)

    def let_go(self, record_key: RecordKey, now: float) -> None:
        """The holder has let go of an entry."""
        had_it = record_key in self._had
        self._withdrawals.let_go(record_key, self._holder.contact, now, had_it=had_it)
        if not self._is_over:
            self._is_done(record_key.packed_key, now)

    def has_failed(self, packed_key: bytes, error: Error | None, now: float) -> None:
        """The holder has not answered about a key: ask for nothing more this time."""
        if self._is_over:
            return
        self._has_failed = True
        self._withdrawals.postpone(self._holder, self._open[packed_key])
        self._is_done(packed_key, now, silent=error is None)

    def give_up(self, now: float) -> None:
        """Ask for nothing more this time. The holder has another turn."""
        if self._is_over:
            return
        self._is_over = True
        self._requester.send_no_more(*self._owners)
        for asked in self._open.values():
            self._report(KeyOver(tuple(asked)))
        self._withdrawals.over(self._holder, self._endpoint, now, failed=True)

    def _ask(self, owner: Operation, request: Request, packed_key: bytes, now: float, attempts: int = 1) -> None:
        self._requester.ask(owner, request, self._endpoint, self._holder.contact.id, now, attempts, insistent=True)
        self._queries[packed_key] += 1

    def _is_done(self, packed_key: bytes, now: float, *, silent: bool = False) -> None:
        """A query about this key has ended: go on, if it was the last one."""
        self._queries[packed_key] -= 1
        if not self._queries[packed_key]:
            self._report(KeyOver(tuple(self._open.pop(packed_key))))
            self._go_on(now, silent=silent)

    def _go_on(self, now: float, *, silent: bool) -> None:
        # Open further keys, unless something has failed.
        while self._work and not self._has_failed and len(self._open) < self._width:
            packed_key = next(iter(self._work))
            wanted = [each for each in self._work.pop(packed_key) if each in self._holder.owed]
            if not wanted:  # entered again meanwhile, and perhaps published
                continue
            self._open[packed_key] = wanted
            for record_key in wanted:
                self._under_way.begin(record_key)
            self._ask(self, FindValue(unpacked(packed_key)), packed_key, now)
        # Nothing is open any more: the attempt is over.
        if not self._open:
            nobody = silent and self._width == 1
            self._withdrawals.over(self._holder, self._endpoint, now, failed=self._has_failed, nobody_there=nobody)
            is_lost = nobody and self._holder.failures > 1
            self._report(HolderOver(self._holder.contact, is_lost))
            self._is_over = True


class _ToLetGoOf:
    """The query that asks the holder to let go of one entry."""

    __slots__ = ("_record_key", "_retry")

    def __init__(self, retry: WithdrawalRetry, record_key: RecordKey) -> None:
        self._retry = retry
        self._record_key = record_key

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """The holder has let go."""
        self._retry.let_go(self._record_key, now)

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """The holder may not have let go."""
        self._retry.has_failed(self._record_key.packed_key, error, now)

    def give_up(self, now: float) -> None:
        """A defect has stopped the whole attempt."""
        self._retry.give_up(now)
