"""The publication of an own entry: a search for the nodes nearest to its key, which are then asked to hold it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from dhtd.core.counters import ENTRY_HOLDERS
from dhtd.core.messages import Contact, Error, Result, Store
from dhtd.core.publishing.own_entry import OwnEntry
from dhtd.core.publishing.own_records import OwnRecords
from dhtd.core.publishing.write_ahead import WriteAhead
from dhtd.core.querying.operations import Report
from dhtd.core.querying.requester import Asked, Requester
from dhtd.core.querying.search import Search
from dhtd.core.querying.traversal import Traversal
from dhtd.core.routing.overlays import Overlays


class Placed(NamedTuple):
    """How a publication has ended."""

    replicas: tuple[Contact, ...]  # that took the entry
    asked: int  # how many were asked to
    cancelled: bool  # the entry was deleted meanwhile
    refused: bool  # nodes have answered, and none took it


class Publication:
    """Stores an own entry on the K nearest nodes of each family that take it; on all of the region where these crowd.

    A node holds where the store came from, so that the entry is found at this machine's address of either family.
    Nodes that gave no token would refuse it, and are passed over. With a `write_ahead`, the chosen nodes are asked once
    they are `written` down; without one, at once.
    """

    __slots__ = (
        "_asked",
        "_caps_hit",
        "_chosen",
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
        entry: OwnEntry,
        caps_hit: dict[str, int],
        write_ahead: WriteAhead | None = None,
    ) -> None:
        self._requester = requester
        self._caps_hit = caps_hit
        self._report = report
        self._records = records
        self.entry = entry
        self._traversal = Traversal(
            requester,
            overlays,
            entry.key,
            finished=self._finished,
            gave_up=self.give_up,
            converged=self._converged,
            patient=True,
            thorough=True,
            regional=True,
            needs_tokens=True,
        )
        self._write_ahead = write_ahead
        self._targets: dict[int, list[Contact]] = {}  # by family: not asked yet, the farthest first
        self._wanted: dict[int, int] = {}  # by family: how many are to hold it
        self._chosen: set[Contact] = set()  # and not written down yet
        self._replicas: list[Contact] = []
        self._asked = 0
        self._in_flight: set[Asked] = set()
        self._over = False

    def start(self, now: float) -> None:
        """Begin, from the nearest contacts that we know."""
        self._traversal.start(now)

    def cancel(self) -> None:
        """Stop, because the entry is deleted. Stores on their way cannot be called back; the entry knows of them.

        But they are not sent again: that could bring the entry back after it was withdrawn.
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
        """Wait: it is begun anew once it has lasted too long, for all that wait for it."""

    def written(self, contacts: Iterable[Contact], now: float) -> None:
        """Ask those who were chosen to take the entry, unless it was deleted meanwhile."""
        for contact in contacts:
            if contact in self._chosen:
                self._chosen.remove(contact)
                self._ask_to_store(contact, now)

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """Count a node that has taken the entry."""
        self._in_flight.discard(query)
        self._replicas.append(contact)
        if query.observed is not None:
            until = now + self._requester.policy.store_expiry
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
        """Choose the nearest nodes of this family, as many as are missing to K replicas there."""
        targets = self._targets[family]
        holders = [*self._replicas, *self._chosen]
        stored = sum(len(holder.endpoint) == family for holder in holders)
        stored += sum(len(query.endpoint) == family for query in self._in_flight)
        missing = 0 if self._over else self._wanted[family] - stored
        chosen = [targets.pop() for _ in range(min(missing, len(targets)))]
        until = self._until(now)
        for contact in chosen:
            has_forgotten = self._records.may_hold(self.entry, contact, until)
            self._caps_hit[ENTRY_HOLDERS] += has_forgotten
        if chosen and self._write_ahead is not None:
            self._chosen.update(chosen)
            self._write_ahead.add(self, chosen, now)
        else:
            for contact in chosen:
                self._ask_to_store(contact, now)
        self._report_if_over()

    def _ask_to_store(self, contact: Contact, now: float) -> None:
        request = Store(self.entry.key, self.entry.port, self._traversal.tokens[contact.endpoint])
        store = self._requester.ask(self, request, contact.endpoint, contact.id, now, insistent=True)
        self._in_flight.add(store)
        self._asked += 1

    def _until(self, now: float) -> float:
        """Return until when a node that is chosen now may hold the entry."""
        policy = self._requester.policy
        until = now + policy.query_timeout + policy.store_expiry
        return until if self._write_ahead is None else until + policy.write_ahead

    def _report_if_over(self) -> None:
        if not self._in_flight and not self._chosen and not self._traversal.is_searching and not self._over:
            self._end(cancelled=False)

    def _end(self, *, cancelled: bool) -> None:
        self._over = True
        refused = bool(self._traversal.tokens) and not self._replicas and not cancelled
        self._report(Placed(tuple(self._replicas), self._asked, cancelled, refused))
