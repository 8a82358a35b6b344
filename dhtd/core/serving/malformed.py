"""Who sends what cannot be read, and how much of that is read.

A datagram is decoded before its source is charged for a query, so what it costs to decode rubbish is charged as well:
a source has a sixteenth of its rate for it. Above that, only its *plain* datagrams are decoded, those that the codec
can tell at a glance to cost next to nothing. All that this program sends is plain.

So whoever forges rubbish in the name of somebody else silences nobody: neither a stranger's queries nor the answers
that we wait for. A contact that answers us is read whatever is sent in its name, for it may be another program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from dhtd.core.endpoint import Endpoint, source_group
from dhtd.core.policy import Policy
from dhtd.core.serving.rate_limit import RateLimit

if TYPE_CHECKING:
    from random import Random

PART: Final = 1 / 16  # of the rate of a source
PAUSE: Final = 1.0  # seconds for which a source above it is not read
SOURCES: Final = 1_024  # that are not read at one time


class Malformed:
    """What each source may send of it; `rate` is that of its queries, and 0 is no limit."""

    __slots__ = ("_answers_us", "_limit", "unread")

    def __init__(self, policy: Policy, rng: Random, answers_us: Callable[[Endpoint], bool], rate: float) -> None:
        self._answers_us = answers_us
        self._limit = RateLimit(policy, rng, answers_us, rate=rate * PART, total=0.0)
        self.unread: dict[bytes, float] = {}  # sources above their part, and until when, the first first; mostly none

    def count(self, source: Endpoint, now: float) -> None:
        """Charge a source for a datagram that could not be read."""
        if self._limit.refusal(source, now) is None:
            return
        group, unread = source_group(source[:-2]), self.unread
        unread.pop(group, None)
        while unread and unread[first := next(iter(unread))] <= now:
            del unread[first]
        if len(unread) < SOURCES:
            unread[group] = now + PAUSE

    def refuses(self, source: Endpoint, now: float) -> bool:
        """Whether nothing but plain datagrams are read of what comes from there."""
        unread = self.unread
        first = next(iter(unread), None)
        if first is not None and unread[first] <= now:
            del unread[first]  # so that a flood that is over soon costs nobody this look
        return unread.get(source_group(source[:-2]), now) > now and not self._answers_us(source)
