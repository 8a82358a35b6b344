"""The values that this node knows itself: those that it holds for others, and its own."""

from __future__ import annotations

from dhtd.core.ids import Id
from dhtd.core.messages import VALUE_LASTS, Get
from dhtd.core.records import Immutable, Value, supersedes
from dhtd.core.storage.held_values import HeldValues
from dhtd.core.values.own_values import OwnValues


class KnownValues:
    """Answers from both, and with the newer one where both have one."""

    __slots__ = ("held", "own")

    def __init__(self, held: HeldValues, own: OwnValues) -> None:
        self.held = held
        self.own = own

    def get(self, key: Id, now: float) -> tuple[Value, int] | None:
        """Return the value under `key`, and for how many seconds it is there at least."""
        held, own = self.held.get(key, now), self.own.get(key)
        if own is None or (held is not None and supersedes(held[0], own.value)):
            return held
        return own.value, VALUE_LASTS

    def answer(self, request: Get, now: float) -> tuple[Value | int | None, int]:
        """Return what a node is told that asks for a value: see `Found.held`."""
        known = self.get(request.key, now)
        if known is None:
            return None, 0
        value, lasts = known
        seq = 0 if isinstance(value, Immutable) else value.seq
        return (seq if request.seq is not None and seq <= request.seq else value), lasts
