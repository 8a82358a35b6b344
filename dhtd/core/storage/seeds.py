"""Which peers have all of what their key stands for (BEP 33)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from dhtd.core.endpoint import Endpoint

_NOBODY: Final = frozenset[Endpoint]()


class Seeds:
    """Endpoints by packed key: found at once, since strangers ask for them under keys with a thousand peers."""

    __slots__ = ("_by_key",)

    def __init__(self) -> None:
        self._by_key: dict[bytes, set[Endpoint]] = {}

    def __len__(self) -> int:
        """How many there are under all keys."""
        return sum(map(len, self._by_key.values()))

    def of(self, key: bytes) -> Collection[Endpoint]:
        """Return those under a key."""
        return self._by_key.get(key, _NOBODY)

    def add(self, key: bytes, endpoint: Endpoint) -> None:
        """The peer there is one."""
        self._by_key.setdefault(key, set()).add(endpoint)

    def discard(self, key: bytes, endpoint: Endpoint) -> None:
        """The peer there is none, or gone."""
        seeds = self._by_key.get(key)
        if seeds is not None:
            seeds.discard(endpoint)
            if not seeds:
                del self._by_key[key]
