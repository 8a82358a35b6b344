"""Which own entries a contact concerns: it holds them, or lies no farther from their keys than a holder.

The entries here are those that news may hurry: published, idle and not hurried yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dhtd.core.endpoint import Family
from dhtd.core.messages import Contact
from dhtd.core.publishing.nearby import Nearby
from dhtd.core.publishing.own_entry import OwnEntry
from dhtd.core.publishing.walks import STEP


class Reach:
    """The entries that news may hurry, by how far from their keys a contact concerns them."""

    __slots__ = ("_bare", "_k", "_nearby")

    def __init__(self, families: Iterable[Family], k: int) -> None:
        self._k = k  # holders that an entry wants in each family
        self._nearby: dict[int, Nearby[OwnEntry]] = {family: Nearby() for family in families}
        self._bare: dict[OwnEntry, None] = {}  # no node holds them

    def put_in(self, entry: OwnEntry) -> None:
        """News may hurry this entry from now on."""
        if not entry.replicas:
            self._bare[entry] = None
            return
        for family, nearby in self._nearby.items():
            replicas = entry.replicas_of(family)
            farthest = max((replica.id ^ entry.key for replica in replicas), default=0)
            # With fewer holders than wanted, any contact may be the one that is missing.
            nearby.add(entry, farthest if len(replicas) >= self._k else None)

    def take_out(self, entry: OwnEntry) -> None:
        """News leaves this entry alone: it is being published, hurried already, or deleted."""
        self._bare.pop(entry, None)
        for nearby in self._nearby.values():
            nearby.remove(entry)

    def of(self, contact: Contact) -> Iterator[OwnEntry]:
        """Yield the entries that this contact concerns. They may be taken out meanwhile."""
        return self._nearby[len(contact.endpoint)].of(contact.id)

    def some(self, contact: Contact) -> Iterator[OwnEntry]:
        """Yield `STEP` of these at most, without a copy of all. None may be taken out meanwhile."""
        return self._nearby[len(contact.endpoint)].some(contact.id, STEP)

    def unheld(self) -> Iterator[OwnEntry]:
        """Yield the entries that no node holds. They may be taken out meanwhile."""
        yield from list(self._bare)

    def wanting(self, family: int) -> Iterator[OwnEntry]:
        """Yield the entries that some nodes hold, but fewer than K of this family. They may be taken out meanwhile."""
        return self._nearby[family].anywhere()
