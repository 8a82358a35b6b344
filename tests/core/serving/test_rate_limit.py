"""The limits on queries: of a source, and of all; exact while sources are few, in fixed memory when they are not."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Container
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.counters import RATE_LIMIT, RATE_LIMIT_TOTAL
from dhtd.core.endpoint import Endpoint
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.serving.rate_limit import _FEW, Rate, RateLimit
from tests.bench.load import resident

MIB = 2**20


def at(number: int, port: int = 1729) -> Endpoint:
    return Endpoint(number.to_bytes(4, "big") + port.to_bytes(2, "big"))


A, B = at(1), at(2)


def limit(
    rate: float = 0.0,
    burst: float = 2.0,
    *,
    total: float = 0.0,
    sources: int = 4_096,
    cells: int = 1 << 16,
    contacts: Container[Endpoint] = (),
) -> RateLimit:
    policy = Policy(rate_limit=rate, rate_limit_total=total, rate_burst=burst, rate_sources=sources, rate_cells=cells)
    return RateLimit(policy, Random(1), contacts.__contains__)


def passed(limit: RateLimit, source: Endpoint, times: int, now: float = 0.0) -> int:
    """Return how many of so many queries are within the limits."""
    return sum(limit.refusal(source, now) is None for _ in range(times))


def allowed(rate: Rate, now: float) -> bool:
    """Have an event happen, if the limit allows it; return whether it did."""
    allows = rate.allows(now)
    if allows:
        rate.count(now)
    return allows


def crowded(limited: RateLimit) -> bool:
    """Whether any sources share."""
    return limited._cells is not None


def test_a_rate_allows_a_burst_and_then_its_pace() -> None:
    rate = Rate(4.0, 2.0)
    assert [allowed(rate, 0.0) for _ in range(9)] == [True] * 8 + [False]
    assert not allowed(rate, 0.24)
    assert allowed(rate, 0.25)
    assert not allowed(rate, 0.26)
    assert [allowed(rate, 100.0) for _ in range(9)] == [True] * 8 + [False]


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    limited = limit(4.0)
    assert [limited.refusal(A, 0.0) for _ in range(9)] == [None] * 8 + [RATE_LIMIT]
    assert limited.refusal(A, 0.24) == RATE_LIMIT
    assert limited.refusal(A, 0.25) is None
    assert limited.refusal(A, 0.26) == RATE_LIMIT


def test_a_quiet_source_may_burst_again() -> None:
    limited = limit(4.0)
    assert passed(limited, A, 8) == 8
    assert [limited.refusal(A, 1_000.0) for _ in range(9)] == [None] * 8 + [RATE_LIMIT]


def test_a_source_is_an_address_with_all_ports() -> None:
    limited = limit(1.0, 1.0)
    assert passed(limited, at(1, 80), 2) == 1
    assert limited.refusal(at(1, 81), 0.0) == RATE_LIMIT
    assert limited.refusal(at(2, 80), 0.0) is None


def test_an_ipv6_64_is_one_source() -> None:
    limited = limit(1.0, 1.0)
    assert limited.refusal(Endpoint.of("2001:db8::1", 80), 0.0) is None
    assert limited.refusal(Endpoint.of("2001:db8::ffff:1", 81), 0.0) == RATE_LIMIT
    assert limited.refusal(Endpoint.of("2001:db8:0:1::1", 80), 0.0) is None


def test_hosts_on_a_link_have_their_own_rates() -> None:
    limited = limit(1.0, 1.0)
    flood, neighbour = Endpoint.of("fe80::bad", 80), Endpoint.of("fe80::1", 80)
    assert passed(limited, flood, 100) == 1
    assert limited.refusal(flood.with_port(81), 0.0) == RATE_LIMIT
    assert limited.refusal(neighbour, 0.0) is None


def test_made_up_link_addresses_share_one_budget() -> None:
    good = Endpoint.of("fe80::1", 80)
    policy = replace(DEFAULT, rate_sources=16, rate_cells=8, rate_limit=1.0, rate_limit_total=1_000.0, rate_burst=1.0)
    limited = RateLimit(policy, Random(1), lambda endpoint: endpoint == good)
    made_up = [Endpoint.of(f"fe80::bad:{number:x}", 80) for number in range(5_000)]
    answered = sum(limited.refusal(source, 0.0) is None for source in made_up)
    assert answered <= 16 + 8
    assert len(limited._due) <= 16
    assert limited.refusal(good, 0.0) is None


@pytest.mark.parametrize("rate", [0.0, -1.0])
def test_rate_zero_is_no_limit(rate: float) -> None:
    assert passed(limit(rate, total=rate), A, 10_000) == 10_000


def test_a_rate_below_one_allows_single_queries() -> None:
    for limited, name in (limit(0.25), RATE_LIMIT), (limit(total=0.25), RATE_LIMIT_TOTAL):
        assert limited.refusal(A, 0.0) is None
        assert limited.refusal(A, 3.9) == name
        assert limited.refusal(A, 4.0) is None


@given(st.floats(0.5, 50), st.floats(2, 10), st.lists(st.floats(0, 2), min_size=1, max_size=200))
def test_burst_and_rate_bound_one_and_all(rate: float, burst: float, gaps: list[float]) -> None:
    limited, together = limit(rate, burst), limit(total=rate, burst=burst, contacts={A})
    now, alone, sum_ = 0.0, 0, 0
    for number, gap in enumerate(gaps):
        now += gap
        alone += limited.refusal(A, now) is None
        sum_ += together.refusal(at(number % 3), now) is None
    assert 1 <= alone <= rate * (burst + now) + 1e-6
    assert 1 <= sum_ <= rate * (burst + now) + 1e-6


# Memory


def test_sources_without_debt_are_forgotten() -> None:
    limited = limit(1.0)
    for second in range(1_000):
        assert limited.refusal(at(second), 2.0 * second) is None
        assert len(limited._due) <= _FEW


def test_forgetting_forgives_no_debt_and_is_rare() -> None:
    limited = limit(1.0, 1.0)
    debtors = [at(source) for source in range(100)]
    assert all(passed(limited, debtor, 1) for debtor in debtors)
    full = limited._full
    for source in range(100, 3_000):
        assert limited.refusal(at(source), 0.0) is None
    assert limited._full >= 2 * full  # it grows with the debtors: otherwise each newcomer would count them all
    assert not any(limited.refusal(debtor, 0.5) is None for debtor in debtors)


def test_a_flood_from_many_resets_no_limit() -> None:
    limited = limit(1.0, 1.0, sources=64, cells=1_024)
    assert passed(limited, A, 2) == 1
    first = [at(1 << 20 | source) for source in range(63)]
    assert all(passed(limited, source, 1) for source in first)
    for source in range(10_000):
        limited.refusal(at(1 << 24 | source), 0.01)
        assert len(limited._due) <= 64
    for debtor in (A, *first):
        assert limited.refusal(debtor, 0.5) == RATE_LIMIT


def test_excess_sources_share_strict_cells() -> None:
    limited = limit(4.0, 1.0, sources=1, cells=16)
    limited.refusal(A, 0.0)
    through = sum(limited.refusal(at(1 << 24 | source), 0.0) is None for source in range(5_000))
    assert through == 16 * 4
    assert sum(limited.refusal(at(1 << 25 | source), 0.25) is None for source in range(5_000)) == 16


@pytest.mark.no_cover
def test_a_stranger_is_seldom_shut_out_by_sharing() -> None:
    """Their share of the cells is as large as the flood's part of `rate * cells`, and no larger."""
    limited = limit(64.0, 2.0, sources=16, cells=4_096)
    sources = [at(1 << 24 | source) for source in range(200)]
    out = asked = 0
    for tick in range(200):  # 20 seconds of 4,000 queries a second from 200 addresses
        now = tick / 10
        for source in sources:
            passed(limited, source, 2, now)
        for stranger in range(50):
            asked += 1
            out += limited.refusal(at(1 << 25 | 64 * tick + stranger), now) is not None
    assert out / asked < 1.5 * 4_000 / (64 * 4_096)


