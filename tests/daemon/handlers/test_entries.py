"""Own entries are entered, looked up and deleted; a client that leaves does not split the change."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Handle, LeftBehind, Withdrawn
from dhtd.core.ids import NATIVE, Id
from dhtd.daemon.handlers.calls import ITSELF
from dhtd.errors import Busy, NoPeers, NotTracked, StateError, TooManyEntries
from dhtd.service.entries import (
    DeleteRequest,
    DeleteResult,
    EnterManyRequest,
    EnterRequest,
    EnterResult,
    LookupEvent,
    LookupRequest,
    LookupResult,
)
from dhtd.service.method import Event, Request
from dhtd.service.node import NodeIdRequest
from dhtd.service.params import WantedEntry
from dhtd.service.queries import PingRequest
from dhtd.sim.json_codec import JsonCodec
from tests.daemon.handlers.small_daemon import KEY, KEY_TEXT, NOBODY, NOWHERE, Daemon, daemon, matches, tracked, two
from tests.daemon.wire import POLICY, Wire, end_of, joined
from tests.records import own_key


async def test_an_outsider_is_told_its_endpoints(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        with pytest.raises(NoPeers, match="this node knows no other node: name one"):
            await one.ask(LookupRequest(KEY))
        one.driver.node.start([NOWHERE], one.driver.clock())
        with pytest.raises(NoPeers, match=f"this node is still alone: nobody has answered at {NOWHERE}"):
            await one.ask(LookupRequest(KEY))


async def test_a_lookup_tells_progress_and_then_all(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await other.ask(EnterRequest(KEY, 80, wait=True))
        result = await one.ask(LookupRequest(KEY))
        assert matches(result, LookupResult)
        assert (result["id"], result["peers"]) == (KEY_TEXT, [f"{other.at[0]}:80"])
        assert result["stats"]["responses"] == 1
        assert one.events
        assert all(matches(event, LookupEvent) for event in one.events)
        found = [peer for event in cast("list[LookupEvent]", one.events) for peer in event["peers"]]
        assert found == result["peers"]
        missing = await one.ask(LookupRequest(Id(99)))
        assert missing["peers"] == []


async def test_a_lookup_without_any_contact_says_so(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        with pytest.raises(NoPeers, match="dht bootstrap"):
            await one.ask(LookupRequest(KEY))


async def test_enter_names_the_holders(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        result = await one.ask(EnterRequest(KEY, 80, wait=True))
        assert matches(result, EnterResult)
        assert result["replicas"] == [{"node_id": other.id, "endpoint": other.endpoint}]
        assert (result["id"], result["port"]) == (KEY_TEXT, 80)
        assert result["expires_in_s"] == 60
        assert 0.8 * POLICY.republish_first < result["refresh_in_s"] < 1.2 * POLICY.republish_first
        assert one.disk.entries == tracked(one.driver) == {(KEY, 80)}


async def test_enter_is_durable_before_the_node_knows(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        await one.ask(EnterRequest(KEY, 80, wait=True))
        assert one.disk.node_had == [set()]


async def test_enter_without_waiting_returns_early(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        result = await one.ask(EnterRequest(KEY, 80, wait=False))
        assert matches(result, EnterResult)
        assert result["replicas"] == []
        await wait_all_tasks_blocked()
        assert [held.key for held in other.driver.node.store] == [KEY]


async def test_enter_alone_reports_no_holder(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        result = await one.ask(EnterRequest(KEY, 80, wait=True))
        assert result["replicas"] == []
        assert one.disk.entries == tracked(one.driver) == {(KEY, 80)}


async def test_enter_with_replicas_waits_for_a_node(autojump_clock: MockClock, tmp_path: Path) -> None:
    wire = Wire()
    async with daemon(wire, tmp_path) as one, trio.open_nursery() as nursery:
        results: list[Any] = []

        async def enter() -> None:
            results.append(await one.ask(EnterRequest(KEY, 80, wait=True, min_replicas=1, within_s=1_000.0)))

        nursery.start_soon(enter)
        await trio.sleep(500)
        assert not results
        async with wire.driver() as other:
            await joined(other, one.driver)
            await trio.sleep(5)
            assert len(results[0]["replicas"]) == 1


@pytest.mark.parametrize("wanted", [0, 1])
async def test_enter_returns_in_time_with_what_it_has(autojump_clock: MockClock, tmp_path: Path, wanted: int) -> None:
    async with daemon(Wire(), tmp_path) as one:
        one.driver.node.start([Endpoint.of(*NOBODY)], one.driver.clock())
        one.driver.flush()
        began = trio.current_time()
        result = await one.ask(EnterRequest(KEY, 80, wait=True, min_replicas=wanted, within_s=13.5))
        assert result["replicas"] == []
        assert trio.current_time() == began + 13.5
        assert one.disk.entries == tracked(one.driver) == {(KEY, 80)}


async def test_a_name_stays_beside_its_id(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        entered = await one.ask(EnterRequest(KEY, 80, name="printer"))
        looked_up = await one.ask(LookupRequest(KEY))
        asked_by_name = await one.ask(LookupRequest(Id(8), "scanner"))
        deleted = await one.ask(DeleteRequest(KEY, None))
        again = await one.ask(EnterRequest(KEY, 80))
        assert [each["name"] for each in (entered, looked_up, asked_by_name, deleted, again)] == [
            *("printer", "printer", "scanner", "printer", None)
        ]
        assert (await one.ask(DeleteRequest(KEY, None, "laser")))["name"] == "laser"


async def test_a_delete_names_the_declaring_file(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        one.driver.labels.declared = {own_key(KEY, 80): "a.toml", own_key(KEY, 81): "a.toml"}
        for port in (80, 81, 82):
            await one.ask(EnterRequest(KEY, port))
        assert (await one.ask(DeleteRequest(KEY, 82)))["declared"] == []
        assert (await one.ask(DeleteRequest(KEY, None)))["declared"] == ["a.toml"]


def many(count: int, **options: Any) -> EnterManyRequest:
    return EnterManyRequest(
        tuple(WantedEntry(Id(number), 80, f"{number}") for number in range(1, count + 1)), **options
    )


async def test_many_are_told_in_their_order(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        assert await one.ask(many(100)) == {"entered": 100}
        assert one.disk.writes == 1
        told = cast("list[EnterResult]", one.events)
        assert all(matches(event, EnterResult) for event in told)
        assert [event["name"] for event in told] == [f"{number}" for number in range(1, 101)]
        assert {len(event["replicas"]) for event in told} == {1}
        assert len(other.driver.node.store) == 100
        assert not one.driver._operations
        sent = one.driver.node.counters.queries_sent
        one.events.clear()
        await one.ask(many(100))  # which are published already
        assert {len(event["replicas"]) for event in told} == {1}
        assert one.driver.node.counters.queries_sent == sent


async def test_many_without_waiting_are_on_disk(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        await one.ask(many(40, wait=False))
        told = cast("list[EnterResult]", one.events)
        assert [event["replicas"] for event in told] == [[]] * 40
        assert len(one.disk.entries) == 40


async def test_many_return_in_time_with_what_they_have(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        one.driver.node.start([Endpoint.of(*NOBODY)], one.driver.clock())
        one.driver.flush()
        began = trio.current_time()
        await one.ask(many(100, min_replicas=1, within_s=5.0))
        assert trio.current_time() == began + 5.0
        assert len(one.events) == len(one.disk.entries) == len(tracked(one.driver)) == 100
        assert not one.driver._operations


async def test_one_of_many_may_be_deleted_meanwhile(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        end_of(other.driver)._wire.cut = True  # so that publishing takes its time
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.ask, many(100))
            await wait_all_tasks_blocked()
            for key in (1, 40, 100):
                await one.ask(DeleteRequest(Id(key), None))
        assert len(one.events) == 100
        assert len(one.disk.entries) == 97
        assert tracked(one.driver) == one.disk.entries


async def test_a_leaving_client_loses_none_of_many(autojump_clock: MockClock, tmp_path: Path) -> None:
    for moment in range(0, 60, 3):
        async with two(tmp_path) as (one, _):
            one.disk.steps = 2
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.ask, many(50))
                for _ in range(moment):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            assert tracked(one.driver) == one.disk.entries, f"after {moment} steps"
            assert len(one.disk.entries) in {0, 50}
            assert not one.driver._operations


async def test_what_the_disk_refuses_is_not_entered(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        one.disk.failing = True
        with pytest.raises(StateError, match="no space left"):
            await one.ask(EnterRequest(KEY, 80, wait=True))
        assert not tracked(one.driver)
        await trio.sleep(POLICY.republish)
        assert not len(other.driver.node.store)
        one.disk.failing = False
        await one.ask(EnterRequest(KEY, 80, wait=True))
        one.disk.failing = True
        with pytest.raises(StateError):
            await one.ask(DeleteRequest(KEY, None))
        assert tracked(one.driver) == one.disk.entries == {(KEY, 80)}


async def test_a_cap_refuses_without_a_trace(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path, replace(POLICY, operations=1, own_ports=1)) as one:
        await one.ask(EnterRequest(KEY, 80, wait=True))
        with pytest.raises(TooManyEntries, match=r"this ID on as many ports as it takes \(1\)"):
            await one.ask(EnterRequest(KEY, 81, wait=True))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.ask, PingRequest(NOBODY))
            await wait_all_tasks_blocked()
            for request in (
                EnterRequest(Id(8), 80, wait=True),
                DeleteRequest(KEY, None),
                LookupRequest(KEY),
            ):
                with pytest.raises(Busy):
                    await one.ask(request)
            assert tracked(one.driver) == one.disk.entries == {(KEY, 80)}
            nursery.cancel_scope.cancel()  # nobody waits for the ping any more, and that makes room
        await one.ask(DeleteRequest(KEY, None))
        assert not tracked(one.driver) | one.disk.entries


async def test_a_first_answer_ends_a_lookup(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await other.ask(EnterRequest(KEY, 80, wait=True))
        result = await one.ask(LookupRequest(KEY, first=True))
        assert (result["peers"], result["complete"], result["stats"]["responses"]) == ([f"{other.at[0]}:80"], False, 1)
        assert result["stats"]["first_ms"] == result["stats"]["elapsed_ms"]
        assert [event["peers"] for event in one.events] == [result["peers"]]
        assert not one.driver.node.handles.running


async def test_a_lookup_in_vain_has_no_first_answer(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        result = await one.ask(LookupRequest(KEY, first=True))
        assert (result["peers"], result["complete"], result["stats"]["first_ms"]) == ([], True, None)


async def test_delete_withdraws_one_port_or_all(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        for port in (80, 81, 82):
            await one.ask(EnterRequest(KEY, port, wait=True))
        result = await one.ask(DeleteRequest(KEY, 81))
        assert matches(result, DeleteResult)
        told: dict[str, Any] = {
            "id": KEY_TEXT,
            "name": None,
            "withdrawn": 1,
            "pending": 0,
            "left_behind": [],
            "kept": None,
            "declared": [],
            "value": False,
        }
        assert result == {**told, "removed": [81]}
        assert tracked(one.driver) == one.disk.entries == {(KEY, 80), (KEY, 82)}
        result = await one.ask(DeleteRequest(KEY, None))
        assert result == {**told, "removed": [80, 82]}
        assert not tracked(one.driver) | one.disk.entries
        assert not len(other.driver.node.store)


async def test_left_copies_expire_by_the_nodes_clock(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not trio's clock, which begins anywhere."""

    class Deleted(AbstractContextManager["Deleted"]):
        def __exit__(self, *_error: object) -> None:
            pass

        async def event(self) -> Withdrawn:
            await trio.lowlevel.checkpoint()
            return Withdrawn(Handle(1), KEY, (80,), 1, 0, (LeftBehind(NOWHERE, 9_000.0),))

    async with two(tmp_path) as (one, _):
        await one.ask(EnterRequest(KEY, 80, wait=True))
        monkeypatch.setattr(one.driver, "clock", lambda: 8_000.0)
        monkeypatch.setattr(one.driver, "begin", lambda start: Deleted())
        result = await one.ask(DeleteRequest(KEY, None))
    assert result["left_behind"] == [{"endpoint": str(NOWHERE), "expires_in_s": 1_000.0}]


