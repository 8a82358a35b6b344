"""Fair shares of a pool: its entries by their source, and the entry that gives way to another one.

When a pool is full, the source with most entries gives way to a source with fewer:

1. The loser is the entry of that source which would expire first.
2. Its source must keep at least as many entries as the newcomer's source then has. Else both would push each other out
   for ever.
3. Among several sources with most entries, the one that came to this number last gives way.

So a source keeps its fair share, however much others send: with n sources, the n-th part of the pool.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush, heapreplace

from dhtd.core.endpoint import Endpoint, source_group

# A held entry: when it expires, its packed key, and its place under the key: a peer's endpoint. A bare tuple, since
# there may be a million.
Entry = tuple[float, bytes, Endpoint]

_SLACK = 8  # forgotten records of a source, which are not worth a rebuild


class _Several:
    """The records of a source with more than one."""

    __slots__ = ("queue", "size")

    def __init__(self, records: list[Entry]) -> None:
        self.size = len(records)
        self.queue = records  # a heap; some of these were renewed or removed since
        heapify(records)


class FairShares:
    """The records of one pool by source.

    `current` returns the record that the pool holds now of the same entry, if it holds one. The pool changes first, and
    tells us then. Each call is O(log n), amortized over the rebuilds of queues.
    """

    __slots__ = ("_by_size", "_current", "_sources", "most")

    def __init__(self, current: Callable[[Entry], Entry | None]) -> None:
        self.most = 0  # records of the source with most
        self._current = current
        self._sources: dict[bytes, Entry | _Several] = {}  # mostly one record, and then nothing else
        self._by_size: dict[int, dict[bytes, None]] = {}  # the sources with so many records, if more than one

    @property
    def has_more_than_fair(self) -> bool:
        """Whether some source would give way to a source without records."""
        return self.most > 1

    def size(self, ip: bytes) -> int:
        """Return how many records the source at this address has."""
        found = self._sources.get(ip if len(ip) == 4 else source_group(ip))  # a call less, here and below
        if found is None:
            return 0
        return found.size if isinstance(found, _Several) else 1

    def add(self, record: Entry) -> None:
        """The pool has taken a new record."""
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
        else:
            self._sources[group] = _Several([found, record])
            self._resize(group, 1, 2)

    def renew(self, old: Entry, record: Entry) -> None:
        """The pool has taken a record in place of an older one of the same entry."""
        ip = record[2][:-2]
        group = ip if len(ip) == 4 else source_group(ip)
        found = self._sources[group]
        if not isinstance(found, _Several):
            self._sources[group] = record
        elif record < old:  # else the old one leads to this when it surfaces in the queue
            heappush(found.queue, record)
            self._tidy(found)

    def drop(self, record: Entry) -> None:
        """The pool has dropped a record."""
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
        # The source with most gives way only if it then keeps as many as the newcomer's has.
        if self.most - 1 < self.size(ip) + 1:
            return None
        sources = self._by_size[self.most]
        # The last of these sources; by popitem, since iteration would pass over all that were taken out before.
        group, _ = sources.popitem()
        sources[group] = None
        found = self._sources[group]
        assert isinstance(found, _Several)
        # Its record that expires first, once renewed and removed records are out of the way.
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
        """Return the records of these entries that are held, each once."""
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
