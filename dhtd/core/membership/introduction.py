"""How a node makes itself known: it asks its nearest nodes once more, with the token that each has just given it.

A query without a token may be forged. While many are, few of their senders are pinged back, and a node that joins
would be in no table. A token proves the address of its sender, and half of the pings are kept for queries with one: see
`dhtd.core.serving.stranger_pings`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, Error, FindNode, Result
from dhtd.core.querying.requester import Asked, Requester


class Introduction:
    """One query to each node that has given a token. Nothing waits for the answers; the table hears of them."""

    __slots__ = ("_requester",)

    def __init__(self, requester: Requester) -> None:
        self._requester = requester

    def start(self, own_id: Id, contacts: Iterable[Contact], tokens: Mapping[Endpoint, bytes], now: float) -> None:
        """Ask these about our own ID, for which the tokens are."""
        for contact in contacts:
            token = tokens[contact.endpoint]
            if token:
                self._requester.ask(self, FindNode(own_id, token), contact.endpoint, contact.id, now)

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """It knows us."""

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """The next lookup of our own ID is followed by another introduction."""

    def give_up(self, now: float) -> None:
        """There is nothing to end."""
