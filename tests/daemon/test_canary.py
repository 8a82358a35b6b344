"""The canary: whether other nodes find what this node enters, and what that is good for."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
import trio
from trio.testing import MockClock

from dhtd.core.codec import Codec
from dhtd.daemon import canary, watchdog
from dhtd.daemon.canary import FRESH, INTERVAL, LOOK_WITHIN, SOON, WANTED_FOR
from dhtd.daemon.handlers.calls import NO_PEERS
from dhtd.errors import Busy
from dhtd.service.entries import EnterRequest
from dhtd.service.health import HealthRequest, HealthResult
from dhtd.service.info import InfoRequest
from dhtd.wire.bep5 import Bep5Codec
from dhtd.wire.native import NativeCodec
from tests.daemon.handlers.small_daemon import Daemon, daemon, two
from tests.daemon.wire import POLICY, Wire, joined


@asynccontextmanager
async def looking(one: Daemon) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.handler.canary.run)
        yield
        nursery.cancel_scope.cancel()


async def health(one: Daemon) -> HealthResult:
    result: HealthResult = await one.ask(HealthRequest())
    return result


@pytest.mark.parametrize("codec", [NativeCodec(), Bep5Codec()], ids=["native", "mainline"])
async def test_a_node_whose_canary_others_give_is_healthy(
    codec: Codec, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with two(tmp_path, codec) as (one, _), looking(one):
        told = await health(one)
        assert (told["healthy"], told["holders"]) == (True, 1)
        assert told["message"] == "healthy: 1 other node gave what this node has entered; they found the canary 0 s ago"
        assert trio.current_time() < LOOK_WITHIN


async def test_nothing_is_sent_until_somebody_asks(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other), looking(one):
        await trio.sleep(WANTED_FOR)
        assert one.handler.canary.last is None
        assert len(other.driver.node.store) == 0


async def test_the_canary_is_no_own_entry(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other), looking(one):
        await health(one)
        assert len(other.driver.node.store) == 1
        assert list(one.driver.node.own_records) == []
        assert one.disk.entries == set()
        info = await one.ask(InfoRequest("tracking"))
        assert info["tracking"] == []


async def test_it_is_looked_for_until_nobody_asks(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _), looking(one):
        await health(one)
        kept = one.handler.canary
        looks = set()
        while trio.current_time() < WANTED_FOR + INTERVAL + 2 * FRESH:
            await trio.sleep(1)
            assert kept.last is not None
            looks.add(kept.last.at)
        assert WANTED_FOR / INTERVAL - 1 <= len(looks) <= WANTED_FOR / INTERVAL + 2
        assert kept.last is not None
        assert kept.last.at <= WANTED_FOR + INTERVAL
        assert not kept.is_healthy  # it is not known any more
        assert (await health(one))["healthy"]


async def test_a_node_cut_off_turns_unhealthy_and_back(autojump_clock: MockClock, tmp_path: Path) -> None:
    wire = Wire()
    async with daemon(wire, tmp_path) as one, daemon(wire, tmp_path) as other:
        await joined(one.driver, other.driver)
        async with looking(one):
            assert (await health(one))["healthy"]
            wire.cut = True
            cut_at = trio.current_time()
            while (told := await health(one))["healthy"]:  # noqa: ASYNC110 - time passes, and nothing tells of it
                await trio.sleep(1)
            assert FRESH - INTERVAL <= trio.current_time() - cut_at <= 90
            assert told["message"].startswith(
                "not healthy: none of the nodes that this node knows (1) answers any more"
            )
            assert f"found the canary {told['found_s_ago']:.0f} s ago" in told["message"]
            await trio.sleep(600)
            wire.cut = False
            back_at = trio.current_time()
            while not (await health(one))["healthy"]:  # noqa: ASYNC110 - the same
                await trio.sleep(1)
            assert trio.current_time() - back_at <= 60


async def test_an_entry_of_others_is_no_canary(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Somebody has entered the canary's ID with another port, at a node that takes no further entry."""
    wire, full = Wire(), replace(POLICY, store_entries=1)
    async with (
        daemon(wire, tmp_path) as one,
        daemon(wire, tmp_path, full) as other,
        daemon(wire, tmp_path, replace(POLICY, store_entries=0)) as third,
    ):
        await joined(one.driver, other.driver)
        await joined(third.driver, other.driver)
        await third.ask(EnterRequest(one.handler.canary._key, 9))
        assert len(other.driver.node.store) == 1
        async with looking(one):
            told = await health(one)
    assert (told["healthy"], told["holders"], told["answered"]) == (False, 0, 2)


