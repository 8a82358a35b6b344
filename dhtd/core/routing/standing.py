"""What is known about the contacts in the routing table: when they were heard, how fast they are, what they missed.

A contact is *good* while it has lately answered, *questionable* afterwards, and *bad* after more than `bad_after`
consecutive timeouts. Only an answer counts. BEP 5 lets a contact's queries keep it good, too; but attackers can forge
those, or send again what was caught, and so keep a dead contact in its place.
"""

from __future__ import annotations

from enum import Enum

from dhtd.core.enums import plain
from dhtd.core.ids import Id, packed
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy
from dhtd.core.round_trips import RoundTrips


@plain
class Standing(Enum):
    """How far a contact is to be trusted to answer."""

    GOOD = "good"
    QUESTIONABLE = "questionable"
    BAD = "bad"


GOOD, QUESTIONABLE, BAD = Standing  # for code that runs for each query


class History:
    """One contact's history."""

    __slots__ = ("heard_at", "reachable", "round_trips", "timeouts")

    def __init__(self) -> None:
        self.heard_at: float | None = None  # when it last answered
        self.reachable = False  # has answered since this node started
        self.timeouts = 0  # consecutive, of queries that others' answers show to have been sent in vain
        self.round_trips = RoundTrips()


class Standings:
    """The records of the contacts in the table."""

    __slots__ = ("_policy", "_records", "bad")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._records: dict[bytes, History] = {}  # by packed ID
        self.bad: set[bytes] = set()  # packed: the contacts that have missed too many queries in a row; mostly none

    def add(self, id: Id) -> History:
        """Begin a record for a contact that enters the table."""
        record = self._records[packed(id)] = History()
        return record

    def drop(self, id: Id) -> None:
        """End the record of a contact that leaves the table."""
        found_by = packed(id)
        del self._records[found_by]
        self.bad.discard(found_by)

    def get(self, id: Id) -> History:
        """Return the record of a contact in the table."""
        return self._records[packed(id)]

    def is_bad(self, id: Id) -> bool:
        """Whether a contact in the table has missed too many queries in a row."""
        return bool(self.bad) and packed(id) in self.bad

    def answered(self, id: Id, rtt: float | None, now: float) -> None:
        """Note an answer, and how long it took where that is unambiguous."""
        found_by = packed(id)
        record = self._records[found_by]
        record.heard_at = now
        record.reachable = True
        record.timeouts = 0
        self.bad.discard(found_by)
        if rtt is not None:
            record.round_trips.add(rtt)

    def timed_out(self, id: Id) -> bool:
        """Note a timeout; return whether it made the contact bad."""
        record = self.get(id)
        record.timeouts += 1
        if record.timeouts != self._policy.bad_after + 1:
            return False
        self.bad.add(packed(id))
        return True

    def slept(self, seconds: float) -> None:
        """Take what was heard of all contacts as so much older."""
        for record in self._records.values():
            if record.heard_at is not None:
                record.heard_at -= seconds

    def last_heard(self, contact: Contact) -> float:
        """Return when a contact in the table last answered; minus infinity if it has not since this node started."""
        heard_at = self.get(contact.id).heard_at
        return float("-inf") if heard_at is None else heard_at

    def doubt_all(self, now: float) -> None:
        """Take no contact for good until it answers again."""
        for record in self._records.values():
            if record.heard_at is not None:
                record.heard_at = min(record.heard_at, now - self._policy.good_for)

    def good_until(self, id: Id) -> float:
        """Return when a good contact turns questionable, if it is not heard before."""
        heard_at = self.get(id).heard_at
        assert heard_at is not None
        return heard_at + self._policy.good_for

    def standing(self, id: Id, now: float) -> Standing:
        """Return how far the contact is to be trusted."""
        found_by = packed(id)
        if found_by in self.bad:
            return BAD
        heard_at = self._records[found_by].heard_at
        if heard_at is not None and now - heard_at < self._policy.good_for:
            return GOOD
        return QUESTIONABLE
