"""Asking one holder again to let go of what was deleted: a find_value for a token, then the withdrawals, key by key.

Whoever answers at the holder's endpoint is told, whatever its ID: a node may have another one since, and the same file.
"""

from __future__ import annotations

from collections import Counter

from dhtd.core.events import INTERNAL, Reminded, Withdrawn
from dhtd.core.ids import Id, packed, unpacked
from dhtd.core.messages import Contact, Error, FindValue, Found, Request, Result, Withdraw
from dhtd.core.publishing.own_records import EntryKey, entry_key
from dhtd.core.publishing.pending_withdrawals import Holder, Withdrawals
from dhtd.core.querying.requester import Asked, Requester


class Reminder:
    """One attempt at one holder. It goes on until all is asked, or something has failed; the rest has to wait then.

    The first key is asked alone, to see whether anybody is there. Meanwhile `withdrawing` counts what is asked: an
    entry that is entered again is not published before.
    """

    __slots__ = (
        "_endpoint",
        "_had",
        "_has_failed",
        "_holder",
        "_is_over",
        "_open",
        "_queries",
        "_requester",
        "_width",
        "_withdrawals",
        "_withdrawing",
        "_work",
    )

    def __init__(
        self,
        requester: Requester,
        withdrawals: Withdrawals,
        withdrawing: Counter[EntryKey],
        holder: Holder,
    ) -> None:
        self._requester = requester
        self._withdrawals = withdrawals
        self._withdrawing = withdrawing
        self._holder = holder
        self._endpoint = holder.endpoint
        self._work: dict[bytes, list[int]] = {}  # not asked yet: ports by packed key
        self._open: dict[bytes, list[int]] = {}  # being asked
        self._had: set[EntryKey] = set()  # what the holder has named as still held
        self._queries: Counter[bytes] = Counter()  # on their way
        self._width = 1  # keys that are asked at once
        self._has_failed = False
        self._is_over = False

    def start(self, now: float) -> None:
        """Ask for what is due."""
        self._work = self._withdrawals.due(self._holder, now)
        self._go_on(now, silent=False)

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """Withdraw with the token, or note what was let go of."""
        request, holder = query.request, self._holder.contact
        if isinstance(request, FindValue):
            if self._is_over:
                return
            assert isinstance(result, Found)
            assert query.observed is not None
            self._width = self._requester.policy.alpha
            ports = self._open[packed(request.key)]
            self._had.update(
                entry_key(request.key, port) for port in ports if query.observed.with_port(port) in result.endpoints
            )
            if self._requester.ask_rest(query, contact, result, now):
                return  # what was cut may be our entry
            for port in ports:
                if result.token:
                    self._ask(Withdraw(request.key, port, result.token), request.key, now)
                elif entry_key(request.key, port) in self._had:  # it has it, and does not let us withdraw it
                    self._has_failed = True
                    self._withdrawals.postpone(self._holder, request.key, [port])
                else:
                    self._withdrawals.holds_nothing(request.key, port, holder)
            self._is_done(request.key, now)
        else:
            assert isinstance(request, Withdraw)
            had_it = entry_key(request.key, request.port) in self._had
            self._withdrawals.let_go(request.key, request.port, holder, now, had_it=had_it)
            if not self._is_over:
                self._is_done(request.key, now)

    def slow(self, query: Asked, now: float) -> None:
        """Keep waiting."""

    def late(self, query: Asked, now: float) -> None:
        """Keep waiting."""

    def retried(self, query: Asked, now: float) -> None:
        """Keep waiting."""

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """Ask for nothing more this time."""
        if self._is_over:
            return
        assert isinstance(query.request, FindValue | Withdraw)
        key = query.request.key
        self._has_failed = True
        self._withdrawals.postpone(self._holder, key, self._open[packed(key)])
        self._is_done(key, now, silent=error is None)

    def give_up(self, now: float) -> None:
        """Ask for nothing more this time. The holder has another turn."""
        if self._is_over:
            return
        self._is_over = True
        self._requester.send_no_more(self)
        for found_by, ports in self._open.items():
            self._requester.tell(Withdrawn(INTERNAL, unpacked(found_by), tuple(ports), 0))
        self._withdrawals.over(self._holder, self._endpoint, now, failed=True)

    def _ask(self, request: Request, key: Id, now: float) -> None:
        attempts = self._requester.policy.withdraw_attempts if isinstance(request, Withdraw) else 1
        self._requester.ask(self, request, self._endpoint, self._holder.contact.id, now, attempts, insistent=True)
        self._queries[packed(key)] += 1

    def _is_done(self, key: Id, now: float, *, silent: bool = False) -> None:
        """A query about this key has ended: go on, if it was the last one."""
        found_by = packed(key)
        self._queries[found_by] -= 1
        if not self._queries[found_by]:
            ports = self._open.pop(found_by)
            self._requester.tell(Withdrawn(INTERNAL, key, tuple(ports), 0))
            self._go_on(now, silent=silent)

    def _go_on(self, now: float, *, silent: bool) -> None:
        while self._work and not self._has_failed and len(self._open) < self._width:
            found_by = next(iter(self._work))
            ports = [port for port in self._work.pop(found_by) if (found_by, port) in self._holder.owed]
            if not ports:  # it was entered again meanwhile, and perhaps published
                continue
            self._open[found_by] = ports
            for port in ports:
                self._withdrawing[found_by, port] += 1
            key = unpacked(found_by)
            self._ask(FindValue(key), key, now)
        if not self._open:
            nobody = silent and self._width == 1
            self._withdrawals.over(self._holder, self._endpoint, now, failed=self._has_failed, nobody_there=nobody)
            is_lost = nobody and self._holder.failures > 1
            self._requester.tell(Reminded(INTERNAL, self._holder.contact, is_lost))
            self._is_over = True
