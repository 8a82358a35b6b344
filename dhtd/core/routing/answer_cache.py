"""The K nearest of some contacts, to any target, each answer packed once and found again in a step or two.

Which contacts are nearest to a target depends on few of its bits: those at which the IDs in question part. So answers
are the leaves of a binary tree of these bits, which grows as targets come. Targets in one range of the routing table
share the bits above it, and enter the tree behind those: however large the table, a few steps are left.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dhtd.core.codec import PackedContacts
from dhtd.core.messages import Contact


@dataclass(slots=True)
class _Fork:
    """Contacts to choose from, by the first bit at which their IDs part. All share the bits above it.

    `taken` are in the answer already. `wanted` more are to come of those from `low` to `high`, the latter excluded.
    """

    bit: int
    low: int
    middle: int  # the first that has the bit
    high: int
    wanted: int
    taken: tuple[Contact, ...]
    without: _Fork | PackedContacts | None = None  # where targets without the bit go on; None until one comes
    having: _Fork | PackedContacts | None = None


class AnswerCache:
    """The `k` nearest of `contacts`, which never change, in the form that `pack` gives them.

    `bounds` part the keyspace into halves of halves: where each begins, and where the last one ends.
    """

    __slots__ = ("_bounds", "_contacts", "_entries", "_ids", "_pack", "_root")

    def __init__(
        self,
        contacts: Iterable[Contact],
        k: int,
        pack: Callable[[Sequence[Contact]], PackedContacts],
        bounds: Sequence[int],
    ) -> None:
        self._bounds = tuple(bounds)
        self._entries: list[_Fork | PackedContacts | None] = [None] * len(bounds)  # where targets in each range begin
        self._contacts = sorted(contacts)
        self._ids = [contact.id for contact in self._contacts]
        self._pack = pack
        self._root = self._choose(0, len(self._contacts), k, ())

    def to(self, target: int) -> PackedContacts:
        """Return the contacts nearest to `target` (XOR metric), in no order."""
        index = bisect_right(self._bounds, target) - 1
        place = self._entries[index] or self._enter(index)
        while type(place) is _Fork:
            if target & place.bit:
                place = place.having or self._grow(place, having=True)
            else:
                place = place.without or self._grow(place, having=False)
        assert isinstance(place, PackedContacts)
        return place

    def _enter(self, index: int) -> _Fork | PackedContacts:
        """Find where the targets of a range part, if they do."""
        low, end = self._bounds[index : index + 2]
        place = self._root
        while isinstance(place, _Fork) and place.bit >= end - low:
            having = bool(low & place.bit)
            place = (place.having if having else place.without) or self._grow(place, having=having)
        self._entries[index] = place
        return place

    def _grow(self, fork: _Fork, *, having: bool) -> _Fork | PackedContacts:
        """Find out where targets with, or without, the fork's bit go on."""
        halves = (fork.low, fork.middle), (fork.middle, fork.high)
        near, far = halves[::-1] if having else halves
        left = fork.wanted - (near[1] - near[0])
        if left <= 0:
            place = self._choose(*near, fork.wanted, fork.taken)
        else:
            place = self._choose(*far, left, (*fork.taken, *self._contacts[slice(*near)]))
        if having:
            fork.having = place
        else:
            fork.without = place
        return place

    def _choose(self, low: int, high: int, wanted: int, taken: tuple[Contact, ...]) -> _Fork | PackedContacts:
        if high - low <= wanted:
            return self._pack((*taken, *self._contacts[low:high]))
        first, last = self._ids[low], self._ids[high - 1]
        bit = 1 << (first ^ last).bit_length() - 1
        middle = bisect_left(self._ids, last & -bit, low, high)
        return _Fork(bit, low, middle, high, wanted, taken)
