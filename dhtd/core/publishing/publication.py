"""The publication of an own entry.

1. A search finds the nodes nearest to the key, in each family. Each answer brings a token, or none where the node would
   refuse the entry.
2. The K nearest nodes with a token are chosen: more, where the region of the key is crowded.
3. With a write-ahead, the chosen nodes wait until they are on disk; without one, they are asked at once.
4. A node that does not take the entry is replaced by the next nearest one, until K nodes hold it or none is left.
5. The publication ends once the search is over and nothing is in flight.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from dhtd.core.messages import Contact, Error, Result, Store
from dhtd.core.publishing.heartbeats import Heartbeats
from dhtd.core.publishing.own_entry import OwnEntry
from dhtd.core.publishing.own_records import OwnRecords
from dhtd.core.publishing.write_ahead import WriteAhead
from dhtd.core.querying.operations import Report
from dhtd.core.querying.requester import Asked, Requester
from dhtd.core.querying.search import Search
from dhtd.core.querying.traversal import Traversal
from dhtd.core.routing.overlays import Overlays
from dhtd.core.traces import Purpose


class Placed(NamedTuple):
    """How a publication has ended."""

    replicas: tuple[Contact, ...]  # the nodes that took the entry
    asked: int  # how many nodes were asked to
    cancelled: bool  # the entry was deleted meanwhile
    refused: bool  # nodes have answered, and none took it


class Publication:
    """Stores an own entry on the nearest nodes of each family.

    A node holds the address that the store came from. So the entry is found at this machine's address of each family.
    """

    __slots__ = (
        "_asked",
        "_chosen",
        "_heartbeats",
        "_in_flight",
        "_over",
        "_records",
        "_replicas",
        "_report",
        "_requester",
        "_targets",
        "_traversal",
        "_wanted",
        "_write_ahead",
        "entry",
    )

    def __init__(
        self,
        requester: Requester,
        overlays: Overlays,
        report: Report[Placed],
        records: OwnRecords,
        heartbeats: Heartbeats,
        entry: OwnEntry,
        write_ahead: WriteAhead | None = None,
    ) -> None:
        self._requester = requester
        self._report = report
        self._records = records
        self._heartbeats = heartbeats
        self.entry = entry
        self._traversal = Traversal(
            requester,
            overlays,
            entry.key,
            Purpose.PUBLISH,
            finished=self._finished,
            gave_up=self.give_up,
            converged=self._converged,
            patient=True,
            thorough=True,
            regional=True,
            needs_tokens=True,
        )
        self._write_ahead = write_ahead
        self._targets: dict[int, list[Contact]] = {}  # by family: nodes not asked yet, the farthest first
        self._wanted: dict[int, int] = {}  # by family: how many nodes are to hold the entry
        self._chosen: set[Contact] = set()  # nodes that wait to be written down
        self._replicas: list[Contact] = []
        self._asked = 0
        self._in_flight: set[Asked] = set()
        self._over = False

    def start(self, now: float) -> None:
        """Begin, from the nearest contacts that we know."""
        self._traversal.start(now)

    def cancel(self) -> None:
        """Stop, because the entry is deleted.

        Stores on their way cannot be called back, and the entry knows of them. They are not sent again: that could
        bring the entry back after its withdrawal.
        """
        self.abandon()
        self._end(cancelled=True)

    def abandon(self) -> None:
        """Stop, and report nothing."""
        self._over = True
        self._traversal.stop()
        self._chosen.clear()
        self._requester.send_no_more(self)

    def give_up(self, now: float) -> None:
        """Wait: the publisher begins anew what lasts too long, and keeps the commands that wait for it."""

    def written(self, contacts: Iterable[Contact], now: float) -> None:
        """These chosen nodes are on disk, or cannot be: ask them, unless the entry was deleted meanwhile."""
        for contact in contacts:
            if contact in self._chosen:
                self._chosen.remove(contact)
                self._ask_to_store(contact, now)

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """Count a node that has taken the entry, and note from which of our addresses."""
        self._in_flight.discard(query)
        self._replicas.append(contact)
        if self._records.get(self.entry.record_key) is self.entry:  # it is not deleted
            self._heartbeats.took(self.entry, contact, now)
        if query.observed is not None:
            until = now + self._heartbeats.lease.lasts
            self._records.seen_at(self.entry, query.observed, query.endpoint, until)
        self._store(len(query.endpoint), now)

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """Try the next nearest node instead of one that did not take the entry."""
        self._in_flight.discard(query)
        self._store(len(query.endpoint), now)

    def _converged(self, search: Search, now: float) -> None:
        contacts = search.closest()
        if contacts:
            family = len(contacts[0].endpoint)
            self._targets[family] = [contact for contact in contacts[::-1] if self._traversal.tokens[contact.endpoint]]
            self._wanted[family] = search.wanted()
            self._store(family, now)

    def _finished(self, now: float) -> None:
        self._report_if_over()

    def _store(self, family: int, now: float) -> None:
        """Choose the nearest nodes of this family, as many as are still missing."""
        # Count the nodes that hold the entry, and those that may yet take it.
        targets = self._targets[family]
        holders = [*self._replicas, *self._chosen]
        stored = sum(len(holder.endpoint) == family for holder in holders)
        stored += sum(len(query.endpoint) == family for query in self._in_flight)
        missing = 0 if self._over else self._wanted[family] - stored
        # Note each chosen node before anything is sent: a store may arrive though no answer says so.
        chosen = [targets.pop() for _ in range(min(missing, len(targets)))]
        until = self._until(now)
        for contact in chosen:
            self._records.may_hold(self.entry, contact, until)
        # Ask them: after the disk, where there is a write-ahead.
        if chosen and self._write_ahead is not None:
            self._chosen.update(chosen)
            self._write_ahead.add(self, chosen, now)
        else:
            for contact in chosen:
                self._ask_to_store(contact, now)
        self._report_if_over()

    def _ask_to_store(self, contact: Contact, now: float) -> None:
        token = self._traversal.tokens[contact.endpoint]
        lease = self._heartbeats.lease
        request = Store(self.entry.key, self.entry.port, token, lease.seconds, lease.session)
        store = self._requester.ask(self, request, contact.endpoint, contact.id, now, insistent=True)
        self._in_flight.add(store)
        self._asked += 1

    def _until(self, now: float) -> float:
        """Return when the copy of a node that is chosen now expires, at the latest."""
        policy = self._requester.policy
        until = now + policy.query_timeout + self._heartbeats.lease.lasts
        return until if self._write_ahead is None else until + policy.write_ahead

    def _report_if_over(self) -> None:
        if not self._in_flight and not self._chosen and not self._traversal.is_searching and not self._over:
            self._end(cancelled=False)

    def _end(self, *, cancelled: bool) -> None:
        self._over = True
        refused = bool(self._traversal.tokens) and not self._replicas and not cancelled
        self._report(Placed(tuple(self._replicas), self._asked, cancelled, refused))
