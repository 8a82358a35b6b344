"""How long answers take: of one contact, or of all."""

from __future__ import annotations


class RoundTrips:
    """A running estimate of how long an answer takes (RFC 6298 section 2: smoothed mean and deviation)."""

    __slots__ = ("_deviation", "_gain", "mean", "samples")

    def __init__(self, gain: float = 1 / 8) -> None:
        self.mean: float | None = None  # seconds; None before the first sample
        self.samples = 0
        self._deviation = 0.0
        self._gain = gain  # how much of the estimate each sample replaces

    def add(self, rtt: float) -> None:
        """Take one measured round trip, in seconds."""
        self.samples += 1
        if self.mean is None:
            self.mean, self._deviation = rtt, rtt / 2
        else:
            self._deviation += (abs(rtt - self.mean) - self._deviation) * 2 * self._gain
            self.mean += (rtt - self.mean) * self._gain

    def patience(self, deviations: int) -> float:
        """Return the mean plus so many deviations, in seconds; 0 before the first sample."""
        return (self.mean or 0.0) + deviations * self._deviation
