"""Lookups of several clients for one ID: what they share, and what they do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from dhtd.core.ids import Id
from dhtd.daemon.handlers.shared_lookups import PATIENCE
from dhtd.errors import Busy
from dhtd.service.entries import EnterRequest, LookupRequest
from tests.daemon.handlers.small_daemon import KEY, Daemon, two
from tests.daemon.wire import end_of


def searches(one: Daemon) -> list[float]:
    """Have each search of a node noted from now on, by the time of its begin."""
    begun: list[float] = []
    lookup = one.driver.node.commands.lookup

    def note(key: Id, now: float, **more: Any) -> Any:
        begun.append(now)
        return lookup(key, now, **more)

    one.driver.node = _Noted(one.driver.node, note)  # type: ignore[assignment]
    return begun


class _Noted:
    """A node whose lookups are noted."""

    def __init__(self, node: Any, lookup: Any) -> None:
        self._node = node
        self.commands = _Commands(node.commands, lookup)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)


class _Commands:
    def __init__(self, commands: Any, lookup: Any) -> None:
        self._commands = commands
        self.lookup = lookup

    def __getattr__(self, name: str) -> Any:
        return getattr(self._commands, name)


def empty() -> list[Any]:
    return []


async def ask(one: Daemon, results: list[Any], key: Id = KEY) -> None:
    results.append(await one.ask(LookupRequest(key)))


async def test_clients_that_ask_at_once_share_a_search(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await other.ask(EnterRequest(KEY, 80))
        begun, results = searches(one), empty()
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(ask, one, results)
        assert len(begun) == 1
        assert [result["peers"] for result in results] == [["10.0.0.2:80"]] * 100
        assert {result["complete"] for result in results} == {True}


async def test_other_ids_have_searches_of_their_own(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        begun, results = searches(one), empty()
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(ask, one, results, Id(number))
        assert len(begun) == 5


async def test_a_client_joins_no_search_under_way(autojump_clock: MockClock, tmp_path: Path) -> None:
    """What was entered before the question is in the answer."""
    async with two(tmp_path) as (one, other):
        begun, first, second = searches(one), empty(), empty()
        wire = end_of(one.driver)._wire
        async with trio.open_nursery() as nursery:
            wire.cut = True
            nursery.start_soon(ask, one, first)
            await trio.testing.wait_all_tasks_blocked()
            assert len(begun) == 1
            wire.cut = False
            await other.ask(EnterRequest(KEY, 80))
            asked_at = trio.current_time()
            nursery.start_soon(ask, one, second)
        assert len(begun) == 2
        assert begun[1] - asked_at <= PATIENCE
        assert second[0]["peers"] == ["10.0.0.2:80"]


async def test_a_client_that_leaves_stops_no_other(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await other.ask(EnterRequest(KEY, 80))
        begun, results = searches(one), empty()
        wire = end_of(one.driver)._wire
        async with trio.open_nursery() as nursery:
            wire.cut = True
            hanging = await nursery.start(_leaving, one, results)
            leaders = [await nursery.start(_leaving, one, results) for _ in range(2)]
            nursery.start_soon(ask, one, results)
            await trio.testing.wait_all_tasks_blocked()
            assert len(begun) == 1
            leaders[0].cancel()  # before their search has begun
            await trio.sleep(2 * PATIENCE)
            assert len(begun) == 2
            leaders[1].cancel()  # after it has
            hanging.cancel()
            wire.cut = False
        assert [result["peers"] for result in results] == [["10.0.0.2:80"]]


async def _leaving(one: Daemon, results: list[Any], task_status: trio.TaskStatus[trio.CancelScope]) -> None:
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await ask(one, results)


async def test_a_search_ends_with_its_last_client(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        end_of(one.driver)._wire.cut = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, one, [])
            nursery.start_soon(ask, one, [])
            await trio.testing.wait_all_tasks_blocked()
            assert one.driver._operations
            nursery.cancel_scope.cancel()
        assert not one.driver._operations


async def test_all_members_hear_that_there_is_no_room(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        handles = one.driver.node.commands._handles
        full = [handles.begin() for _ in range(one.driver.node.policy.operations)]
        refused = []

        async def be_refused() -> None:
            with pytest.raises(Busy):
                await one.ask(LookupRequest(KEY))
            refused.append(1)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(be_refused)
        assert len(refused) == 3
        for handle in full:
            handles.end(handle)
        results: list[Any] = []
        await ask(one, results)
        assert results
