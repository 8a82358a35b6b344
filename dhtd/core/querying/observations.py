"""What a node does, for an owner who follows it. While nobody does, nothing is made, and nothing is kept.

What is observed waits here until the owner polls for it. The number of searches that are told step by step is limited,
as the searches of a busy node are many. A search is told as a whole, or counted as `untold`.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import Final, NamedTuple

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Event
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, Request
from dhtd.core.querying.steps import SearchStats
from dhtd.core.traces import Purpose, QueryStep

MOST: Final = 4_096  # observations that wait; further ones are counted
_SEARCHES: Final = 4  # begun in a second that are told, on behalf of users
_OWN_SEARCHES: Final = 2  # the same, on the node's own account
_OWN: Final = {Purpose.PUBLISH, Purpose.WITHDRAW, Purpose.WATCH, Purpose.JOIN, Purpose.REFRESH}


class SearchBegun(NamedTuple):
    """A search has begun; `op` is its number."""

    op: int
    purpose: Purpose
    target: Id


@dataclass(frozen=True, slots=True)
class SearchStep:
    """What became of a query of a search."""

    op: int
    begun_at: float  # the search
    step: QueryStep


class SearchEnded(NamedTuple):
    """A search has ended."""

    op: int
    begun_at: float
    stats: SearchStats
    cancelled: bool  # it was stopped, since its owner had found enough, or was gone


class QueryEnded(NamedTuple):
    """A query is over that is of no search that is told."""

    request: Request
    endpoint: Endpoint
    id: Id | None  # of the node that has answered; without an answer of the node that was expected
    rtt: float | None  # as in `QueryAnswered`
    outcome: str  # answered, refused or silent
    code: int | None = None  # of the refusal


class ContactGained(NamedTuple):
    """A contact is new in the routing table."""

    contact: Contact


class ContactLost(NamedTuple):
    """A contact has missed so many queries that it counts as gone."""

    contact: Contact


Observation = SearchBegun | SearchStep | SearchEnded | QueryEnded | ContactGained | ContactLost | Event


class Allowance:
    """So many a second, from the first one on."""

    __slots__ = ("_left", "_most", "_since")

    def __init__(self, most: int) -> None:
        self._most = self._left = most
        self._since = float("-inf")

    def take(self, now: float) -> bool:
        """Take one; return whether there was one left."""
        if not self.is_left(now):
            return False
        self._left -= 1
        return True

    def is_left(self, now: float) -> bool:
        """Whether one is left."""
        if now >= self._since + 1.0 or now < self._since:
            self._since, self._left = now, self._most
        return self._left > 0


class Observations:
    """What was observed and not polled for yet."""

    __slots__ = ("_allowances", "_last", "_waiting", "is_on", "untold")

    def __init__(self) -> None:
        self.is_on = False  # whether an owner follows the node
        self.untold: Counter[str] = Counter()  # what was left out since the owner last took this
        self._last = 0
        self._waiting: deque[Observation] = deque()
        self._allowances = {False: Allowance(_SEARCHES), True: Allowance(_OWN_SEARCHES)}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def turn(self, *, on: bool) -> None:
        """Observe from now on, or no longer."""
        self.is_on = on
        self._waiting.clear()
        self.untold.clear()

    def note(self, observation: Observation) -> None:
        """Keep an observation until it is polled for. The caller has seen that this is on, where that is quicker."""
        if not self.is_on:
            return
        if len(self._waiting) >= MOST:
            self.untold["observation"] += 1
        else:
            self._waiting.append(observation)

    def begin(self, purpose: Purpose, target: Id, now: float) -> int | None:
        """Return the number of a search that begins; None if it is not told."""
        if not self.is_on:
            return None
        if not self._allowances[purpose in _OWN].take(now):
            self.untold["search"] += 1
            return None
        self._last += 1
        self.note(SearchBegun(self._last, purpose, target))
        return self._last

    def poll(self) -> Observation | None:
        """Take and return the next observation."""
        return self._waiting.popleft() if self._waiting else None
