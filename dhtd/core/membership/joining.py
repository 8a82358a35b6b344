"""Staying connected: when to try to join, and how partitions find each other again.

- *While no node answers*, the bootstrap endpoints and some contacts are pinged again and again. After the start,
  attempts follow each other at once for `join_eager`, and each is worth three datagrams: machines that are switched on
  together find each other within a second, in whatever order they are ready. After that the pause doubles, jittered, up
  to `rejoin_max`.
- *While all is well*, some bootstrap endpoints and one lost contact are probed now and then: nothing else leads to the
  other half of a network that was cut in two.
- *With fewer than K contacts*, we look ourselves up again some times after joining, and probe. At the first lookup, the
  nodes that we asked may have known no others yet, or a datagram was lost, and perhaps we know only nodes that have
  joined by us.

`TRANSITIONS` is the table of how one state of `Joining` follows another.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from dhtd.core.endpoint import Endpoint
from dhtd.core.enums import plain
from dhtd.core.events import Silence
from dhtd.core.policy import Policy
from dhtd.core.routing.overlay import Joining, Overlay

if TYPE_CHECKING:
    from random import Random


_EAGER_PAUSE: Final = 0.25  # seconds at most between eager attempts: a fleet does not ping in step


@plain
class Turn(Enum):
    """What changes how far a node has come."""

    ANSWERED = auto()  # a node has answered a query
    NEIGHBOURS_ANSWERED = auto()  # a node has answered the lookup of our own ID
    ATTEMPT_FAILED = auto()  # the next attempt is due, and no node has answered one in time
    LOST = auto()  # no node answers any more


TRANSITIONS: Final = {
    (Joining.ALONE, Turn.ANSWERED): Joining.CONNECTED,
    (Joining.SILENT, Turn.ANSWERED): Joining.CONNECTED,
    (Joining.CONNECTED, Turn.NEIGHBOURS_ANSWERED): Joining.JOINED,
    (Joining.ALONE, Turn.ATTEMPT_FAILED): Joining.SILENT,
    (Joining.ALONE, Turn.LOST): Joining.SILENT,
    (Joining.CONNECTED, Turn.LOST): Joining.SILENT,
    (Joining.JOINED, Turn.LOST): Joining.SILENT,
}  # in all other cases the state stays


class JoiningClock:
    """Knows whether we are connected, and when to do something about it. Sends nothing itself."""

    __slots__ = (
        "_attempt_at",
        "_failures",
        "_lookup_at",
        "_lookups",
        "_overlay",
        "_policy",
        "_probe_at",
        "_relapses",
        "_rng",
        "_silence",
        "_tried_at",
        "attempt",
        "awaits_names",
        "bootstrap",
        "eager_until",
    )

    def __init__(self, overlay: Overlay, rng: Random, policy: Policy) -> None:
        self._overlay = overlay
        self._rng = rng
        self._policy = policy
        self.bootstrap: tuple[Endpoint, ...] = ()
        self.attempt: set[Endpoint] = set()  # the endpoints that are being pinged
        self.awaits_names = False  # more bootstrap endpoints come once their names are resolved
        self.eager_until = float("-inf")  # until then, an attempt follows the last one without a pause
        self._silence: Silence | None = None  # as it was told last
        self._tried_at: float | None = None  # when the first attempt was made since a node has answered
        self._attempt_at: float | None = None
        self._probe_at: float | None = None
        self._lookup_at: float | None = None  # when to look ourselves up again
        self._lookups = 0  # of ourselves, since we have joined
        self._failures = 0  # attempts in a row without an answer, or that led no further
        self._relapses = 0  # connections in a row that were lost before we had joined

    def begin(self, now: float) -> None:
        """Try to join at once, and eagerly, unless we are connected: at the start, or with other endpoints."""
        self.attempt_now(now)
        if not self._overlay.is_connected:
            self.eager_until = now + self._policy.join_eager

    def attempt_now(self, now: float) -> None:
        """Try to join at once, unless we are connected."""
        if not self._overlay.is_connected:
            self._attempt_at = now

    def answered(self, now: float) -> bool:
        """A node has answered; return whether that connects us."""
        if self._overlay.is_connected:
            return False
        self._take(Turn.ANSWERED)
        self._tried_at = None
        self._overlay.rumoured_at = None
        self._silence = None
        self.eager_until = float("-inf")
        self._failures = self._relapses
        self._attempt_at = None
        self._probe_at = now + self._jittered(self._policy.probe_interval)
        return True

    def joined(self, contacts: int, now: float) -> None:
        """Our neighbours are known: should they be lost, pauses start small again."""
        self._failures = self._relapses = 0
        self._take(Turn.NEIGHBOURS_ANSWERED)
        self._lookups = 0
        self.looked_up(contacts, now)

    def looked_up(self, contacts: int, now: float) -> None:
        """We have looked ourselves up, and know so many contacts: do it again where that is few."""
        self._lookup_at = None
        if contacts < self._policy.k and self._overlay.is_connected and self._lookups < self._policy.lonely_lookups:
            self._lookup_at = now + self._jittered(self._policy.rejoin_first * 2**self._lookups)
            self._lookups += 1

    def lost(self, now: float) -> None:
        """No node answers any more: try to join again, after a pause."""
        self._take(Turn.LOST)
        self._silence = Silence.STILL  # the owner is told of the loss, and need not be told of this
        self._probe_at = None
        self._lookup_at = None
        self._attempt_at = now + self._pause()
        self._relapses += 1

    def next_timeout(self) -> float | None:
        """Return when `is_attempt_due`, `is_probe_due` or `is_lookup_due` changes."""
        if not self._overlay.is_connected:
            rumoured_at = self._overlay.rumoured_at
            if rumoured_at is not None and (self._attempt_at is None or rumoured_at < self._attempt_at):
                return rumoured_at
            return self._attempt_at
        if self._lookup_at is None or (self._probe_at is not None and self._probe_at < self._lookup_at):
            return self._probe_at
        return self._lookup_at

    def is_attempt_pending(self, now: float) -> bool:
        """Whether `is_attempt_due` would say so. Changes nothing."""
        if self._overlay.is_connected:
            return False
        is_rumoured = self._overlay.rumoured_at is not None
        return is_rumoured or (self._attempt_at is not None and self._attempt_at <= now)

    def is_attempt_due(self, now: float) -> bool:
        """Whether to try to join now; the next attempt is then set, for the case that this one fails."""
        if not self.is_attempt_pending(now):
            return False
        # An attempt that other endpoints bring forward does not mean that the last one has failed.
        if self._tried_at is None:
            self._tried_at = now
        elif now >= self._tried_at + self._policy.query_timeout:
            self._take(Turn.ATTEMPT_FAILED)
        self._overlay.rumoured_at = None
        pause = self._jittered(_EAGER_PAUSE) if self.is_eager(now) else self._pause()
        self._attempt_at = now + self._policy.query_timeout + pause
        self._failures += not self.is_eager(now)
        return True

    def silence(self, now: float) -> Silence | None:
        """Return how long there has been no answer, at an attempt, if that has changed since the last call."""
        if not self._overlay.is_silent:
            return None
        if self.is_eager(now):
            silence = Silence.AT_FIRST
        else:
            is_longest = self._policy.rejoin_first * 2.0 ** min(self._failures, 32) > self._policy.rejoin_max
            silence = Silence.LASTING if is_longest else Silence.STILL
        if self._silence is not None and silence.value <= self._silence.value:
            return None
        self._silence = silence
        return silence

    def is_eager(self, now: float) -> bool:
        """Whether attempts follow each other without a pause."""
        return now < self.eager_until

    def is_probe_due(self, now: float) -> bool:
        """Whether to look for lost parts of the network now; the next time is then set."""
        if not self._overlay.is_connected or self._probe_at is None or self._probe_at > now:
            return False
        self._probe_at = now + self._jittered(self._policy.probe_interval)
        return True

    def is_lookup_due(self, now: float) -> bool:
        """Whether to look ourselves up again now; `looked_up` sets the next time."""
        if not self._overlay.is_connected or self._lookup_at is None or self._lookup_at > now:
            return False
        self._lookup_at = None
        return True

    def _take(self, turn: Turn) -> None:
        before = self._overlay.joining
        self._overlay.joining = TRANSITIONS.get((before, turn), before)

    def _pause(self) -> float:
        exponent = min(self._failures, 32)
        return self._jittered(min(self._policy.rejoin_first * 2**exponent, self._policy.rejoin_max))

    def _jittered(self, interval: float) -> float:
        return interval * self._rng.uniform(0.75, 1.0)
