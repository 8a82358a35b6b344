"""What lies between hosts: how long a datagram takes, whether it arrives, who can reach whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

from dhtd.core.endpoint import Endpoint

if TYPE_CHECKING:
    from random import Random


@dataclass(frozen=True, slots=True)
class Links:
    """The quality of every link. Each link draws its own latency, once and for both directions."""

    latency: float = 0.04  # seconds one way, the median of a log-normal distribution
    sigma: float = 0.5  # of the logarithm: 0 makes all links alike, 0.5 makes one in a hundred 3 times slower
    jitter: float = 0.1  # each datagram takes up to this part of the link's latency longer
    loss: float = 0.0  # the part of datagrams that never arrive


class Nat:
    """An address translator in front of one host: only whom the host has lately written to gets through."""

    __slots__ = ("_lifetime", "_until")

    def __init__(self, lifetime: float = 60.0) -> None:
        self._lifetime = lifetime  # seconds that a mapping lasts after the host last used it
        self._until: dict[Endpoint, float] = {}

    def sent(self, destination: Endpoint, now: float) -> None:
        """The host has written to `destination`."""
        self._until[destination] = now + self._lifetime

    def admits(self, source: Endpoint, now: float) -> bool:
        """Whether a datagram from `source` reaches the host."""
        return self._until.get(source, 0.0) >= now


class Weather:
    """The links of one network, and what has happened to them: partitions and outages."""

    def __init__(self, links: Links, rng: Random) -> None:
        self.links = links
        self._rng = rng
        self._latencies: dict[frozenset[Endpoint], float] = {}
        self._sides: dict[Endpoint, int] = {}
        self._unplugged: set[Endpoint] = set()
        self.is_down = False  # a total outage: nothing arrives anywhere

    def partition(self, sides: Sequence[Iterable[Endpoint]]) -> None:
        """Let nothing pass between these sides; endpoints on none of them form one more."""
        self._sides = {endpoint: number for number, side in enumerate(sides, 1) for endpoint in side}

    def unplug(self, endpoint: Endpoint) -> None:
        """Cut one endpoint off."""
        self._unplugged.add(endpoint)

    def plug(self, endpoint: Endpoint) -> None:
        """Connect an endpoint again."""
        self._unplugged.discard(endpoint)

    def heal(self) -> None:
        """End partitions, outages, and cut cables."""
        self._sides.clear()
        self._unplugged.clear()
        self.is_down = False

    def carries(self, source: Endpoint, destination: Endpoint) -> bool:
        """Whether there is a way from one to the other now."""
        if self.is_down or source in self._unplugged or destination in self._unplugged:
            return False
        return not self._sides or self._sides.get(source, 0) == self._sides.get(destination, 0)

    def delay(self, source: Endpoint, destination: Endpoint) -> float | None:
        """Return the seconds that a datagram takes; None where it is lost."""
        links = self.links
        if links.loss and self._rng.random() < links.loss:
            return None
        link = frozenset((source, destination))
        latency = self._latencies.get(link)
        if latency is None:
            latency = self._latencies[link] = self._rng.lognormvariate(log(links.latency), links.sigma)
        return latency * (1 + self._rng.random() * links.jitter)
