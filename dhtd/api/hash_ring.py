"""Consistent hashing over the endpoints of a service: which of them is responsible for a key.

A key stands on a ring, at its hash, and belongs to the endpoint that stands next on the ring (Karger et al. 1997). Each
endpoint has many virtual nodes (Stoica et al. 2001, section 6.1), and each of these stands at eight places, which one
hash gives, as it gives four in libketama. The more places there are, the less do the shares of endpoints differ.

Who knows the same endpoints finds the same one for a key, in any process and on any machine. Where one of n endpoints
is added, it takes about 1/n of the keys, and no other key moves.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2s
from math import ceil
from statistics import pstdev
from struct import Struct
from typing import Final, Generic, TypeVar

VNODES: Final = 150  # places of an endpoint of weight 1
KEYS: Final = 100_000  # that `balance` tries, where none are given
VNODES_MAX: Final = 100_000  # of all endpoints together, a hundred times what serves
_RING: Final = 1 << 32
_SHIFT: Final = 18  # of a place, to its cell: there are 16,384 cells, and each knows the first place from it on
_places: Final = Struct(">8I").unpack  # of a virtual node
_place: Final = Struct(">I").unpack_from  # of a key

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Balance(Generic[E]):
    """The share of keys that each endpoint has, in the order of the ring's endpoints."""

    keys: int
    counts: Mapping[E, int]
    expected: Mapping[E, float]  # by weight

    @property
    def most(self) -> float:
        """The most loaded endpoint, as a multiple of what it should have."""
        return max(self.counts[each] / self.expected[each] for each in self.counts)

    @property
    def deviation(self) -> float:
        """The standard deviation of these multiples: 0 where all have what they should."""
        return pstdev(self.counts[each] / self.expected[each] for each in self.counts)


class HashRing(Generic[E]):
    """A ring of endpoints: texts, or anything that `str` makes a text of, each once.

    `weights` says how much more than others an endpoint takes: 2.0 is twice as much. Raises ValueError for no
    endpoints, for one that is there twice, and for a weight that is not above 0.
    """

    def __init__(
        self, endpoints: Iterable[E], vnodes: int = VNODES, *, weights: Mapping[E, float] | None = None
    ) -> None:
        self.endpoints = tuple(endpoints)
        self._weights = {each: 1.0 if weights is None else weights.get(each, 1.0) for each in self.endpoints}
        _check(self.endpoints, self._weights, vnodes)
        stands: dict[int, E] = {}
        # Where two stand at the same place, the one with the lesser text does, in whatever order they are given.
        for endpoint in sorted(self.endpoints, key=str, reverse=True):
            for number in range(max(1, round(vnodes * self._weights[endpoint]))):
                for place in _places(_digest(f"{endpoint}#{number}")):
                    stands[place] = endpoint
        self._places = sorted(stands)
        self._at = [stands[place] for place in self._places]
        # The ring closes: behind the last place comes the first one again.
        self._places.append(self._places[0] + _RING)
        self._at.append(self._at[0])
        self._near = _cells(self._places)

    def node(self, key: str | bytes, *, loads: Mapping[E, float] | None = None, bound: float = 1.25) -> E:
        """Return the endpoint that is responsible for a key.

        With `loads`, what each has now, an endpoint that has `bound` times the mean, with this key, gets no more: the
        next one in line takes it (consistent hashing with bounded loads, Mirrokni, Thorup and Zadimoghaddam 2016).
        Raises ValueError for a bound that is not above 1, and for a load below 0.
        """
        if loads is not None:
            return self._with_room(key, loads, bound)
        data = key.encode() if isinstance(key, str) else key
        place = _place(blake2s(data).digest())[0]
        next_ = self._near[place >> _SHIFT]
        while self._places[next_] < place:
            next_ += 1
        found: E = self._at[next_]
        return found

    def nodes(self, key: str | bytes, n: int) -> list[E]:
        """Return n different endpoints, the responsible one first: all, if there are no more.

        Where one is added, it only comes in between.
        """
        if n < 0:
            raise ValueError(f"{n} endpoints cannot be found")
        found: list[E] = []
        for each in self._in_line(key):
            if len(found) >= n:
                break
            found.append(each)
        return found

    def balance(self, keys: Iterable[str | bytes] | None = None) -> Balance[E]:
        """Return how many of these keys each endpoint is responsible for; by default, of `KEYS` numbered ones."""
        counts = dict.fromkeys(self.endpoints, 0)
        total = 0
        for key in (f"key:{number}" for number in range(KEYS)) if keys is None else keys:
            counts[self.node(key)] += 1
            total += 1
        if not total:
            raise ValueError("there are no keys to try")
        weight = sum(self._weights.values())
        return Balance(total, counts, {each: total * self._weights[each] / weight for each in self.endpoints})

    def _in_line(self, key: str | bytes) -> Iterator[E]:
        """Yield each endpoint once, in the order in which they stand on the ring from a key on."""
        (place,) = _place(_digest(key))
        first, size = bisect_left(self._places, place), len(self._places) - 1
        yield from dict.fromkeys(self._at[(first + step) % size] for step in range(size))

    def _with_room(self, key: str | bytes, loads: Mapping[E, float], bound: float) -> E:
        if not bound > 1:
            raise ValueError(f"a bound of {bound:g} leaves no room: give one above 1")
        wrong = next((load for load in loads.values() if not 0 <= load < float("inf")), None)
        if wrong is not None:
            raise ValueError(f"a load is a number from 0, not {wrong}")
        total = sum(loads.get(each, 0) for each in self.endpoints) + 1
        weight = sum(self._weights.values())
        for each in self._in_line(key):
            if loads.get(each, 0) < ceil(bound * total * self._weights[each] / weight):
                return each
        raise AssertionError("not all can have more than their share")


def _cells(places: Sequence[int]) -> list[int]:
    """Return the index of the first place from the begin of each cell on."""
    first, found = 0, []
    for begin in range(0, _RING, 1 << _SHIFT):
        while places[first] < begin:
            first += 1
        found.append(first)
    return found


def _digest(text: str | bytes) -> bytes:
    return blake2s(text.encode() if isinstance(text, str) else text).digest()


def _check(endpoints: tuple[E, ...], weights: Mapping[E, float], vnodes: int) -> None:
    if not endpoints:
        raise ValueError("a ring needs an endpoint")
    texts = [str(each) for each in endpoints]
    if len(set(texts)) < len(texts):
        raise ValueError("an endpoint is there twice")
    wrong = next((weight for weight in weights.values() if not 0 < weight < float("inf")), None)
    if wrong is not None:
        raise ValueError(f"a weight is a number above 0, not {wrong}")
    if vnodes < 1 or vnodes * sum(weights.values()) > VNODES_MAX:
        raise ValueError(f"{vnodes} virtual nodes an endpoint: give 1 at least, and {VNODES_MAX} in all at most")
