"""The size that nodes tell of their network, against the truth that only the simulation knows."""

from __future__ import annotations

from statistics import mean, median, quantiles

import pytest

from dhtd.sim.network import Network

JOINING = 40  # nodes that join, and tell the size


def estimates(seed: int, size: int, seconds: float) -> list[float]:
    """Let some nodes join a network, so that it has this size; return what they tell of it, as a share of the truth."""
    net = Network(seed)
    hosts = net.populate(size - JOINING, join=False)
    joined = [net.add(bootstrap=[net.rng.choice(hosts)]) for _ in range(JOINING)]
    net.run_for(seconds)
    told = [host.node.overlays.first.measured_size for host in joined]
    assert None not in told, f"seed {seed}"
    return [estimate / size for estimate in told if estimate is not None]


@pytest.mark.parametrize(
    ("size", "seeds"),
    [
        (100, range(2)),
        pytest.param(100, range(2, 13), marks=pytest.mark.slow),
        pytest.param(1_000, range(1), marks=pytest.mark.slow),
        pytest.param(3_000, range(1), marks=pytest.mark.slow),
        pytest.param(1_000, range(1, 4), marks=pytest.mark.long),
        pytest.param(10_000, range(1), marks=pytest.mark.long),
    ],
)
def test_the_size_is_told_well_soon_after_joining(size: int, seeds: range) -> None:
    told = [share for seed in seeds for share in estimates(seed, size, 5.0)]
    low, *_, high = quantiles(told, n=20)
    error = mean(abs(share - 1) for share in told)
    print(  # noqa: T201 - the figures of the manual pages
        f"{size} nodes: median {median(told):.2f} of the truth, {low:.2f} to {high:.2f} in nine of ten cases, "
        f"{100 * error:.0f} % off in the mean"
    )
    assert 0.85 < median(told) < 1.15
    assert error < 0.22
    assert 0.5 < low < high < 1.7


def test_nobody_tells_a_size_before_joining() -> None:
    net = Network(1)
    [alone] = net.grow(1)
    assert alone.node.overlays.first.measured_size is None


def test_two_nodes_count_each_other() -> None:
    net = Network(1)
    hosts = net.grow(2)
    net.run_for(60)
    assert [host.node.overlays.first.measured_size for host in hosts] == [2, 2]