async def test_delete_tells_when_copies_expire(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The network has no withdrawals."""
    async with two(tmp_path, JsonCodec(NATIVE, bare=True)) as (one, other):
        await one.ask(EnterRequest(KEY, 80))
        await trio.sleep(600)
        result = await one.ask(DeleteRequest(KEY, None))
        kept = result.pop("kept")
        assert result == {
            "id": KEY_TEXT,
            "name": None,
            "removed": [80],
            "withdrawn": 0,
            "pending": 0,
            "left_behind": [],
            "declared": [],
            "value": False,
        }
        assert not tracked(one.driver) | one.disk.entries
        assert kept["nodes"] == 1
        assert 0 < kept["expires_in_s"] <= POLICY.store_expiry - 600 + POLICY.query_timeout
        await trio.sleep(kept["expires_in_s"])
        assert not other.driver.node.store.get(KEY, other.driver.clock())


async def test_without_holders_no_copies_are_kept(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(JsonCodec(NATIVE, bare=True)), tmp_path) as one:
        await one.ask(EnterRequest(KEY, 80))
        result = await one.ask(DeleteRequest(KEY, None))
        assert result["kept"] == {"nodes": 0, "expires_in_s": 0.0}


async def test_what_is_not_tracked_cannot_be_deleted(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        await one.ask(EnterRequest(KEY, 80, wait=True))
        with pytest.raises(NotTracked, match="on port 81"):
            await one.ask(DeleteRequest(KEY, 81))
        with pytest.raises(NotTracked, match="has not entered this ID, and keeps no value under it;"):
            await one.ask(DeleteRequest(Id(8), None))
        assert one.disk.entries == {(KEY, 80)}


async def test_entering_during_a_delete_is_reported(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        end_of(other.driver)._wire.cut = True  # so that publishing takes its time
        outcomes: list[str] = []

        async def enter() -> None:
            with pytest.raises(NotTracked, match="deleted while"):
                await one.ask(EnterRequest(KEY, 80, wait=True))
            outcomes.append("told")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(enter)
            await wait_all_tasks_blocked()
            await one.ask(DeleteRequest(KEY, None))
        assert outcomes == ["told"]
        assert not tracked(one.driver) | one.disk.entries


REQUESTS = {
    "enter": EnterRequest(KEY, 81, wait=True),
    "enter, not waiting": EnterRequest(KEY, 81, wait=False),
    "enter again": EnterRequest(KEY, 80, wait=True),
    "delete": DeleteRequest(KEY, None),
    "delete one": DeleteRequest(KEY, 80),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
async def test_a_leaving_client_splits_no_change(autojump_clock: MockClock, tmp_path: Path, request_: Request) -> None:
    for moment in range(40):  # the longest of them takes fewer steps
        async with two(tmp_path) as (one, _):
            one.disk.steps = 2
            await one.ask(EnterRequest(KEY, 80, wait=True))

            async def ask(scope: trio.CancelScope, one: Daemon = one) -> None:
                with scope:
                    await one.ask(request_)

            scope = trio.CancelScope()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, scope)
                for _ in range(moment):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
            assert tracked(one.driver) == one.disk.entries, f"after {moment} steps"
            assert not one.driver._operations
            await one.ask(EnterRequest(Id(9), 1, wait=True))  # nothing is locked for good


async def test_many_clients_split_no_change(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        one.disk.steps = 3

        async def ask(request: Request, patience: int) -> None:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(give_up, scope, patience)
                    with suppress(NotTracked):
                        await one.ask(request)
                    nursery.cancel_scope.cancel()

        async def give_up(scope: trio.CancelScope, patience: int) -> None:
            for _ in range(patience):
                await trio.lowlevel.checkpoint()
            scope.cancel()

        async with trio.open_nursery() as nursery:
            for number in range(60):
                port = 80 + number % 3
                request = DeleteRequest(KEY, port) if number % 4 == 3 else EnterRequest(KEY, port, wait=number % 2 == 0)
                nursery.start_soon(ask, request, number * 2)
        assert tracked(one.driver) == one.disk.entries
        assert not one.driver._operations


@pytest.mark.parametrize("first", [DeleteRequest(KEY, None), EnterRequest(KEY, 80, wait=False)])
async def test_enter_and_delete_do_not_interleave(autojump_clock: MockClock, tmp_path: Path, first: Request) -> None:
    second = EnterRequest(KEY, 80, wait=False) if isinstance(first, DeleteRequest) else DeleteRequest(KEY, None)
    async with two(tmp_path) as (one, _), trio.open_nursery() as nursery:
        await one.ask(EnterRequest(KEY, 80, wait=True))
        changes = len(one.disk.node_had)
        one.disk.steps = 20
        nursery.start_soon(one.ask, first)
        while len(one.disk.node_had) == changes:
            await trio.lowlevel.checkpoint()
        one.disk.steps = 0  # the first change is on disk and the node has not heard of it; the second would overtake it
        await one.ask(second)
        await wait_all_tasks_blocked()
        assert one.disk.entries == tracked(one.driver)
        assert bool(one.disk.entries) == isinstance(second, EnterRequest)


async def test_a_failing_emit_ends_only_the_lookup(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):

        async def gone(event: Event) -> None:
            raise trio.BrokenResourceError

        with pytest.raises(trio.BrokenResourceError):
            await one.handler(LookupRequest(KEY), gone, ITSELF)
        assert not one.driver._operations
        assert await one.ask(NodeIdRequest())
