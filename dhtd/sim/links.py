"""What lies between hosts: how long a datagram takes, whether it arrives, and between which hosts there is a way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, log
from statistics import NormalDist
from typing import TYPE_CHECKING
from zlib import crc32

from dhtd.core.endpoint import Endpoint

if TYPE_CHECKING:
    from random import Random

_QUANTILES = 4_096


@dataclass(frozen=True, slots=True)
class LinkModels:
    """The quality of every link. Each link has a latency of its own, the same in both directions."""

    latency: float = 0.04  # seconds one way, the median of a log-normal distribution
    sigma: float = 0.5  # of the logarithm: 0 makes all links alike, 0.5 makes one in a hundred 3 times slower
    jitter: float = 0.1  # each datagram takes up to this part of the link's latency longer
    loss: float = 0.0  # the part of datagrams that never arrive
    duplicate: float = 0.0  # the part that arrive twice
    reorder: float = 0.0  # the part that are held up, by one to ten times the link's latency, and so overtaken


class Nat:
    """An address translator in front of one host. It lets in only endpoints that the host has lately written to."""

    __slots__ = ("_lifetime", "_until")

    def __init__(self, lifetime: float = 60.0) -> None:
        self._lifetime = lifetime  # seconds that a mapping lasts after the host last used it
        self._until: dict[Endpoint, float] = {}

    def sent(self, destination: Endpoint, now: float) -> None:
        """The host has written to `destination`."""
        self._until.pop(destination, None)
        self._until[destination] = now + self._lifetime
        oldest = next(iter(self._until))
        if self._until[oldest] < now:
            del self._until[oldest]

    def admits(self, source: Endpoint, now: float) -> bool:
        """Whether a datagram from `source` reaches the host."""
        return self._until.get(source, 0.0) >= now


class Weather:
    """The links of one network, and what has happened to them: partitions and outages."""

    def __init__(self, links: LinkModels, rng: Random) -> None:
        self.links = links
        self._rng = rng
        self._salt = rng.getrandbits(32)
        self._sides: dict[Endpoint, int] = {}
        self._unplugged: set[Endpoint] = set()
        self._is_down = False  # a total outage: nothing arrives anywhere
        self.is_whole = True  # there is a way between all, so `carries` need not be asked
        self._latencies = _latencies(links.latency, links.sigma)

    def partition(self, sides: Sequence[Iterable[Endpoint]]) -> None:
        """Let nothing pass between these sides; endpoints on none of them form one more."""
        self._sides = {endpoint: number for number, side in enumerate(sides, 1) for endpoint in side}
        self.is_whole = False

    def outage(self) -> None:
        """Let nothing arrive anywhere."""
        self._is_down = True
        self.is_whole = False

    def place_beside(self, endpoint: Endpoint, other: Endpoint) -> None:
        """Put an endpoint on the side of a partition that another is on."""
        if self._sides:
            self._sides[endpoint] = self._sides.get(other, 0)

    def unplug(self, endpoint: Endpoint) -> None:
        """Cut one endpoint off."""
        self._unplugged.add(endpoint)
        self.is_whole = False

    def heal(self) -> None:
        """End partitions, outages, and cut cables."""
        self._sides.clear()
        self._unplugged.clear()
        self._is_down = False
        self.is_whole = True

    def carries(self, source: Endpoint, destination: Endpoint) -> bool:
        """Whether there is a way from one to the other now."""
        if self._is_down:
            return False
        if self._unplugged and (source in self._unplugged or destination in self._unplugged):
            return False
        return not self._sides or self._sides.get(source, 0) == self._sides.get(destination, 0)

    def delays(self, source: Endpoint, destination: Endpoint) -> tuple[float, ...]:
        """Return the seconds that each copy of a datagram takes that arrives; usually one."""
        links, random = self.links, self._rng.random
        if links.loss and random() < links.loss:
            return ()
        latency = self.latency(source, destination)
        delay = latency * (1 + random() * links.jitter)
        if links.reorder and random() < links.reorder:
            delay += latency * (1 + 9 * random())
        if links.duplicate and random() < links.duplicate:
            return delay, delay + latency * random()
        return (delay,)

    def latency(self, source: Endpoint, destination: Endpoint) -> float:
        """Return the seconds that this link takes at least, one way.

        It follows from the two addresses: remembered draws would be most of what a large network weighs.
        """
        link = source + destination if source < destination else destination + source
        return self._latencies[crc32(link, self._salt) % _QUANTILES]


@lru_cache(maxsize=8)
def _latencies(median: float, sigma: float) -> tuple[float, ...]:
    """Return the latencies that links have, each as likely: quantiles of a log-normal distribution."""
    normal = NormalDist(log(median), sigma) if sigma else None
    if normal is None:
        return (median,) * _QUANTILES
    return tuple(exp(normal.inv_cdf((rank + 0.5) / _QUANTILES)) for rank in range(_QUANTILES))
