"""The loop around a node: it wakes when it must and no sooner, and no input can end it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from dhtd.core.codec import Codec
from dhtd.core.commands import Commands
from dhtd.core.counters import Counters
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.events import (
    Answered,
    Bootstrapped,
    Event,
    Handle,
    Joined,
    LookupDone,
    Published,
    Unanswered,
    Unheld,
    ValueSuperseded,
)
from dhtd.core.ids import Id
from dhtd.core.node import Node
from dhtd.core.publishing.write_ahead import Chosen
from dhtd.core.querying.requester import Transmit
from dhtd.core.records import Immutable
from dhtd.daemon.defects import COMPLAIN_INTERVAL, PAUSE_FIRST, PAUSE_MAX, Defects
from dhtd.daemon.driver import DOZE, Driver, clock
from dhtd.daemon.labels import Label
from dhtd.daemon.sockets.channel import UdpCounters
from dhtd.daemon.sockets.udp import UdpSockets
from dhtd.wire.bep5 import Bep5Codec
from dhtd.wire.native import NativeCodec
from dhtd.wire.sealed import Refusal, Seal
from tests.daemon.wire import End, Wire, end_of, joined
from tests.records import own_key
from tests.values import by_owner

KEY = Id(7)
NOBODY = Endpoint.parse("10.9.9.9:1729")
SOURCE = Endpoint.parse("10.8.8.8:1729")


class FakeNode:
    """A node that wants to wake at certain times, and notes when it did."""

    def __init__(self, *due: float) -> None:
        self.codec: Codec = NativeCodec()
        self.due = list(due)
        self.woken: list[float] = []
        self.transmits: list[Transmit] = []
        self.events: list[Event] = []
        self.fails_until = -math.inf
        self.counters = Counters()
        self.publisher = SimpleNamespace(poll_unwritten=list[Chosen])
        self.pauses: list[tuple[float, float]] = []
        self.machine = SimpleNamespace(slept=lambda seconds, now: self.pauses.append((seconds, now)))

    def poll_timeout(self) -> float | None:
        return self.due[0] if self.due else None

    def poll_transmit(self) -> Transmit | None:
        return self.transmits.pop(0) if self.transmits else None

    def poll_event(self) -> Event | None:
        return self.events.pop(0) if self.events else None

    def handle_timeout(self, now: float) -> None:
        assert self.due, "woken for nothing"
        assert self.due[0] <= now, "woken too early"
        self.woken.append(now)
        if now < self.fails_until:
            raise KeyError("a defect")
        while self.due and self.due[0] <= now:
            del self.due[0]

    def handle_datagram(self, data: bytes, source: Endpoint, now: float) -> bytes | None:
        if data == b"defect":
            raise KeyError("a defect")
        return data


def defect() -> NoReturn:
    raise KeyError("a defect")


def fake(*due: float) -> tuple[FakeNode, Driver, End]:
    wire, node = Wire(), FakeNode(*due)
    end = End(wire, SOURCE)
    wire.ends[SOURCE] = end
    return node, Driver(cast("Node", node), cast("UdpSockets", end), trio.current_time, wall=trio.current_time), end


async def test_it_wakes_exactly_when_the_node_says(autojump_clock: MockClock) -> None:
    node, driver, _ = fake(1.0, 1.5, 7.25, 7.25, 100.0)
    with trio.move_on_after(1_000):
        await driver.run()
    assert node.woken == [1.0, 1.5, 7.25, 100.0]


async def test_only_a_clock_set_ahead_is_a_pause(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    node, _, end = fake()
    ahead = 0.0
    driver = Driver(
        cast("Node", node), cast("UdpSockets", end), trio.current_time, wall=lambda: trio.current_time() + ahead
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        await trio.sleep(2.5 * DOZE)
        assert (node.pauses, caplog.messages) == ([], [])
        ahead = 7_200.0
        await trio.sleep(2 * DOZE)
        assert node.pauses == [(7_200.0, 3 * DOZE)]
        ahead = 3_600.0
        await trio.sleep(2 * DOZE)
        assert len(node.pauses) == 1
        nursery.cancel_scope.cancel()
    assert caplog.messages == [
        "the clock was set forward by 7200 s, or this machine stood still",
        "the clock was set back by 3600 s, or this machine stood still",
    ]


async def test_the_log_counts_entries_without_holders(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    node, driver, _ = fake(0.5)
    node.events = [Unheld(2, 5), Unheld(1, 5, refused=False), Unheld(1, 1)]
    with trio.move_on_after(1.0):
        await driver.run()
    refused, unanswered, only = caplog.messages
    assert only.startswith("no node holds the only entry of this node: those that answer are full")
    assert refused.startswith("no node holds 2 of the 5 entries of this node: those that answer are full")
    assert unanswered.startswith("no node holds 1 of the 5 entries of this node: nobody near them has answered")


async def test_the_log_tells_of_superseded_values(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    node, driver, _ = fake(0.5)
    node.events = [ValueSuperseded(Id(7), by_owner(9)), ValueSuperseded(Id(7), Immutable(b""))]
    with trio.move_on_after(1.0):
        await driver.run()
    assert {message.split(" under ")[0] for message in caplog.messages} == {
        "others have put a newer value (seq 9)",
        "others have put a newer value (one that never changes)",
    }


@pytest.mark.parametrize(("codec", "digits"), [(NativeCodec(), 64), (Bep5Codec(), 40)])
async def test_an_id_in_the_log_is_one_of_its_network(
    codec: Codec, digits: int, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    node, _, end = fake(0.5)
    node.codec, node.events = codec, [ValueSuperseded(KEY, by_owner(9))]
    driver = Driver(cast("Node", node), cast("UdpSockets", end), trio.current_time, wall=trio.current_time)
    with trio.move_on_after(1.0):
        await driver.run()
    id = "7".zfill(digits)
    assert caplog.messages == [f"others have put a newer value (seq 9) under {id}: this node keeps that one"]
    assert driver.labels.text(own_key(KEY, 80)) == f"{id} port 80"


async def test_an_earlier_deadline_wakes_it_earlier(
    autojump_clock: MockClock,
) -> None:
    node, driver, _ = fake(50.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        await trio.sleep(10)
        node.due = [20.0, 30.0]
        driver.flush()
        await trio.sleep(15)
        assert node.woken == [20.0]
        node.due = [40.0]  # an answer came in time for the deadline at 30
        driver.flush()
        await trio.sleep(5)
        assert node.woken == [20.0]
        node.due = []
        driver.flush()
        await trio.sleep(100)
        assert node.woken == [20.0]
        node.due = [trio.current_time() + 1]
        driver.flush()
        await trio.sleep(2)
        assert node.woken == [20.0, 131.0]
        node.due = [0.0]  # long past
        driver.flush()
        await wait_all_tasks_blocked()
        assert node.woken == [20.0, 131.0, 132.0]
        nursery.cancel_scope.cancel()


async def test_an_idle_node_is_hardly_woken(autojump_clock: MockClock) -> None:
    wire = Wire()
    driver = wire.make()
    woken = []
    handle_timeout = driver.node.handle_timeout

    def count(now: float) -> None:
        woken.append(now)
        handle_timeout(now)

    driver.node.handle_timeout = count  # type: ignore[method-assign]
    with trio.move_on_after(3_600):
        await driver.run()
    assert len(woken) <= 20


async def test_missed_deadlines_are_met_on_waking(
    autojump_clock: MockClock,
) -> None:
    node, driver, _ = fake(2_000.0, 3_000.0)
    suspended = 0.0
    driver.clock = lambda: trio.current_time() + suspended
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        await trio.sleep(90)
        suspended = 8 * 3_600.0
        await trio.sleep(DOZE)
        nursery.cancel_scope.cancel()
    assert node.woken == [8 * 3_600.0 + 2 * DOZE]


def test_the_clock_runs_through_a_suspension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "clock_gettime", {getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC): 5.0}.get)
    assert clock() == 5.0


async def test_what_the_node_sends_goes_out_at_once(autojump_clock: MockClock) -> None:
    node, driver, end = fake(5.0)
    node.transmits = [Transmit(b"first", NOBODY)]
    driver.flush()
    assert end.sent == [(b"first", NOBODY)]
    node.transmits = [Transmit(b"timed", NOBODY), Transmit(b"too", NOBODY)]
    with trio.move_on_after(6):
        await driver.run()
    assert [data for data, _ in end.sent] == [b"first", b"timed", b"too"]


async def test_a_strangers_defect_fills_no_log(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    _, driver, end = fake()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        for _ in range(3):
            for _ in range(100):
                end.deliver(b"defect", NOBODY)
            end.deliver(b"query", NOBODY)
            await trio.sleep(COMPLAIN_INTERVAL * 0.6)
        nursery.cancel_scope.cancel()
    assert end.counters.defects == 300
    assert end.sent == [(b"query", NOBODY)] * 3
    assert len(caplog.records) == 2
    assert all(record.levelno == logging.ERROR and record.exc_info for record in caplog.records)
    assert "10.9.9.9:1729" in caplog.text


async def test_a_failing_timeout_is_retried(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    node, driver, end = fake(5.0)
    node.fails_until = 5.0 + COMPLAIN_INTERVAL / 2
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        await trio.sleep(6)
        node.transmits = [Transmit(b"sent all the same", NOBODY)]
        end.deliver(b"query", NOBODY)
        await wait_all_tasks_blocked()
        assert end.sent == [(b"query", NOBODY), (b"sent all the same", NOBODY)]
        await trio.sleep(COMPLAIN_INTERVAL)
        nursery.cancel_scope.cancel()
    failures = [at for at in node.woken if at < node.fails_until]
    assert 5 < len(failures) < 12  # it does not spin
    assert not node.due
    assert end.counters.defects == len(failures)
    [record] = caplog.records
    assert record.getMessage() == "what was due could not be done: a defect in dhtd"
    assert record.exc_info


async def test_failing_after_the_work_delays_no_timeout(autojump_clock: MockClock) -> None:
    node, driver, end = fake(*(1 + step / 100 for step in range(1_000)))
    handle_timeout = node.handle_timeout

    def do_and_fail(now: float) -> None:
        handle_timeout(now)
        raise KeyError("a defect")

    node.handle_timeout = do_and_fail  # type: ignore[method-assign]
    with trio.move_on_after(20):
        await driver.run()
    assert node.woken == [1 + step / 100 for step in range(1_000)]
    assert end.counters.defects == 1_000


async def test_what_a_failing_timeout_has_sent_goes_out(autojump_clock: MockClock) -> None:
    node, driver, end = fake(5.0)
    node.fails_until = 6.0
    node.transmits = [Transmit(b"before it failed", NOBODY)]
    with trio.move_on_after(5.05):
        await driver.run()
    assert end.sent == [(b"before it failed", NOBODY)]


async def test_an_unsendable_datagram_is_lost_alone(autojump_clock: MockClock) -> None:
    node, driver, end = fake()
    send = end.send

    def fail(data: bytes, endpoint: Endpoint) -> None:
        if data == b"defect":
            raise KeyError("a defect")
        send(data, endpoint)

    end.send = fail  # type: ignore[method-assign]
    node.transmits = [Transmit(data, NOBODY) for data in (b"first", b"defect", b"last")]
    driver.flush()
    assert [data for data, _ in end.sent] == [b"first", b"last"]
    assert end.counters.defects == 1


async def test_a_failing_event_ends_only_its_wait(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    node, driver, end = fake()
    monkeypatch.setattr(driver, "_dispatch", lambda event: {}[event])
    with driver.begin(lambda now: Handle(7)) as operation:
        node.events = [Joined(1, Family.IPV4), Unanswered(Handle(7), NOBODY, None)]
        driver.flush()
        with pytest.raises(trio.EndOfChannel):
            await operation.event()
    assert end.counters.defects == 2


async def test_a_node_that_cannot_be_asked_ends_nothing(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, driver, end = fake()
    monkeypatch.setattr(node, "poll_timeout", defect)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        end.deliver(b"query", NOBODY)
        await trio.sleep(100)
        monkeypatch.undo()
        node.due = [150.0]
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    assert end.sent == [(b"query", NOBODY)]
    assert node.woken == [150.0]
    assert 3 < end.counters.defects < 30


async def test_a_socket_that_fails_is_read_again(autojump_clock: MockClock) -> None:
    _, driver, end = fake()
    receive, fails = end.receive, [True, True, False]

    async def fail_twice(bound: object, handle: Any, after: Callable[[], None]) -> None:
        if fails.pop(0):
            raise ExceptionGroup("several", [KeyError("a defect")])
        await receive(bound, handle, after)

    end.receive = fail_twice  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        await trio.sleep(10)
        end.deliver(b"query", NOBODY)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert end.sent == [(b"query", NOBODY)]
    assert end.counters.defects == 2


async def test_a_seal_that_fails_loses_one_datagram(autojump_clock: MockClock) -> None:
    class FakeSeal:
        def open(self, sealed: bytes, wall: float) -> bytes | Refusal:
            return Refusal.UNOPENED if sealed == b"noise" else {b"in": b"no answer", b"query": b"query"}[sealed]

        def seal_answer(self, data: bytes) -> bytes:
            return {b"query": b"sealed"}[data]

        def seal_query(self, data: bytes, recipient: Id | None, wall: float) -> bytes:
            return self.seal_answer(data)

    node, driver, end = fake()
    driver.seal = cast("Seal", FakeSeal())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        for data in (b"unknown", b"in", b"noise", b"query"):
            end.deliver(data, NOBODY)
        await wait_all_tasks_blocked()
        node.transmits = [Transmit(b"unknown", NOBODY), Transmit(b"query", NOBODY)]
        driver.flush()
        nursery.cancel_scope.cancel()
    assert end.sent == [(b"sealed", NOBODY)] * 2
    assert (end.counters.defects, end.counters.unopened) == (3, 1)


async def test_failed_work_restarts_after_pauses(
    autojump_clock: MockClock,
) -> None:
    counters, begun = UdpCounters(), []
    defects = Defects(counters, trio.current_time)

    async def work() -> None:
        begun.append(trio.current_time())
        if len(begun) == 10:
            await trio.sleep(1_000)
        if len(begun) < 12:
            raise MemoryError

    await defects.persist("work failed", work)
    pauses = [after - before for before, after in pairwise(begun)]
    assert pauses[0] == pytest.approx(PAUSE_FIRST)
    assert max(pauses[:9]) == pytest.approx(PAUSE_MAX)
    assert pauses[9] == pytest.approx(1_000 + PAUSE_FIRST)
    assert counters.defects == 11


async def test_a_cap_is_logged_once_a_minute(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    node, driver, _ = fake()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        for _ in range(600):
            node.counters.caps_hit["rate_limit"] += 100
            await trio.sleep(1)
        nursery.cancel_scope.cancel()
    lines = [record.getMessage() for record in caplog.records if record.name == "dhtd.watch"]
    assert 9 <= len(lines) <= 10
    assert all("rate_limit" in line for line in lines)


async def test_an_operation_yields_its_events(autojump_clock: MockClock) -> None:
    wire = Wire()
    async with wire.driver() as one, wire.driver() as two:
        with one.begin(lambda now: one.node.commands.ping(two.udp.listening()[0], now)) as ping:
            event = await ping.event()
        assert isinstance(event, Answered)
        assert event.contact.id == two.node.own_id
        with one.begin(lambda now: one.node.commands.bootstrap(two.udp.listening(), now)) as bootstrap:
            assert isinstance(await bootstrap.event(), Bootstrapped)
        with two.begin(lambda now: two.node.commands.enter(KEY, 80, now)) as enter:
            assert isinstance(await enter.event(), Published)
        with one.begin(lambda now: one.node.commands.lookup(KEY, now)) as lookup:
            while not isinstance(event := await lookup.event(), LookupDone):
                pass
        assert [found.port for found in event.endpoints] == [80]
        assert not one._operations


async def test_a_query_that_nobody_answers_ends_too(autojump_clock: MockClock) -> None:
    wire = Wire()
    async with wire.driver() as one:
        with one.begin(lambda now: one.node.commands.ping(NOBODY, now)) as ping:
            assert isinstance(await ping.event(), Unanswered)
        policy = one.node.policy
        assert trio.current_time() == pytest.approx(policy.query_timeout * policy.ping_attempts)


async def test_leaving_an_operation_cancels_it(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire()
    async with wire.driver() as one:
        cancelled: list[Handle] = []
        monkeypatch.setattr(Commands, "cancel", lambda _, op: cancelled.append(op))
        with trio.move_on_after(1), one.begin(lambda now: one.node.commands.ping(NOBODY, now)) as ping:
            await ping.event()
        assert len(cancelled) == 1
        assert not one._operations
        await trio.sleep(60)  # its end is no news to anybody

        with one.begin(lambda now: one.node.commands.ping(NOBODY, now)) as ping:
            await ping.event()
        assert len(cancelled) == 1  # ended operations are not cancelled


async def test_an_instant_operation_is_not_missed(autojump_clock: MockClock) -> None:
    # Without any contact, a lookup is over before `begin` returns.
    wire = Wire()
    driver = wire.make()
    with driver.begin(lambda now: driver.node.commands.lookup(KEY, now)) as lookup:
        event = await lookup.event()
    assert isinstance(event, LookupDone)
    assert event.endpoints == ()


async def test_losing_and_finding_the_network_is_told(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "dhtd")
    wire = Wire()
    async with wire.driver() as one, wire.driver() as two:
        await joined(one, two)
        lost = one.isolated
        wire.cut = True
        with trio.fail_after(10 * 3_600):
            await lost.wait()
        assert not one.isolated.is_set()
        assert "nobody answers by IPv4" in caplog.text
        caplog.clear()
        wire.cut = False
        await trio.sleep(3_600)
        assert "joined the IPv4 network: 1 contact" in caplog.text


async def test_silence_is_logged_with_likely_causes(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dhtd")
    wire = Wire()
    async with wire.driver() as one, wire.driver() as two:
        wire.cut = True
        others = [Endpoint.of("10.9.9.9", port) for port in range(1, 5)]
        one.node.start([*two.udp.listening(), *others], one.clock())
        one.flush()
        await trio.sleep(3)
        where = "10.0.0.2:1729, 10.9.9.9:1, 10.9.9.9:2, 10.9.9.9:3, ..."
        causes = "Does dhtd run there, is the address right, does a firewall drop UDP, has it no network key either?"
        assert caplog.messages == [f"nobody answers at {where}; trying again. {causes}"]
        await trio.sleep(10)
        assert caplog.messages[1:] == [f"still nobody answers at {where}; trying less often. {causes}"]
        await trio.sleep(3_600)
        assert caplog.messages[2:] == [f"nobody has answered yet at {where}; trying again every 5 min"]
        assert {record.levelname for record in caplog.records} == {"WARNING"}
        wire.cut = False
        await trio.sleep(600)
        assert set(caplog.messages[3:]) == {"joined the IPv4 network: 1 contact"}  # by both


async def test_silence_in_mainline_has_no_key_to_blame(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dhtd")
    async with Wire(Bep5Codec()).driver() as one:
        one.node.start([Endpoint.of("10.9.9.9", 6881)], one.clock())
        one.flush()
        await trio.sleep(3)
    why = "Is the address right, does a firewall drop UDP?"
    assert caplog.messages == [f"nobody answers at 10.9.9.9:6881; trying again. {why}"]


async def test_the_nodes_own_publication_is_only_logged(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "dhtd")
    wire = Wire()
    async with wire.driver() as one, wire.driver() as two:
        one.node.publisher.restore_own(own_key(KEY, 80), one.clock())
        await joined(one, two)
        await trio.sleep(3_600)
        assert f"published {KEY:064x} port 80 on 1 node\n" in caplog.text
        one.labels.set(own_key(KEY, 80), Label("printer"))
        await trio.sleep(3_600)
        assert f"published {KEY:064x} (printer) port 80 on 1 node\n" in caplog.text
        assert not one._operations
        assert end_of(two).counters.defects == 0
