"""Our own address as others see it: each peer has one vote, the latest ones count, and the most frequent wins."""

from __future__ import annotations

from collections import Counter

from dhtd.core.endpoint import Endpoint, source_group


class ExternalAddress:
    """Votes on our address, from the `observed` field of replies."""

    __slots__ = ("_limit", "_votes")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._votes: dict[bytes, Endpoint] = {}  # by voter, the latest last

    def vote(self, voter: Endpoint, observed: Endpoint) -> None:
        """Take `voter`'s word for our address. It can only tell of the family that it is reached by."""
        if len(voter) != len(observed) or observed.is_mapped:
            return
        group = source_group(voter.ip)
        self._votes.pop(group, None)
        self._votes[group] = observed
        if len(self._votes) > self._limit:
            del self._votes[next(iter(self._votes))]

    def endpoints(self) -> list[Endpoint]:
        """Return the winner of each family that has votes, IPv4 first."""
        winners = []
        for family in sorted({len(observed) for observed in self._votes.values()}):
            votes = Counter(observed for observed in self._votes.values() if len(observed) == family)
            winners.append(votes.most_common(1)[0][0])
        return winners
