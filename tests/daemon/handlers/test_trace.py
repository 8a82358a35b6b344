"""The method trace: what a client is told of each query, and what is left when it goes away or does not read."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from dhtd.core.ids import Id
from dhtd.core.messages import FindValue, Query
from dhtd.daemon.handlers.calls import ITSELF
from dhtd.errors import NoPeers
from dhtd.service.entries import EnterRequest
from dhtd.service.method import Event
from dhtd.service.trace import STEPS, TraceEvent, TraceRequest
from tests.daemon.handlers.small_daemon import KEY, KEY_TEXT, Daemon, daemon, matches, two
from tests.daemon.wire import Wire, end_of


async def test_a_trace_tells_each_query_and_then_all(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await other.ask(EnterRequest(KEY, 80, wait=True))
        result = await one.ask(TraceRequest(KEY, "wiki"))
        served = f"{other.at[0]}:80"
        assert (result["id"], result["name"], result["peers"]) == (KEY_TEXT, "wiki", [served])
        assert result["complete"]
        assert all(matches(event, TraceEvent) for event in one.events)
        asked, answered = cast("list[TraceEvent]", one.events)
        assert (asked["step"], asked["query"], asked["hop"], asked["named_by"]) == ("asked", 1, 1, [])
        assert asked["bits"] == 256 - (other.driver.node.own_id ^ KEY).bit_length()
        assert {asked["endpoint"], answered["endpoint"]} == {other.endpoint}
        assert {asked["node_id"], answered["node_id"]} == {other.id}
        assert (answered["step"], answered["peers"], answered["gained"]) == ("answered", [served], 0)
        assert answered["rtt_ms"] == 0.0


async def test_a_silent_node_is_slow_and_then_silent(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        end_of(other.driver)._wire.cut = True
        result = await one.ask(TraceRequest(KEY))
        assert result["peers"] == []
        steps = [event["step"] for event in cast("list[TraceEvent]", one.events)]
        assert steps == ["asked", "slow", "silent"]
        assert set(steps) <= set(STEPS)


async def test_a_trace_without_any_contact_says_so(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        with pytest.raises(NoPeers, match="dht bootstrap"):
            await one.ask(TraceRequest(KEY))


def lookups_of(one: Daemon) -> list[object]:
    messages = [one.driver.node.codec.decode(data) for data, _ in end_of(one.driver).sent]
    return [each for each in messages if isinstance(each, Query) and isinstance(each.request, FindValue)]


async def test_a_trace_ends_with_its_client(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        end_of(other.driver)._wire.cut = True
        with trio.move_on_after(0.01):
            await one.ask(TraceRequest(KEY))
        assert one.driver.node.handles.running == set()
        before = len(lookups_of(one))
        await trio.sleep(5)
        assert len(lookups_of(one)) == before > 0


async def test_a_client_that_reads_nothing_holds_few_steps(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):

        async def stuck(event: Event) -> None:
            await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.handler.__call__, TraceRequest(Id(9)), stuck, ITSELF)
            await trio.sleep(60)
            assert one.driver._operations == {}  # the lookup is over, and its few events wait for the client
            nursery.cancel_scope.cancel()
