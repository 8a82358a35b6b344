"""Fair shares of a pool: how many records each source has, and the source that gives way to another one.

When a pool is full, the source with most records gives way to a source with fewer:

1. It must keep at least as many records as the newcomer's source then has. Else both would push each other out for
   ever.
2. Among several sources with most records, the one that came to this number last gives way.

So a source keeps its fair share, however much others send: with n sources, the n-th part of the pool.
"""

from __future__ import annotations


class FairShares:
    """The sources of a pool, by how many records they have. Each call is O(1)."""

    __slots__ = ("_by_size", "_sources", "most")

    def __init__(self) -> None:
        self.most = 0  # records of the source with most
        self._sources = 0  # how many there are
        self._by_size: dict[int, dict[bytes, None]] = {}  # the sources with so many records, if more than one

    @property
    def has_more_than_fair(self) -> bool:
        """Whether some source would give way to a source without records."""
        return self.most > 1

    def resize(self, source: bytes, before: int, after: int) -> None:
        """A source has one record more or less."""
        by_size = self._by_size
        self._sources += (not before) - (not after)
        if before > 1:
            del by_size[before][source]
            if not by_size[before]:
                del by_size[before]
                if before == self.most:
                    self.most = after
        if after > 1:
            if after in by_size:
                by_size[after][source] = None
            else:
                by_size[after] = {source: None}
        self.most = max(self.most, after) if self._sources else 0

    def loser(self, size: int) -> bytes | None:
        """Return the source that gives way to one with `size` records, if one does. Changes nothing."""
        # The source with most gives way only if it then keeps as many as the newcomer's has.
        if self.most - 1 < size + 1:
            return None
        sources = self._by_size[self.most]
        # The last of these sources; by popitem, since iteration would pass over all that were taken out before.
        source, _ = sources.popitem()
        sources[source] = None
        return source