def test_a_secret_decides_which_sources_share() -> None:
    def shut_out(seed: int) -> set[int]:
        policy = Policy(rate_limit=1.0, rate_burst=1.0, rate_limit_total=0, rate_sources=1, rate_cells=64)
        limited = RateLimit(policy, Random(seed), lambda endpoint: False)
        return {source for source in range(64) if limited.refusal(at(source), 0.0) is not None}

    assert shut_out(1) == shut_out(1)
    assert len({frozenset(shut_out(seed)) for seed in range(8)}) == 8


def test_after_a_flood_sources_are_single_again() -> None:
    limited = limit(1.0, 2.0, sources=8, cells=1)
    for source in range(10):
        assert limited.refusal(at(1 << 24 | source), 0.0) is None
    assert crowded(limited)
    assert limited.refusal(A, 1.0) is None  # there is a place, but the cell is in debt
    assert crowded(limited)
    assert limited.refusal(A, 1.1) == RATE_LIMIT
    assert limited.refusal(B, 1.1) == RATE_LIMIT
    assert limited.refusal(A, 4.0) is None
    assert not crowded(limited)
    assert passed(limited, B, 3, 4.0) == 2
    assert set(limited._due) == {bytes(A[:4]), bytes(B[:4])}


def test_a_flood_does_not_scan_the_debtors() -> None:
    class Counted(RateLimit):
        looks = 0

        def _make_room(self, now: float) -> None:
            Counted.looks += 1
            super()._make_room(now)

    policy = Policy(rate_limit=1.0, rate_sources=256, rate_cells=1_024)
    limited = Counted(policy, Random(1), lambda endpoint: False)
    for source in range(20_000):
        limited.refusal(at(source), source / 10_000)
    assert Counted.looks < 16


