"""What a search can be made to send to one address: little, whatever others name, on however many ports.

Liars can name a victim under many IDs, on many ports. It does not answer, so it holds no place, and nothing else would
keep a search from asking it again and again. So at one address a search asks at most one node for each node that names
some there. After too many silent ones it gives the address up, or the network.

In the exempt ranges a whole swarm may be at one address, such as 127.0.0.1, and many of its nodes may be dead. There,
only much silence counts, against the nodes that have answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from dhtd.core.policy import Policy
from dhtd.core.querying.candidate import Candidate


class AddressQuota:
    """Counts, for one search, the nodes that were asked in vain, and the nodes that named them."""

    __slots__ = ("_answered", "_namers", "_policy", "_silent")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._namers: set[bytes] = set()  # a node that named a node there that was asked: its endpoint, and the address
        self._silent: Counter[bytes] = Counter()  # by address, and by network
        self._answered: Counter[bytes] = Counter()  # by address, in exempt ranges

    def allows(self, candidate: Candidate) -> bool:
        """Whether a candidate may be asked, by what was asked before."""
        party = candidate.party
        if party is None and not self._silent:
            return True
        policy, ip = self._policy, candidate.contact.endpoint[:-2]
        if party is None:
            return self._silent[ip] < policy.lookup_silent_exempt + 4 * self._answered[ip]
        if self._silent and (
            self._silent[ip] >= policy.lookup_silent_per_ip
            or any(self._silent[network] >= policy.lookup_silent_per_network for network in party[1:])
        ):
            return False
        return any(namer is None or namer + ip not in self._namers for namer in candidate.namers)

    def asked(self, candidate: Candidate) -> None:
        """It is asked."""
        ip = candidate.contact.endpoint[:-2]
        self._namers.update(namer + ip for namer in candidate.namers if namer is not None)

    def silent(self, candidate: Candidate) -> None:
        """It is slow, or will not answer."""
        self._silent.update(self._keys(candidate))

    def answered(self, candidate: Candidate, *, late: bool) -> None:
        """It has answered, perhaps after it was slow."""
        if candidate.party is None:
            self._answered[candidate.contact.endpoint[:-2]] += 1
        if late:
            self._silent.subtract(self._keys(candidate))

    def _keys(self, candidate: Candidate) -> Iterable[bytes]:
        return candidate.party or (candidate.contact.endpoint[:-2],)
