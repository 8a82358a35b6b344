"""The own entries that a node matters to are found without a walk over all."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.ids import NATIVE, Id
from dhtd.core.publishing.nearby import Nearby
from tests.core.small import SEVEN
from tests.strategies import ids


@dataclass(eq=False)
class Entry:
    key: Id


@given(st.lists(st.tuples(ids(SEVEN), st.none() | st.integers(0, 127))), st.sets(st.integers(0, 20)), ids(SEVEN))
def test_a_search_finds_exactly_the_entries_near(
    several: list[tuple[Id, int | None]], removed: set[int], id: Id
) -> None:
    index: Nearby[Entry] = Nearby()
    entries = [Entry(key) for key, _ in several]
    for entry, (_, reach) in zip(entries, several, strict=True):
        index.add(entry, 5)
        index.add(entry, reach)
    for number in removed:
        if number < len(entries):
            index.remove(entries[number])
            index.remove(entries[number])
    expected = [
        entry
        for number, (entry, (key, reach)) in enumerate(zip(entries, several, strict=True))
        if number not in removed and (reach is None or key ^ id <= reach)
    ]
    found = list(index.of(id))
    assert len(found) == len(expected)
    assert set(found) == set(expected)
    assert [list(index.some(id, most)) for most in (0, 3, 99)] == [[], found[:3], found]


def test_a_node_costs_one_look_in_each_class() -> None:
    rng = Random(1)
    index: Nearby[Entry] = Nearby()
    looked = 0

    class Counted(int):
        """A key that counts how often it is compared."""

        def __rxor__(self, other: int) -> int:
            nonlocal looked
            looked += 1
            return int(self) ^ other

    for _ in range(20_000):
        index.add(Entry(Id(Counted(NATIVE.random(rng)))), NATIVE.size // 1_000 + rng.getrandbits(200))
    found = [entry for _ in range(100) for entry in index.of(NATIVE.random(rng))]
    assert 1_000 < len(found) < 3_000  # 20 each
    assert len(found) <= looked < 3 * len(found)


def test_entries_taken_out_during_a_look_are_left_out() -> None:
    index: Nearby[Entry] = Nearby()
    entries = [Entry(Id(number)) for number in range(6)]
    for entry in entries:
        index.add(entry, None if entry.key < 3 else 127)
    found = []
    for entry in index.of(Id(0)):
        found.append(entry.key)
        index.remove(entries[entry.key + 1])
    assert found == [0, 2, 4]


def test_what_is_taken_out_leaves_nothing_behind() -> None:
    index: Nearby[Entry] = Nearby()
    entries = [Entry(Id(number)) for number in range(50)]
    for entry in entries:
        index.add(entry, None if entry.key % 5 == 0 else int(entry.key))
    for entry in entries:
        index.remove(entry)
    assert not list(index.of(Id(0)))
    assert not index._reaches
    assert not index._everywhere
    assert not any(index._classes)