def grown_by(sources: int, rate: float, per_second: int) -> tuple[int, RateLimit]:
    """Return the bytes by which this process grows under a flood of forged sources, each used once."""
    limited = RateLimit(DEFAULT, Random(1), lambda endpoint: False, rate=rate)
    limited.refusal(A, 0.0)
    before = resident(os.getpid())
    refusal = limited.refusal
    for source in range(sources):
        refusal(at(1 << 24 | source), source / per_second)
    return resident(os.getpid()) - before, limited


def size_of(limited: RateLimit) -> int:
    cells = 0 if limited._cells is None else sys.getsizeof(limited._cells._due)
    entries = sum(sys.getsizeof(group) + sys.getsizeof(due) for group, due in limited._due.items())
    return cells + sys.getsizeof(limited._due) + entries


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("rate", [DEFAULT.rate_limit, 1.0])
@pytest.mark.parametrize("sources", [20_000, 2_000_000])
def test_forged_sources_do_not_fill_memory(sources: int, rate: float, figure: Callable[[str, object], None]) -> None:
    grown, limited = grown_by(sources, rate, per_second=100_000)
    assert len(limited._due) <= DEFAULT.rate_sources
    assert size_of(limited) < 1.5 * MIB
    figure(f"memory grown by {sources} forged sources", f"{grown / MIB:.2f} MiB")
    if sys.platform == "linux":
        assert grown < 4 * MIB


# Contacts


@pytest.mark.no_cover
def test_a_flood_of_strangers_spares_contacts(figure: Callable[[str, object], None]) -> None:
    """Strangers use up no reserve and no cells of contacts, which are held to their source and their own rate."""
    contacts = [at(source) for source in range(1, 101)]
    limited = limit(16.0, 2.0, total=1_024.0, sources=64, cells=256, contacts=set(contacts))
    through = {True: 0, False: 0}
    forged = 1 << 24
    for tick in range(200):
        now = tick / 10
        for _ in range(1_000):  # ten times the limit of all
            forged += 1
            through[False] += limited.refusal(at(forged), now) is None
        for contact in contacts[tick % 2 :: 2]:  # five a second from each
            through[True] += limited.refusal(contact, now) is None
    figure("queries of contacts let through", f"{through[True]} of {200 * 50}")
    assert through[True] == 200 * 50
    assert through[False] <= 1_024 * 22 - through[True]
    assert len(limited._due) <= 64 + len(contacts)
    assert passed(limited, contacts[0], 100, 30.0) == 2 * 32


def test_contacts_together_obey_the_limit_of_all() -> None:
    limited = limit(total=128.0, burst=2.0, contacts={A})
    strangers = passed(limited, B, 300)
    assert strangers == 192  # three quarters
    assert passed(limited, A, 300) == 64
    assert limited.refusal(A, 0.0) == RATE_LIMIT_TOTAL


def test_one_limits_refusal_spares_the_other() -> None:
    limited = limit(8.0, 1.0, total=16.0)
    assert passed(limited, A, 1_000) == 8
    assert passed(limited, B, 1_000) == 4  # three quarters of the limit of all, less the queries of A
    assert limited.refusal(B, 0.0) == RATE_LIMIT_TOTAL
    assert passed(limited, B, 1_000, 0.5) == 8
