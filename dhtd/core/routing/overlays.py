"""The networks that a node takes part in: one of each address family that it is reached by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.round_trips import RoundTrips
from dhtd.core.routing.overlay import Overlay


class Overlays:
    """The overlays of a node, by family."""

    __slots__ = ("_by_family", "own_id", "own_ids")

    def __init__(self, overlays: Iterable[Overlay]) -> None:
        self._by_family: dict[int, Overlay] = {overlay.family: overlay for overlay in overlays}
        self._note_ids()

    def _note_ids(self) -> None:
        self.own_ids = tuple(overlay.own_id for overlay in self)
        self.own_id = self.own_ids[0]  # by which users know the node

    def rename(self, family: Family, own_id: Id, now: float) -> None:
        """Have another ID in the network of a family."""
        self._by_family[family].rename(own_id, now)
        self._note_ids()

    @property
    def first(self) -> Overlay:
        """The only overlay, for most nodes."""
        return next(iter(self))

    def __iter__(self) -> Iterator[Overlay]:
        """Yield each overlay."""
        return iter(self._by_family.values())

    def __getitem__(self, family: int) -> Overlay:
        """Return the overlay of a family that the node speaks."""
        return self._by_family[family]

    def of(self, endpoint: Endpoint) -> Overlay | None:
        """Return the overlay that an endpoint belongs to; None where it is of a family that the node does not speak."""
        return self._by_family.get(len(endpoint))

    def own_id_towards(self, endpoint: Endpoint) -> Id:
        """Return the ID that we have in the network of an endpoint; in our first one, if it is in none of ours."""
        overlay = self.of(endpoint)
        return self.own_id if overlay is None else overlay.own_id

    def own_targets(self) -> list[tuple[Id, Family | None]]:
        """Return what to look up to be known: an ID in all our networks at once (None), or one in that of each."""
        if self.own_ids.count(self.own_id) == len(self.own_ids):
            return [(self.own_id, None)]
        return [(overlay.own_id, overlay.family) for overlay in self]

    def restore(self, contact: Contact) -> bool:
        """Put back a contact of an earlier run; it is questionable until it answers. Not one of another family."""
        overlay = self.of(contact.endpoint)
        return overlay is not None and not contact.endpoint.is_mapped and overlay.state.restore(contact)

    @property
    def is_connected(self) -> bool:
        """Whether there is somebody to talk to, in any family."""
        return any(overlay.is_connected for overlay in self)

    def in_use(self) -> list[Overlay]:
        """Return the overlays in which somebody may be expected to answer; all of them, where in none."""
        return [overlay for overlay in self if overlay.is_in_use] or list(self)

    def contacts(self) -> list[Contact]:
        """Return the contacts of all families."""
        return [contact for overlay in self for contact in overlay.state.table]

    def answers_us(self, endpoint: Endpoint) -> bool:
        """Whether a contact at this endpoint has answered us lately."""
        overlay = self.of(endpoint)
        return overlay is not None and overlay.state.answers_us(endpoint)

    def is_settled(self, id: Id, endpoint: Endpoint, now: float) -> bool:
        """Whether it is plain that there is nothing to learn about a node that has queried us."""
        overlay = self.of(endpoint)
        return overlay is None or overlay.state.is_settled(id, endpoint, now)

    def round_trips(self, id: Id, endpoint: Endpoint) -> RoundTrips | None:
        """Return the round trips of a contact, where it has any."""
        overlay = self.of(endpoint)
        return None if overlay is None else overlay.state.round_trips(id, endpoint)

    def hear_of(self, contacts: Iterable[Contact], now: float) -> None:
        """Pass on contacts that were named to a search of another family than theirs."""
        for family, overlay in self._by_family.items():
            rumours = [contact for contact in contacts if len(contact.endpoint) == family]
            if rumours:
                overlay.hear_of(rumours, now)
