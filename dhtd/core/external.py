"""Our own address as others see it, by vote: each provider's network has one, the latest ones count.

One liar must not be able to tell us, and through us others, that we are somewhere else. So a public address is believed
once `external_quorum` networks agree on it; those are /16s (/32s for IPv6), of which an attacker has few. In a private
range every address has a vote, and one is enough: nobody there has more to go by, and what private addresses say counts
for private addresses only. A vote lasts for `external_lasts`, from its latest repetition on: should we move, those who
saw us where we were and have gone since must not outvote those who see us now. Votes are for an IP address. Its port is
the one seen most, since a NAT may show each peer another.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum, auto

from dhtd.core.endpoint import Endpoint
from dhtd.core.networks import outside
from dhtd.core.policy import Policy


@dataclass(frozen=True, slots=True)
class Seen:
    """The address that most say is ours, of one family."""

    endpoint: Endpoint
    networks: int  # that say so
    is_believed: bool


class Verdict(Enum):
    """What a vote has come to."""

    NOTHING = auto()
    CONTRADICTED = auto()  # it is for another address than the one that is believed
    MOVED = auto()  # another address is believed now


class ExternalAddress:
    """Votes on our address, from the `observed` field of replies."""

    __slots__ = ("_believed", "_cast_at", "_last", "_lasts", "_limit", "_networks", "_quorum", "_votes")

    def __init__(self, policy: Policy) -> None:
        self._limit = policy.external_votes
        self._quorum = policy.external_quorum
        self._lasts = policy.external_lasts
        self._networks = outside(policy.exempt_networks)
        self._votes: dict[bytes, Endpoint] = {}  # by network, the latest last
        self._cast_at: dict[bytes, float] = {}  # when each was, in the same order
        self._last: dict[int, bytes] = {}  # by family: the IP address that was believed last
        self._believed: list[Endpoint] | None = None  # until the next vote that changes something

    def vote(self, voter: Endpoint, observed: Endpoint, now: float) -> Verdict:
        """Take `voter`'s word for our address, and return what follows from it.

        It can only tell of the family, and the kind, that it is reached by.
        """
        if len(voter) != len(observed) or observed.is_mapped:
            return Verdict.NOTHING
        if self._networks.is_exempt(voter) != self._networks.is_exempt(observed):
            return Verdict.NOTHING
        witness = self._networks.witness(voter)
        self._cast_at.pop(witness, None)
        self._cast_at[witness] = now
        if self._votes.pop(witness, None) != observed:
            self._believed = None
        self._votes[witness] = observed
        while self._cast_at[oldest := next(iter(self._votes))] + self._lasts <= now or len(self._votes) > self._limit:
            del self._votes[oldest], self._cast_at[oldest]
            self._believed = None
        return self._judge_change(observed) if self._believed is None else Verdict.NOTHING

    def endpoints(self) -> list[Endpoint]:
        """Return the address that is believed to be ours, of each family that has one, IPv4 first."""
        if self._believed is None:
            self._believed = [seen.endpoint for seen in self.seen() if seen.is_believed]
        return list(self._believed)

    def seen(self) -> list[Seen]:
        """Return what most say, for each family that has votes, IPv4 first; what is believed before what is not."""
        winners = []
        for family in sorted({len(observed) for observed in self._votes.values()}):
            endpoints = [observed for observed in self._votes.values() if len(observed) == family]
            ips = Counter(observed.ip for observed in endpoints)
            candidates = [self._judge(ip, count, endpoints) for ip, count in ips.most_common()]
            winners.append(next((seen for seen in candidates if seen.is_believed), candidates[0]))
        return winners

    def is_elsewhere(self, endpoint: Endpoint) -> bool:
        """Whether all votes that there are, in its family, say that we are not at this IP address."""
        ips = {observed.ip for observed in self._votes.values() if len(observed) == len(endpoint)}
        return bool(ips) and endpoint.ip not in ips

    def _judge_change(self, observed: Endpoint) -> Verdict:
        """Return what a vote has changed: a first belief is no move, and a port is no address."""
        family = len(observed)
        before = self._last.get(family)
        ip = next((endpoint.ip for endpoint in self.endpoints() if len(endpoint) == family), before)
        if ip is not None:
            self._last[family] = ip
        if before is None or before == observed.ip == ip:
            return Verdict.NOTHING
        return Verdict.MOVED if ip != before else Verdict.CONTRADICTED

    def _judge(self, ip: bytes, networks: int, endpoints: list[Endpoint]) -> Seen:
        ports = Counter(observed for observed in endpoints if observed.ip == ip)
        endpoint = ports.most_common(1)[0][0]
        needed = 1 if self._networks.is_exempt(endpoint) else self._quorum
        return Seen(endpoint, networks, networks >= needed)
