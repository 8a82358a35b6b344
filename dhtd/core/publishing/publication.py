"""The operations on an own entry: to publish it, and to withdraw it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dhtd.core.caps import ENTRY_HOLDERS, WITHDRAWALS
from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Handle, Published, Withdrawn
from dhtd.core.messages import Contact, Error, FindNode, FindValue, Found, Request, Result, Store, Withdraw
from dhtd.core.publishing.own_records import OwnEntry
from dhtd.core.publishing.pending_withdrawals import Withdrawals
from dhtd.core.publishing.sightings import LeftBehind
from dhtd.core.publishing.write_ahead import WriteAhead
from dhtd.core.querying.requester import Asked, Requester
from dhtd.core.querying.search import Search
from dhtd.core.querying.traversal import Traversal
from dhtd.core.routing.overlay import Overlay


class Publication(Traversal):
    """Stores an own entry on the K nearest nodes of each family that take it; on all of the region where these crowd.

    A node holds where the store came from, so that the entry is found at this machine's address of either family.
    Several commands may wait for one publication. Nodes that gave no token would refuse it, and are passed over.

    Whom it chooses is asked when they are `written` down, where there is a `write_ahead`; else at once.
    """

    __slots__ = (
        "_asked",
        "_chosen",
        "_in_flight",
        "_over",
        "_replicas",
        "_targets",
        "_wanted",
        "_write_ahead",
        "entry",
        "watchers",
    )

    def __init__(
        self, op: Handle, requester: Requester, entry: OwnEntry, write_ahead: WriteAhead | None = None
    ) -> None:
        super().__init__(op, requester, entry.key, patient=True, thorough=True, regional=True)
        self.entry = entry
        self.watchers = [op]
        self._write_ahead = write_ahead
        self._targets: dict[int, list[Contact]] = {}  # by family: not asked yet, the farthest first
        self._wanted: dict[int, int] = {}  # by family: how many are to hold it
        self._chosen: set[Contact] = set()  # and not written down yet
        self._replicas: list[Contact] = []
        self._asked = 0
        self._in_flight: set[Asked] = set()
        self._over = False

    def cancel(self) -> None:
        """Stop, because the entry is deleted. Stores on their way cannot be called back; the entry knows of them.

        But they are not sent again: that could bring the entry back after it was withdrawn.
        """
        self.abandon()
        self._report(cancelled=True)

    def abandon(self) -> None:
        """Stop, and report nothing."""
        self._over = True
        self._searching = False
        self._open.clear()
        self._chosen.clear()
        self._requester.send_no_more(self)

    def give_up(self, now: float) -> None:
        """Wait: the node begins it anew once it has lasted too long, for all who wait for it."""

    def written(self, contacts: Iterable[Contact], now: float) -> None:
        """Ask those who were chosen to take the entry, unless it was deleted meanwhile."""
        for contact in contacts:
            if contact in self._chosen:
                self._chosen.remove(contact)
                self._ask_to_store(contact, now)

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """Count a node that has taken the entry."""
        if not isinstance(query.request, Store):
            super().answered(query, contact, result, now)
            return
        self._in_flight.discard(query)
        self._replicas.append(contact)
        assert query.observed is not None
        until = now + self._requester.policy.store_expiry
        self.entry.seen_at(query.observed, query.endpoint, until)
        self._store(len(query.endpoint), now)

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """Try the next nearest node instead of one that did not take the entry."""
        if not isinstance(query.request, Store):
            super().failed(query, error, now)
            return
        self._in_flight.discard(query)
        self._store(len(query.endpoint), now)

    def slow(self, query: Asked, now: float) -> None:
        """Wait for stores however slow; a replica is worth it."""
        if not isinstance(query.request, Store):
            super().slow(query, now)

    def late(self, query: Asked, now: float) -> None:
        """Wait for stores however late."""
        if not isinstance(query.request, Store):
            super().late(query, now)

    def _converged(self, search: Search, now: float) -> None:
        contacts = search.closest()
        if contacts:
            family = len(contacts[0].endpoint)
            self._targets[family] = [contact for contact in contacts[::-1] if self._tokens[contact.endpoint]]
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
            self._requester.counters.caps_hit[ENTRY_HOLDERS] += self.entry.may_hold(contact, until)
        if chosen and self._write_ahead is not None:
            self._chosen.update(chosen)
            self._write_ahead.add(self, chosen, now)
        else:
            for contact in chosen:
                self._ask_to_store(contact, now)
        self._report_if_over()

    def _ask_to_store(self, contact: Contact, now: float) -> None:
        request = Store(self.entry.key, self.entry.port, self._tokens[contact.endpoint])
        store = self._requester.ask(self, request, contact.endpoint, contact.id, now, insistent=True)
        self._in_flight.add(store)
        self._asked += 1

    def _until(self, now: float) -> float:
        """Return until when a node that is chosen now may hold the entry."""
        policy = self._requester.policy
        until = now + policy.query_timeout + policy.store_expiry
        return until if self._write_ahead is None else until + policy.write_ahead

    def _report_if_over(self) -> None:
        if not self._in_flight and not self._chosen and not self._searching and not self._over:
            self._report(cancelled=False)

    def _report(self, *, cancelled: bool) -> None:
        self._over = True
        refused = bool(self._tokens) and not self._replicas and not cancelled
        for op in self.watchers:
            self._requester.tell(
                Published(op, self.entry.key, self.entry.port, tuple(self._replicas), self._asked, cancelled, refused)
            )


class Withdrawal(Traversal):
    """Withdraws own entries of one key from every node that may hold them: known holders and the 2 K nearest.

    A node whose disk has failed, or that had to forget some, does not know all who hold an entry, but they are near.
    Those beyond the K nearest that it did not know are not counted: most of them have held nothing.

    The tokens that came with the entry's publication have expired, so each node is asked for a new one. Holders are
    asked at once, by a find_value of their own, and let go within two round trips; the search finds the others. Who
    owes an acknowledgement in the end is in `withdrawals`.
    """

    __slots__ = (
        "_acknowledged",
        "_beyond",
        "_came_from",
        "_holders",
        "_in_flight",
        "_ports",
        "_sightings",
        "_told",
        "_withdrawals",
    )

    def __init__(self, op: Handle, requester: Requester, entries: Sequence[OwnEntry], withdrawals: Withdrawals) -> None:
        key = entries[0].key
        super().__init__(op, requester, key, patient=True, thorough=True)
        self._ports = tuple(entry.port for entry in entries)
        self._sightings = {entry.port: entry.sightings for entry in entries}
        self._came_from: dict[int, dict[Endpoint, bytes]] = {port: {} for port in self._ports}  # by who let go
        self._withdrawals = withdrawals
        self._holders = tuple(
            dict.fromkeys(contact for port in self._ports for contact in withdrawals.holders(key, port))
        )
        self._in_flight = 0
        self._told: set[Contact] = set()
        self._beyond: set[Endpoint] = set()  # where those are that do not count
        self._acknowledged: set[Contact] = set()

    def start(self, now: float) -> None:
        """Begin with the holders, and from them: they are near the key."""
        for holder in self._holders:
            self._ask(FindValue(self._target), holder, now, attempts=1)
        super().start(now)

    def _seeds(self, overlay: Overlay) -> list[Contact]:
        holders = [holder for holder in self._holders if len(holder.endpoint) == overlay.family]
        return holders + super()._seeds(overlay)

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """Use a holder's token at once; count a node that has let go of the entry."""
        match query.request:
            case FindNode():
                super().answered(query, contact, result, now)
                return
            case FindValue():
                assert isinstance(result, Found)
                assert query.observed is not None
                has_it = any(query.observed.with_port(port) in result.endpoints for port in self._ports)
                if has_it and not result.token:  # it does not let us withdraw what it has
                    self._told.add(contact)
                elif not self._has_ended:
                    self._withdraw(contact, result.token, now)
            case request:
                assert isinstance(request, Withdraw)
                assert query.observed is not None
                self._came_from[request.port][query.endpoint] = query.observed.ip
                if contact.endpoint not in self._beyond:
                    self._acknowledged.add(contact)
                for holder in self._at(contact.endpoint):
                    self._withdrawals.let_go(self._target, request.port, holder, now)
        self._in_flight -= 1
        self._report_if_over(now)

    def give_up(self, now: float) -> None:
        """Report what there is. It withdraws nothing more: what is entered again is published from now on."""
        self._tell_outcome(())
        self.cancel()

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """Leave it to be asked again, if it may hold the entry: whoever has given a token may."""
        request, policy = query.request, self._requester.policy
        if isinstance(request, FindNode):
            super().failed(query, error, now)
            return
        if self._has_ended:
            return
        if isinstance(request, Withdraw) and not self._at(query.endpoint):
            assert query.id is not None
            contact, until = Contact(query.id, query.endpoint), now + policy.store_expiry
            if self._withdrawals.add(self._target, request.port, contact, until):
                self._requester.counters.caps_hit[WITHDRAWALS] += 1
        self._in_flight -= 1
        self._report_if_over(now)

    def slow(self, query: Asked, now: float) -> None:
        """Wait for withdrawals however slow."""
        if isinstance(query.request, FindNode):
            super().slow(query, now)

    def late(self, query: Asked, now: float) -> None:
        """Wait for withdrawals however late."""
        if isinstance(query.request, FindNode):
            super().late(query, now)

    def _converged(self, search: Search, now: float) -> None:
        k = self._requester.policy.k
        for place, contact in enumerate(search.closest()[: 2 * k]):
            if contact not in self._told:
                if place >= k and not self._at(contact.endpoint):
                    self._beyond.add(contact.endpoint)
                self._withdraw(contact, self._tokens[contact.endpoint], now)

    def _finished(self, now: float) -> None:
        self._report_if_over(now)

    def _withdraw(self, contact: Contact, token: bytes, now: float) -> None:
        self._told.add(contact)
        if not token:  # it holds nothing from our address
            for holder in self._at(contact.endpoint):
                for port in self._ports:
                    self._withdrawals.holds_nothing(self._target, port, holder)
            return
        for port in self._ports:
            attempts = self._requester.policy.withdraw_attempts
            self._ask(Withdraw(self._target, port, token), contact, now, attempts)

    def _ask(self, request: Request, contact: Contact, now: float, attempts: int) -> None:
        self._requester.ask(self, request, contact.endpoint, contact.id, now, attempts, insistent=True)
        self._in_flight += 1

    def _at(self, endpoint: Endpoint) -> list[Contact]:
        """Return the known holders there, of whatever ID."""
        return [holder for holder in self._holders if holder.endpoint == endpoint]

    def _report_if_over(self, now: float) -> None:
        if not self._in_flight and not self._searching:
            self._tell_outcome(self._left_behind(now))

    def _tell_outcome(self, left_behind: tuple[LeftBehind, ...]) -> None:
        silent = self._withdrawals.silent(self._target, self._ports)
        acknowledged = len(self._acknowledged)
        self._tell(Withdrawn(self.op, self._target, self._ports, acknowledged, silent, left_behind))

    def _left_behind(self, now: float) -> tuple[LeftBehind, ...]:
        until: dict[Endpoint, float] = {}
        for port, sightings in self._sightings.items():
            for left in sightings.left_behind(port, self._came_from[port], now):
                until[left.endpoint] = max(left.until, until.get(left.endpoint, now))
        return tuple(map(LeftBehind._make, until.items()))
