"""New contacts, which are no news for own entries and the network's size until they have stayed for a while.

A node that changes its ID every minute is a new contact each time. Its IDs are dead before an entry can be published to
them, and IDs near ours make the network seem to grow. So a new contact is pinged again two minutes after it came. If it
answers under the same ID, it counts.

Only contacts that matter are pinged: those that should hold an own entry, and those that make our neighbourhood denser.
Entries that fewer than K nodes hold do not wait: any contact may be the one that they need.
"""

from __future__ import annotations

from dhtd.core.endpoint import Endpoint
from dhtd.core.messages import Contact, Error, Ping, Result
from dhtd.core.publishing.hurrying import Hurrying
from dhtd.core.querying.requester import Asked, Requester
from dhtd.core.routing.overlay import Overlay
from dhtd.core.routing.overlays import Overlays

_MOST = 1_024  # contacts that wait; the oldest gives way


class Newcomers:
    """Remembers when contacts came, and pings those that matter."""

    __slots__ = ("_came", "_hurrying", "_overlays", "_requester", "_under_way")

    def __init__(self, requester: Requester, overlays: Overlays, hurrying: Hurrying) -> None:
        self._overlays = overlays
        self._requester = requester
        self._hurrying = hurrying
        self._came: dict[Contact, float] = {}  # contacts that wait, and since when; the latest last
        self._under_way: dict[Endpoint, float] = {}  # contacts that are being pinged, and when they came

    def joined(self, contact: Contact, now: float) -> None:
        """A contact is new in the table."""
        self._hurrying.contact_joined(contact, now)
        if not self._requester.policy.newcomer_stays:
            self._stayed(contact, now, now)
            return
        self._came.pop(contact, None)
        self._came[contact] = now
        if len(self._came) > _MOST:
            del self._came[next(iter(self._came))]

    def next_timeout(self) -> float | None:
        """Return when the next contact has stayed long enough, if it is still there."""
        if not self._came or len(self._under_way) >= self._requester.policy.verifications:
            return None
        return next(iter(self._came.values())) + self._requester.policy.newcomer_stays

    def go_on(self, now: float) -> None:
        """Ping the contacts that have waited long enough, if they matter."""
        while (due := self.next_timeout()) is not None and due <= now:
            contact = next(iter(self._came))
            came_at = self._came.pop(contact)
            if self._matters(contact, came_at):
                self._requester.ask(self, Ping(), contact.endpoint, contact.id, now, insistent=True)
                self._under_way[contact.endpoint] = came_at

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """The contact counts, unless another ID has taken its place."""
        came_at = self._under_way.pop(query.endpoint, None)
        if came_at is not None and contact.id == query.id:
            self._stayed(contact, came_at, now)

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """The contact has not stayed."""
        self._under_way.pop(query.endpoint, None)

    def give_up(self, now: float) -> None:
        """Count no ping as under way: a contact that is forgotten here is no news."""
        self._under_way.clear()

    def _stayed(self, contact: Contact, came_at: float, now: float) -> None:
        self._hurrying.contact_stayed(contact, came_at, now)
        overlay = self._overlays[len(contact.endpoint)]
        overlay.refresher.neighbourhood_has(self._density(overlay), now)

    def _matters(self, contact: Contact, came_at: float) -> bool:
        """Whether anything depends on this contact."""
        overlay = self._overlays[len(contact.endpoint)]
        if not overlay.state.is_live(contact) or contact.endpoint in self._under_way:
            return False
        is_denser = overlay.state.is_neighbour(contact) and overlay.refresher.is_news(self._density(overlay))
        return is_denser or self._hurrying.concerns(contact, came_at)

    def _density(self, overlay: Overlay) -> int:
        """Return the network's size by our neighbourhood, without the contacts that wait."""
        return overlay.size_by_neighbours(without=self._came)
