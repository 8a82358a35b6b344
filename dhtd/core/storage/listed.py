"""The endpoints under a key, listed once for many answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from dhtd.core.endpoint import Endpoint, Scope, scope_of
from dhtd.core.storage.leases import Entry

KEPT: Final = 256  # keys whose lists are kept, at most: four for each that can be full at once, by the policy


class Listed(NamedTuple):
    """What is held under a key. It stays so until a record comes or goes, or the first one expires."""

    endpoints: tuple[Endpoint, ...]  # each once
    scope: Scope | None  # of all of them; None where they differ
    until: float  # a `now` time


NOBODY: Final = Listed((), Scope.PUBLIC, 0.0)


def one_listed(entry: Entry, now: float) -> Listed:
    """Return the endpoint of the only record under a key, if it has not expired: as quickly as a kept list is found."""
    lease, _, endpoint = entry
    until = lease.expires_at
    return Listed((endpoint,), scope_of(endpoint), until) if until > now else NOBODY


def several_listed(entries: Iterable[Entry], now: float) -> Listed:
    """Return the endpoints of the records that have not expired."""
    live = [(lease.expires_at, endpoint) for lease, _, endpoint in entries if lease.expires_at > now]
    if not live:
        return NOBODY
    endpoints = tuple(dict.fromkeys(endpoint for _, endpoint in live))
    scopes = {scope_of(endpoint) for endpoint in endpoints}
    return Listed(endpoints, scopes.pop() if len(scopes) == 1 else None, min(live)[0])
