"""Fair shares: the source with most records gives way, and keeps as many as the newcomer then has."""

from __future__ import annotations

import pytest

from dhtd.core.storage.fair_shares import FairShares

ONE, OTHER, THIRD = b"one", b"other", b"third"


def shares_of(**sizes: int) -> FairShares:
    shares = FairShares()
    for source, size in sizes.items():
        for before in range(size):
            shares.resize(source.encode(), before, before + 1)
    return shares


def test_an_empty_pool_has_nothing_to_give() -> None:
    shares = FairShares()
    assert (shares.most, shares.has_more_than_fair, shares.loser(0)) == (0, False, None)


def test_a_source_with_one_record_gives_way_to_nobody() -> None:
    shares = shares_of(one=1, other=1)
    assert (shares.most, shares.has_more_than_fair, shares.loser(0)) == (1, False, None)


@pytest.mark.parametrize(("size", "newcomer", "gives_way"), [(2, 0, True), (2, 1, False), (3, 1, True), (3, 2, False)])
def test_a_source_keeps_as_many_as_the_newcomer_has(size: int, newcomer: int, gives_way: bool) -> None:
    assert shares_of(one=size).loser(newcomer) == (ONE if gives_way else None)


def test_the_source_with_most_gives_way() -> None:
    shares = shares_of(one=4, other=5, third=3)
    assert (shares.most, shares.has_more_than_fair) == (5, True)
    assert shares.loser(0) == shares.loser(0) == OTHER


def test_of_equals_the_last_to_become_so_gives_way() -> None:
    shares = shares_of(one=3, other=3, third=4)
    shares.resize(THIRD, 4, 3)
    assert shares.loser(0) == THIRD
    shares.resize(THIRD, 3, 2)
    assert shares.loser(0) == OTHER


def test_most_falls_to_the_next_number() -> None:
    shares = shares_of(one=3, other=1)
    for before, most in ((3, 2), (2, 1), (1, 1)):
        shares.resize(ONE, before, before - 1)
        assert shares.most == most
    shares.resize(OTHER, 1, 0)
    assert (shares.most, shares._by_size) == (0, {})
