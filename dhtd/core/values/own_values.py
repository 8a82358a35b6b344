"""The values that this node keeps in the network: its owner's, and those of others that its owner wants to last.

A value is published at once, and again after an interval. If too few nodes took it, it is tried again soon, and ever
later. A value gives way to one that supersedes it, wherever that one was found.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from dhtd.core.counters import OWN_VALUES
from dhtd.core.ids import Id, packed
from dhtd.core.messages import VALUE_LASTS, Contact
from dhtd.core.policy import Policy
from dhtd.core.records import Value
from dhtd.core.timers import Timers
from dhtd.errors import TooManyValues

if TYPE_CHECKING:
    from random import Random

_FAILURES_MAX: Final = 32  # that are counted: more would overflow the pause that doubles with each


class OwnValue:
    """A value that this node keeps."""

    __slots__ = ("failures", "key", "published_at", "replicas", "value", "wanted")

    def __init__(self, key: Id, value: Value, wanted: int) -> None:
        self.key = key
        self.value = value
        self.wanted = wanted  # so many nodes at least are to hold it
        self.replicas: tuple[Contact, ...] = ()  # the nodes that took it last
        self.published_at: float | None = None  # when enough did
        self.failures = 0  # publications since then

    @property
    def packed_key(self) -> bytes:
        """The key, as `packed` gives it."""
        return packed(self.key)

    def becomes(self, value: Value) -> None:
        """Another value takes the place of this one: no node has taken that yet."""
        if value != self.value:
            self.value, self.replicas, self.published_at, self.failures = value, (), None, 0


class OwnValues:
    """The own values, by packed key, and when each is published next."""

    __slots__ = ("_caps_hit", "_policy", "_rng", "_timers", "by_key", "changed")

    def __init__(self, policy: Policy, rng: Random, caps_hit: dict[str, int]) -> None:
        self._policy = policy
        self._rng = rng
        self._caps_hit = caps_hit
        self.by_key: dict[bytes, OwnValue] = {}  # packed; read by others
        self._timers: Timers[bytes] = Timers()
        self.changed: set[bytes] = set()  # keys whose values others have superseded, or refused: to be saved

    def __len__(self) -> int:
        """How many values are kept."""
        return len(self.by_key)

    def __iter__(self) -> Iterator[OwnValue]:
        """Yield each value."""
        return iter(self.by_key.values())

    def get(self, key: Id) -> OwnValue | None:
        """Return the value under `key`, if one is kept there."""
        return self.by_key.get(packed(key)) if self.by_key else None

    def check_room(self, key: Id) -> None:
        """Raise `TooManyValues` where a value under this key is not taken; one that is there already always is."""
        if packed(key) not in self.by_key and len(self.by_key) >= self._policy.own_values:
            self._caps_hit[OWN_VALUES] += 1
            raise TooManyValues(f"this node keeps as many values as it takes ({len(self.by_key)}): delete some")

    def keep(self, key: Id, value: Value, wanted: int) -> OwnValue:
        """Keep a value in place of any that is kept under its key. It has no timer until it is `due_at` some time."""
        own = self.by_key.get(packed(key))
        if own is None:
            own = self.by_key[packed(key)] = OwnValue(key, value, wanted)
        own.becomes(value)
        own.wanted, own.failures = wanted, 0  # its owner asks for it now
        return own

    def drop(self, key: Id) -> OwnValue | None:
        """Keep the value under `key` no longer; return it, if one was kept."""
        self._timers.cancel(packed(key))
        self.changed.discard(packed(key))
        return self.by_key.pop(packed(key), None)

    def supersede(self, own: OwnValue, value: Value) -> None:
        """Another value has taken the place of a kept one.

        It came from other nodes, which are sent what they lack. So the replicas of the former one stay, until the next
        publication tells: that none holds this one is the least likely.
        """
        own.value, own.failures = value, 0
        self.changed.add(own.packed_key)

    # Publications

    def due_at(self, own: OwnValue, at: float) -> None:
        """Have a value published then."""
        self._timers.set(own.packed_key, at)

    def began(self, own: OwnValue) -> None:
        """A value is being published: it has no timer meanwhile."""
        self._timers.cancel(own.packed_key)

    def published(self, own: OwnValue, replicas: tuple[Contact, ...], now: float) -> None:
        """A publication has ended, and these nodes hold the value: set the next one."""
        policy = self._policy
        own.replicas = replicas
        if self._is_placed(own):
            own.failures, own.published_at = 0, now
            pause = policy.value_republish * (1 + policy.republish_jitter * (2 * self._rng.random() - 1))
        else:
            pause = min(policy.value_retry * 2**own.failures, policy.value_retry_max)
            own.failures = min(own.failures + 1, _FAILURES_MAX)
        self.due_at(own, now + pause)

    def hurry(self, now: float) -> None:
        """A network is reached: publish soon what too few nodes hold."""
        for own in self:
            if own.packed_key in self._timers and not self._is_placed(own):
                own.failures = 0
                self.due_at(own, now + self._policy.startup_spread * self._rng.random())

    def _is_placed(self, own: OwnValue) -> bool:
        """Whether enough nodes hold a value. No more than K of a family are asked to."""
        return len(own.replicas) >= min(max(1, own.wanted), self._policy.k)

    def slept(self, seconds: float, now: float) -> None:
        """Take all publications as so much older, and publish soon what is due by that.

        A node that must have dropped a value since is no replica any more.
        """
        for own in self:
            if own.published_at is not None:
                own.published_at -= seconds
                if now - own.published_at >= VALUE_LASTS:
                    own.replicas = ()
            when = self._timers.get(own.packed_key)
            if when is not None:
                soon = now + self._policy.startup_spread * self._rng.random()
                self.due_at(own, max(when - seconds, min(when, soon)))

    def due_in(self, own: OwnValue, now: float) -> float:
        """Return the seconds until a value is published again; 0 while it is being published."""
        when = self._timers.get(own.packed_key)
        return 0.0 if when is None else max(0.0, when - now)

    def next_timeout(self) -> float | None:
        """Return when the next value is due."""
        return self._timers.next()

    def pop_due(self, now: float, most: int) -> Iterator[OwnValue]:
        """Take and yield the values that are due, so many at most."""
        for key in self._timers.pop_due(now):
            yield self.by_key[key]
            most -= 1
            if most <= 0:
                return
