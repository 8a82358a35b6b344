"""How much rubbish is read from each source.

A datagram is decoded before its source is charged for a query, so the cost of decoding rubbish is charged as well: a
source has a sixteenth of its rate for it. Above that, only its *plain* datagrams are decoded. The codec can tell at a
glance that these cost next to nothing. All datagrams that this program sends are plain.

So an attacker that forges rubbish in the name of another node does not silence it: we still read a stranger's queries
and the answers that we wait for. All datagrams of a contact that answers us are read, for it may be another program.
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
    """The rubbish that each source may send; `rate` is that of its queries, and 0 is no limit."""

    __slots__ = ("_answers_us", "_limit", "unread")

    def __init__(self, policy: Policy, rng: Random, answers_us: Callable[[Endpoint], bool], rate: float) -> None:
        self._answers_us = answers_us
        self._limit = RateLimit(policy, rng, answers_us, rate=rate * PART, total=0.0)
        self.unread: dict[bytes, float] = {}  # sources above their part, and until when, the first first; mostly none

    def begin(self, rate: float) -> None:
        """Take another rate of queries for a source from now on, and begin with sources that have sent no rubbish."""
        self._limit.begin(rate * PART, 0.0)
        self.unread.clear()

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
        """Whether only plain datagrams from there are read."""
        unread = self.unread
        first = next(iter(unread), None)
        if first is not None and unread[first] <= now:
            del unread[first]  # a flood that is over soon costs no other source this look
        return unread.get(source_group(source[:-2]), now) > now and not self._answers_us(source)
