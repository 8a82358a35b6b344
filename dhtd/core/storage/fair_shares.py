"""Who has how much of what is scarce: the entries of one pool by their source, and which of them gives way to another.

When a pool is full, an entry of a source that has fewer takes the place of one of the source that has most: of that,
the one that would expire first. It must leave that source no fewer than the newcomer's then has; else both would push
each other out for ever. So a source keeps what is its fair share, however much others send: with n sources, the n-th
part of the pool. Of several sources that have most, the one gives way that has come to it last.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush, heapreplace

from dhtd.core.endpoint import Endpoint, source_group

# A held entry: when it expires, its packed key, and its endpoint. A bare tuple: there may be a million.
Entry = tuple[float, bytes, Endpoint]

_SLACK = 8  # forgotten records of a source that are not worth a rebuild


class _Several:
    """The records of a source that has more than one."""

    __slots__ = ("queue", "size")

    def __init__(self, records: list[Entry]) -> None:
        self.size = len(records)
        self.queue = records  # a heap: these as they were, some renewed and some removed since
        heapify(records)


class FairShares:
    """The records of one pool by source.

    `current` gives the record that is held of the same entry as another, if any is: the pool changes first, and tells
    then. Each call is O(log n) at worst, if the cost of rebuilding a queue is laid on the calls that made it long.
    """

    __slots__ = ("_by_size", "_current", "_sources", "most")

    def __init__(self, current: Callable[[Entry], Entry | None]) -> None:
        self.most = 0  # records of a source that has most
        self._current = current
        self._sources: dict[bytes, Entry | _Several] = {}  # one record mostly, of which nothing more is kept
        self._by_size: dict[int, dict[bytes, None]] = {}  # which sources have so many, if more than one

    @property
    def has_more_than_fair(self) -> bool:
        """Whether some source would give way to one that has nothing yet: `loser` tells of which record."""
        return self.most > 1

    def size(self, ip: bytes) -> int:
        """Return how many the source at this address has."""
        found = self._sources.get(ip if len(ip) == 4 else source_group(ip))  # without a call; so it is below
        if found is None:
            return 0
        return found.size if isinstance(found, _Several) else 1

    def add(self, record: Entry) -> None:
        """Take a record that is new to the pool."""
        ip = record[2][:-2]
        group = ip if len(ip) == 4 else source_group(ip)
        found = self._sources.get(group)
        if found is None:
            self._sources[group] = record
            self.most = self.most or 1
        elif isinstance(found, _Several):
            size = found.size
            heappush(found.queue, record)
            self._resize(group, size, size + 1)
            found.size = size + 1
            self._tidy(found)
        else:
            self._sources[group] = _Several([found, record])
            self._resize(group, 1, 2)

    def renew(self, old: Entry, record: Entry) -> None:
        """Take a record in place of an older one of the same entry."""
        ip = record[2][:-2]
        group = ip if len(ip) == 4 else source_group(ip)
        found = self._sources[group]
        if not isinstance(found, _Several):
            self._sources[group] = record
        elif record < old:  # else the old one, found in the queue, leads to this
            heappush(found.queue, record)
            self._tidy(found)

    def drop(self, record: Entry) -> None:
        """Let go of a record that has left the pool."""
        ip = record[2][:-2]
        group = ip if len(ip) == 4 else source_group(ip)
        found = self._sources[group]
        if not isinstance(found, _Several):
            del self._sources[group]
            if not self._sources:
                self.most = 0
            return
        self._resize(group, found.size, found.size - 1)
        found.size -= 1
        if found.size == 1:
            [self._sources[group]] = self._held(found)
        else:
            self._tidy(found)

    def loser(self, ip: bytes) -> Entry | None:
        """Return the record that gives way to a new one from this address, if one does. Changes nothing."""
        if self.most - 1 < self.size(ip) + 1:
            return None
        sources = self._by_size[self.most]
        group, _ = sources.popitem()  # not by iteration: that would pass over all that were taken out before
        sources[group] = None
        found = self._sources[group]
        assert isinstance(found, _Several)
        queue = found.queue
        while (current := self._current(queue[0])) is not queue[0]:
            if current is None:
                heappop(queue)
            else:
                heapreplace(queue, current)
        return current

    def _tidy(self, found: _Several) -> None:
        if len(found.queue) > 2 * found.size + _SLACK:
            found.queue = self._held(found)
            heapify(found.queue)

    def _held(self, found: _Several) -> list[Entry]:
        """Return what is held of these, each once."""
        current = (self._current(record) for record in found.queue)
        return list(dict.fromkeys(record for record in current if record is not None))

    def _resize(self, group: bytes, before: int, after: int) -> None:
        by_size = self._by_size
        if before > 1:
            del by_size[before][group]
            if not by_size[before]:
                del by_size[before]
                if before == self.most:
                    self.most = after
        if after > 1:
            if after in by_size:
                by_size[after][group] = None
            else:
                by_size[after] = {group: None}
            self.most = max(self.most, after)
