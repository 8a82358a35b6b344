"""Strangers that query us and may belong in the routing table: no node enters it on its word, so a ping finds out."""

from __future__ import annotations

from dhtd.core.endpoint import Endpoint
from dhtd.core.messages import FindNode, Query
from dhtd.core.policy import Policy
from dhtd.core.querying.check import Check
from dhtd.core.querying.requester import Requester
from dhtd.core.routing.overlays import Overlays
from dhtd.core.serving.responder import Responder
from dhtd.core.serving.stranger_pings import StrangerPings


class Strangers:
    """Pings strangers, as many as `StrangerPings` allows."""

    __slots__ = ("_caps_hit", "_overlays", "_policy", "_requester", "_responder", "pings")

    def __init__(
        self,
        requester: Requester,
        overlays: Overlays,
        responder: Responder,
        policy: Policy,
        caps_hit: dict[str, int],
    ) -> None:
        self._requester = requester
        self._overlays = overlays
        self._responder = responder
        self._policy = policy
        self._caps_hit = caps_hit
        self.pings = StrangerPings(policy)

    def consider(self, query: Query, endpoint: Endpoint, size: int, sent: int, now: float) -> None:
        """Ping a node that queries us if it may belong in the table.

        The query came as `size` bytes, and the answer has `sent`. Unless a token proves the address, the pings count as
        a part of the answer, and both together are at most `amplification` times the query.
        Whether the node belongs in the table is asked last: it costs most, and of a busy node's strangers few get so
        far.
        """
        # 1. Is there a ping left for it? For most strangers of a busy node there is none. A read-only one needs none.
        if query.options.is_read_only:
            return
        request = query.request
        shows_nothing = type(request) is FindNode and request.token is None  # as most of them do
        if shows_nothing and (cap := self.pings.anybody.cap_reached(now)) is not None:
            self._caps_hit[cap] += 1
            return
        is_proved = not shows_nothing and self._responder.is_proved(request, endpoint, now)
        share = self.pings.share_for(endpoint, is_proved=is_proved, now=now)
        if isinstance(share, str):
            self._caps_hit[share] += 1
            return
        # 2. Is there room for it in what we may send to an address that is not proved?
        overlay = self._overlays.of(endpoint)
        if share is None or overlay is None:
            return
        attempts = self._policy.ping_attempts if overlay.is_lonely else 1  # else one lost datagram costs a contact
        if not is_proved:
            room = self._policy.amplification * size - sent
            attempts = min(attempts, room // self._responder.rooms.ping_size)
        # 3. Does it belong in the table? Strangers are not worth a wait: lookups would have to wait behind them.
        if (
            attempts > 0
            and self._requester.may_ask(endpoint, now)
            and overlay.state.queried(query.sender, endpoint, now)
        ):
            self.pings.count(share, endpoint, now)
            Check(self._requester, share.ongoing.discard).start(endpoint, query.sender, now, attempts)
            share.ongoing.add(endpoint)
