"""Rates of contacts: neighbours at their addresses, or forgers of their names, cannot use them up."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.counters import RATE_LIMIT, RATE_LIMIT_TOTAL
from dhtd.core.endpoint import Endpoint
from dhtd.core.policy import Policy
from dhtd.core.serving.contact_rate import ContactRates
from dhtd.core.serving.rate_limit import RateLimit

FRIEND, NEIGHBOUR = Endpoint.of("192.0.2.7", 1_729), Endpoint.of("192.0.2.7", 1_730)
OTHER = Endpoint.of("192.0.2.8", 1_729)


def limit(
    answers_us: Callable[[Endpoint], bool] = {FRIEND}.__contains__, *, rate: float = 4.0, total: float = 0.0
) -> RateLimit:
    policy = Policy(rate_limit=rate, rate_limit_total=total, rate_burst=2.0)
    return RateLimit(policy, Random(1), answers_us)


def passed(limited: RateLimit, source: Endpoint, times: int, now: float = 0.0) -> int:
    """Return how many of so many queries are within the limits."""
    return sum(limited.refusal(source, now) is None for _ in range(times))


def friends(count: int) -> list[Endpoint]:
    """Return contacts at one address."""
    return [FRIEND.with_port(1 + number) for number in range(count)]


# Of a source


@pytest.mark.parametrize("neighbour", ["192.0.2.7", "2001:db8::bad"])
def test_neighbours_do_not_use_up_a_contacts_rate(neighbour: str) -> None:
    friend = FRIEND if "." in neighbour else Endpoint.of("2001:db8::7", 1_729)
    flood = Endpoint.of(neighbour, 80)
    limited = limit({friend}.__contains__)
    assert passed(limited, flood, 100) == 8
    assert passed(limited, friend, 100) == 8
    assert [limited.refusal(flood, 0.25) for _ in range(2)] == [None, RATE_LIMIT]
    assert [limited.refusal(friend, 0.25) for _ in range(2)] == [None, RATE_LIMIT]
    assert passed(limited, friend, 100, 1_000.0) == 16  # its source's rate, and its own


def test_a_rate_belongs_to_one_exact_endpoint() -> None:
    limited = limit({FRIEND, NEIGHBOUR}.__contains__)
    assert passed(limited, FRIEND.with_port(80), 100) == 8
    assert passed(limited, FRIEND, 100) == passed(limited, NEIGHBOUR, 100) == 8
    assert passed(limited, FRIEND.with_port(81), 100) == 0
    assert passed(limited, OTHER, 100) == 8


def test_a_silent_contact_loses_its_rate() -> None:
    contacts = {FRIEND}
    limited = limit(contacts.__contains__)
    assert passed(limited, FRIEND, 9) == 9
    contacts.clear()
    assert limited.refusal(FRIEND, 0.0) == RATE_LIMIT


def test_what_goes_by_a_lane_counts_for_all() -> None:
    limited = limit(total=16.0)
    assert passed(limited, FRIEND, 100) == 16
    assert passed(limited, OTHER, 100) == 8
    assert limited.refusal(Endpoint.of("192.0.2.9", 1), 0.0) == RATE_LIMIT_TOTAL


def test_the_limit_of_all_charges_no_contact() -> None:
    limited = limit(total=4.0, rate=1.0)
    assert passed(limited, FRIEND, 4) == 4  # the source's two, and two of its lane
    assert passed(limited, FRIEND, 100) == 0
    assert sum(limited.allows_proved(FRIEND, 0.0) for _ in range(100)) == 2
    for _ in range(100):
        assert limited.refusal(OTHER, 0.0) in (None, RATE_LIMIT, RATE_LIMIT_TOTAL)
    assert passed(limited, FRIEND, 100, 2.0) == 4


# With a token


def test_a_token_has_a_rate_forgers_cannot_use() -> None:
    limited = limit()
    passed(limited, FRIEND, 1_000)
    assert limited.refusal(FRIEND, 0.0) == RATE_LIMIT
    assert [limited.allows_proved(FRIEND, 0.0) for _ in range(9)] == [True] * 8 + [False]
    assert [limited.allows_proved(FRIEND, 0.25) for _ in range(2)] == [True, False]


def test_only_contacts_have_a_proved_rate_alone() -> None:
    limited = limit()
    assert [limited.allows_proved(NEIGHBOUR, 0.0) for _ in range(9)] == [True] * 8 + [False]
    assert not limited.allows_proved(NEIGHBOUR.with_port(80), 0.0)
    assert limited.allows_proved(FRIEND, 0.0)
    assert limited.allows_proved(OTHER, 0.0)
    assert [limited.allows_proved(NEIGHBOUR.with_port(80), 0.25) for _ in range(2)] == [True, False]


def test_proved_rates_take_fixed_memory() -> None:
    limited = limit()
    for number in range(10_000):
        limited.allows_proved(Endpoint(number.to_bytes(4, "big") + b"\0\1"), 0.0)
    assert limited._proved is not None
    assert len(limited._proved) == Policy().proved_cells


def test_what_a_token_lets_through_counts_for_all() -> None:
    limited = limit(total=16.0)
    assert passed(limited, FRIEND, 100) == 16
    assert sum(limited.allows_proved(FRIEND, 0.0) for _ in range(100)) == 8
    assert passed(limited, OTHER, 100) == 0


# In brief


def test_brief_answers_count_as_strangers() -> None:
    limited = limit({FRIEND, OTHER}.__contains__, rate=64.0, total=128.0)
    assert sum(limited.allows_brief(0.0) for _ in range(1_000)) == 192  # three quarters, as of strangers
    assert limited.refusal(Endpoint.of("192.0.2.9", 1), 0.0) == RATE_LIMIT_TOTAL
    assert passed(limited, OTHER, 100) == 64
    assert not limited.allows_brief(0.0)
    assert sum(limited.allows_brief(1.0) for _ in range(1_000)) == 64  # and the reserve is filled up first


def test_without_a_limit_brief_answers_have_none() -> None:
    assert all(limit(total=0.0).allows_brief(0.0) for _ in range(10_000))


# Bounds


def test_rates_never_outnumber_answering_contacts() -> None:
    rng = Random(3)
    contacts: set[Endpoint] = set()
    limited = limit(contacts.__contains__)
    everyone = friends(2_000)
    most = 0
    for endpoint in everyone:
        contacts.add(endpoint)
        if len(contacts) > 16:
            contacts.discard(rng.choice(sorted(contacts - {endpoint})))
        passed(limited, endpoint, 20)
        for other in rng.sample(everyone, 20):
            limited.refusal(other, 0.0)
        most = max(most, len(limited._lanes))
    assert len(contacts) == most == 16


@pytest.mark.no_cover
def test_a_forged_flood_makes_each_rate_once() -> None:
    contacts = set(friends(300))
    asked = 0

    def answers_us(endpoint: Endpoint) -> bool:
        nonlocal asked
        asked += 1
        return endpoint in contacts

    lanes = ContactRates(1 / 256, 2.0, answers_us)
    for number in range(300_000):
        lanes.allows(FRIEND.with_port(1 + number % 300), number / 10_000)
    assert len(lanes) == 300
    assert asked == 300 * 299 / 2  # all existing ones, each time that one is made


@given(
    st.floats(0.5, 50),
    st.lists(st.tuples(st.floats(0, 2), st.integers(0, 3)), min_size=1, max_size=300),
)
def test_no_contact_exceeds_its_burst_and_rate(rate: float, queries: list[tuple[float, int]]) -> None:
    contacts = {FRIEND, NEIGHBOUR}
    limited = limit(contacts.__contains__, rate=rate)
    now, through = 0.0, dict.fromkeys(range(4), 0)
    for gap, port in queries:
        now += gap
        through[port] += limited.refusal(FRIEND.with_port(1_728 + port), now) is None
    due = max(rate * 2.0, 1.0) + rate * now + 1e-6
    assert through[0] + through[3] <= due  # of the source, without contacts
    assert max(through[1], through[2]) <= 2 * due
    assert sum(through.values()) <= 3 * due
