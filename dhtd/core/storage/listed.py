"""The endpoints under a key, listed once for many answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from dhtd.core.endpoint import Endpoint, Scope, scope_of
from dhtd.core.storage.leases import Entry

KEPT: Final = 512  # keys whose lists are kept, at most


class Listed(NamedTuple):
    """What is held under a key. It stays so until a record comes or goes, or the first one expires."""

    endpoints: tuple[Endpoint, ...]  # each once
    scope: Scope | None  # of all of them; None where they differ
    until: float  # a `now` time


NOBODY: Final = Listed((), Scope.PUBLIC, 0.0)


def list_live(entries: Iterable[Entry], now: float) -> Listed:
    """Return the endpoints of the records that have not expired."""
    live = [(lease.expires_at, endpoint) for lease, _, endpoint in entries if lease.expires_at > now]
    if not live:
        return NOBODY
    endpoints = tuple(dict.fromkeys([endpoint for _, endpoint in live]))
    scope = scope_of(endpoints[0])
    if len(live) == 1:  # as under most keys
        return Listed(endpoints, scope, live[0][0])
    one = all(scope_of(endpoint) is scope for endpoint in endpoints)
    return Listed(endpoints, scope if one else None, min(live)[0])
