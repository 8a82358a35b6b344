"""One query to one endpoint, for the user; another one for the rest, where the answer was cut."""

from __future__ import annotations

from dataclasses import replace

from dhtd.core.endpoint import Endpoint, means_the_same
from dhtd.core.events import Answered, GaveUp, Handle, Unanswered
from dhtd.core.messages import Contact, Error, Found, Request, Result
from dhtd.core.querying.operations import Report
from dhtd.core.querying.requester import Asked, Requester


class SingleQuery:
    """Reports `Answered`, once the answer is whole, or `Unanswered`."""

    __slots__ = ("_endpoint", "_is_cancelled", "_op", "_part", "_report", "_request", "_requester")

    def __init__(
        self,
        op: Handle,
        requester: Requester,
        report: Report[Answered | Unanswered | GaveUp],
        request: Request,
        endpoint: Endpoint,
    ) -> None:
        self._op = op
        self._requester = requester
        self._report = report
        self._request = request
        self._endpoint = endpoint
        self._part: Answered | None = None  # the answer that was cut
        self._is_cancelled = False

    def start(self, now: float) -> None:
        """Send the query."""
        attempts = self._requester.policy.ping_attempts
        self._requester.ask(self, self._request, self._endpoint, None, now, attempts)

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """Report the answer, once it is whole."""
        if isinstance(result, Found):
            beside_us = self._requester.is_beside_us(query.endpoint)
            endpoints = tuple(
                each for each in result.endpoints if means_the_same(each, query.endpoint, beside_us=beside_us)
            )
            result = replace(result, endpoints=endpoints)
        answered = Answered(self._op, contact, result, now - query.sent_at)
        if not self._is_cancelled and self._requester.ask_rest(query, contact, result, now):
            self._part = answered
        else:
            self._report(answered)

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """Report the failure; where only the rest of an answer is missing, its part."""
        self._report(self._part or Unanswered(self._op, self._endpoint, error))

    def cancel(self) -> None:
        """Send nothing more."""
        self._is_cancelled = True
        self._requester.send_no_more(self)

    def give_up(self, now: float) -> None:
        """Report that a defect has ended it."""
        self._report(GaveUp(self._op))
        self.cancel()
