"""The nodes of a run by their numbers: who each is, and who was up at any time that is remembered."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from dhtd.core.ids import Keyspace
from dhtd.lab.log import DIGITS
from dhtd.sim.host import Host

CHANGES: Final = 100_000  # times that a node came or went, which are remembered
LINGER: Final = 60.0  # virtual seconds for which a node that went is still listed
_SWEEP: Final = 1_000  # forgotten changes between two looks for nodes that nobody remembers


class Named(NamedTuple):
    """A node in words."""

    id: str
    endpoint: str


class Row(NamedTuple):
    """A node at some time."""

    n: int
    named: Named
    is_live: bool


class _Change(NamedTuple):
    at: float
    n: int
    is_live: bool


class Roll:
    """All nodes. A machine that comes back under its ID has its number still."""

    def __init__(self, keyspace: Keyspace, changes: int = CHANGES) -> None:
        self.hosts: dict[int, Host] = {}  # those that are up
        self.kept_from = 0.0  # the earliest time of which it is known who was up
        self._format = keyspace.format
        self._most = changes
        self._names: dict[int, Named] = {}
        self._numbers: dict[str, int] = {}  # the latest node at each endpoint
        self._next = 0
        self._changes: deque[_Change] = deque()
        self._before: dict[int, float | None] = {}  # those known at `kept_from`, with the time at which each had gone
        self._forgotten = 0  # changes since the last sweep

    def came(self, host: Host, now: float) -> int:
        """Note that a host is up; return its number."""
        named = Named(self._format(host.id), str(host.endpoint))
        n = self._numbers.get(named.endpoint)
        if n is None or self._names[n] != named:
            n = self._next
            self._next += 1
            self._names[n] = named
            self._numbers.update(dict.fromkeys(map(str, host.endpoints), n))
        self.hosts[n] = host
        self._note(_Change(now, n, is_live=True))
        return n

    def went(self, host: Host, now: float) -> int:
        """Note that a host is down; return its number."""
        n = self._numbers[str(host.endpoint)]
        del self.hosts[n]
        self._note(_Change(now, n, is_live=False))
        return n

    def number(self, endpoint: str) -> int | None:
        """Return the number of the latest node at an endpoint."""
        return self._numbers.get(endpoint)

    def named(self, n: int) -> Named | None:
        """Return who a node is; None if there was none of this number, or nobody remembers it."""
        return self._names.get(n)

    def at(self, time: float) -> Iterator[Row]:
        """Yield the nodes at a time from `kept_from` on, and those that had gone shortly before."""
        known = dict(self._before)
        for change in self._changes:
            if change.at > time:
                break
            known[change.n] = None if change.is_live else change.at
        for n, went_at in known.items():
            if went_at is None or went_at > time - LINGER:
                yield Row(n, self._names[n], went_at is None)

    def _note(self, change: _Change) -> None:
        self._changes.append(change._replace(at=round(change.at, DIGITS)))
        if len(self._changes) <= self._most:
            return
        oldest = self._changes.popleft()
        self._before[oldest.n] = None if oldest.is_live else oldest.at
        self.kept_from = oldest.at
        self._forgotten += 1
        if self._forgotten >= _SWEEP:
            self._forgotten = 0
            self._sweep()

    def _sweep(self) -> None:
        """Forget nodes that had gone long before `kept_from`."""
        later = {change.n for change in self._changes}
        for n, went_at in list(self._before.items()):
            if went_at is not None and went_at <= self.kept_from - LINGER:
                del self._before[n]
                if n not in later:
                    del self._names[n]
        self._numbers = {endpoint: n for endpoint, n in self._numbers.items() if n in self._names}
