"""The ends of watches at other nodes. The lease of a watch ends it as well, so nothing depends on the answers."""

from __future__ import annotations

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, packed
from dhtd.core.messages import Contact, Error, Result, Watch
from dhtd.core.publishing.heartbeats import Heartbeats
from dhtd.core.querying.requester import Asked, Requester


class Leaving:
    """Tells nodes that we watch no longer."""

    __slots__ = ("_heartbeats", "_requester", "_under_way")

    def __init__(self, requester: Requester, heartbeats: Heartbeats) -> None:
        self._requester = requester
        self._heartbeats = heartbeats
        self._under_way: dict[tuple[bytes, Contact], Asked] = {}

    def leave(self, key: Id, contact: Contact, token: bytes, now: float) -> None:
        """End the watch of a key at a node, and its renewals; without a token, the latest one of renewals is shown.

        If the node does not hear of that, its next notice is refused.
        """
        token = token or self._heartbeats.token(contact)
        self._heartbeats.watches_no_longer(contact, packed(key))
        if not token:
            return
        request = Watch(key, token, 0, self._heartbeats.lease.session)
        query = self._requester.ask(self, request, contact.endpoint, contact.id, now, insistent=True)
        self._under_way[packed(key), contact] = query

    def stay(self, key: bytes, contact: Contact) -> None:
        """This packed key is watched there again: an end that is sent once more would end that."""
        query = self._under_way.pop((key, contact), None)
        if query is not None:
            query.send_no_more()

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """The node has ended it."""
        self._over(query)

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """The lease will end it."""
        self._over(query)

    def give_up(self, now: float) -> None:
        """The leases will end them."""
        self._under_way.clear()

    def _over(self, query: Asked) -> None:
        assert isinstance(query.request, Watch)
        assert query.id is not None
        name = packed(query.request.key), Contact(query.id, Endpoint(query.endpoint))
        if self._under_way.get(name) is query:
            del self._under_way[name]
