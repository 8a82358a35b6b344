"""The second opinions of a search: contacts of our own that had no part in its result.

Accomplices name each other only, so a search that they have captured ends among them. Our own contacts are not theirs
to choose. So a patient search that is settled asks some of these as well, and goes on if one names nearer nodes.
"""

from __future__ import annotations

from collections.abc import Callable

from dhtd.core.policy import Policy
from dhtd.core.querying.candidate import FRESH, WAITING, Candidate
from dhtd.core.querying.candidates import Candidates


class Opinions:
    """The contacts that are asked for their opinion: `search_opinions` at most, the nearest first."""

    __slots__ = ("_asked", "_candidates", "_most")

    def __init__(self, policy: Policy, candidates: Candidates) -> None:
        self._most = policy.search_opinions
        self._candidates = candidates
        self._asked: list[Candidate] = []

    @property
    def is_awaited(self) -> bool:
        """Whether one may still answer in time."""
        return any(asked.progress is WAITING for asked in self._asked)

    def next(self, may_be_asked: Callable[[Candidate], bool]) -> Candidate | None:
        """Return the next contact to ask, if there is one that `may_be_asked`."""
        if len(self._asked) >= self._most:
            return None
        for candidate in self._candidates.order:
            if candidate.progress is FRESH and None in candidate.namers and may_be_asked(candidate):
                return candidate
        return None

    def ask(self, candidate: Candidate) -> None:
        """Note that a contact is asked."""
        self._asked.append(candidate)
