"""How many queries one source may send: a virtual-scheduling rate limit (GCRA, ITU-T I.371), one number per source."""

from __future__ import annotations

_SOURCES_MAX = 16_384
_SOURCES_FEW = 32  # too few to be worth forgetting any


class RateLimit:
    """At most `rate` queries a second from each source, with bursts of `burst` seconds' worth; rate 0 is no limit.

    A burst is one query at least, however low the rate.
    """

    __slots__ = ("_allowance", "_due", "_full", "_interval")

    def __init__(self, rate: float, burst: float) -> None:
        self._interval = 1 / rate if rate > 0 else 0.0
        self._allowance = max(burst - self._interval, 0.0)
        self._due: dict[bytes, float] = {}  # when a source that keeps to the rate would send its next query
        self._full = _SOURCES_FEW  # with so many sources, those that owe nothing are forgotten

    def allows(self, ip: bytes, now: float) -> bool:
        """Whether a query from this address is within the limit; it counts if so."""
        if not self._interval:
            return True
        source = ip[:8]  # its `source_group`, without a call
        due = self._due.get(source)
        if due is None:
            if len(self._due) >= self._full:
                self._make_room(now)
            due = now
        elif due < now:
            due = now
        elif due - now > self._allowance:
            return False
        self._due[source] = due + self._interval
        return True

    def _make_room(self, now: float) -> None:
        """Forget the sources that owe nothing; all of them, where forged addresses have filled the table."""
        self._due = {source: due for source, due in self._due.items() if due > now}
        if len(self._due) >= _SOURCES_MAX:
            self._due.clear()
        self._full = min(max(2 * len(self._due), _SOURCES_FEW), _SOURCES_MAX)
