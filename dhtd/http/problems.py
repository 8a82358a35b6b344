"""Errors as HTTP tells them: a status, and a problem document (RFC 9457) with the `code` of `dhtd.errors`."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, TypedDict

from dhtd import errors
from dhtd.errors import DhtdError, UsageError

PROBLEM_JSON: Final = "application/problem+json"


class HttpProblem(DhtdError):
    """A request that fails by the rules of HTTP, before any method of the table is asked."""

    def __init__(self, status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


class Problem(TypedDict):
    """The problem document. `type` is `about:blank`, so `title` is that of the status."""

    type: str
    title: str
    status: int
    detail: str
    code: str


# Subclasses stand before their bases.
_STATUS: Final[tuple[tuple[type[DhtdError], HTTPStatus], ...]] = (
    (errors.UnknownMethod, HTTPStatus.NOT_FOUND),
    (errors.FrameTooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (errors.FrameTooSlow, HTTPStatus.REQUEST_TIMEOUT),
    (UsageError, HTTPStatus.BAD_REQUEST),
    (errors.NotFound, HTTPStatus.NOT_FOUND),
    (errors.NotTracked, HTTPStatus.NOT_FOUND),
    (errors.NotPermitted, HTTPStatus.FORBIDDEN),
    (errors.NewerValue, HTTPStatus.CONFLICT),
    (errors.OtherValue, HTTPStatus.PRECONDITION_FAILED),
    (errors.Conflict, HTTPStatus.CONFLICT),
    (errors.Busy, HTTPStatus.TOO_MANY_REQUESTS),
    (errors.TooManyEntries, HTTPStatus.TOO_MANY_REQUESTS),
    (errors.TooManyValues, HTTPStatus.TOO_MANY_REQUESTS),
    (errors.TooManyWatches, HTTPStatus.TOO_MANY_REQUESTS),
    (errors.TooManyClients, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.ShuttingDown, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.NoThread, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.NoDescriptor, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.PeerRefused, HTTPStatus.BAD_GATEWAY),
    (errors.NoPong, HTTPStatus.GATEWAY_TIMEOUT),
    (errors.NetworkFailure, HTTPStatus.SERVICE_UNAVAILABLE),
)


def status_of(kind: type[DhtdError]) -> HTTPStatus:
    """Return the status of a kind of error: 500 for those that no request can help."""
    return next((status for known, status in _STATUS if issubclass(kind, known)), HTTPStatus.INTERNAL_SERVER_ERROR)


def problem_of(error: DhtdError) -> Problem:
    """Return the problem document of an error."""
    status = error.status if isinstance(error, HttpProblem) else status_of(type(error))
    return {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": str(error),
        "code": code_of(status) if isinstance(error, HttpProblem) else error.code,
    }


def code_of(status: HTTPStatus) -> str:
    """Return the code of a problem that HTTP alone has: `not-acceptable` for 406."""
    return status.phrase.lower().replace(" ", "-")


def headers_of(error: DhtdError) -> dict[str, str]:
    """Return the headers that an error has of its own."""
    return error.headers if isinstance(error, HttpProblem) else {}
