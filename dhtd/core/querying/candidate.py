"""A node that a search has heard of, and how far it has come with it."""

from __future__ import annotations

from enum import Enum, auto

from dhtd.core.address_groups import Party
from dhtd.core.endpoint import Endpoint
from dhtd.core.messages import Contact


class Progress(Enum):
    """How far a search has come with a candidate."""

    FRESH = auto()  # not asked yet
    WAITING = auto()  # asked, holds a slot
    SLOW = auto()  # asked, slower than most, its slot freed
    LATE = auto()  # asked, slower than nearly all, and hardly expected any more
    ANSWERED = auto()
    FULL = auto()  # answered, but would take no entry: not one of the K that are looked for
    FAILED = auto()


# For code that runs for each candidate at each step.
FRESH, WAITING, SLOW, LATE, ANSWERED, FULL, FAILED = Progress


class Candidate:
    """One node of a search."""

    __slots__ = ("contact", "hops", "is_doubtful", "namers", "party", "progress", "reach")

    def __init__(self, contact: Contact, hops: int, party: Party | None, *, is_doubtful: bool = False) -> None:
        self.contact = contact
        self.is_doubtful = is_doubtful  # its endpoint changes its ID, and has another one by now, for all we know
        self.party = party  # whose share of the places it takes; None: nobody's
        self.hops = hops  # 1 for a contact of our own, one more than the first node that named it otherwise
        self.namers: tuple[Endpoint | None, ...] = ()  # who named it, each once; None are we
        self.progress = FRESH
        self.reach: int | None = None  # no node that it knows is nearer to the target and unnamed; None: has none named
