"""Whether others can reach us unasked: a visitor that we have not written to shows it."""

from __future__ import annotations

from random import Random

import pytest

from dhtd.core.address.reachability import Reach, Reachability
from dhtd.core.endpoint import Endpoint
from dhtd.core.policy import DEFAULT, Policy
from tests.core.small import endpoint

PUBLIC = Endpoint.of("198.51.100.7", 1729)
SIX = Endpoint.of("2001:db8::7", 1729)
MEMORY = DEFAULT.outside_memory


def test_at_first_nothing_is_known() -> None:
    assert Reachability(DEFAULT, 0.0).reach(0.0) is Reach.UNKNOWN


@pytest.mark.parametrize(
    ("source", "reach"), [(PUBLIC, Reach.PUBLIC), (SIX, Reach.PUBLIC), (endpoint(1), Reach.PRIVATE)]
)
def test_unasked_visitors_prove_reachability(source: Endpoint, reach: Reach) -> None:
    outside = Reachability(DEFAULT, 0.0)
    outside.queried(source, 5.0)
    assert outside.reach(5.0) is reach
    assert outside.reach(5.0 + DEFAULT.outside_lasts - 1) is reach
    assert outside.reach(5.0 + DEFAULT.outside_lasts) is Reach.UNKNOWN


@pytest.mark.parametrize("exempt", [(), ("198.51.100.0/24", "10.0.0.0/8"), ("0.0.0.0/0",)])
def test_private_follows_from_the_address_alone(exempt: tuple[str, ...]) -> None:
    outside = Reachability(Policy(exempt_networks=exempt), 0.0)
    outside.queried(endpoint(1), 0.0)
    assert outside.reach(0.0) is Reach.PRIVATE
    outside.queried(PUBLIC, 0.0)
    assert outside.reach(0.0) is Reach.PUBLIC


def test_public_evidence_outweighs_private() -> None:
    outside = Reachability(DEFAULT, 0.0)
    outside.queried(PUBLIC, 0.0)
    outside.queried(endpoint(1), 1.0)
    assert outside.reach(1.0) is Reach.PUBLIC
    assert outside.reach(DEFAULT.outside_lasts) is Reach.PRIVATE


def test_an_address_we_wrote_to_proves_nothing() -> None:
    outside = Reachability(DEFAULT, 0.0)
    outside.contacted(PUBLIC, 1.0)
    outside.queried(PUBLIC.with_port(9), 2.0)
    assert outside.reach(2.0) is Reach.UNKNOWN
    outside.queried(SIX, 2.0)
    assert outside.reach(2.0) is Reach.PUBLIC


def test_our_addressees_are_kept_ten_minutes() -> None:
    for written_at in (0.0, MEMORY - 1, 5.5 * MEMORY):
        outside = Reachability(DEFAULT, 0.0)
        outside.contacted(PUBLIC, written_at)
        outside.queried(PUBLIC, written_at + MEMORY - 1)
        assert outside.reach(written_at + MEMORY - 1) is Reach.UNKNOWN
        outside = Reachability(DEFAULT, 0.0)
        outside.contacted(PUBLIC, written_at)
        outside.queried(PUBLIC, written_at + 2 * MEMORY)
        assert outside.reach(written_at + 2 * MEMORY) is Reach.PUBLIC


def test_an_asker_that_we_answer_is_kept_longer() -> None:
    outside = Reachability(DEFAULT, 0.0)
    outside.contacted(PUBLIC, 0.0)
    last = 0.0
    while last < 10 * MEMORY:
        last += 0.9 * MEMORY
        outside.queried(PUBLIC, last)
        assert outside.reach(last) is Reach.UNKNOWN
    outside.queried(PUBLIC, last + 2 * MEMORY)
    assert outside.reach(last + 2 * MEMORY) is Reach.PUBLIC


def test_a_long_silence_clears_the_memory() -> None:
    outside = Reachability(DEFAULT, 0.0)
    outside.contacted(PUBLIC, 0.0)
    outside.queried(PUBLIC, 10 * MEMORY)
    assert outside.reach(10 * MEMORY) is Reach.PUBLIC


def test_evidence_is_checked_once_a_second() -> None:
    outside = Reachability(DEFAULT, 0.0)
    assert outside.look_at == float("-inf")
    outside.queried(PUBLIC, 5.0)
    assert outside.look_at == 6.0


@pytest.mark.no_cover
def test_the_memory_of_addressees_is_fixed() -> None:
    rng = Random(1)
    outside = Reachability(DEFAULT, 0.0)
    for _ in range(100):
        outside.contacted(Endpoint(rng.randbytes(6)), 0.0)
    unseen = 0
    for _ in range(1_000):
        outside.queried(Endpoint(rng.randbytes(6)), 0.0)
        unseen += outside.reach(0.0) is Reach.UNKNOWN
        outside._at = dict.fromkeys(outside._at, float("-inf"))
    assert unseen < 60
    for _ in range(100_000):
        outside.contacted(Endpoint(rng.randbytes(6)), 0.0)
    assert len(outside._contacted) == len(outside._before) == 512
