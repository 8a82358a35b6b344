"""Held values by their source, and which of them give way when a store is full.

1. A source with much more than the newcomer's gives way. A source is in class n if the *weight* of its values has n
   bits; the one that gives way is in the highest class, and the newcomer's is in a lower one, also with the new value.
2. Else the newcomer's own source does, with values that are as far from this node as the new one.
3. Of a source, the farthest values go first, among those that were heard of longest ago.

So a source keeps at least half of its fair share, however much others send: with n sources, the n-th part of the store.
A source with one value never loses it. A machine with few addresses can fill a store, and keeps nobody out.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

VALUE_WEIGHT: Final = 512  # for each value, beside its bytes: small ones fill a store as well
_LOOKED: Final = 32  # values of a source that are looked at to find the farthest: those heard of longest ago


class KeptValue:
    """A held value, in little memory."""

    __slots__ = ("bits", "expires_at", "key", "packed", "replicate_at", "source")

    def __init__(self, key: bytes, packed: bytes, source: bytes, bits: int, expires_at: int, replicate_at: int) -> None:
        self.key = key
        self.packed = packed
        self.source = source
        self.bits = bits  # of the distance between the key and this node
        self.expires_at = expires_at
        self.replicate_at = replicate_at


class _Share:
    """What a source with several values has."""

    __slots__ = ("size", "values")

    def __init__(self, first: KeptValue) -> None:
        self.values = {first: None}  # the last heard of last
        self.size = len(first.packed)

    @property
    def rank(self) -> int:
        """The class that it is in."""
        return weight(len(self.values), self.size).bit_length()


class ValueShares:
    """The held values, by source. Most sources have one value, and no share."""

    __slots__ = ("_ranks", "_sources")

    def __init__(self) -> None:
        self._sources: dict[bytes, KeptValue | _Share] = {}
        self._ranks: dict[int, dict[bytes, None]] = {}  # the sources of each class, if they have several values

    def __len__(self) -> int:
        """How many sources there are."""
        return len(self._sources)

    def __contains__(self, source: bytes) -> bool:
        """Whether a source has any values."""
        return source in self._sources

    @property
    def has_more_than_fair(self) -> bool:
        """Whether some source may give way to a source without values."""
        return bool(self._ranks)

    def of(self, source: bytes) -> tuple[int, int]:
        """Return how many values a source has, and their bytes."""
        found = self._sources.get(source)
        if found is None:
            return 0, 0
        return (1, len(found.packed)) if isinstance(found, KeptValue) else (len(found.values), found.size)

    def add(self, value: KeptValue) -> None:
        """A value is held now."""
        found = self._sources.get(value.source)
        if found is None:
            self._sources[value.source] = value
            return
        if isinstance(found, KeptValue):
            share = self._sources[value.source] = _Share(found)
            rank = 0
        else:
            share, rank = found, found.rank
        share.values[value] = None
        share.size += len(value.packed)
        self._move(value.source, rank, share.rank)

    def drop(self, value: KeptValue) -> None:
        """A value is held no longer."""
        share = self._sources[value.source]
        if isinstance(share, KeptValue):
            del self._sources[value.source]
            return
        rank = share.rank
        del share.values[value]
        share.size -= len(value.packed)
        is_left = len(share.values) > 1
        if not is_left:
            [self._sources[value.source]] = share.values
        self._move(value.source, rank, share.rank if is_left else 0)

    def heard(self, value: KeptValue) -> None:
        """A held value was put again."""
        share = self._sources[value.source]
        if isinstance(share, _Share):
            del share.values[value]
            share.values[value] = None

    def giving_way(self, source: bytes, weight: int, bits: int) -> Iterator[KeptValue]:
        """Yield the values that give way to a new one, one after another: see above. Changes nothing.

        With the new value, which is so many `bits` from this node, its source has this weight.
        """
        highest = max(self._ranks, default=0)
        if highest > weight.bit_length():
            # The last of these sources; by popitem, since iteration would pass over all that were taken out before.
            sources = self._ranks[highest]
            loser, _ = sources.popitem()
            sources[loser] = None
            yield from self._farthest(loser)
        else:
            yield from (value for value in self._farthest(source) if value.bits >= bits)

    def _farthest(self, source: bytes) -> list[KeptValue]:
        found = self._sources.get(source)
        if found is None or isinstance(found, KeptValue):
            return [] if found is None else [found]
        return sorted(islice(found.values, _LOOKED), key=lambda value: -value.bits)

    def _move(self, source: bytes, before: int, after: int) -> None:
        if before == after:
            return
        if before:
            del self._ranks[before][source]
            if not self._ranks[before]:
                del self._ranks[before]
        if after:
            self._ranks.setdefault(after, {})[source] = None


def weight(values: int, size: int) -> int:
    """Return what counts of values with so many bytes, where sources are compared."""
    return size + VALUE_WEIGHT * values
