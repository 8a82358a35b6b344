"""Joining by endpoints: they are pinged, since their IDs are unknown; after the first pong we look up our own ID."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable
from typing import NamedTuple

from dhtd.core.endpoint import Endpoint
from dhtd.core.membership.introduction import Introduction
from dhtd.core.messages import Contact, Error, Ping, Result
from dhtd.core.querying.operations import Report
from dhtd.core.querying.requester import Asked, Requester
from dhtd.core.querying.search import Search
from dhtd.core.querying.traversal import Traversal
from dhtd.core.routing.overlays import Overlays
from dhtd.core.traces import Purpose


class Tried(NamedTuple):
    """All endpoints were tried."""

    contacted: int
    silent: tuple[Endpoint, ...]  # where no node has answered


class Bootstrap:
    """Reports `Tried`, once the lookup has ended as well; None where a defect has ended it."""

    __slots__ = (
        "_contacted",
        "_endpoints",
        "_has_ended",
        "_introduces",
        "_report",
        "_requester",
        "_silent",
        "_traversals",
    )

    def __init__(
        self,
        requester: Requester,
        overlays: Overlays,
        report: Report[Tried | None] | None,
        endpoints: Iterable[Endpoint],
        *,
        introduces: bool = True,
    ) -> None:
        """`introduces`: whether an introduction follows the lookup."""
        self._requester = requester
        self._report = report
        self._endpoints = tuple(dict.fromkeys(endpoints))
        self._introduces = introduces
        self._contacted = 0
        self._has_ended = False
        self._silent: list[Endpoint] = []
        self._traversals = [
            Traversal(
                requester,
                overlays,
                own_id,
                Purpose.JOIN,
                finished=self._finished,
                gave_up=self.give_up,
                converged=self._converged,
                patient=True,
                thorough=False,
                family=family,
            )
            for own_id, family in overlays.own_targets()
        ]

    def start(self, now: float) -> None:
        """Ping them all."""
        for endpoint in self._endpoints:
            self._requester.ask(self, Ping(), endpoint, None, now, self._requester.policy.ping_attempts)
        self._report_if_over()

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """Start the lookup with the first pong."""
        if self._has_ended:
            return
        self._contacted += 1
        if self._contacted == 1:
            for traversal in self._traversals:
                traversal.start(now)  # reports itself if it ends at once
        else:
            self._report_if_over()

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """Count an endpoint where no node answers."""
        self._silent.append(query.endpoint)
        self._report_if_over()

    def cancel(self) -> None:
        """Ask no more nodes, send nothing again, and report nothing."""
        self._has_ended = True
        for traversal in self._traversals:
            traversal.stop()
        self._requester.send_no_more(self)

    def give_up(self, now: float) -> None:
        """Report that a defect has ended it."""
        self._end(None)
        self.cancel()

    def _converged(self, search: Search, now: float) -> None:
        if self._introduces:
            nearest = search.closest()[: self._requester.policy.k]
            tokens = ChainMap(*(traversal.tokens for traversal in self._traversals))
            Introduction(self._requester).start(search.target, nearest, tokens, now)

    def _finished(self, now: float) -> None:
        self._report_if_over()

    def _report_if_over(self) -> None:
        settled = self._contacted + len(self._silent) == len(self._endpoints)
        is_searching = any(traversal.is_searching for traversal in self._traversals)
        if settled and not (self._contacted and is_searching):
            self._end(Tried(self._contacted, tuple(self._silent)))

    def _end(self, outcome: Tried | None) -> None:
        if not self._has_ended:
            self._has_ended = True
            if self._report is not None:
                self._report(outcome)
