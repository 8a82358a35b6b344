"""The nodes that name others to a search, and how much their word is worth.

A liar may name any number of nodes that are not there, each nearer than the last. So a node whose named nodes keep
failing is heard last: each slow or failed one is a disappointment, each one that answers makes up for one. From
alpha disappointments on, the namer is doubted. A candidate that only doubted nodes have named is asked after all
others.
"""

from __future__ import annotations

from dhtd.core.endpoint import Endpoint
from dhtd.core.querying.candidate import Candidate


class Namers:
    """Counts, for one search, the disappointments of each namer; `too_many` make it doubted."""

    __slots__ = ("_disappointments", "_doubted", "_too_many")

    def __init__(self, too_many: int) -> None:
        self._too_many = too_many
        self._disappointments: dict[Endpoint, int] = {}
        self._doubted: set[Endpoint] = set()

    def doubts(self, candidate: Candidate) -> bool:
        """Whether all nodes that named a candidate are doubted."""
        return bool(self._doubted) and self._doubted.issuperset(candidate.namers)

    def disappointed_by(self, candidate: Candidate) -> None:
        """A candidate is slow, or has failed before it was slow."""
        self._count(candidate, 1)

    def confirmed_by(self, candidate: Candidate, *, was_slow: bool) -> None:
        """A candidate has answered. If it `was_slow`, that makes up for the disappointment as well."""
        self._count(candidate, -2 if was_slow else -1)

    def _count(self, candidate: Candidate, disappointments: int) -> None:
        for namer in candidate.namers:
            if namer is not None:
                total = self._disappointments[namer] = self._disappointments.get(namer, 0) + disappointments
                if total >= self._too_many:
                    self._doubted.add(namer)
                else:
                    self._doubted.discard(namer)
