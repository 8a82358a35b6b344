"""Held values by their source, and which of them give way when a store is full.

1. Sources with much more than the newcomer's give way. A source is in class n if the *weight* of its values has n
   bits. Those in the highest class give way first. Each keeps what leaves it in the class of the newcomer's source,
   which the new value is counted for, and one value at least.
2. If there is none, the newcomer's own source does, with values that are as far from this node as the new one.
3. Of a source, the farthest values go first, among those that were heard of longest ago.

So a source keeps at least half of its fair share, however much others send: with n sources, the n-th part of the store.
A source with one value never loses it. A machine with few addresses can fill a store, and keeps nobody out.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

COUNTED: Final = 128  # bytes that a shorter value counts as: so a few make room for the longest
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

    @property
    def size(self) -> int:
        """The bytes that it counts as."""
        return size_of(self.packed)


class _Share:
    """What a source with several values has."""

    __slots__ = ("size", "values")

    def __init__(self, first: KeptValue) -> None:
        self.values = {first: None}  # the last heard of last
        self.size = first.size

    @property
    def weight(self) -> int:
        """What counts of them."""
        return weight(len(self.values), self.size)

    @property
    def rank(self) -> int:
        """The class that it is in."""
        return self.weight.bit_length()


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
        return (1, found.size) if isinstance(found, KeptValue) else (len(found.values), found.size)

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
        share.size += value.size
        self._move(value.source, rank, share.rank)

    def drop(self, value: KeptValue) -> None:
        """A value is held no longer."""
        share = self._sources[value.source]
        if isinstance(share, KeptValue):
            del self._sources[value.source]
            return
        rank = share.rank
        del share.values[value]
        share.size -= value.size
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
        rank = weight.bit_length()
        higher = sorted((each for each in self._ranks if each > rank), reverse=True)
        for each in higher:
            for loser in _last_first(self._ranks[each]):
                yield from self._excess(loser, rank)
        if not higher:
            found = self._sources.get(source)
            own = _farthest(found) if isinstance(found, _Share) else [] if found is None else [found]
            yield from (value for value in own if value.bits >= bits)

    def _excess(self, source: bytes, rank: int) -> Iterator[KeptValue]:
        """Yield what a source with several values has beyond this class, until one is left."""
        share = self._sources[source]
        assert isinstance(share, _Share)
        left, spared = share.weight, len(share.values) - 1
        for value in _farthest(share):
            if not spared or left.bit_length() <= rank:
                return
            left, spared = left - weight(1, value.size), spared - 1
            yield value

    def _move(self, source: bytes, before: int, after: int) -> None:
        if before == after:
            return
        if before:
            del self._ranks[before][source]
            if not self._ranks[before]:
                del self._ranks[before]
        if after:
            self._ranks.setdefault(after, {})[source] = None


def _last_first(sources: dict[bytes, None]) -> Iterator[bytes]:
    """Yield these sources. The first by popitem, since iteration would pass over all that were taken out before."""
    last, _ = sources.popitem()
    sources[last] = None
    yield last
    yield from islice(reversed(sources), 1, None)


def _farthest(share: _Share) -> list[KeptValue]:
    """Return the values of a source that were heard of longest ago, the farthest first."""
    return sorted(islice(share.values, _LOOKED), key=lambda value: -value.bits)


def size_of(packed: bytes) -> int:
    """Return the bytes that a value counts as."""
    return max(len(packed), COUNTED)


def weight(values: int, size: int) -> int:
    """Return what counts of values with so many bytes, where sources are compared."""
    return size + VALUE_WEIGHT * values
