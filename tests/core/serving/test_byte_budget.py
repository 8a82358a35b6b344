"""Bytes for strangers beyond what their queries allow."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from dhtd.core.endpoint import Endpoint
from dhtd.core.policy import MAINLINE
from dhtd.core.serving.byte_budget import ByteBudget
from tests.core.small import endpoint

POLICY = replace(MAINLINE, spare_bytes=5_000.0, spare_bytes_per_source=1_000.0, spare_burst=2.0)


def make() -> ByteBudget:
    return ByteBudget(POLICY, Random(1), 0.0)


def test_a_source_has_its_burst_and_then_its_rate() -> None:
    budget = make()
    assert budget.spare(endpoint(1), 0.0) == 2_000
    budget.charge(endpoint(1), 1_500, 0.0)
    assert budget.spare(endpoint(1), 0.0) == 500
    budget.charge(endpoint(1), 5_000, 0.0)
    assert budget.spare(endpoint(1), 0.0) == 0
    assert budget.spare(endpoint(1), 1.0) == 1_000  # it owes no more than its burst
    assert budget.spare(endpoint(1), 99.0) == 2_000


def test_other_sources_are_not_concerned() -> None:
    budget = make()
    budget.charge(endpoint(1), 2_000, 0.0)
    assert budget.spare(endpoint(2), 0.0) == 2_000


def test_ports_and_one_network_of_ipv6_are_one_source() -> None:
    budget = make()
    budget.charge(endpoint(1), 2_000, 0.0)
    assert budget.spare(endpoint(1).with_port(9), 0.0) == 0
    budget.charge(Endpoint.parse("[2001:db8::1]:1"), 2_000, 0.0)
    assert budget.spare(Endpoint.parse("[2001:db8::2]:2"), 0.0) == 0


def test_all_sources_share_a_budget() -> None:
    budget = make()
    for number in range(5):
        budget.charge(endpoint(number), 2_000, 0.0)
    assert budget.spare(endpoint(9), 0.0) == 0
    assert budget.spare(endpoint(9), 0.1) == 500


def test_what_is_there_is_paid() -> None:
    budget = make()
    assert not budget.pays(endpoint(1), 2_001, 0.0)
    assert budget.pays(endpoint(1), 2_000, 0.0)
    assert not budget.pays(endpoint(1), 1, 0.0)
    assert all(budget.pays(endpoint(number), 2_000, 0.0) for number in (2, 3, 4, 5))
    assert not budget.pays(endpoint(6), 1, 0.0)  # all have had 10,000 bytes
    assert budget.pays(endpoint(6), 500, 0.1)
