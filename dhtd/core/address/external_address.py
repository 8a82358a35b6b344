"""Our own address as others see it, by vote: each provider's network has one vote, and the latest votes count.

- One liar must not be able to tell us, and through us others, that we are somewhere else. So a public address is
  believed once `external_quorum` networks agree on it. These are /16s (/32s for IPv6), and an attacker has few of them.
- In a private range every address has a vote, and one is enough: there is no better evidence there.
- A vote reaches as far as its voter sees. A node that reaches us at a private address can tell of that one only, and a
  node that reaches us by loopback can tell nothing that others could use.
- A vote lasts for `external_lasts` from its latest repetition on. If we move, the nodes that saw us at the old address
  and have gone since must not outvote the nodes that see us now.
- Votes are for an IP address. Its port is the one seen most, since a NAT may show each peer another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

from dhtd.core.address_groups import outside
from dhtd.core.endpoint import Endpoint, Scope, is_local, scope_of
from dhtd.core.enums import plain
from dhtd.core.policy import Policy


@dataclass(frozen=True, slots=True)
class Seen:
    """The address that most say is ours, of one family."""

    endpoint: Endpoint
    networks: int  # that say so
    is_believed: bool


@plain
class Verdict(Enum):
    """What a vote has come to."""

    NOTHING = auto()
    CONTRADICTED = auto()  # it is for another address than the one that is believed
    MOVED = auto()  # another address is believed now


_NOTHING = Verdict.NOTHING  # as most are; an attribute of an enumeration is looked up slowly
_PUBLIC = Scope.PUBLIC


class ExternalAddress:
    """Votes on our address, from the `observed` field of replies."""

    __slots__ = ("_believed", "_cast", "_cast_at", "_last", "_lasts", "_limit", "_networks", "_quorum", "_votes")

    def __init__(self, policy: Policy) -> None:
        self._limit = policy.external_votes
        self._quorum = policy.external_quorum
        self._lasts = policy.external_lasts
        self._networks = outside(policy.exempt_networks)
        self._votes: dict[bytes, Endpoint] = {}  # by network, the latest last
        self._cast_at: dict[bytes, float] = {}  # when each was, in the same order
        self._cast: dict[int, int] = {}  # how many there are, by family
        self._last: dict[tuple[int, Scope], bytes] = {}  # by family and scope: the IP address that was believed last
        self._believed: dict[Scope, list[Endpoint]] = {}  # by the scope that it is for, until a vote changes something

    def vote(self, voter: Endpoint, observed: Endpoint, now: float) -> Verdict:
        """Take `voter`'s word for our address, and return what follows from it.

        It can only tell of the family, and the scope, that it is reached by.
        """
        size = len(observed)
        if len(voter) != size or observed.is_mapped:
            return _NOTHING
        scope = scope_of(voter)
        if scope is not scope_of(observed):
            return _NOTHING
        witness = self._networks.witness(voter) if scope is _PUBLIC else voter[:-2]
        votes, cast_at = self._votes, self._cast_at
        gone = []
        if witness in votes:
            gone.append(self._drop(witness))
        votes[witness], cast_at[witness] = observed, now
        self._cast[size] = self._cast.get(size, 0) + 1
        while cast_at[oldest := next(iter(votes))] + self._lasts <= now:
            gone.append(self._drop(oldest))
        if self._cast[size] > self._limit:  # each family has as many, so that none outvotes the other
            gone.append(self._drop(next(witness for witness, seen in votes.items() if len(seen) == size)))
        if gone == [observed]:  # one vote took the place of another for the same endpoint, as most do
            return _NOTHING
        self._believed.clear()
        if not gone and self._last.get((size, scope)) == observed.ip:  # one more, for what is believed already
            return _NOTHING
        return self._judge_change(observed)

    def _drop(self, witness: bytes) -> Endpoint:
        del self._cast_at[witness]
        seen = self._votes.pop(witness)
        self._cast[len(seen)] -= 1
        return seen

    def endpoints(self) -> list[Endpoint]:
        """Return the address that is believed to be ours, of each family that has one, IPv4 first."""
        return [seen.endpoint for seen in self.seen() if seen.is_believed]

    def endpoints_for(self, other: Endpoint) -> list[Endpoint]:
        """Return the addresses that are believed to be ours and mean the same to the node at `other`.

        There is one of each family, IPv4 first, and of the scope of `other` if possible.
        """
        scope = scope_of(other)
        believed = self._believed.get(scope)
        if believed is None:
            believed = self._believed[scope] = [
                seen.endpoint for candidates in self._candidates() if (seen := _best_for(scope, candidates)) is not None
            ]
        return believed

    def seen(self) -> list[Seen]:
        """Return what most say, for each family that has votes, IPv4 first.

        Believed addresses come before others, and addresses that others can use before those that they cannot.
        """
        return [min(candidates, key=_disadvantages) for candidates in self._candidates()]

    def _candidates(self) -> Iterator[list[Seen]]:
        """Yield the addresses that votes are for, of each family, the most votes first."""
        for family in sorted({len(observed) for observed in self._votes.values()}):
            endpoints = [observed for observed in self._votes.values() if len(observed) == family]
            ips = Counter(observed.ip for observed in endpoints)
            yield [self._judge(ip, count, endpoints) for ip, count in ips.most_common()]

    def is_elsewhere(self, endpoint: Endpoint) -> bool:
        """Whether there are votes in its family and scope, and all say that we are not at this IP address.

        Nodes that see us at our public address know nothing of the private one that we have on another interface.
        """
        kind = len(endpoint), scope_of(endpoint)
        ips = {observed.ip for observed in self._votes.values() if (len(observed), scope_of(observed)) == kind}
        return bool(ips) and endpoint.ip not in ips

    def _judge_change(self, observed: Endpoint) -> Verdict:
        """Return what a vote has changed: a first belief is no move, and a port is no address."""
        kind = len(observed), scope_of(observed)
        before = self._last.get(kind)
        believed = (seen.endpoint for candidates in self._candidates() for seen in candidates if seen.is_believed)
        ip = next((endpoint.ip for endpoint in believed if (len(endpoint), scope_of(endpoint)) == kind), before)
        if ip is not None:
            self._last[kind] = ip
        if before is None or before == observed.ip == ip:
            return _NOTHING
        return Verdict.MOVED if ip != before else Verdict.CONTRADICTED

    def _judge(self, ip: bytes, networks: int, endpoints: list[Endpoint]) -> Seen:
        ports = Counter(observed for observed in endpoints if observed.ip == ip)
        endpoint = ports.most_common(1)[0][0]
        needed = self._quorum if scope_of(endpoint) is _PUBLIC else 1
        return Seen(endpoint, networks, networks >= needed)


def _disadvantages(seen: Seen) -> tuple[bool, bool]:
    return not seen.is_believed, is_local(seen.endpoint)


def _best_for(scope: Scope, candidates: Iterable[Seen]) -> Seen | None:
    """Return what is believed and can be told to those of a scope: an address of theirs first."""
    believed = [seen for seen in candidates if seen.is_believed]
    theirs = [seen for seen in believed if scope_of(seen.endpoint) is scope]
    others = (_PUBLIC,) if scope is _PUBLIC else (_PUBLIC, Scope.PRIVATE)
    return next(iter(theirs), None) or next((seen for seen in believed if scope_of(seen.endpoint) in others), None)
