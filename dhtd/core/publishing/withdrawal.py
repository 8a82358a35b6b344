"""The withdrawal of own entries that were deleted.

1. Each known holder is asked at once for a token, by a find_value: the tokens of the publication have expired.
2. A search finds the nodes nearest to the key. The 2 K nearest may hold the entry without our knowledge, since a disk
   that failed, or a full list, forgets holders.
3. A node that gives a token is asked to withdraw. A node that gives none holds nothing from our address.
4. The withdrawal ends once the search is over and nothing is in flight. A holder that has not acknowledged stays in
   `pending_withdrawals`, and is asked again from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import LeftBehind
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, Error, FindValue, Found, Request, Result, Withdraw
from dhtd.core.publishing.own_entry import OwnEntry
from dhtd.core.publishing.own_lease import OwnLease
from dhtd.core.publishing.pending_withdrawals import PendingWithdrawals
from dhtd.core.querying.operations import Report
from dhtd.core.querying.requester import Asked, Operation, Requester
from dhtd.core.querying.search import Search
from dhtd.core.querying.traversal import Traversal
from dhtd.core.records import RecordKey
from dhtd.core.routing.overlays import Overlays
from dhtd.core.traces import Purpose


class LetGo(NamedTuple):
    """How a withdrawal has ended."""

    key: Id
    record_keys: tuple[RecordKey, ...]
    nodes: int  # the nodes that acknowledged it
    silent: int  # other nodes, which may hold an entry and are asked again
    left_behind: tuple[LeftBehind, ...]  # what was entered from an address that is not ours any more


class Withdrawal:
    """Withdraws own entries of one key from every node that may hold them: known holders and the 2 K nearest.

    Unknown nodes beyond the K nearest do not count as acknowledging: most of them have held nothing.
    """

    __slots__ = (
        "_acknowledged",
        "_beyond",
        "_came_from",
        "_for_token",
        "_has_ended",
        "_holders",
        "_in_flight",
        "_lease",
        "_record_keys",
        "_report",
        "_requester",
        "_sightings",
        "_to_let_go",
        "_told",
        "_traversal",
        "_withdrawals",
        "key",
    )

    def __init__(
        self,
        requester: Requester,
        overlays: Overlays,
        report: Report[LetGo],
        entries: Sequence[OwnEntry],
        lease: OwnLease,
        withdrawals: PendingWithdrawals,
    ) -> None:
        key = entries[0].key
        self.key = key
        self._requester = requester
        self._report = report
        self._lease = lease
        self._record_keys = tuple(entry.record_key for entry in entries)
        self._sightings = {entry.record_key: entry.sightings for entry in entries}
        self._came_from: dict[RecordKey, dict[Endpoint, bytes]] = {each: {} for each in self._record_keys}
        self._withdrawals = withdrawals
        self._holders = tuple(
            dict.fromkeys(contact for record_key in self._record_keys for contact in withdrawals.holders(record_key))
        )
        self._traversal = Traversal(
            requester,
            overlays,
            key,
            Purpose.WITHDRAW,
            finished=self._report_if_over,
            gave_up=self.give_up,
            converged=self._converged,
            patient=True,
            thorough=True,
            needs_tokens=True,
            first=self._holders,
        )
        self._in_flight = 0
        self._has_ended = False
        self._for_token = _ForToken(self)
        self._to_let_go = {record_key: _ToLetGo(self, record_key) for record_key in self._record_keys}
        self._told: set[Contact] = set()
        self._beyond: set[Endpoint] = set()  # the places of nodes that do not count
        self._acknowledged: set[Contact] = set()

    def start(self, now: float) -> None:
        """Ask the holders for tokens, and search from them: they are near the key."""
        for holder in self._holders:
            self._ask(self._for_token, FindValue(self.key), holder, now, attempts=1)
        self._traversal.start(now)

    def gave_token(self, contact: Contact, found: Found, observed: Endpoint | None, now: float) -> None:
        """A holder has named what it holds, and may have given a token: use it at once."""
        has_it = any(may_name_us(found, record_key.port, observed) for record_key in self._record_keys)
        if has_it and not found.token:  # the holder keeps what it has from us, and stays in debt
            self._told.add(contact)
        elif not self._has_ended:
            self._withdraw(contact, found.token, now)
        self.query_over(now)

    def took(self, record_key: RecordKey, contact: Contact, observed: Endpoint | None, now: float) -> None:
        """A node has taken a withdrawal, and saw it come from `observed`, if it tells."""
        if observed is not None:
            self._came_from[record_key][contact.endpoint] = observed.ip
        if contact.endpoint not in self._beyond:
            self._acknowledged.add(contact)
        for holder in self._at(contact.endpoint):
            self._withdrawals.let_go(record_key, holder, now)
        self.query_over(now)

    def did_not_take(self, record_key: RecordKey, contact: Contact, now: float) -> None:
        """A node has not taken a withdrawal. It gave a token, so it may hold the entry, and is asked again."""
        if self._has_ended:
            return
        if not self._at(contact.endpoint):
            until = now + self._lease.lasts
            self._withdrawals.add(record_key, contact, until)
        self.query_over(now)

    def give_up(self, now: float) -> None:
        """Report what there is, and withdraw nothing more: an entry that is entered again may be published now."""
        self._end(())
        self._traversal.stop()
        self._requester.send_no_more(self._for_token, *self._to_let_go.values())

    def query_over(self, now: float) -> None:
        """A query to a node has ended."""
        self._in_flight -= 1
        self._report_if_over(now)

    def _converged(self, search: Search, now: float) -> None:
        """Withdraw from the 2 K nearest nodes. The holders among them were told already."""
        k = self._requester.policy.k
        for place, contact in enumerate(search.closest()[: 2 * k]):
            if contact not in self._told:
                if place >= k and not self._at(contact.endpoint):
                    self._beyond.add(contact.endpoint)
                self._withdraw(contact, self._traversal.tokens[contact.endpoint], now)

    def _withdraw(self, contact: Contact, token: bytes | None, now: float) -> None:
        self._told.add(contact)
        # Without a token, the node holds nothing from our address.
        if not token:
            for holder in self._at(contact.endpoint):
                for record_key in self._record_keys:
                    self._withdrawals.holds_nothing(record_key, holder)
            return
        # With a token, ask it to withdraw each entry.
        for record_key in self._record_keys:
            attempts = self._requester.policy.withdraw_attempts
            request = Withdraw(self.key, record_key.port, token, self._lease.session)
            self._ask(self._to_let_go[record_key], request, contact, now, attempts)

    def _ask(self, owner: Operation, request: Request, contact: Contact, now: float, attempts: int) -> None:
        self._requester.ask(owner, request, contact.endpoint, contact.id, now, attempts, insistent=True)
        self._in_flight += 1

    def _at(self, endpoint: Endpoint) -> list[Contact]:
        """Return the known holders at this place, with any ID."""
        return [holder for holder in self._holders if holder.endpoint == endpoint]

    def _report_if_over(self, now: float) -> None:
        if not self._in_flight and not self._traversal.is_searching:
            self._end(self._left_behind(now))

    def _end(self, left_behind: tuple[LeftBehind, ...]) -> None:
        if not self._has_ended:
            self._has_ended = True
            silent = self._withdrawals.silent(self._record_keys)
            self._report(LetGo(self.key, self._record_keys, len(self._acknowledged), silent, left_behind))

    def _left_behind(self, now: float) -> tuple[LeftBehind, ...]:
        until: dict[Endpoint, float] = {}
        for record_key, sightings in self._sightings.items():
            for left in sightings.left_behind(record_key.port, self._came_from[record_key], now):
                until[left.endpoint] = max(left.until, until.get(left.endpoint, now))
        return tuple(map(LeftBehind._make, until.items()))


def may_name_us(found: Found, port: int, observed: Endpoint | None) -> bool:
    """Whether an answer names our entry on `port`. If it does not tell how it sees us, any address counts as ours."""
    if observed is None:
        return any(endpoint.port == port for endpoint in found.endpoints)
    return observed.with_port(port) in found.endpoints


class _ForToken:
    """The query that asks a holder for a token."""

    __slots__ = ("_withdrawal",)

    def __init__(self, withdrawal: Withdrawal) -> None:
        self._withdrawal = withdrawal

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """Use the token."""
        assert isinstance(result, Found)
        self._withdrawal.gave_token(contact, result, query.observed, now)

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """The holder stays in debt."""
        self._withdrawal.query_over(now)

    def give_up(self, now: float) -> None:
        """A defect has stopped the withdrawal."""
        self._withdrawal.give_up(now)


class _ToLetGo:
    """The query that asks a node to let go of the entry on one port."""

    __slots__ = ("_record_key", "_withdrawal")

    def __init__(self, withdrawal: Withdrawal, record_key: RecordKey) -> None:
        self._withdrawal = withdrawal
        self._record_key = record_key

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """The node has let go."""
        self._withdrawal.took(self._record_key, contact, query.observed, now)

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """The node may not have let go."""
        assert query.id is not None
        self._withdrawal.did_not_take(self._record_key, Contact(query.id, query.endpoint), now)

    def give_up(self, now: float) -> None:
        """A defect has stopped the withdrawal."""
        self._withdrawal.give_up(now)
