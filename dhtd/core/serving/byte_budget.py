"""Bytes for strangers beyond what their queries allow, on a wire on which no query can prove its sender (BEP 5).

An answer to a forged query goes to a victim. So it is `amplification` times its query at most, and what is longer comes
out of a budget: a small one for each source, so that one victim gets little, and one for all. Contacts and a token are
always sent, and charged. Endpoints and values have to fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dhtd.core.endpoint import Endpoint, source_group
from dhtd.core.policy import Policy
from dhtd.core.serving.cells import Cells

if TYPE_CHECKING:
    from random import Random

_ALL = b""  # the name of the only cell of the budget for all


class ByteBudget:
    """How many bytes more a stranger may be sent."""

    __slots__ = ("_all", "_by_source")

    def __init__(self, policy: Policy, rng: Random, now: float) -> None:
        rate, total = policy.spare_bytes_per_source, policy.spare_bytes
        self._by_source = Cells(policy.rate_cells, 1 / rate, policy.spare_burst, rng, now)
        self._all = Cells(1, 1 / total, policy.spare_burst, rng, now)

    def spare(self, source: Endpoint, now: float) -> int:
        """Return how many bytes more a source may be sent at once."""
        return int(min(self._by_source.spare(source_group(source[:-2]), now), self._all.spare(_ALL, now)))

    def charge(self, source: Endpoint, size: int, now: float) -> None:
        """Count so many bytes."""
        self._by_source.charge(source_group(source[:-2]), size, now)
        self._all.charge(_ALL, size, now)
