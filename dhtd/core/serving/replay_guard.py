"""Stores and withdrawals that were taken: a datagram that an attacker catches and sends again is not taken again.

A find or a ping may come any number of times, since it changes nothing. But a replayed store would bring back an entry
that was withdrawn since, or let it live longer, and a replayed withdrawal would drop an entry that was entered again.

- A token is good for two rotations of its secret. So each store and withdrawal is remembered for that long.
- Memory is limited, and every source has a share. A change that cannot be remembered is not taken.
- Nothing can be forgotten sooner to make room. So the last part of the room is for sources that have used little of it.
  Otherwise sixteen addresses with full shares could keep all others from storing and withdrawing.
"""

from __future__ import annotations

from enum import Enum

from dhtd.core.endpoint import source_group
from dhtd.core.enums import plain
from dhtd.core.messages import Store, Withdraw
from dhtd.core.policy import Policy


@plain
class Repeat(Enum):
    """What is to be done with a store or a withdrawal."""

    NEW = "do it"
    AGAIN = "it was done, or refused, before"
    BUSY = "it could not be remembered"
    GREEDY = "its source has used up its share"


class ReplayGuard:
    """Remembers queries by their token, which stands for address and key, their transaction, port and method."""

    __slots__ = ("_current", "_few", "_generation", "_max", "_max_per_source", "_open", "_per_source", "_previous")

    def __init__(self, policy: Policy, generation: int) -> None:
        self._max, self._max_per_source = policy.changes, policy.changes_per_source
        self._open = policy.changes - int(policy.changes * policy.changes_reserve)  # to all sources
        self._few = policy.changes_few  # the rest is for sources that have used no more than this
        self._generation = generation
        self._current: set[bytes] = set()
        self._previous: set[bytes] = set()
        self._per_source: dict[bytes, int] = {}  # of the current generation

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._current) + len(self._previous)

    def take(self, tid: bytes, request: Store | Withdraw, ip: bytes, generation: int) -> Repeat:
        """Remember a query from `ip` whose token is good, while the secret of `generation` is the current one."""
        if generation != self._generation:
            self._turn(generation)
        method = request.port << 1 | (type(request) is Store)
        record = request.token + tid + method.to_bytes(3, "big")
        current = self._current
        if record in current or record in self._previous:
            return Repeat.AGAIN
        group = source_group(ip)
        from_source = self._per_source.get(group, 0)
        if from_source >= self._max_per_source:
            return Repeat.GREEDY
        if len(current) >= (self._open if from_source >= self._few else self._max):
            return Repeat.BUSY
        self._per_source[group] = from_source + 1
        current.add(record)
        return Repeat.NEW

    def _turn(self, generation: int) -> None:
        """Forget what was taken before the previous secret was the current one."""
        self._previous = self._current if generation == self._generation + 1 else set()
        self._current = set()
        self._per_source = {}
        self._generation = generation
