"""The contacts that a node names in its answers, in wire form: packed once, and again when the table changes.

Most addresses mean the same machine to all nodes. A private one, or one of a link, does not. It is named only to nodes
to which it means the same machine as to us. So there are answers for each scope of requesters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from dhtd.core.address_groups import is_beside
from dhtd.core.codec import PackedContacts
from dhtd.core.endpoint import Endpoint, Scope, means_the_same, scope_of
from dhtd.core.ids import Id
from dhtd.core.latest import Latest
from dhtd.core.messages import Contact
from dhtd.core.routing.answer_cache import AnswerCache
from dhtd.core.routing.standing import Standings
from dhtd.core.routing.table import RoutingTable

_LOCAL: Final = frozenset((Scope.HOST, Scope.LINK))
_ADDRESSES: Final = 1_024  # of requesters that are remembered, at most


class PackedAnswers:
    """The K nearest contacts that are not bad, to any target, for any requester."""

    __slots__ = ("_k", "_own_networks", "_pack", "_standings", "_table", "_visible", "at", "has_scopes", "nearest")

    def __init__(
        self,
        table: RoutingTable,
        standings: Standings,
        k: int,
        pack: Callable[[Sequence[Contact]], PackedContacts],
        own_networks: tuple[bytes, ...],
    ) -> None:
        self._table = table
        self._standings = standings
        self._k = k
        self._pack = pack
        self._own_networks = own_networks
        self.nearest: AnswerCache | None = None  # for all, where there are no scopes; None when the table changes
        self.has_scopes = False  # contacts do not mean the same to all, so `at` is to be asked instead of `nearest`
        # For requesters of a scope, and whether they are beside us.
        self._visible: dict[tuple[Scope, bool], AnswerCache] = {}
        self.at: Latest[bytes, AnswerCache] = Latest(_ADDRESSES)  # one of these, by the address of a requester

    def forget(self) -> None:
        """Make answers anew: a contact has entered or left the table, turned bad, or recovered."""
        self.nearest = None
        self._visible.clear()
        self.at.clear()

    def live_in(self, own: tuple[bytes, ...]) -> None:
        """Our own networks are these now."""
        self._own_networks = own
        self.forget()

    def packed_closest(self, target: Id) -> PackedContacts:
        """Return the K contacts nearest to `target`, in no order; quickly, if the table has not changed."""
        return (self.nearest or self._for_all()).to(target)

    def packed_for(self, other: Endpoint, target: Id) -> PackedContacts:
        """Return what `packed_closest` does, without contacts that mean another machine to `other` than to us."""
        return self.nearest_for(other).to(target)

    def nearest_for(self, other: Endpoint) -> AnswerCache:
        """Return the answers for a requester at this address, also where `nearest` or `at` has none."""
        # 1. Mostly, each contact means the same to all requesters.
        nearest = self.nearest or self._for_all()
        if not self.has_scopes:
            return nearest
        # 2. Else choose those that do, once for each scope.
        scope = scope_of(other), is_beside(other, self._own_networks)
        visible = self._visible.get(scope)
        if visible is None:
            seen = [each for each in self._live() if means_the_same(each.endpoint, other, beside_us=scope[1])]
            visible = self._visible[scope] = self._nearest(seen)
        self.at[other[:-2]] = visible
        return visible

    def _for_all(self) -> AnswerCache:
        live = self._live()
        self.nearest = self._nearest(live)
        scopes = {scope_of(contact.endpoint) for contact in live}
        self.has_scopes = not scopes.isdisjoint(_LOCAL) or len(scopes) > 1
        return self.nearest

    def _live(self) -> Iterable[Contact]:
        """Return the contacts that are not bad."""
        is_bad = self._standings.is_bad
        return [contact for contact in self._table if not is_bad(contact.id)] if self._standings.bad else self._table

    def _nearest(self, contacts: Iterable[Contact]) -> AnswerCache:
        return AnswerCache(contacts, self._k, self._pack, self._table.bounds())
