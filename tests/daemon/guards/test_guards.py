"""Guards enter and withdraw: by checks, and by processes and connections that end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from dhtd.core.ids import Id
from dhtd.core.node import Node
from dhtd.core.records import RecordKey
from dhtd.daemon.guards import guards as module
from dhtd.daemon.guards import processes
from dhtd.daemon.guards.guards import CHECKS_AT_ONCE, CHECKS_MAX, PROCESSES_MAX, Guards
from dhtd.daemon.guards.outcome import Outcome
from dhtd.daemon.guards.processes import Process
from dhtd.daemon.guards.wanted import Checking
from dhtd.daemon.labels import BLANK
from dhtd.daemon.own_entries import OwnEntries, Wanted
from dhtd.daemon.state.saved import HELD, SavedGuard
from dhtd.daemon.state.saver import Saver
from dhtd.errors import BadRequest, Busy, InvalidCheck, NotPermitted, NotTracked, StateError, TooManyEntries
from dhtd.service.checks import Check, ExecCheck, HttpCheck, TcpCheck
from dhtd.service.entries import DeleteRequest, EnterRequest
from dhtd.service.info import InfoRequest
from dhtd.service.node import StatusRequest
from tests.daemon.handlers.small_daemon import KEY, SILENT_PORT, Client, Daemon, Disk, daemon, tracked, two
from tests.daemon.wire import POLICY, Wire
from tests.records import own_key

ENTRY = own_key(KEY, 80)
TCP = SavedGuard("tcp", 5.0)


def checked(check: Check | None = None, **given: Any) -> EnterRequest:
    return EnterRequest(KEY, 80, check=check or TcpCheck(), **given)


def held_by(other: Daemon) -> list[Id]:
    return [held.key for held in other.driver.node.store]


async def rows(one: Daemon) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await one.ask(InfoRequest("tracking")))["tracking"]
    return found


async def state(one: Daemon) -> str:
    [row] = await rows(one)
    return str(row["state"])


# Checks


async def test_a_passing_check_enters(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with two(tmp_path) as (one, other):
        result = await one.ask(checked())
        assert (result["guard"], result["state"], result["message"]) == ("tcp", "passing", "up")
        assert [replica["node_id"] for replica in result["replicas"]] == [other.id]
        assert result["listening"] is None
        assert one.disk.entries == tracked(one.driver) == {(KEY, 80)}
        assert one.disk.guards == {ENTRY: TCP}
        assert "port 80 passes its check, and is entered" in caplog.text


async def test_a_failing_check_enters_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        one.service.is_up = False
        result = await one.ask(checked())
        assert (result["state"], result["message"], result["replicas"]) == ("waiting", "down", [])
        await trio.sleep(6)
        assert (await state(one), tracked(one.driver), held_by(other)) == ("failing", set(), [])
        assert one.disk.entries == {(KEY, 80)}
        assert one.disk.guards == {ENTRY: SavedGuard("tcp", 5.0, False)}


async def test_two_failures_withdraw_and_one_success_enters(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await one.ask(checked(every=1.0))
        one.service.is_up = False
        await trio.sleep(1.5)
        assert (await state(one), held_by(other)) == ("passing", [KEY])
        await trio.sleep(1)
        [row] = await rows(one)
        assert (row["state"], row["message"], row["replicas"], row["refresh_in_s"]) == ("failing", "down", 0, None)
        assert 0.4 < row["since_s"] < 0.6
        assert held_by(other) == []
        status = await one.ask(StatusRequest())
        assert (status["own_entries"], status["withheld_entries"]) == (0, 1)
        assert one.disk.guards == {ENTRY: SavedGuard("tcp", 1.0, False)}
        one.service.is_up = True
        await trio.sleep(1)
        assert (await state(one), held_by(other)) == ("passing", [KEY])
        assert one.disk.guards == {ENTRY: SavedGuard("tcp", 1.0)}


async def test_checks_come_at_their_interval(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        began = trio.current_time()
        result = await one.ask(checked(HttpCheck("127.0.0.1", 80, "/up"), every=2.0))
        assert result["guard"] == "http"
        await trio.sleep(5)
        assert one.service.checked == [("http://127.0.0.1:80/up", began + after) for after in (0, 2, 4)]


async def test_enter_without_waiting_returns_before_the_check(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        result = await one.ask(checked(wait=False))
        assert (result["state"], result["message"]) == ("waiting", "the first check is under way")
        await wait_all_tasks_blocked()
        assert held_by(other) == [KEY]


async def test_the_same_check_goes_on(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        await one.ask(checked())
        await trio.sleep(1)
        result = await one.ask(checked())
        assert (result["state"], len(one.service.checked)) == ("passing", 1)
        await one.ask(checked(every=2.0))
        assert (len(one.service.checked), one.disk.guards[ENTRY].every) == (2, 2.0)


async def test_the_same_check_under_way_is_waited_for(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with daemon(Wire(), tmp_path) as one:
        states: list[str] = []

        async def check_slowly(*_: object) -> Outcome:
            await trio.sleep(1)
            return Outcome(True, "up")

        async def enter() -> None:
            states.append((await one.ask(checked()))["state"])

        monkeypatch.setattr(one.guards, "_make", check_slowly)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(enter)
            nursery.start_soon(enter)
        assert states == ["passing", "passing"]


async def test_delete_ends_a_failing_entry(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        one.service.is_up = False
        await one.ask(checked())
        await one.ask(EnterRequest(KEY, 81))
        assert (await one.ask(DeleteRequest(KEY, 80)))["removed"] == [80]
        with pytest.raises(NotTracked):
            await one.ask(DeleteRequest(KEY, 80))
        await one.ask(checked())
        assert (await one.ask(DeleteRequest(KEY)))["removed"] == [80, 81]
        assert (one.disk.entries, one.disk.guards, await rows(one)) == (set(), {}, [])
        checks = len(one.service.checked)
        await trio.sleep(60)
        assert len(one.service.checked) == checks


async def test_a_full_disk_delays_a_withdrawal(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with two(tmp_path) as (one, other):
        await one.ask(checked(every=1.0))
        one.service.is_up, one.disk.failing = False, True
        await trio.sleep(30)
        assert held_by(other) == [KEY]
        one.disk.failing = False
        await trio.sleep(15)
        assert held_by(other) == []
        assert "cannot be written, and is tried again: no space left" in caplog.text


async def test_a_plain_enter_replaces_a_check(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        one.service.is_up = False
        await one.ask(checked())
        result = await one.ask(EnterRequest(KEY, 80))
        assert (result["guard"], result["state"], result["listening"]) == (None, None, True)
        assert (one.disk.guards, held_by(other)) == ({}, [KEY])


async def test_a_check_of_a_published_entry_leaves_it_at_first(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await one.ask(EnterRequest(KEY, 80))
        one.service.is_up = False
        result = await one.ask(checked(every=1.0))
        assert (result["state"], held_by(other), one.disk.guards[ENTRY].passed) == ("waiting", [KEY], True)
        await trio.sleep(1.5)
        assert (await state(one), held_by(other)) == ("failing", [])


async def test_entries_with_checks_are_limited(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECKS_MAX", 1)
    async with daemon(Wire(), tmp_path) as one:
        await one.ask(checked())
        await one.ask(checked(every=9.0))
        with pytest.raises(TooManyEntries, match=r"as many entries as it can \(1\)"):
            await one.ask(EnterRequest(KEY, 81, check=TcpCheck()))


def test_the_manual_tells_the_limits_of_guards() -> None:
    page = (Path(__file__).parents[3] / "man/dht-security.7").read_text()
    assert f"At most {CHECKS_AT_ONCE} checks run at once, at most {CHECKS_MAX} entries have one" in page
    assert f"At most {PROCESSES_MAX} processes are watched for entries" in page


async def test_a_full_node_waits_for_room(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with daemon(Wire(), tmp_path, replace(POLICY, own_entries=1)) as one:
        one.service.is_up = False
        await one.ask(checked(every=1.0))
        await one.ask(EnterRequest(Id(8), 80))
        one.service.is_up = True
        await trio.sleep(60)
        assert tracked(one.driver) == {(Id(8), 80)}
        assert caplog.text.count("cannot be entered: this node has entered as many entries as it takes (1)") == 1
        await one.ask(DeleteRequest(Id(8)))
        await trio.sleep(1)
        assert (tracked(one.driver), await state(one)) == ({(KEY, 80)}, "passing")


async def test_one_of_two_gets_the_last_place(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path, replace(POLICY, own_entries=1)) as one:
        one.service.is_up = False
        own = OwnEntries(one.driver, cast("Saver", one.disk), one.guards)
        for port in (80, 81):
            await own.track([Wanted(KEY, port, guard=Checking(TcpCheck(), 1.0))])
        one.service.is_up, one.disk.failing = True, True
        await trio.sleep(5)
        one.disk.failing = False  # both are then entered at once
        await trio.sleep(60)
        assert len(tracked(one.driver)) == 1
        assert one.driver.udp.counters.defects == 0
        [row] = [row for row in await rows(one) if row["refresh_in_s"] is None]
        assert (row["state"], one.disk.entries) == ("waiting", {(KEY, 80), (KEY, 81)})
        assert row["message"] == "this node has entered as many entries as it takes (1): delete some"
        one.service.is_up = False
        await trio.sleep(5)
        assert {(row["state"], row["message"]) for row in await rows(one)} == {("failing", "down")}


async def test_a_defect_in_a_check_is_a_failure(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with daemon(Wire(), tmp_path) as one:

        async def fail(*_: object) -> NoReturn:
            await trio.lowlevel.checkpoint()
            raise KeyError("a defect")

        monkeypatch.setattr(one.guards, "_make", fail)
        result = await one.ask(checked())
        assert (result["state"], result["message"]) == ("waiting", "a defect in dhtd; its log has the details")
        assert one.driver.udp.counters.defects == 1


async def test_without_a_guard_enter_tells_who_listens(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        assert (await one.ask(EnterRequest(KEY, 80)))["listening"] is True
        assert (await one.ask(EnterRequest(KEY, SILENT_PORT)))["listening"] is False


async def test_a_new_name_leaves_the_guards_of_other_ports(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        one.service.is_up = False
        await one.ask(checked(name="printer"))
        await one.ask(EnterRequest(KEY, 81, name="scanner"))
        await one.ask(EnterRequest(KEY, 82, name="laser"))
        assert one.disk.guards == {ENTRY: SavedGuard("tcp", 5.0, False)}
        assert one.disk.labels[ENTRY].name == "laser"
        assert [row["name"] for row in await rows(one)] == ["laser"] * 3


async def test_a_new_name_leaves_what_clients_hold(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        await one.ask(EnterRequest(KEY, 80, attached=True), Client())
        await one.ask(EnterRequest(KEY, 81, name="laser"))
        assert one.disk.guards == {ENTRY: HELD}


async def test_many_entries_may_have_checks(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        own = OwnEntries(one.driver, cast("Saver", one.disk), one.guards)
        one.service.is_up = False
        check = Checking(TcpCheck(), 1.0)
        await own.track([Wanted(KEY, 80, guard=check), Wanted(KEY, 81), Wanted(KEY, 82, guard=check)])
        await trio.sleep(3)
        assert tracked(one.driver) == {(KEY, 81)}
        assert one.disk.entries == {(KEY, port) for port in (80, 81, 82)}
        one.service.is_up = True
        await trio.sleep(3)
        assert tracked(one.driver) == one.disk.entries
        one.service.is_up = False
        await trio.sleep(3)
        await own.remove([own_key(KEY, port) for port in (80, 81)])
        assert (one.disk.entries, own.has(ENTRY), own.has(own_key(KEY, 82))) == ({(KEY, 82)}, False, True)


# A restart


def disk(*guards: SavedGuard) -> Disk:
    found = Disk()
    for port, guard in enumerate(guards, 80):
        found.entries.add((KEY, port))
        found.guards[own_key(KEY, port)] = guard
    return found


async def test_what_passed_before_stays_published(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path, disk=disk(TCP)) as one:
        assert (await state(one), tracked(one.driver)) == ("waiting", {(KEY, 80)})
        one.service.is_up = False
        await trio.sleep(3)
        assert (await state(one), tracked(one.driver)) == ("waiting", {(KEY, 80)})
        await trio.sleep(5)
        assert (await state(one), tracked(one.driver)) == ("failing", set())


async def test_what_failed_before_waits_for_its_check(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path, disk=disk(SavedGuard("tcp", 5.0, False))) as one:
        assert (await state(one), tracked(one.driver)) == ("waiting", set())
        await trio.sleep(3)
        assert (await state(one), tracked(one.driver)) == ("passing", {(KEY, 80)})


async def test_a_start_spreads_the_first_checks(autojump_clock: MockClock, tmp_path: Path) -> None:
    began = trio.current_time()
    slow = SavedGuard("tcp", 600.0)
    async with daemon(Wire(), tmp_path, disk=disk(SavedGuard("tcp", 1.0), slow)) as one:
        await trio.sleep(2.6)
        assert [when for _, when in one.service.checked] == [began + 0.5, began + 1.5, began + 2.5, began + 2.5]


# Processes and connections


class Work(Process):
    """A process that ends when a test says so."""

    def __init__(self, pid: int = 4711) -> None:
        super().__init__(pid, "", None)
        self.over = trio.Event()
        self.is_closed = False

    async def ended(self) -> None:
        await self.over.wait()

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    found = Work()

    async def find(pid: int, uid: int) -> Process:
        await trio.lowlevel.checkpoint()
        return found

    monkeypatch.setattr(processes, "find", find)
    return found


async def test_an_entry_goes_with_its_process(autojump_clock: MockClock, tmp_path: Path, work: Work) -> None:
    async with two(tmp_path) as (one, other):
        result = await one.ask(EnterRequest(KEY, 80, pid=4711, name="printer"))
        assert (result["guard"], result["state"], result["message"]) == ("pid", "passing", "held by process 4711")
        assert (held_by(other), one.disk.guards) == ([KEY], {ENTRY: HELD})
        work.over.set()
        await wait_all_tasks_blocked()
        assert (held_by(other), one.disk.entries, one.disk.guards, await rows(one)) == ([], set(), {}, [])
        assert work.is_closed
        assert one.driver.labels.of(ENTRY) == BLANK


async def test_an_entry_goes_with_its_connection(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with two(tmp_path) as (one, other):
        client = Client()
        result = await one.ask(EnterRequest(KEY, 80, attached=True), client)
        assert (result["guard"], result["message"], held_by(other)) == ("connection", "held by 1 client", [KEY])
        await trio.sleep(5)
        assert [row["since_s"] for row in await rows(one)] == [5.0]
        await client.end()
        assert (held_by(other), one.disk.entries, await rows(one)) == ([], set(), [])
        assert "port 80 is withdrawn: the process or client that held it has ended" in caplog.text


async def test_the_last_to_go_withdraws(autojump_clock: MockClock, tmp_path: Path, work: Work) -> None:
    async with two(tmp_path) as (one, other):
        first, second = Client(), Client()
        await one.ask(EnterRequest(KEY, 80, attached=True), first)
        await one.ask(EnterRequest(KEY, 80, attached=True), second)
        result = await one.ask(EnterRequest(KEY, 80, pid=4711))
        assert result["message"] == "held by 2 clients, process 4711"
        writes = len(one.disk.node_had)
        await first.end()
        work.over.set()
        await wait_all_tasks_blocked()
        assert (held_by(other), len(one.disk.node_had)) == ([KEY], writes)
        await second.end()
        assert held_by(other) == []


async def test_a_process_that_has_ended_leaves_nothing(autojump_clock: MockClock, tmp_path: Path, work: Work) -> None:
    async with daemon(Wire(), tmp_path) as one:
        await one.ask(EnterRequest(KEY, 80, attached=True), Client())
        await one.ask(EnterRequest(KEY, 80, pid=4711))
        [guard] = one.guards._guards.values()
        assert len(guard.scopes) == 1
        work.over.set()
        await wait_all_tasks_blocked()
        assert guard.scopes == []


async def test_a_deletion_ends_the_wait_of_a_holder(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The disk is full when the client goes, and the entry is deleted before the withdrawal can be written."""
    async with daemon(Wire(), tmp_path) as one:
        client = Client()
        await one.ask(EnterRequest(KEY, 80, attached=True), client)
        one.disk.failing = True
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.end)
                await wait_all_tasks_blocked()
                one.disk.failing = False
                await one.ask(DeleteRequest(KEY, 80))
        assert await rows(one) == []


