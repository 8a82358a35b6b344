"""What happens to the machine that a node runs on: it moves, joins other networks, or stands still."""

from __future__ import annotations

from dataclasses import replace

from dhtd.core.membership.memberships import Memberships
from dhtd.core.messages import NO_OPTIONS, Options
from dhtd.core.news import News
from dhtd.core.publishing.publisher import Publisher
from dhtd.core.querying.requester import Requester
from dhtd.core.routing.overlays import Overlays
from dhtd.core.serving.gate import Gate, Serves
from dhtd.core.serving.responder import Responder
from dhtd.core.serving.stranger_pings import StrangerPings
from dhtd.core.values.values import Values


class Machine:
    """Tells each part what it has to know of the machine. The owner of the node sees what happens, and calls this."""

    __slots__ = (
        "_gate",
        "_memberships",
        "_news",
        "_overlays",
        "_pings",
        "_publisher",
        "_requester",
        "_responder",
        "_values",
    )

    def __init__(
        self,
        requester: Requester,
        overlays: Overlays,
        memberships: Memberships,
        publisher: Publisher,
        responder: Responder,
        pings: StrangerPings,
        values: Values,
        gate: Gate,
        news: News,
    ) -> None:
        self._gate = gate
        self._requester = requester
        self._overlays = overlays
        self._memberships = memberships
        self._publisher = publisher
        self._responder = responder
        self._pings = pings
        self._values = values
        self._news = news

    def live_in(self, networks: tuple[bytes, ...], now: float) -> None:
        """This machine is in other networks of its own now: what limits contacts by network is counted anew.

        Contacts that were turned away before may come in, so we look our neighbours up again.
        """
        self._requester.policy = replace(self._requester.policy, own_networks=networks)
        self._responder.live_in(networks)
        self._pings.live_in(networks)
        self._memberships.live_in(networks, now)
        self._news.settle(now)

    def serve(self, serves: Serves) -> None:
        """Answer the queries of these from now on. Where that is not all, our own queries say so."""
        self._gate.serves = serves
        self._requester.options = NO_OPTIONS if serves is Serves.ALL else Options(is_read_only=True)

    def moved(self, now: float) -> None:
        """This machine is reached at another address: tell the holders of own entries soon, and ask where we are."""
        self._news.moved(now)

    def slept(self, seconds: float, now: float) -> None:
        """The machine stood still for so long, and `now` does not tell: take what is known as so much older.

        Held entries and withdrawals keep their time: perhaps it was only the clock that was set. Held values do not:
        nobody may be served a value that its owner has not put for a day.
        """
        for overlay in self._overlays:
            overlay.slept(seconds)
        self._responder.slept(seconds)
        self._publisher.slept(seconds, now)
        self._values.slept(seconds, now)
