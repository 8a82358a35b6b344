"""The size of the network: a median over random places, which a crowd in one place does not move."""

from __future__ import annotations

from random import Random
from statistics import quantiles

import pytest

from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import Contact
from dhtd.core.routing.network_size import SLOTS, NetworkSize
from tests.core.small import contact, endpoint

K = 8


def nearest(target: Id, ids: list[Id]) -> list[Contact]:
    return [Contact(id, endpoint(1)) for id in sorted(ids, key=lambda id: id ^ target)[:K]]


def sampled(size: int, rng: Random, lookups: int = SLOTS) -> NetworkSize:
    """Return the estimate after lookups of random places among `size` nodes, ourselves included."""
    ids = [NATIVE.random(rng) for _ in range(size - 1)]
    estimate = NetworkSize(NATIVE, K)
    for _ in range(lookups):
        target = NATIVE.random(rng)
        estimate.measured(target, nearest(target, ids))
    return estimate


def test_before_the_first_sample_nothing_is_known() -> None:
    assert NetworkSize(NATIVE, K).estimate is None


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_under_k_answers_are_the_whole_network(size: int) -> None:
    assert sampled(size, Random(1)).estimate == size


@pytest.mark.no_cover
@pytest.mark.parametrize("size", [12, 20, 100, 1_000])
def test_the_estimate_is_near_the_truth(size: int) -> None:
    rng = Random(size)
    estimates = [sampled(size, rng).estimate or 0 for _ in range(60)]
    lowest, *_, highest = quantiles(estimates, n=20)
    assert 0.9 * size < quantiles(estimates, n=2)[0] < 1.1 * size
    assert 0.6 * size < lowest < highest < 1.6 * size


def test_after_one_lookup_there_is_an_estimate() -> None:
    rng = Random(3)
    estimates = [sampled(500, rng, lookups=1).estimate or 0 for _ in range(100)]
    assert 400 < quantiles(estimates, n=2)[0] < 600


def test_a_crowded_place_moves_one_sample() -> None:
    rng = Random(4)
    estimate = sampled(300, rng)
    before = estimate.estimate
    assert before is not None
    ours = NATIVE.random(rng)
    for _ in range(50):
        estimate.measured(ours, [Contact(Id(ours ^ rng.getrandbits(100)), endpoint(1)) for _ in range(K)])
    assert estimate.estimate is not None
    assert 0.6 * before < estimate.estimate < 1.6 * before


def test_growth_shows_within_a_few_samples() -> None:
    rng = Random(5)
    estimate = sampled(50, rng)
    ids = [NATIVE.random(rng) for _ in range(1_000)]
    for _ in range(8):
        target = NATIVE.random(rng)
        estimate.measured(target, nearest(target, ids))
    assert estimate.estimate is not None
    assert 500 < estimate.estimate < 2_000


def test_a_node_at_the_target_divides_by_no_zero() -> None:
    estimate = NetworkSize(NATIVE, 1)
    estimate.measured(Id(7), [contact(7)])
    assert estimate.estimate is not None