@pytest.mark.parametrize("codec", [NativeCodec(), Bep5Codec()], ids=["native", "mainline"])
async def test_a_holder_that_forgot_the_canary_is_asked_again(
    codec: Codec, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with two(tmp_path, codec) as (one, other), looking(one):
        await health(one)
        other.driver.node.store.sweep(other.driver.clock() + 1e6)
        assert len(other.driver.node.store) == 0
        await trio.sleep(INTERVAL + LOOK_WITHIN)
        assert len(other.driver.node.store) == 1
        assert (await health(one))["holders"] == 1


async def test_the_canary_is_renewed_before_it_expires(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(canary, "PLACES", 1)
    async with two(tmp_path) as (one, other), looking(one):
        await health(one)
        for _ in range(150):
            await trio.sleep(1)
            assert other.driver.node.store.held(one.handler.canary._key)[0].expires_at > other.driver.clock()


async def test_a_lone_node_is_not_healthy(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one, looking(one):
        told = await health(one)
        assert told == {
            "healthy": False,
            "message": f"not healthy: {NO_PEERS}",
            "found_s_ago": None,
            "looked_s_ago": told["looked_s_ago"],
            "holders": 0,
            "answered": 0,
        }


async def test_nodes_that_take_nothing_are_told(autojump_clock: MockClock, tmp_path: Path) -> None:
    wire = Wire()
    async with daemon(wire, tmp_path) as one, daemon(wire, tmp_path, replace(POLICY, store_entries=0)) as other:
        await joined(one.driver, other.driver)
        async with looking(one):
            told = await health(one)
    assert (told["healthy"], told["answered"]) == (False, 1)
    assert told["message"] == "not healthy: 1 other node answered, and none gave what this node has entered"


async def test_a_busy_node_knows_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path, replace(POLICY, operations=0)) as one, looking(one):
        told = await health(one)
    assert not told["healthy"]
    assert told["message"].startswith("not known: the canary cannot be looked for, as many operations are under way")


async def test_a_look_after_suspension_is_awaited(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _), looking(one):
        await health(one)
        await trio.sleep(1)
        one.driver.clock = lambda: trio.current_time() + 3_600
        began = trio.current_time()
        told = await health(one)
        assert told["healthy"]
        assert trio.current_time() - began < LOOK_WITHIN


async def test_an_old_look_is_not_told_as_new(autojump_clock: MockClock, tmp_path: Path) -> None:
    wire = Wire()
    async with daemon(wire, tmp_path) as one, daemon(wire, tmp_path) as other:
        await joined(one.driver, other.driver)
        async with looking(one):
            await health(one)
            wire.cut = True
            one.driver.clock = lambda: trio.current_time() + 3_600
            told: HealthResult = await one.ask(HealthRequest(within_s=0.5))
    assert not told["healthy"]
    assert told["message"] == "not known yet: a look for the canary is under way"


def test_the_canary_outlives_the_time_between_looks() -> None:
    assert INTERVAL + 2 * LOOK_WITHIN < FRESH
    assert FRESH + SOON + 2 * LOOK_WITHIN <= 90


# The watchdog


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "many"}, None),
        ({"WATCHDOG_USEC": "9" * 40}, None),
    ],
)
def test_the_manager_says_how_often(environ: dict[str, str], seconds: float | None) -> None:
    assert watchdog.interval(environ) == seconds


@asynccontextmanager
async def watched(one: Daemon, told: list[str]) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watchdog.watch, one.handler.canary, 15.0, told.append)
        yield
        nursery.cancel_scope.cancel()


async def test_the_watchdog_is_told_while_healthy(autojump_clock: MockClock, tmp_path: Path) -> None:
    wire = Wire()
    told: list[str] = []
    async with daemon(wire, tmp_path) as one, daemon(wire, tmp_path) as other, looking(one), watched(one, told):
        await trio.sleep(100)
        assert told == ["WATCHDOG=1"] * 7  # alone: no other node ever had the canary
        await joined(one.driver, other.driver)
        await trio.sleep(100)
        assert one.handler.canary.is_healthy
        wire.cut = True
        await trio.sleep(100)
        told.clear()
        await trio.sleep(100)
        assert told == []
        wire.cut = False
        await trio.sleep(100)
        assert told


async def test_a_machine_that_wakes_up_is_let_be(autojump_clock: MockClock, tmp_path: Path) -> None:
    told: list[str] = []
    async with two(tmp_path) as (one, _), looking(one), watched(one, told):
        await trio.sleep(41)
        told.clear()
        one.driver.clock = lambda: trio.current_time() + 3_600
        await trio.sleep(15)
    assert told == ["WATCHDOG=1"]


async def test_a_busy_node_is_let_be(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(start: object) -> NoReturn:
        raise Busy("as many operations are under way as are taken")

    told: list[str] = []
    async with two(tmp_path) as (one, _), looking(one), watched(one, told):
        await trio.sleep(41)
        monkeypatch.setattr(one.driver, "begin", refuse)
        await trio.sleep(200)
        assert not one.handler.canary.is_healthy
        assert len(told) == 17
