"""Machines lose their power: their entries are gone with their leases, and the goal shows where they are not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.policy import DEFAULT
from dhtd.sim.plan import Plan
from dhtd.sim.power_cuts import WATCHED
from dhtd.sim.report import Report
from dhtd.sim.scenarios import SCENARIOS
from dhtd.sim.simulation import Simulation

SMALL = Plan(nodes=16, entries=8, lookups=20, duration=330.0, cut=(120.0, 150.0))
LEASE = DEFAULT.heartbeat * DEFAULT.heartbeats_in_lease


def cut_off(plan: Plan = SMALL) -> Report:
    return Simulation(plan).run()


def test_entries_go_with_their_leases() -> None:
    report = cut_off()
    assert report.nodes == SMALL.nodes - SMALL.entries // 2
    assert report.cut.entries >= SMALL.entries // 2
    assert report.cut.gone_p50_s is not None
    assert report.cut.gone_max_s is not None
    assert LEASE - DEFAULT.heartbeat < report.cut.gone_p50_s <= report.cut.gone_max_s < LEASE + 3.0
    assert report.lookups.success_rate == 1.0  # of the entries that are still served
    assert report.traffic.renewals_per_node_s > 0


@pytest.mark.slow
def test_leases_twice_as_long_miss_the_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plan, "policy", replace(DEFAULT, heartbeats_in_lease=2 * DEFAULT.heartbeats_in_lease))
    missed = SCENARIOS["power-cut"].shortfalls(cut_off())
    assert [words.split()[0] for words in missed] == ["gone_p50_s", "gone_max_s"]


@pytest.mark.slow
def test_an_entry_that_stays_is_watched_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plan, "policy", replace(DEFAULT, heartbeats_in_lease=20.0))
    report = cut_off()
    assert report.cut.gone_max_s is not None
    assert report.cut.gone_max_s > WATCHED - 2


@pytest.mark.parametrize("nodes", [1, 2])
def test_the_last_machine_keeps_its_power(nodes: int) -> None:
    report = cut_off(replace(SMALL, nodes=nodes))
    assert report.nodes == 1
    assert report.cut.entries >= nodes - 1
    assert (report.cut.gone_max_s is None) == (nodes == 1)
