"""Whether strangers can reach us: a query shows it if it comes from an address that we have not written to lately.

A NAT or a firewall lets in datagrams from addresses that the machine behind it has lately written to, and remembers
these for minutes. So the addresses of our queries are remembered for longer than that, and for as long again when one
of them queries us, since our answer goes through the NAT as well.

The memory is a field of marks of fixed size (a Bloom filter of one hash), so some other addresses seem to be in it.
That errs on the safe side: a query from such an address proves nothing, and the next query from another address will.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from dhtd.core.endpoint import Endpoint, Scope, scope_of
from dhtd.core.enums import plain
from dhtd.core.policy import Policy

_LOOK_AGAIN: Final = 1.0  # seconds after evidence until more is worth the time that looking for it takes at each query
_FIELD: Final = 512  # bytes: with a hundred addresses in mind, one other address in forty seems to be among them
_SPREAD: Final = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio: multiplied by it, neighbours are far apart (Knuth)


@plain
class Reach(Enum):
    """The farthest place from which a stranger has reached us."""

    PUBLIC = "public"
    PRIVATE = "private"  # from a private range, and nowhere else
    UNKNOWN = "unknown"  # we have not: we may be behind a NAT, or new


class Reachability:
    """Remembers the addresses that we wrote to, and when strangers reached us."""

    __slots__ = ("_at", "_before", "_contacted", "_policy", "_turn_at", "look_at")

    def __init__(self, policy: Policy, now: float) -> None:
        self._policy = policy
        self._contacted = bytearray(_FIELD)  # marks of the addresses that queries went to since the last turn
        self._before = bytes(_FIELD)  # and before it
        self._turn_at = now + policy.outside_memory
        self._at = dict.fromkeys((Reach.PUBLIC, Reach.PRIVATE), float("-inf"))
        self.look_at = float("-inf")  # queries that come sooner need not be shown to `queried`

    def contacted(self, endpoint: Endpoint, now: float) -> None:
        """A query goes to this endpoint."""
        if now >= self._turn_at:
            self._turn(now)
        place, mark = _mark(endpoint)
        self._contacted[place] |= mark

    def queried(self, source: Endpoint, now: float) -> None:
        """A query has come from this endpoint."""
        if now >= self._turn_at:
            self._turn(now)
        place, mark = _mark(source)
        if (self._contacted[place] | self._before[place]) & mark:
            self._contacted[place] |= mark
            return
        self._at[Reach.PUBLIC if scope_of(source) is Scope.PUBLIC else Reach.PRIVATE] = now
        self.look_at = now + _LOOK_AGAIN

    def reach(self, now: float) -> Reach:
        """Return from where we have lately been reached."""
        for kind, at in self._at.items():
            if now < at + self._policy.outside_lasts:
                return kind
        return Reach.UNKNOWN

    def _turn(self, now: float) -> None:
        """Forget the addresses from before the last turn; all of them, if that was long ago."""
        memory = self._policy.outside_memory
        self._before = bytes(self._contacted) if now < self._turn_at + memory else bytes(_FIELD)
        self._contacted = bytearray(_FIELD)
        self._turn_at = now + memory


def _mark(endpoint: Endpoint) -> tuple[int, int]:
    """Return the byte of a field, and the bit of it, that marks an address, whatever its port."""
    spot = (int.from_bytes(endpoint[:-2], "big") * _SPREAD >> 40) % (8 * _FIELD)
    return spot >> 3, 1 << (spot & 7)
