"""Rates of any number of sources in fixed memory: each source has the cell that a keyed hash gives it.

Two sources in one cell make the limit stricter for both, never laxer, and no source can know which others share its
cell (a count-min sketch of one row). To close one cell takes a rate's worth of queries.
"""

from __future__ import annotations

from array import array
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

_KEY_SIZE = 16
_INDEX_SIZE = 8  # bytes of hash that choose a cell


class Cells:
    """One query each `interval` seconds by each cell, and `allowance` seconds' worth more of them at once."""

    __slots__ = ("_allowance", "_due", "_interval", "_key", "settled_at")

    def __init__(self, count: int, interval: float, allowance: float, rng: Random, now: float) -> None:
        self._interval = interval
        self._allowance = allowance
        self._due = array("d", [now]) * count  # when a source that keeps to the rate would send its next query
        self._key = rng.randbytes(_KEY_SIZE)
        self.settled_at = now  # when no cell will owe anything

    def __len__(self) -> int:
        """How many cells there are."""
        return len(self._due)

    def allows(self, source: bytes, now: float) -> bool:
        """Whether a query is within the rate of the source's cell; then it counts."""
        cell = self.place(source)
        due = max(now, self._due[cell])
        if due - now > self._allowance:
            return False
        self._due[cell] = due + self._interval
        self.settled_at = now + self._allowance + self._interval
        return True

    def takes(self, place: int, queries: int, now: float) -> bool:
        """Whether so many queries are within the rate of the cell at a place; then they count."""
        due = max(now, self._due[place]) + queries * self._interval
        if due - now > self._allowance:
            return False
        self._due[place] = due
        return True

    def spare(self, place: int, now: float) -> float:
        """Return how many queries at once are within the rate of the cell at a place."""
        return (self._allowance - max(0.0, self._due[place] - now)) / self._interval

    def charge(self, place: int, queries: int, now: float) -> None:
        """Count queries in the cell at a place, within the rate or not. It never owes more than its allowance."""
        self._due[place] = min(max(now, self._due[place]) + queries * self._interval, now + self._allowance)

    def place(self, source: bytes) -> int:
        """Return the place of the source's cell."""
        digest = blake2b(source, key=self._key, digest_size=_INDEX_SIZE).digest()
        return int.from_bytes(digest, "big") % len(self._due)
