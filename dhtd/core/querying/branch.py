"""One search of a traversal, in the network of one address family: does what the search says, until it is over.

`TRANSITIONS` is the table of how one state of `Course` follows another.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, Protocol, assert_never

from dhtd.core.counters import SEARCH_CANDIDATES, SEARCH_QUERIES
from dhtd.core.enums import plain
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy
from dhtd.core.querying.search import Search
from dhtd.core.querying.steps import Ask, Explore, Finished, Wait, Widen
from dhtd.core.routing.overlay import Overlay

_BEHIND: Final = 4  # times K contacts of our own to ask where the nearest are full


@plain
class Course(Enum):
    """How far a search as a whole has come."""

    SEARCHING = auto()  # it asks, or waits for answers
    DORMANT = auto()  # no node has answered, and none is left to ask: nodes of the other family may still name one
    OVER = auto()  # its result stands: later answers do not count


@plain
class Turn(Enum):
    """What changes the course of a search."""

    CONVERGED = auto()  # nothing is left to ask or to wait for, and some nodes have answered
    UNANSWERED = auto()  # nothing is left to ask or to wait for, and no node has answered
    NAMED = auto()  # nodes of the other family have named contacts
    ENDED = auto()  # the traversal does not wait for it any longer, or was stopped


TRANSITIONS: Final = {
    (Course.SEARCHING, Turn.CONVERGED): Course.OVER,
    (Course.SEARCHING, Turn.UNANSWERED): Course.DORMANT,
    (Course.DORMANT, Turn.NAMED): Course.SEARCHING,
    (Course.SEARCHING, Turn.ENDED): Course.OVER,
    (Course.DORMANT, Turn.ENDED): Course.OVER,
}  # in all other cases the state stays


_OVER = Course.OVER  # an attribute of an enumeration is looked up slowly


class Finder(Protocol):
    """Sends the queries that a search asks for."""

    def find(self, contact: Contact, now: float, *, insistent: bool) -> None:
        """Ask a contact for the nodes, or the values, at the target."""

    def explore(self, contact: Contact, about: Id, now: float) -> None:
        """Ask a contact for the nodes nearest to another place."""


class Branch:
    """A search in one overlay, and its course."""

    __slots__ = ("_has_looked_behind", "_is_regional", "_overlay", "_policy", "course", "search")

    def __init__(self, search: Search, overlay: Overlay, policy: Policy, *, regional: bool) -> None:
        self.search = search
        self.course = Course.SEARCHING
        self._overlay = overlay
        self._policy = policy
        self._is_regional = regional and bool(policy.region)
        self._has_looked_behind = False  # more contacts of our own were taken, since many are full

    @property
    def is_over(self) -> bool:
        """Whether its result stands."""
        return self.course is _OVER

    def start(self, first: list[Contact], now: float) -> None:
        """Begin with these contacts, and then the nearest that we know."""
        changers = self._overlay.state.changers
        self.search.candidates.doubts = lambda contact: changers.doubts(contact.id, contact.endpoint, now)
        self.search.seed(first + self._closest(2 * self._policy.k))

    def go_on(self, finder: Finder, now: float, *, in_vain: bool) -> bool:
        """Have the `finder` do all that the search has to do now; return whether it has converged by that.

        `in_vain`: the traversal is to find something, and has not.
        """
        if self._is_regional:
            # While we join, we learn how large the network is at the same time.
            self.search.room = self._overlay.usual_room
            self.search.in_vain = in_vain
        while True:
            step = self.search.next()
            match step:
                case Ask(contact):
                    finder.find(contact, now, insistent=self._overlay.is_lonely)
                case Explore(contact, about):
                    finder.explore(contact, about, now)
                case Widen():
                    own = self._closest(2 * self._policy.region_nodes)
                    self.search.widen(self._overlay.region, own, self._overlay.draw_lot())
                case Wait():
                    return False
                case Finished() if self.search.is_short and not self._has_looked_behind:
                    self._has_looked_behind = True
                    self.search.seed(self._closest(_BEHIND * self._policy.k))
                case Finished():
                    self._take(Turn.CONVERGED if self.search.closest() else Turn.UNANSWERED)
                    return self.is_over
                case _:
                    assert_never(step)

    def named(self) -> None:
        """Nodes of the other family have named contacts of this one."""
        self._take(Turn.NAMED)

    def end(self) -> None:
        """Let the result stand as it is."""
        self._take(Turn.ENDED)

    def is_worth_waiting_for(self, *, is_alone: bool) -> bool:
        """Whether an answer may yet come; unless it `is_alone`, it is not waited for to its last timeout."""
        return self.course is Course.SEARCHING and (is_alone or not self.search.is_silent())

    def count_caps(self) -> None:
        """Count the caps that the search has reached."""
        caps_hit = self._overlay.state.caps_hit
        caps_hit[SEARCH_CANDIDATES] += self.search.candidates.dropped
        caps_hit[SEARCH_QUERIES] += self.search.is_exhausted
        for cap, count in self.search.crowded_out().items():
            caps_hit[cap] += count

    def _closest(self, count: int) -> list[Contact]:
        return self._overlay.state.closest(self.search.target, count)

    def _take(self, turn: Turn) -> None:
        self.course = TRANSITIONS.get((self.course, turn), self.course)
