"""A ping on the node's own account. The routing table hears of its answer, and draws the conclusions."""

from __future__ import annotations

from collections.abc import Callable

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, Error, Ping, Result
from dhtd.core.querying.requester import Asked, Requester


class Check:
    """Pings an endpoint, and says when that is `over`, to a caller that limits how many there are.

    `witness`, a contact that is known to answer, is pinged along with each attempt: only its answer shows that silence
    is the checked contact's fault and not the network's.
    """

    __slots__ = ("_endpoint", "_over", "_requester", "_witness")

    def __init__(
        self,
        requester: Requester,
        over: Callable[[Endpoint], None] | None = None,
        witness: Contact | None = None,
    ) -> None:
        self._requester = requester
        self._over = over
        self._witness = witness
        self._endpoint: Endpoint | None = None  # until it is over

    def start(self, endpoint: Endpoint, id: Id | None, now: float, attempts: int, *, insistent: bool = False) -> None:
        """Send the ping."""
        self._endpoint = endpoint
        on_retry = None if self._witness is None else self._ping_witness
        self._requester.ask(self, Ping(), endpoint, id, now, attempts, insistent=insistent, on_retry=on_retry)
        self._ping_witness(now)

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """The check is over."""
        self.give_up(now)

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """The check is over."""
        self.give_up(now)

    def give_up(self, now: float) -> None:
        """The check is over."""
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None and self._over is not None:
            self._over(endpoint)

    def _ping_witness(self, now: float) -> None:
        if self._witness is not None:
            witness = Check(self._requester)
            self._requester.ask(witness, Ping(), self._witness.endpoint, self._witness.id, now)
