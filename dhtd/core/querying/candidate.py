"""A node that a search has heard of, and how far the search has come with it.

`TRANSITIONS` is the table of how one state of `Progress` follows another.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from dhtd.core.address_groups import Party
from dhtd.core.endpoint import Endpoint
from dhtd.core.enums import plain
from dhtd.core.messages import Contact


@plain
class Progress(Enum):
    """How far a search has come with a candidate."""

    FRESH = auto()  # not asked yet
    WAITING = auto()  # asked; it holds a slot and a place
    SLOW = auto()  # slower than most: its slot and its place are free, but the search may still wait for it
    LATE = auto()  # slower than nearly all: hardly expected any more
    ANSWERED = auto()  # one of the nodes that are looked for, if it is near enough; it holds a place
    FULL = auto()  # answered, but would take no entry: not one of the K that are looked for; it holds a place
    FAILED = auto()  # refused, timed out, answered as another node, or too late for a place


# For code that runs for each candidate at each step.
FRESH, WAITING, SLOW, LATE, ANSWERED, FULL, FAILED = Progress


@plain
class Change(Enum):
    """What takes a search further with a candidate."""

    ASKED = auto()  # its query is sent
    OVERDUE = auto()  # its answer takes longer than most
    LATE = auto()  # its answer takes longer than nearly all
    ANSWERED = auto()  # its answer has come, and there is a place for it
    FULL = auto()  # the same, without a token: it would take no entry
    FAILED = auto()  # it will not answer; another node answered in its stead; or its party has no place left


TRANSITIONS: Final = {
    (FRESH, Change.ASKED): WAITING,
    (WAITING, Change.OVERDUE): SLOW,
    (SLOW, Change.LATE): LATE,
    (WAITING, Change.ANSWERED): ANSWERED,
    (SLOW, Change.ANSWERED): ANSWERED,
    (LATE, Change.ANSWERED): ANSWERED,
    (WAITING, Change.FULL): FULL,
    (SLOW, Change.FULL): FULL,
    (LATE, Change.FULL): FULL,
    (WAITING, Change.FAILED): FAILED,
    (SLOW, Change.FAILED): FAILED,
    (LATE, Change.FAILED): FAILED,
    # A node that answers at the endpoint of another was not asked itself.
    (FRESH, Change.ANSWERED): ANSWERED,
    (FRESH, Change.FULL): FULL,
    (FRESH, Change.FAILED): FAILED,
}  # in all other cases the state stays


class Candidate:
    """One node of a search."""

    __slots__ = ("contact", "hops", "is_doubtful", "namers", "party", "progress", "reach")

    def __init__(self, contact: Contact, hops: int, party: Party | None, *, is_doubtful: bool = False) -> None:
        self.contact = contact
        self.is_doubtful = is_doubtful  # its endpoint changes its ID, and has another one by now, for all we know
        self.party = party  # the owner of the share that its place counts for; None: no limit
        self.hops = hops  # 1 for a contact of our own, one more than the first node that named it otherwise
        self.namers: tuple[Endpoint | None, ...] = ()  # the nodes that named it, each once; None: it is our own contact
        self.progress = FRESH
        self.reach: int | None = None  # it has named all nodes that it knows up to this distance; None: named too few

    def take(self, change: Change) -> None:
        """Go on as `TRANSITIONS` says."""
        self.progress = TRANSITIONS.get((self.progress, change), self.progress)