async def test_an_end_waits_for_disk_and_node(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the disk has is in the node as well, also where dhtd ends meanwhile."""
    async with daemon(Wire(), tmp_path) as one:
        one.service.is_up = False
        await one.ask(checked(every=1.0))
        set_guards = one.disk.set_guards

        async def write_slowly(node: Node, guards: Mapping[RecordKey, SavedGuard]) -> None:
            await trio.sleep(0.5)
            await set_guards(node, guards)

        monkeypatch.setattr(one.disk, "set_guards", write_slowly)
        one.service.is_up = True
        await trio.sleep(1.2)
        assert not one.disk.guards[ENTRY].passed
    assert (one.disk.guards[ENTRY].passed, tracked(one.driver)) == (True, {(KEY, 80)})


async def test_a_plain_enter_outlives_a_connection(autojump_clock: MockClock, tmp_path: Path, work: Work) -> None:
    async with two(tmp_path) as (one, other):
        client = Client()
        await one.ask(EnterRequest(KEY, 80, attached=True), client)
        await one.ask(EnterRequest(KEY, 80, pid=4711))
        await one.ask(EnterRequest(KEY, 80))
        await client.end()
        work.over.set()
        await wait_all_tasks_blocked()
        assert (held_by(other), one.disk.guards, work.is_closed) == ([KEY], {}, True)


async def test_a_connection_ends_a_plain_entry(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        client = Client()
        await one.ask(EnterRequest(KEY, 80))
        await one.ask(EnterRequest(KEY, 80, attached=True), client)
        await client.end()
        assert held_by(other) == []


async def test_a_client_ends_a_check(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        await one.ask(checked())
        await one.ask(EnterRequest(KEY, 80, attached=True), Client())
        checks = len(one.service.checked)
        await trio.sleep(60)
        assert len(one.service.checked) == checks


async def test_a_full_disk_delays_the_end_of_a_client(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        client = Client()
        await one.ask(EnterRequest(KEY, 80, attached=True), client)
        one.disk.failing = True
        with trio.move_on_after(30):
            await client.end()
        assert held_by(other) == [KEY]
        one.disk.failing = False
        await trio.sleep(15)
        assert (held_by(other), one.disk.entries, await rows(one)) == ([], set(), [])


async def test_a_deleted_entry_leaves_its_client_alone(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        client = Client()
        await one.ask(EnterRequest(KEY, 80, attached=True), client)
        await one.ask(DeleteRequest(KEY))
        await one.ask(EnterRequest(KEY, 80))
        await client.end()
        assert tracked(one.driver) == {(KEY, 80)}


async def test_a_client_that_returns_keeps_its_entry(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        one.disk.steps = 5
        first, second = Client(), Client()
        await one.ask(EnterRequest(KEY, 80, attached=True), first)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.end)
            nursery.start_soon(one.ask, EnterRequest(KEY, 80, attached=True), second)
        await wait_all_tasks_blocked()
        assert (held_by(other), one.disk.entries, tracked(one.driver)) == ([KEY], {(KEY, 80)}, {(KEY, 80)})


async def test_guards_that_run_again_go_on(autojump_clock: MockClock, tmp_path: Path, work: Work) -> None:
    """As after a defect, which ends all of their tasks."""
    async with two(tmp_path) as (one, other):
        await one.ask(EnterRequest(KEY, 80))
        guards = Guards(one.driver, cast("Saver", one.disk), one.service.check, lambda: 0.0)
        guards.set(ENTRY, work)
        guards.set(own_key(KEY, 81), Checking(TcpCheck(), 1.0))
        for _ in range(2):
            with trio.move_on_after(0.5):
                await guards.run()
        assert [entry.port for entry in one.driver.node.own_records] == [80, 81]
        work.over.set()
        with trio.move_on_after(0.5):
            await guards.run()
        assert [entry.port for entry in one.driver.node.own_records] == [81]
        assert [held.record.port for held in other.driver.node.store] == [81]


async def test_an_entry_that_the_node_lost_is_forgotten(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        client = Client()
        await one.ask(EnterRequest(KEY, 80, attached=True), client)
        one.driver.node.commands.delete(KEY, 80, one.driver.clock())
        await client.end()
        assert (one.disk.entries, await rows(one)) == (set(), [])


async def test_a_refused_process_is_let_go(autojump_clock: MockClock, tmp_path: Path, work: Work) -> None:
    async with daemon(Wire(), tmp_path) as one:
        one.disk.failing = True
        with pytest.raises(StateError):
            await one.ask(EnterRequest(KEY, 80, pid=4711))
        assert work.is_closed


async def test_processes_are_limited(
    autojump_clock: MockClock, tmp_path: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROCESSES_MAX", 1)
    async with daemon(Wire(), tmp_path) as one:
        await one.ask(EnterRequest(KEY, 80, pid=4711))
        with pytest.raises(Busy, match=r"held by processes \(1\)"):
            await one.ask(EnterRequest(KEY, 81, pid=4711))


# Bad input


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"pid": 1, "check": TcpCheck()}, "an entry has one guard, and check and pid are 2"),
        ({"pid": 1, "check": TcpCheck(), "attached": True}, "check and pid and attached are 3"),
        ({"every": 5.0}, "'every' is of a 'check', and there is none"),
        ({"every": 5.0, "pid": 1}, "'every' is of a 'check', and there is none"),
    ],
)
async def test_contradictions_are_refused(
    autojump_clock: MockClock, tmp_path: Path, given: dict[str, Any], reason: str
) -> None:
    async with daemon(Wire(), tmp_path) as one:
        with pytest.raises(BadRequest, match=reason):
            await one.ask(EnterRequest(KEY, 80, **given))
        assert one.disk.entries == set()


async def test_only_the_owner_has_commands_run(autojump_clock: MockClock, tmp_path: Path) -> None:
    check = ExecCheck("exec /bin/true", ("/bin/true",))
    async with daemon(Wire(), tmp_path) as one:
        with pytest.raises(NotPermitted, match="only the daemon's own user and root may have dhtd run commands"):
            await one.ask(checked(check), Client(uid=1, is_owner=False))
        assert (one.disk.entries, one.service.checked) == (set(), [])
        assert (await one.ask(checked(check)))["guard"] == "exec"


@pytest.mark.parametrize("host", ["203.0.113.77", "2001:db8::7", "0.0.0.0", "::", "224.0.0.1", "::ffff:127.0.0.1"])
async def test_a_check_of_another_host_is_refused(autojump_clock: MockClock, tmp_path: Path, host: str) -> None:
    async with daemon(Wire(), tmp_path) as one:
        with pytest.raises(InvalidCheck, match="is no address of this machine"):
            await one.ask(checked(HttpCheck(host, 80, "/")))
        assert one.disk.entries == set()
