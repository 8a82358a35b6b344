"""The truth about the nearest hosts, against a look through all hosts; and the behaviour of links."""

from __future__ import annotations

from random import Random
from statistics import median, quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.ids import Id
from dhtd.sim.census import Census
from dhtd.sim.host import Host
from dhtd.sim.json_codec import JsonCodec
from dhtd.sim.links import LinkModels, Nat, Weather
from dhtd.sim.network import Network
from tests.core.small import SEVEN, endpoint
from tests.strategies import ids

LINKS = [(endpoint(one), endpoint(other)) for one in range(60) for other in range(60, 120)]


def hosts(own_ids: list[Id]) -> list[Host]:
    net = Network(1, codec=JsonCodec(SEVEN))
    return [net.add(id=id, start=False) for id in own_ids]


@given(st.lists(ids(SEVEN), max_size=40), ids(SEVEN), st.integers(1, 12), st.sets(st.integers(0, 39)))
def test_the_census_finds_the_nearest(own_ids: list[Id], target: Id, count: int, gone: set[int]) -> None:
    census = Census(SEVEN)
    everybody = hosts(own_ids)
    for host in everybody:
        census.add(host)
    left = [host for number, host in enumerate(everybody) if number not in gone]
    for number, host in enumerate(everybody):
        if number in gone:
            census.remove(host)
    nearest = sorted(left, key=lambda host: host.id ^ target)[:count]
    assert [host.id for host in census.closest(target, count)] == [host.id for host in nearest]
    assert len(census) == len(left)
    assert list(census) == sorted(left, key=lambda host: host.id) or len({host.id for host in left}) < len(left)


@given(st.lists(ids(SEVEN), max_size=40), ids(SEVEN), ids(SEVEN))
def test_the_hosts_of_a_range_lie_side_by_side(own_ids: list[Id], one: Id, other: Id) -> None:
    census = Census(SEVEN)
    for host in hosts(own_ids):
        census.add(host)
    low, high = sorted((one, other))
    within = [census[place].id for place in census.between(low, high)]
    assert within == sorted(id for id in own_ids if low <= id <= high)


def test_links_are_log_normal_and_symmetric() -> None:
    weather = Weather(LinkModels(latency=0.04, sigma=0.5), Random(1))
    drawn = [weather.latency(*link) for link in LINKS]
    assert drawn == [weather.latency(other, one) for one, other in LINKS]
    assert median(drawn) == pytest.approx(0.04, rel=0.05)
    assert quantiles(drawn, n=100)[98] == pytest.approx(0.04 * 3.2, rel=0.15)  # e ** (2.33 * 0.5)
    assert Weather(LinkModels(latency=0.04, sigma=0.5), Random(2)).latency(*LINKS[0]) != drawn[0]
    assert {Weather(LinkModels(sigma=0.0), Random(1)).latency(*link) for link in LINKS} == {0.04}


def test_loss_copies_and_overtaking_match_the_plan() -> None:
    links = LinkModels(sigma=0.0, jitter=0.0, loss=0.2, duplicate=0.25, reorder=0.5)
    weather = Weather(links, Random(1))
    copies = [weather.delays(*LINKS[0]) for _ in range(4_000)]
    arrived = [delays for delays in copies if delays]
    assert 1 - len(arrived) / len(copies) == pytest.approx(0.2, abs=0.03)
    assert sum(len(delays) == 2 for delays in arrived) / len(arrived) == pytest.approx(0.25, abs=0.03)
    assert sum(delays[0] > 0.04 for delays in arrived) / len(arrived) == pytest.approx(0.5, abs=0.03)
    assert max(delays[0] for delays in arrived) <= 0.04 * 11 + 1e-9


def test_a_nat_admits_only_addressees() -> None:
    nat = Nat(lifetime=60.0)
    for number in range(1_000):
        nat.sent(endpoint(number), now=float(number))
    assert nat.admits(endpoint(999), 1_000.0)
    assert nat.admits(endpoint(940), 1_000.0)
    assert not nat.admits(endpoint(930), 1_000.0)
    assert not nat.admits(endpoint(2_000), 1_000.0)
    assert len(nat._until) < 100
