"""One query of a traversal about a place other than its target."""

from __future__ import annotations

from typing import Protocol

from dhtd.core.ids import Id
from dhtd.core.messages import Contact, Error, Found, Result
from dhtd.core.querying.requester import Asked
from dhtd.core.querying.trace import Trace


class Explores(Protocol):
    """A traversal, as its explorations know it."""

    trace: Trace | None

    def explored(self, query: Asked, contact: Contact, about: Id, found: Found, now: float) -> None:
        """Take the contacts that one knows near `about`."""

    def explored_enough(self, family: int, about: Id, now: float) -> None:
        """Go on in this family without the nodes near `about`."""

    def give_up(self, now: float) -> None:
        """A defect of ours has stopped this."""


class Exploration:
    """Asks one contact for the nodes nearest to `about`."""

    __slots__ = ("_about", "_traversal")

    def __init__(self, traversal: Explores, about: Id) -> None:
        self._traversal = traversal
        self._about = about

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """Pass it on, unless another node has answered from there."""
        assert isinstance(result, Found)
        if contact.id == query.id:
            self._traversal.explored(query, contact, self._about, result, now)
            return
        if self._traversal.trace is not None:
            self._traversal.trace.answered(query, contact, result, (), now, self._about)
        self._traversal.explored_enough(len(query.endpoint), self._about, now)

    def overdue(self, query: Asked, now: float, *, late: bool) -> None:
        """Wait no longer; a late answer still counts."""
        if late:
            return
        if self._traversal.trace is not None:
            self._traversal.trace.overdue(query, now, self._about)
        self._traversal.explored_enough(len(query.endpoint), self._about, now)

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """Do without."""
        if self._traversal.trace is not None:
            self._traversal.trace.failed(query, error, now, self._about)
        self._traversal.explored_enough(len(query.endpoint), self._about, now)

    def give_up(self, now: float) -> None:
        """It is the traversal that a defect has stopped."""
        self._traversal.give_up(now)
