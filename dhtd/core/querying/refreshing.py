"""A lookup in one family's network for the sake of the contacts on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.querying.operations import Report
from dhtd.core.querying.requester import Requester
from dhtd.core.querying.search import Search
from dhtd.core.querying.traversal import Traversal
from dhtd.core.routing.overlays import Overlays
from dhtd.core.traces import Purpose


class Refreshed(NamedTuple):
    """How it has ended."""

    target: Id
    family: Family
    responses: int
    nearest: list[Contact]  # to the target, of those that answered; all of the region where these crowd
    tokens: dict[Endpoint, bytes]  # that they have given, for the target


class Refreshing:
    """Looks up a target, and reports `Refreshed`."""

    __slots__ = ("_family", "_has_ended", "_nearest", "_report", "_target", "_traversal")

    def __init__(
        self,
        requester: Requester,
        overlays: Overlays,
        report: Report[Refreshed],
        target: Id,
        family: Family,
        first: Sequence[Contact] = (),
    ) -> None:
        """`first`: nodes to begin with, before the nearest contacts that we know."""
        self._report = report
        self._target = target
        self._family = family
        self._nearest: list[Contact] = []
        self._has_ended = False
        self._traversal = Traversal(
            requester,
            overlays,
            target,
            Purpose.REFRESH,
            finished=self._finished,
            gave_up=self.give_up,
            converged=self._converged,
            patient=False,
            thorough=False,
            family=family,
            first=first,
        )

    def start(self, now: float) -> None:
        """Begin, from the nearest contacts that we know."""
        self._traversal.start(now)

    def give_up(self, now: float) -> None:
        """Report it as one without an answer."""
        self._traversal.stop()
        self._end(0)

    def _converged(self, search: Search, now: float) -> None:
        self._nearest = search.closest()

    def _finished(self, now: float) -> None:
        self._end(self._traversal.stats().responses)

    def _end(self, responses: int) -> None:
        if not self._has_ended:
            self._has_ended = True
            tokens = self._traversal.tokens
            self._report(Refreshed(self._target, self._family, responses, self._nearest, tokens))
