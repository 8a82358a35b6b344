"""Restocking a holder that has lost records of ours: each is stored there again, a few at a time.

The holder has renewed our lease and said that it holds fewer records than it took. It may have lost its state file, or
our address is another one now, so that our lease there is new. It does not say which ones are missing, so all are
stored again: one that it holds is renewed by that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from dhtd.core.messages import Contact, Error, FindNode, FindValue, Found, Result, Store
from dhtd.core.publishing.own_entry import OwnEntry
from dhtd.core.publishing.own_lease import OwnLease
from dhtd.core.querying.requester import Asked, Requester
from dhtd.core.records import RecordKey


class Restocked(Protocol):
    """Is told what becomes of each record."""

    def restocked(self, entry: OwnEntry, contact: Contact, now: float) -> None:
        """The holder has taken it."""

    def not_restocked(self, entry: OwnEntry, contact: Contact, now: float) -> None:
        """The holder has not taken it."""

    def restock_over(self, contact: Contact) -> None:
        """There is nothing left to store."""


class Restock:
    """Stores some own records at one holder: a token for each key, and then the store."""

    __slots__ = ("_contact", "_in_flight", "_lease", "_listener", "_requester", "_todo")

    def __init__(
        self,
        requester: Requester,
        lease: OwnLease,
        contact: Contact,
        entries: Iterable[OwnEntry],
        listener: Restocked,
    ) -> None:
        self._requester = requester
        self._lease = lease
        self._contact = contact
        self._listener = listener
        self._todo = {entry.record_key: entry for entry in entries}
        self._in_flight: dict[RecordKey, _One] = {}

    def start(self, now: float) -> None:
        """Begin with the first few."""
        self._go_on(now)

    def leave(self, record_key: RecordKey) -> None:
        """This record is deleted, or another node holds it instead. A store on its way is not sent again."""
        self._todo.pop(record_key, None)
        one = self._in_flight.pop(record_key, None)
        if one is not None:
            self._requester.send_no_more(one)

    def token(self, one: _One, found: Found, now: float) -> None:
        """The holder has given a token; with none it would refuse the store."""
        entry = one.entry
        if entry.record_key not in self._in_flight:
            return
        if found.token:
            self._ask(one, Store(entry.key, entry.port, found.token, self._lease.seconds, self._lease.session), now)
        else:
            self.over(one, now, taken=False)

    def over(self, one: _One, now: float, *, taken: bool) -> None:
        """The holder has taken a record, or has not."""
        if self._in_flight.pop(one.entry.record_key, None) is None:
            return
        if taken:
            self._listener.restocked(one.entry, self._contact, now)
        else:
            self._listener.not_restocked(one.entry, self._contact, now)
        self._go_on(now)

    def give_up(self) -> None:
        """A defect has stopped this. The next heartbeat finds what is still missing."""
        self._todo.clear()
        self._in_flight.clear()
        self._listener.restock_over(self._contact)

    def _go_on(self, now: float) -> None:
        while self._todo and len(self._in_flight) < self._requester.policy.alpha:
            record_key = next(iter(self._todo))
            one = self._in_flight[record_key] = _One(self, self._todo.pop(record_key))
            self._ask(one, self._requester.traits.find_for_token(one.entry.key), now)
        if not self._in_flight:
            self._listener.restock_over(self._contact)

    def _ask(self, one: _One, request: FindNode | FindValue | Store, now: float) -> None:
        contact = self._contact
        self._requester.ask(one, request, contact.endpoint, contact.id, now, insistent=True)


class _One:
    """The queries for one record."""

    __slots__ = ("_restock", "entry")

    def __init__(self, restock: Restock, entry: OwnEntry) -> None:
        self._restock = restock
        self.entry = entry

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """The holder has given a token, or has taken the record."""
        if isinstance(result, Found):
            self._restock.token(self, result, now)
        else:
            self._restock.over(self, now, taken=True)

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """The holder has not answered, or has refused."""
        self._restock.over(self, now, taken=False)

    def give_up(self, now: float) -> None:
        """A defect has stopped it."""
        self._restock.give_up()
