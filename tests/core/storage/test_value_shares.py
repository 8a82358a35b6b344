"""Which values give way: those of a source with much more, the farthest among the oldest first."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.policy import DEFAULT
from dhtd.core.records import Immutable
from dhtd.core.storage.held_values import HeldValues
from dhtd.core.storage.outcomes import Stored
from dhtd.core.storage.value_shares import _LOOKED, COUNTED, VALUE_WEIGHT, KeptValue, ValueShares, weight
from tests.values import hold

ONE, TWO, NEW = b"one", b"two", b"new"
LEAST = weight(1, COUNTED)  # of a newcomer


def value(source: bytes, size: int = 200, bits: int = 1) -> KeptValue:
    return KeptValue(b"key", bytes(size), source, bits, 0, 0)


def shares_of(*values: KeptValue) -> ValueShares:
    shares = ValueShares()
    for each in values:
        shares.add(each)
    return shares


def test_a_source_has_what_it_has() -> None:
    shares = ValueShares()
    there = [value(ONE, size) for size in (200, 300, 400)]
    assert (len(shares), shares.of(ONE)) == (0, (0, 0))
    for each, expected in zip(there, [(1, 200), (2, 500), (3, 900)], strict=True):
        shares.add(each)
        assert (len(shares), shares.of(ONE)) == (1, expected)
    shares.add(value(TWO))
    assert (len(shares), shares.of(TWO)) == (2, (1, 200))
    for each, expected in zip(there, [(2, 700), (1, 400), (0, 0)], strict=True):
        shares.drop(each)
        assert shares.of(ONE) == expected
    assert len(shares) == 1


def test_a_source_with_one_value_keeps_it() -> None:
    shares = shares_of(value(ONE, 1_000, bits=99), value(TWO, 1_000, bits=99))
    assert not shares.has_more_than_fair
    assert list(shares.giving_way(NEW, LEAST, 1)) == []


def test_sources_with_much_more_give_way() -> None:
    """Those with the most first, and none loses what leaves it in the class of the newcomer."""
    there = [value(ONE, bits=bits) for bits in (3, 9, 9, 1)]
    two = [value(TWO, bits=bits) for bits in (1, 99)]
    shares = shares_of(*there, *two)
    assert shares.has_more_than_fair
    expected = [there[1], there[2], there[0]]
    assert list(shares.giving_way(NEW, LEAST, 99)) == [*expected, two[1]]
    assert list(shares.giving_way(TWO, weight(2, 400), 99)) == expected[:2]


@pytest.mark.parametrize(("bits", "count"), [(1, 3), (2, 2), (3, 2), (9, 1), (10, 0)])
def test_else_the_newcomers_own_give_way(bits: int, count: int) -> None:
    there = [value(ONE, bits=bits) for bits in (9, 3, 1)]
    shares = shares_of(*there)
    assert list(shares.giving_way(ONE, 4 * LEAST, bits)) == there[:count]
    assert list(shares_of(there[0]).giving_way(ONE, 2 * LEAST, bits)) == [there[0]] * (bits <= 9)


def test_of_a_source_in_the_same_class_none_gives_way() -> None:
    shares = shares_of(value(ONE, 512), value(ONE, 511))  # 2,047: in class 11
    assert list(shares.giving_way(NEW, 1_023, 0)) != []
    assert list(shares.giving_way(NEW, 1_024, 0)) == []
    shares.add(value(ONE, 0))
    assert list(shares.giving_way(NEW, 2_047, 0)) != []
    assert list(shares.giving_way(NEW, 2_048, 0)) == []


def test_no_source_loses_its_last_value() -> None:
    there = [value(ONE, 1_000, bits=bits) for bits in (1, 2)]
    assert list(shares_of(*there).giving_way(NEW, LEAST, 0)) == [there[1]]


def test_classes_are_left_as_values_go() -> None:
    there = [value(ONE) for _ in range(9)]
    shares = shares_of(*there)
    for each in there[:7]:
        shares.drop(each)
    assert list(shares._ranks) == [weight(2, 400).bit_length()]
    shares.add(value(TWO))
    shares.add(value(TWO))
    assert list(shares._ranks) == [weight(2, 400).bit_length()]
    shares.drop(there[7])
    assert list(shares.giving_way(NEW, LEAST, 0)) != []
    shares.drop(there[8])
    assert (shares.of(ONE), shares.has_more_than_fair) == ((0, 0), True)


def test_the_last_of_equals_gives_way_first() -> None:
    three = b"three"
    shares = shares_of(*[value(source) for source in (ONE, ONE, TWO, TWO, three, three)])
    for _ in range(2):
        assert [each.source for each in shares.giving_way(NEW, LEAST, 0)] == [three, TWO, ONE]


def test_what_was_heard_again_is_younger() -> None:
    there = [value(ONE, bits=7) for _ in range(4)]
    shares = shares_of(*there)
    shares.heard(there[0])
    assert list(shares.giving_way(NEW, LEAST, 0)) == there[1:]
    alone = value(TWO)
    shares.add(alone)
    shares.heard(alone)
    assert shares.of(TWO) == (1, 200)


def test_the_youngest_are_not_looked_at() -> None:
    there = [value(ONE, bits=1 + number) for number in range(_LOOKED + 2)]
    assert list(shares_of(*there).giving_way(NEW, LEAST, 0)) == there[-3::-1]


def test_small_values_weigh_as_well() -> None:
    assert weight(2, 100) == 2 * VALUE_WEIGHT + 100
    tiny, large = [value(ONE, 1) for _ in range(10)], [value(TWO, 1_000) for _ in range(2)]
    assert next(shares_of(*tiny, *large).giving_way(NEW, LEAST, 0)).source == ONE


def test_a_short_value_counts_as_a_longer_one() -> None:
    for size in (1, COUNTED):
        assert shares_of(value(ONE, size)).of(ONE) == (1, COUNTED)
        assert shares_of(value(ONE, size), value(ONE, COUNTED + 1)).of(ONE) == (2, 2 * COUNTED + 1)


def test_several_sources_make_room_together() -> None:
    """Neither loses so much that it has less than the newcomer."""
    values = HeldValues(Id(0), replace(DEFAULT, value_kib=3), Random(1))
    one, two, three, four = (Endpoint.of(f"10.0.0.{number}", 80) for number in (1, 2, 3, 4))
    for number in range(4):
        hold(values, Id(number), Immutable(bytes(399)), one, 0)
        hold(values, Id(100 + number), Immutable(b""), two, 0)
    hold(values, Id(200), Immutable(bytes(899)), three, 0)
    assert hold(values, Id(201), Immutable(bytes(979)), four, 0) == Stored("value_kib")
    assert sorted(each.key for each in values) == [0, 1, 101, 102, 103, 200, 201]
