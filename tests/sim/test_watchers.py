"""Watchers see each change, also while holders die, and the figures show where they do not."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Handle, WatchUpdate
from dhtd.core.watching.notices import Notices
from dhtd.sim.plan import Plan
from dhtd.sim.report import Report
from dhtd.sim.scenarios import SCENARIOS
from dhtd.sim.simulation import Simulation
from dhtd.sim.watchers import Watcher

SMALL = Plan(nodes=24, entries=2, lookups=10, duration=120.0, watched=2, watchers=4)


@cache
def small() -> Report:
    return Simulation(SMALL).run()


def test_each_change_is_seen_while_holders_die() -> None:
    watches = small().watches
    assert small().nodes < SMALL.nodes
    assert watches.changes > 10
    assert watches.expected == watches.changes * SMALL.watchers
    assert watches.seen_share == 1.0
    assert watches.wrong == 0
    assert watches.seen_p50_ms is not None
    assert 0 < watches.seen_p50_ms < 1_000


def test_holders_that_tell_nothing_miss_the_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Notices, "stirred", lambda notices, key: None)
    report = Simulation(SMALL).run()
    assert report.watches.seen_share is not None
    assert report.watches.seen_share < 0.9
    assert report.watches.seen_max_ms is None
    missed = SCENARIOS["watchers"].shortfalls(report)
    assert [words.split()[0] for words in missed] == ["seen_share", "seen_p99_ms"]


def known_for_long(simulation: Simulation) -> tuple[Watcher, Handle, Endpoint] | None:
    """Return a watcher, its handle, and an endpoint of another machine that it has known for long."""
    watchers, now = simulation._watchers, simulation.net.now
    for (_, op), watcher in watchers._watchers.items():
        for change in watchers._latest[watcher.key].values():
            if change.lasted(now) and change.is_there and watcher in change.seen and change.owner is not watcher.host:
                return watcher, op, change.endpoint
    return None


@pytest.mark.parametrize("is_made_up", [True, False])
def test_a_wrong_update_is_counted(is_made_up: bool) -> None:
    """It has an endpoint that never was there, or none that has been there for long."""
    simulation = Simulation(SMALL)
    while (found := known_for_long(simulation)) is None:
        assert simulation.advance(100)
    watcher, op, endpoint = found
    wrong = Endpoint.of("192.0.2.1", 80) if is_made_up else endpoint
    added, removed = ((wrong,), ()) if is_made_up else ((), (wrong,))
    there = tuple(watcher.endpoints ^ {wrong})
    simulation._watchers.heard(watcher.host, WatchUpdate(op, watcher.key, there, added, removed, 8))
    report = simulation.report()
    assert report.watches.wrong == 1
    assert "wrong is 1, and is to be 0" in SCENARIOS["watchers"].shortfalls(replace(report, lookups=small().lookups))


@pytest.mark.slow
def test_watchers_and_owners_may_leave() -> None:
    watches = Simulation(replace(SMALL, churn=60.0)).run().watches
    assert watches.changes > 10
    assert watches.expected < watches.changes * SMALL.watchers


def test_without_watched_keys_there_is_nothing_to_see() -> None:
    watches = Simulation(Plan(nodes=2, entries=1, lookups=1, duration=10.0)).run().watches
    assert (watches.changes, watches.expected, watches.seen_share, watches.wrong) == (0, 0, None, 0)
