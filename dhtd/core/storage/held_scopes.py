"""Held endpoints that mean another machine to some, or none: private, link-local and loopback ones."""

from __future__ import annotations

from collections import Counter

from dhtd.core.endpoint import Endpoint, Scope, scope_of


class HeldScopes:
    """Counts these endpoints, so that answers with public ones alone cost nothing."""

    __slots__ = ("_local", "_private")

    def __init__(self) -> None:
        self._local: Counter[bytes] = Counter()  # loopback and link-local endpoints, by key
        self._private = 0  # private endpoints; on a LAN that is all

    def add(self, key: bytes, endpoint: Endpoint) -> None:
        """An endpoint is held under this packed key."""
        self._count(key, endpoint, 1)

    def drop(self, key: bytes, endpoint: Endpoint) -> None:
        """An endpoint is held no more."""
        self._count(key, endpoint, -1)

    def concern(self, key: bytes, asked_by: Endpoint) -> bool:
        """Whether some endpoints under `key` may mean another machine, or none, to the node at `asked_by`."""
        if self._private and scope_of(asked_by) is Scope.PUBLIC:
            return True
        return bool(self._local) and key in self._local

    def _count(self, key: bytes, endpoint: Endpoint, count: int) -> None:
        scope = scope_of(endpoint)
        if scope is Scope.PRIVATE:
            self._private += count
        elif scope is not Scope.PUBLIC:
            self._local[key] += count
            if not self._local[key]:
                del self._local[key]
