"""Methods that look at many entries: info comes in parts, and complete offers words."""

from __future__ import annotations

import typing
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import Contact
from dhtd.daemon.handlers.calls import ITSELF
from dhtd.daemon.handlers.info import WORDS_MAX
from dhtd.daemon.labels import Label
from dhtd.daemon.report import SLICE
from dhtd.service.checks import parse_check
from dhtd.service.entries import DeleteRequest, EnterRequest
from dhtd.service.info import (
    SECTIONS,
    CompleteRequest,
    CompleteResult,
    HeldInfo,
    InfoRequest,
    InfoResult,
    RoutingTableInfo,
    WithdrawalInfo,
)
from dhtd.service.method import Event
from tests.daemon.handlers.small_daemon import KEY, KEY_TEXT, daemon, hold, matches, two
from tests.daemon.wire import POLICY, Wire, end_of
from tests.records import hold_peer, let_go, own_key


async def test_info_has_exactly_the_promised_keys(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await one.ask(EnterRequest(KEY, 80, wait=True))
        await other.ask(EnterRequest(KEY, 81, wait=True))
        await trio.sleep(10)
        whole = await one.ask(InfoRequest(None))
        assert matches(whole, InfoResult)
        assert list(whole) == list(SECTIONS)
        for section in SECTIONS:
            alone = await one.ask(InfoRequest(section))
            assert list(alone) == [section]
            assert matches(alone[section], typing.get_type_hints(InfoResult)[section])


async def test_info_shows_what_is_inside(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await one.ask(EnterRequest(KEY, 80, wait=True))
        await other.ask(EnterRequest(KEY, 81, wait=True))
        await trio.sleep(10)
        info = await one.ask(InfoRequest(None))
        node = info["node"]
        assert node["node_id"] == one.id
        assert node["endpoints"] == node["listening"] == [one.endpoint]
        assert node["observed"] == {one.endpoint: 1}
        assert {node["reachable"], (await other.ask(InfoRequest("node")))["node"]["reachable"]} == {
            "private",
            "unknown",
        }
        assert node["connected"] is True
        assert node["contacts"] == {"good": 1, "questionable": 0, "bad": 0}
        assert node["uptime_s"] == pytest.approx(10, abs=1)
        assert (node["state"], node["socket"]) == (str(tmp_path / "state.db"), "/tmp/sock")
        [bucket] = info["routing_table"]["buckets"]
        assert (bucket["low"], bucket["high"]) == ("0" * 64, "f" * 64)
        [member] = bucket["members"]
        assert member["id"] == other.id
        assert (member["state"], member["reachable"], member["timeouts"]) == ("good", True, 0)
        [held] = info["store"]
        assert (held["id"], held["endpoint"]) == (KEY_TEXT, f"{other.at[0]}:81")
        assert held["age_s"] == pytest.approx(10, abs=1)
        assert held["age_s"] + held["expires_in_s"] == pytest.approx(60)
        assert node["lease"] == {"lease_s": 60, "period_s": 20, "holders": 1}
        assert node["watches"] == {"own": 0, "held": 0}
        [own] = info["tracking"]
        assert (own["id"], own["port"], own["replicas"]) == (KEY_TEXT, 80, 1)
        assert info["network"]["datagrams_sent"] > 0
        assert info["network"]["oversized"] == info["network"]["defects"] == 0


async def test_info_shows_holders_left_after_a_delete(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await one.ask(EnterRequest(KEY, 80, wait=True))
        await one.ask(EnterRequest(KEY, 81, wait=True))
        await one.ask(DeleteRequest(KEY, 81))
        end_of(other.driver)._wire.cut = True
        result = await one.ask(DeleteRequest(KEY, 80))
        told: dict[str, Any] = {
            "id": KEY_TEXT,
            "name": None,
            "withdrawn": 0,
            "pending": 1,
            "left_behind": [],
            "kept": None,
            "declared": [],
            "value": False,
        }
        assert result == {**told, "removed": [80]}
        info = await one.ask(InfoRequest("withdrawals"))
        first, second = info["withdrawals"]
        assert matches(first, WithdrawalInfo)
        assert {each["node_id"] for each in (first, second)} == {other.id}
        assert {each["endpoint"] for each in (first, second)} == {other.endpoint}
        assert [(each["port"], each["acknowledged"], each["attempts"]) for each in (first, second)] == [
            (81, True, 1),
            (80, False, 1),
        ]
        assert 13 <= first["retry_in_s"] <= 17
        assert first["expires_in_s"] == pytest.approx(60, abs=10)
        end_of(other.driver)._wire.cut = False
        await trio.sleep(120)
        assert (await one.ask(InfoRequest(None)))["withdrawals"] == []


async def test_a_silent_contact_has_no_last_activity(autojump_clock: MockClock, tmp_path: Path) -> None:
    wire = Wire()
    async with daemon(wire, tmp_path) as one:
        other = wire.make()
        contact = Contact(other.node.own_id, other.udp.listening()[0])
        assert one.driver.node.overlays.restore(contact)
        info = await one.ask(InfoRequest("routing_table"))
        assert matches(info["routing_table"], RoutingTableInfo)
        [member] = info["routing_table"]["buckets"][0]["members"]
        assert (member["last_activity_s"], member["reachable"], member["state"]) == (None, False, "questionable")


async def test_an_expired_entry_is_not_shown(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        node = one.driver.node
        hold_peer(node.store, KEY, one.driver.udp.listening()[0], trio.current_time() - POLICY.store_expiry)
        assert len(node.store) == 1
        assert await one.ask(InfoRequest("store")) == {"store": []}


def rows_of(parts: Iterable[Any], section: str) -> list[Any]:
    return [row for part in parts for row in part[section]]


async def test_a_long_list_comes_in_parts(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        keys = hold(one.driver, 1_000)
        turns = 0

        async def run_between() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_between)
            await trio.lowlevel.checkpoint()
            before = turns
            result = await one.ask(InfoRequest(None))
            assert turns - before >= 1_000 // SLICE
            nursery.cancel_scope.cancel()
        assert list(result) == list(SECTIONS)
        assert [list(part) for part in one.events] == [["store"]] * (1_000 // SLICE)
        rows = rows_of([*one.events, result], "store")
        assert [row["id"] for row in rows] == [f"{key:064x}" for key in keys]
        assert all(matches(row, HeldInfo) for row in rows)
        assert all(len(part["store"]) == SLICE for part in cast("list[InfoResult]", one.events))


@pytest.mark.parametrize("section", ["store", "tracking"])
async def test_a_list_leaves_out_what_changed_meanwhile(
    autojump_clock: MockClock, tmp_path: Path, section: str
) -> None:
    async with daemon(Wire(), tmp_path) as one:
        node = one.driver.node
        held, own = hold(one.driver, 3 * SLICE), [Id(number) for number in range(1, 3 * SLICE + 1)]
        for key in own:
            node.publisher.restore_own(own_key(key, 80), trio.current_time())
        changed = False

        async def change(event: Event) -> None:
            nonlocal changed
            await trio.lowlevel.checkpoint()
            one.events.append(event)
            if not changed:
                changed = True
                for entry in node.store.held(held[-1]):
                    let_go(node.store, entry.key, entry.record.endpoint)
                hold_peer(node.store, Id(1 << 100), Endpoint.of("10.6.0.1", 80), one.driver.clock())
                node.own_records.remove(own_key(own[-1], 80))
                node.publisher.restore_own(own_key(Id(1 << 101), 80), trio.current_time())

        result = cast("Any", await one.handler(InfoRequest(section), change, ITSELF))
        rows = rows_of([*one.events, result], section)
        keys = held if section == "store" else own
        assert [row["id"] for row in rows] == [f"{key:064x}" for key in keys[:-1]]


async def test_steps_run_one_at_a_time(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        hold(one.driver, 4 * SLICE)
        steps: list[int] = []
        info = one.report.info

        def counted(section: str | None) -> Generator[InfoResult, None, InfoResult]:
            parts = info(section)
            while True:
                steps[-1] += 1
                try:
                    part = next(parts)
                except StopIteration as end:
                    return cast("InfoResult", end.value)
                yield part

        one.report.info = counted  # type: ignore[method-assign]

        async def count_turns() -> None:
            while True:
                steps.append(0)
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_turns)
            await trio.lowlevel.checkpoint()
            async with trio.open_nursery() as asking:
                for _ in range(30):
                    asking.start_soon(one.ask, InfoRequest("store"))
            nursery.cancel_scope.cancel()
        assert sum(steps) == 30 * 5
        assert max(steps) <= 2  # in one turn of the loop, which begins anywhere


async def test_completion_offers_matching_words(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        keys = hold(one.driver, 3_000)
        for key, port in ((keys[0], 80), (keys[0], 8080), (Id(7), 443)):
            one.driver.node.publisher.restore_own(own_key(key, port), trio.current_time())
        texts = sorted({f"{key:064x}" for key in (*keys, Id(7))})

        async def words(what: str, prefix: str, entry: Id | None = None) -> tuple[list[str], bool]:
            result = await one.ask(CompleteRequest(what, prefix, entry))
            assert matches(result, CompleteResult)
            return result["words"], result["complete"]

        few = [text for text in texts if text.startswith("00a")]
        assert 1 < len(few) < WORDS_MAX
        assert await words("id", "00a") == (few, True)
        many, complete = await words("id", "")
        assert (len(many), complete, many[0], many[-1]) == (WORDS_MAX, False, texts[0], texts[-1])
        assert many == sorted(set(many))
        assert set(many) <= set(texts)
        assert await words("own-id", "") == ([f"{7:064x}", f"{keys[0]:064x}"], True)
        assert await words("own-port", "8", keys[0]) == (["80", "8080"], True)
        assert await words("own-port", "") == (["443", "80", "8080"], True)
        assert await words("endpoint", "10.") == ([other.endpoint], True)
        assert await words("endpoint", "11.") == ([], True)


async def test_names_are_shown_and_offered(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        wiki = NATIVE.digest(b"wiki")
        await one.ask(EnterRequest(wiki, 80, wait=False, name="wiki"))
        await one.ask(EnterRequest(wiki, 81, wait=False))
        await one.ask(EnterRequest(KEY, 80, wait=False, name="printer"))
        one.driver.labels.set(own_key(KEY, 80), Label("printer", "a.toml"))
        tracking = (await one.ask(InfoRequest("tracking")))["tracking"]
        assert [(entry["name"], entry["port"], entry["file"]) for entry in tracking] == [
            *(("wiki", 80, None), ("wiki", 81, None), ("printer", 80, "a.toml"))
        ]
        # The name of the printer does not lead to its ID.
        assert (await one.ask(CompleteRequest("own-name", "")))["words"] == ["wiki"]
        assert (await one.ask(CompleteRequest("own-name", "wo")))["words"] == []


async def test_withheld_entries_are_offered(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        await one.ask(EnterRequest(KEY, 80, wait=False, name="printer", check=parse_check("tcp")))
        assert not len(one.driver.node.own_records)
        assert (await one.ask(CompleteRequest("own-id", "")))["words"] == [KEY_TEXT]
        assert (await one.ask(CompleteRequest("own-port", "", KEY)))["words"] == ["80"]
        assert (await one.ask(EnterRequest(KEY, 81, wait=False)))["name"] == "printer"
