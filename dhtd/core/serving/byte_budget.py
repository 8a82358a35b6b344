"""Bytes for strangers beyond what their queries allow, on a wire on which no query can prove its sender (BEP 5).

An answer to a forged query goes to a victim. So it is `amplification` times its query at most, and what is longer comes
out of a budget: a small one for each source, so that one victim gets little, and one for all. A token and some contacts
are always sent. Further contacts, endpoints and values have to fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dhtd.core.endpoint import Endpoint, source_group
from dhtd.core.latest import Latest
from dhtd.core.policy import Policy
from dhtd.core.serving.cells import Cells

if TYPE_CHECKING:
    from random import Random

_ADDRESSES: Final = 1_024  # whose cells are remembered, at most


class ByteBudget:
    """How many bytes more a stranger may be sent."""

    __slots__ = ("_all_due", "_all_interval", "_burst", "_by_source", "_places")

    def __init__(self, policy: Policy, rng: Random, now: float) -> None:
        rate, total = policy.spare_bytes_per_source, policy.spare_bytes
        self._burst = policy.spare_burst
        self._by_source = Cells(policy.rate_cells, 1 / rate, self._burst, rng, now)
        self._places: Latest[bytes, int] = Latest(_ADDRESSES)  # of cells, by address
        self._all_interval = 1 / total
        self._all_due = now  # when all bytes that were sent would be within the rate

    def pays(self, source: Endpoint, size: int, now: float) -> bool:
        """Whether a source may be sent so many bytes more; then they are counted."""
        all_due = max(now, self._all_due) + size * self._all_interval
        if all_due - now > self._burst or not self._by_source.takes(self._place(source[:-2]), size, now):
            return False
        self._all_due = all_due
        return True

    def spare(self, source: Endpoint, now: float) -> int:
        """Return how many bytes more a source may be sent at once."""
        of_all = (self._burst - max(0.0, self._all_due - now)) / self._all_interval
        return int(min(self._by_source.spare(self._place(source[:-2]), now), of_all))

    def charge(self, source: Endpoint, size: int, now: float) -> None:
        """Count so many bytes, even if they are not there. Nobody ever owes more than a burst."""
        self._by_source.charge(self._place(source[:-2]), size, now)
        self._all_due = min(max(now, self._all_due) + size * self._all_interval, now + self._burst)

    def _place(self, ip: bytes) -> int:
        """Return the place of a cell: a keyed hash is dear."""
        place = self._places.get(ip)
        if place is None:
            place = self._places[ip] = self._by_source.place(source_group(ip))
        return place
