"""How many answers by UDP each network of strangers gets: a forged address must not be flooded by us.

A source is the /24 of an IPv4 address, and the /56 of an IPv6 address. Of what is over its rate, every second question
is told to come again by TCP, which a forged address cannot, and the others are dropped. Loopback has no limit.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from enum import Enum, auto
from typing import Final

RATE: Final = 20.0  # answers a second
BURST: Final = 100.0
SOURCES_MAX: Final = 4_096  # the oldest is forgotten, and has its burst again


class Verdict(Enum):
    """What becomes of a question."""

    ANSWERED = auto()
    CUT = auto()  # it is told to come by TCP
    DROPPED = auto()


class Limits:
    """The sources, each with the answers that it may still get."""

    def __init__(self, most: int = SOURCES_MAX) -> None:
        self._most = most
        self._sources: OrderedDict[bytes, tuple[float, float]] = OrderedDict()  # answers left, and when that was
        self.over = 0  # questions over a rate

    def __len__(self) -> int:
        return len(self._sources)

    def verdict(self, host: str, now: float) -> Verdict:
        """Count a question from an address."""
        source = source_of(host)
        if source is None:
            return Verdict.ANSWERED
        left, at = self._sources.pop(source, (BURST, now))
        left = min(BURST, left + (now - at) * RATE)
        if left >= 1:
            verdict, left = Verdict.ANSWERED, left - 1
        else:
            self.over += 1
            verdict = Verdict.CUT if self.over % 2 else Verdict.DROPPED
        self._sources[source] = (left, now)
        if len(self._sources) > self._most:
            self._sources.popitem(last=False)
        return verdict


def source_of(host: str) -> bytes | None:
    """Return the network of an address; None for loopback."""
    address = ipaddress.ip_address(host)
    if address.is_loopback:
        return None
    return address.packed[:3] if address.version == 4 else address.packed[:7]
