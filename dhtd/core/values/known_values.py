"""The values that this node knows itself: those that it holds for others, and its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dhtd.core.events import ValueSuperseded
from dhtd.core.ids import Id
from dhtd.core.messages import VALUE_LASTS, Get, Put
from dhtd.core.records import Immutable, Value, supersedes
from dhtd.core.storage.held_values import HeldValues, Verify, refusal
from dhtd.core.storage.outcomes import QuotaReached, Refused, Stored
from dhtd.core.values.own_values import OwnValues

_NOTHING: Final = (None, 0)


class KnownValues:
    """Both as one: with the newer value where both have one."""

    __slots__ = ("_tell_news", "held", "own")

    def __init__(self, held: HeldValues, own: OwnValues, tell_news: Callable[[ValueSuperseded], None]) -> None:
        self.held = held
        self.own = own
        self._tell_news = tell_news

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
            return _NOTHING
        if request.seq is None:
            return known
        value, lasts = known
        seq = 0 if isinstance(value, Immutable) else value.seq
        return (seq if seq <= request.seq else value), lasts

    def put(self, request: Put, ip: bytes, now: float, verify: Verify) -> Stored | QuotaReached | Refused:
        """Hold a value for others: see `HeldValues.put`. An own value counts as held, and gives way as one."""
        own = self.own.get(request.key)
        if own is not None and own.value != request.value:
            refused = refusal(own.value, request)
            if refused is not None:
                return refused
        outcome = self.held.put(request, ip, now, verify)
        if own is not None and isinstance(outcome, Stored):
            self.learned(request.key, request.value, now)
        return outcome

    def learned(self, key: Id, value: Value, now: float) -> None:
        """This node has found a value that proves itself: what that supersedes is neither kept nor served any more."""
        self.held.supersede(key, value, now)
        own = self.own.get(key)
        if own is not None and supersedes(value, own.value):
            self.own.supersede(own, value)
            self._tell_news(ValueSuperseded(key, value))
