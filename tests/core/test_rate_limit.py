"""The limit on queries a second and source."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.rate_limit import _SOURCES_FEW, _SOURCES_MAX, RateLimit

A, B = b"\x01\x02\x03\x04", b"\x01\x02\x03\x05"


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    limit = RateLimit(rate=4.0, burst=2.0)
    assert [limit.allows(A, 0.0) for _ in range(9)] == [True] * 8 + [False]
    assert not limit.allows(A, 0.24)
    assert limit.allows(A, 0.25)
    assert not limit.allows(A, 0.26)


def test_a_source_that_was_quiet_may_burst_again_and_no_more_than_before() -> None:
    limit = RateLimit(rate=4.0, burst=2.0)
    for _ in range(8):
        limit.allows(A, 0.0)
    assert [limit.allows(A, 1_000.0) for _ in range(9)] == [True] * 8 + [False]


def test_sources_are_counted_apart() -> None:
    limit = RateLimit(rate=1.0, burst=1.0)
    assert limit.allows(A, 0.0)
    assert not limit.allows(A, 0.0)
    assert limit.allows(B, 0.0)


def test_an_ipv6_host_cannot_multiply_itself_within_its_64() -> None:
    limit = RateLimit(rate=1.0, burst=1.0)
    assert limit.allows(bytes(8) + b"hostpart", 0.0)
    assert not limit.allows(bytes(8) + b"HOSTPART", 0.0)
    assert limit.allows(bytes(7) + b"\x01hostpart", 0.0)


@pytest.mark.parametrize("rate", [0.0, -1.0])
def test_rate_zero_is_no_limit(rate: float) -> None:
    limit = RateLimit(rate, burst=2.0)
    assert all(limit.allows(A, 0.0) for _ in range(10_000))


def test_a_rate_below_one_a_burst_still_lets_single_queries_through() -> None:
    limit = RateLimit(rate=0.25, burst=2.0)
    assert limit.allows(A, 0.0)
    assert not limit.allows(A, 3.9)
    assert limit.allows(A, 4.0)


@given(st.floats(0.5, 50), st.floats(2, 10), st.lists(st.floats(0, 2), min_size=1, max_size=200))
def test_no_source_gets_more_than_burst_and_rate_grant(rate: float, burst: float, gaps: list[float]) -> None:
    limit = RateLimit(rate, burst)
    now, passed = 0.0, 0
    for gap in gaps:
        now += gap
        passed += limit.allows(A, now)
    assert 1 <= passed <= rate * (burst + now) + 1e-6


def test_a_flood_of_forged_sources_does_not_fill_memory() -> None:
    limit = RateLimit(rate=1.0, burst=1.0)
    for source in range(3 * _SOURCES_MAX):
        assert limit.allows(source.to_bytes(4, "big"), 0.0)
        assert len(limit._due) <= _SOURCES_MAX


def test_room_is_made_from_sources_that_owe_nothing_before_a_debt_is_forgotten() -> None:
    limit = RateLimit(rate=1.0, burst=1.0)
    for source in range(_SOURCES_MAX - 1):
        limit.allows(source.to_bytes(4, "big"), 0.0)
    debtor = b"\xff\xff\xff\xff"
    assert limit.allows(debtor, 5.0)
    assert limit.allows(b"\xff\xff\xff\xfe", 5.5)
    assert not limit.allows(debtor, 5.5)


def test_sources_that_owe_nothing_are_soon_forgotten() -> None:
    limit = RateLimit(rate=1.0, burst=2.0)
    for second in range(1_000):
        assert limit.allows(second.to_bytes(4, "big"), 2.0 * second)
        assert len(limit._due) <= _SOURCES_FEW


def test_what_is_forgotten_is_no_debt_and_making_room_is_seldom() -> None:
    limit = RateLimit(rate=1.0, burst=1.0)
    debtors = [source.to_bytes(4, "big") for source in range(100)]
    for debtor in debtors:
        assert limit.allows(debtor, 0.0)
    full = limit._full
    for source in range(100, 3_000):
        assert limit.allows(source.to_bytes(4, "big"), 0.0)
    assert limit._full >= 2 * full  # it grows with those that owe something: else each newcomer would count them all
    assert not any(limit.allows(debtor, 0.5) for debtor in debtors)
