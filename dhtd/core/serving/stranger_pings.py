"""Which of the strangers that query us are pinged: no node enters the routing table on its word, so a ping finds out.

An attacker that forges sources can use up all pings, and then no newcomer would have a turn. So half of the pings are
kept for queries with a valid token: their senders have received a datagram at their address. A node that joins makes
use of that, see `dhtd.core.membership.introduction`. On a wire without tokens in answers to finds, only stores and
withdrawals show one: there, that half is for nodes that have stored something here.

No single party can use up that half, however many addresses it has. Each address, each network and each site (see
`address_groups`) gets one such ping in `query_timeout` seconds, even if the answer comes sooner.
"""

from __future__ import annotations

from dhtd.core.address_groups import outside
from dhtd.core.counters import STRANGER_PINGS, STRANGER_RATE
from dhtd.core.endpoint import Endpoint
from dhtd.core.policy import Policy
from dhtd.core.serving.rate_limit import Rate


class Share:
    """A half of the pings."""

    __slots__ = ("_most", "_rate", "ongoing")

    def __init__(self, policy: Policy) -> None:
        self._most = max(policy.stranger_pings // 2, 1)
        self._rate = Rate(policy.stranger_rate / 2, policy.stranger_pings / policy.stranger_rate)
        self.ongoing: set[Endpoint] = set()  # being pinged

    def cap_reached(self, now: float) -> str | None:
        """Return the name of the cap that allows no ping now, if one does."""
        if len(self.ongoing) >= self._most:
            return STRANGER_PINGS
        return None if self._rate.allows(now) else STRANGER_RATE

    def count(self, now: float) -> None:
        """Count a stranger that is going to be pinged."""
        self._rate.count(now)


class StrangerPings:
    """The two halves: one for strangers with a proved address, one for all strangers."""

    __slots__ = ("_networks", "_policy", "_turns", "anybody", "proved")

    def __init__(self, policy: Policy) -> None:
        self.anybody = Share(policy)
        self.proved = Share(policy)
        self._policy = policy
        self.live_in(policy.own_networks)
        self._turns: dict[bytes, float] = {}  # end of the wait after a ping of the proved half; the earliest first

    def live_in(self, own: tuple[bytes, ...]) -> None:
        """Our own networks are these now."""
        policy = self._policy
        self._networks = outside(policy.exempt_networks, own, sites=bool(policy.site_share))

    def __len__(self) -> int:
        """How many are being pinged."""
        return len(self.anybody.ongoing) + len(self.proved.ongoing)

    def share_for(self, endpoint: Endpoint, *, is_proved: bool, now: float) -> Share | str | None:
        """Return the share that has a ping for this endpoint, or the name of the cap that has none left.

        None if it is being pinged already. A proved endpoint has a turn in either half.
        """
        cap = None
        if is_proved and not self._had_turn(endpoint, now):
            cap = self.proved.cap_reached(now)
            if cap is None:
                return self.proved
        cap = self.anybody.cap_reached(now)
        if cap is not None:
            return cap
        return None if endpoint in self.anybody.ongoing or endpoint in self.proved.ongoing else self.anybody

    def count(self, share: Share, endpoint: Endpoint, now: float) -> None:
        """Count a stranger that is going to be pinged."""
        share.count(now)
        if share is self.proved:
            until = now + self._policy.query_timeout
            for key in self._keys(endpoint):
                self._turns.pop(key, None)
                self._turns[key] = until

    def _had_turn(self, endpoint: Endpoint, now: float) -> bool:
        """Whether the address, its network or its site has just had a ping of the proved half."""
        turns = self._turns
        while turns and turns[first := next(iter(turns))] <= now:
            del turns[first]
        return bool(turns) and any(key in turns for key in self._keys(endpoint))

    def _keys(self, endpoint: Endpoint) -> tuple[bytes, ...]:
        return self._networks.party(endpoint) or (endpoint[:-2],)
