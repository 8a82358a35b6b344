"""The method events: what clients are told, in which bounds, at which pace, and what nobody who follows costs."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from dhtd.core.counters import RATE_LIMIT
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.events import (
    CannotWithdraw,
    Event,
    GaveUp,
    Handle,
    Isolated,
    Joined,
    Renamed,
    Silence,
    Unheld,
    Unreached,
    ValuePut,
    ValueSuperseded,
)
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import Contact, FindNode, FindValue, Message, Ping
from dhtd.core.querying.observations import ContactGained, ContactLost, SearchBegun, SearchStep
from dhtd.core.records import Immutable
from dhtd.core.traces import Purpose, QuerySlow
from dhtd.daemon.events.follower import ALLOWED, LINGER
from dhtd.daemon.events.ring import KEPT
from dhtd.daemon.handlers.events import PACE
from dhtd.service.entries import DeleteRequest, EnterRequest, LookupRequest
from dhtd.service.events import KINDS, EventsEvent, EventsRequest
from dhtd.service.queries import PingRequest
from dhtd.service.written import Written
from tests.daemon.handlers.small_daemon import KEY, KEY_TEXT, NOWHERE, Client, Daemon, daemon, matches, two
from tests.daemon.wire import Wire, end_of

FROM = Endpoint.of("10.5.5.5", 1729)


class Reader:
    """A client that follows. Without `reads`, it is stuck in its first batch."""

    def __init__(self, *, reads: bool = True) -> None:
        self.batches: list[Written] = []
        self.events: list[dict[str, Any]] = []
        self.last = 0
        self.may_read = trio.Event()
        if reads:
            self.may_read.set()

    async def emit(self, event: Any) -> None:
        await self.may_read.wait()
        assert isinstance(event, Written)
        assert matches(dict(event), EventsEvent)
        self.batches.append(event)
        for each in event["events"]:
            assert matches(each, KINDS[each["kind"]]), each
            assert each["serial"] > self.last
            self.last = each["serial"]
            self.events.append(each)

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["kind"] in kinds]


@asynccontextmanager
async def following(one: Daemon, *readers: Reader, **request: Any) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for reader in readers:
            client = Client()
            nursery.start_soon(one.handler.__call__, EventsRequest(**request), reader.emit, client)
        await trio.testing.wait_all_tasks_blocked()
        yield
        await trio.sleep(2 * PACE)
        nursery.cancel_scope.cancel()


def ask(one: Daemon, request: Any, number: int = 1, source: Endpoint = FROM) -> None:
    """Have a datagram arrive at a daemon."""
    tid = number.to_bytes(8, "big")
    end_of(one.driver).deliver(one.driver.node.codec.encode_query(tid, Id(number), request), source)


async def test_a_client_is_told_at_once_that_it_follows(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        reader, client = Reader(), Client()
        with trio.move_on_after(0.01):
            await one.handler(EventsRequest(), reader.emit, client)
        [batch] = reader.batches
        assert batch["events"] == []
        assert client.is_watching


async def test_queries_that_are_answered_are_told(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        reader = Reader()
        async with following(one, reader):
            ask(one, FindNode(KEY), 7)
            ask(one, Ping(), 8)
        found, ping = reader.of("served")
        assert (found["method"], found["id"], found["endpoint"]) == ("find_node", KEY_TEXT, str(FROM))
        assert found["node_id"] == NATIVE.format(Id(7))
        assert found["bytes"] > ping["bytes"] > 0
        assert (ping["method"], ping["id"]) == ("ping", None)


async def test_a_lookup_is_told_from_begin_to_end(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await other.ask(EnterRequest(KEY, 80, wait=True))
        reader = Reader()
        async with following(one, reader):
            await one.ask(LookupRequest(KEY))
        begun, asked, answered, ended = reader.of("lookup-begun", "lookup-step", "lookup-ended")
        assert (begun["purpose"], begun["id"]) == ("lookup", KEY_TEXT)
        assert [asked["step"], answered["step"]] == ["asked", "answered"]
        assert answered["peers"] == [f"{other.at[0]}:80"]
        assert len({each["op"] for each in (begun, asked, answered, ended)}) == 1
        assert (ended["queries"], ended["responses"], ended["cancelled"]) == (1, 1, False)


async def test_entries_and_single_queries_are_told(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        reader = Reader()
        async with following(one, reader):
            await one.ask(EnterRequest(KEY, 80, wait=True))
            await one.ask(PingRequest(other.at))
            await one.ask(DeleteRequest(KEY))
        [published], [withdrawn] = reader.of("published"), reader.of("withdrawn")
        assert (published["id"], published["port"], published["replicas"]) == (KEY_TEXT, 80, 1)
        assert (withdrawn["id"], withdrawn["ports"], withdrawn["nodes"]) == (KEY_TEXT, [80], 1)
        asked = {event["method"]: event for event in reader.of("asked")}
        assert {"store", "ping", "withdraw"} <= asked.keys()
        assert (asked["ping"]["endpoint"], asked["ping"]["outcome"]) == (other.endpoint, "answered")


async def test_a_refusal_and_silence_are_told(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        reader = Reader()
        async with following(one, reader):
            one.driver.begin_for(
                trio.open_memory_channel[Event](9)[0], lambda now: one.driver.node.commands.ping(NOWHERE, now)
            )
            await trio.sleep(30)
        [ping] = reader.of("asked")
        assert (ping["outcome"], ping["node_id"], ping["rtt_ms"]) == ("silent", None, None)


async def test_limits_are_told_once_a_second(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        reader = Reader()
        async with following(one, reader):
            for _ in range(7):
                one.driver.node.counters.caps_hit[RATE_LIMIT] += 100
                await trio.sleep(0.25)
            await trio.sleep(1)
        assert {event["cap"] for event in reader.of("limit")} == {RATE_LIMIT}
        assert reader.of("limit")[-1]["total"] == 700
        assert len(reader.of("limit")) <= 3
        assert sum(event["count"] for event in reader.of("limit")) == 700


OTHER = Contact(Id(9), FROM)
TOLD: list[tuple[Any, str]] = [
    (Joined(3, Family.IPV6), "joined"),
    (Isolated(Family.IPV4), "isolated"),
    (Unreached(Family.IPV4, (FROM,), Silence.STILL), "unreached"),
    (Renamed(Family.IPV4, Id(4)), "renamed"),
    (ContactGained(OTHER), "contact-gained"),
    (ContactLost(OTHER), "contact-lost"),
    (CannotWithdraw(Handle(1), KEY, (80,), 2, None), "withdrawn"),
    (ValuePut(Handle(1), KEY, (OTHER,), 2), "value-put"),
    (ValueSuperseded(KEY, Immutable(b"x")), "value-superseded"),
    (Unheld(1, 2), "unheld"),
]


@pytest.mark.parametrize(("observation", "kind"), TOLD, ids=[kind for _, kind in TOLD])
async def test_each_observation_has_its_kind(
    observation: Any, kind: str, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with daemon(Wire(), tmp_path) as one:
        reader = Reader()
        async with following(one, reader):
            one.driver.node.requester.observations.note(observation)
            one.driver.flush()
        assert [event["kind"] for event in reader.events] == [kind]


async def test_what_only_a_client_waits_for_is_not_told(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        reader = Reader()
        async with following(one, reader):
            one.driver.node.requester.observations.note(GaveUp(Handle(1)))
            one.driver.node.requester.observations.note(SearchStep(99, 0.0, QuerySlow(1, 0.0)))
            one.driver.flush()
        assert reader.events == []


# Bounds


async def test_a_flood_is_told_in_part_and_counted(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        reader = Reader()
        async with following(one, reader):
            for number in range(2_000):
                ask(one, FindNode(Id(number)), number + 1)
            await trio.sleep(3)
        assert len(reader.of("served")) == ALLOWED
        counted = sum(event["counts"].get("served", 0) for event in reader.of("counted"))
        assert counted == 2_000 - ALLOWED


async def test_a_flood_of_forged_names_grows_no_memory(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        stuck = Reader(reads=False)
        follower = one.driver.follower

        def flood(seconds: int) -> None:
            for second in range(seconds):
                for number in range(300):
                    served = {"node_id": "", "method": "ping", "id": f"{second}.{number}" + "x" * 500, "bytes": 7}
                    follower.ring.add(0.0, "served", {"endpoint": str(FROM), **served})
                    contact = Contact(Id((second << 20) + number), FROM)
                    one.driver.node.requester.observations.note(ContactGained(contact))
                    one.driver.node.requester.observations.begin(Purpose.REFRESH, Id(number), float(second))
                one.driver.flush()

        async with following(one, stuck):
            flood(20)
            gc.collect()
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            flood(20)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
            assert len(follower.ring) == KEPT
            assert len(follower._telling._steps) <= 256
            assert grown < 1_500_000, grown
            stuck.may_read.set()
            await trio.sleep(1)
        missed = stuck.of("missed")
        assert missed
        assert missed[0]["count"] > 10_000


async def test_searches_that_never_end_are_forgotten(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        reader = Reader()
        async with following(one, reader):
            for op in range(1_000):
                one.driver.follower._telling.told(SearchBegun(op, Purpose.GET, KEY))
            assert len(one.driver.follower._telling._steps) == 256


async def test_a_client_that_never_reads_holds_up_nobody(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        reader, stuck = Reader(), Reader(reads=False)
        async with following(one, reader, stuck):
            for second in range(40):
                for number in range(ALLOWED):
                    ask(one, FindValue(KEY), 100 * second + number + 1)
                await trio.sleep(1.1)
            assert len(reader.of("served")) == 40 * ALLOWED
            assert not reader.of("missed")
            stuck.may_read.set()
            await trio.sleep(1)
        [missed] = stuck.of("missed")
        assert missed["count"] + len(stuck.events) - 1 == len(reader.events)
        assert stuck.events[-1] == reader.events[-1]


async def test_a_hundred_clients_share_each_event(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    real = json.dumps

    def dumps(*args: Any, **kwargs: Any) -> str:
        written.append(real(*args, **kwargs))
        return written[-1]

    monkeypatch.setattr("dhtd.daemon.events.ring.json.dumps", dumps)
    async with daemon(Wire(), tmp_path) as one:
        readers = [Reader() for _ in range(100)]
        async with following(one, *readers):
            for number in range(30):
                ask(one, FindNode(KEY), number + 1)
        assert all(reader.events == readers[0].events for reader in readers)
        assert len(readers[0].events) == len(written) == 30
        texts = {id(batch) for reader in readers for batch in reader.batches if batch["events"]}
        assert len(texts) == sum(1 for batch in readers[0].batches if batch["events"])


# Coming and going


async def test_one_kind_is_told_alone(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        reader = Reader()
        async with following(one, reader, kind="joined"):
            ask(one, Ping())
            one.driver.node.handles.tell_news(Joined(1, Family.IPV4))
            one.driver.flush()
        assert [event["kind"] for event in reader.events] == ["joined"]


async def test_who_comes_back_soon_has_missed_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        first, second = Reader(), Reader()
        async with following(one, first):
            ask(one, Ping(), 1)
        ask(one, Ping(), 2)
        await trio.sleep(LINGER / 2)
        async with following(one, second, after=first.last):
            ask(one, Ping(), 3)
        assert [event["node_id"][-1] for event in second.of("served")] == ["2", "3"]
        assert not second.of("missed")


async def test_who_comes_back_late_is_told_so(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        first, second = Reader(), Reader()
        async with following(one, first):
            ask(one, Ping(), 1)
        await trio.sleep(10 * LINGER)
        assert not one.driver.follower.is_on
        assert not one.driver.node.requester.observations.is_on
        assert len(one.driver.follower.ring) == 0
        ask(one, Ping(), 2)
        await trio.testing.wait_all_tasks_blocked()
        async with following(one, second, after=first.last):
            ask(one, Ping(), 3)
        found = [(event["kind"], event.get("count")) for event in second.of("missed", "served")]
        assert found == [("missed", None), ("served", None)]


async def test_nobody_who_follows_costs_nothing(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        for number in range(50):
            ask(one, Ping(), number + 1)
        await trio.sleep(2)
        assert len(one.driver.follower.ring) == 0
        assert len(one.driver.node.requester.observations) == 0


async def test_a_defect_in_telling_loses_no_answer(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with daemon(Wire(), tmp_path) as one:
        noted: list[str] = []
        monkeypatch.setattr(one.driver.defects, "note", lambda text, *_: noted.append(text))
        monkeypatch.setattr(one.driver.follower, "_tell_served", lambda *_: 1 / 0)
        async with following(one, Reader()):
            before = len(end_of(one.driver).sent)
            ask(one, Ping())
            await trio.testing.wait_all_tasks_blocked()
            assert len(end_of(one.driver).sent) > before
        assert noted == ["clients could not be told what this node does"]


async def test_rubbish_and_refused_queries_are_not_read_twice(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with daemon(Wire(), tmp_path) as one:
        reader, read, real = Reader(), list[bytes](), one.driver.node.codec.decode

        def decode(_: object, data: bytes) -> Message:
            read.append(data)
            return real(data)

        async with following(one, reader):
            monkeypatch.setattr(type(one.driver.node.codec), "decode", decode)
            end_of(one.driver).deliver(b"\x44\x48\x54\x01" + b"\x93" * 2_000, FROM)
            await trio.testing.wait_all_tasks_blocked()
            assert len(read) == 1
        assert reader.of("served") == []
