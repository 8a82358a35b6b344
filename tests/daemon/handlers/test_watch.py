"""The method watch: what a client is told of changes, also a slow one, and what is left when it goes away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from dhtd.core.commands import Commands
from dhtd.core.endpoint import Endpoint
from dhtd.core.events import GaveUp, Handle, WatchUpdate
from dhtd.core.ids import NATIVE, Id
from dhtd.core.records import Peer, RecordKey
from dhtd.daemon.labels import Label
from dhtd.errors import TooManyWatches
from dhtd.service.entries import DeleteRequest, EnterRequest
from dhtd.service.method import Event
from dhtd.service.params import WatchedId
from dhtd.service.watch import WatchEvent, WatchRequest
from tests.control.serving import serving
from tests.daemon.handlers.small_daemon import KEY, KEY_TEXT, Client, Daemon, daemon, matches, two
from tests.daemon.wire import Wire

OTHER = Id(8)
ONE, TWO, THREE = (f"10.7.7.{number}:80" for number in (1, 2, 3))


class Watched:
    """Stands in for the watches of a node: a test tells what changes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, limit: int = 100) -> None:
        self.ops: dict[Id, Handle] = {}
        self._limit = limit
        self.daemon: Daemon
        monkeypatch.setattr(Commands, "watch", self._begin, raising=False)

    def _begin(self, key: Id, now: float) -> Handle:
        if len(self.ops) == self._limit:
            raise TooManyWatches("this node watches as many IDs as it can")
        self.ops[key] = op = self.daemon.driver.node.handles.begin()
        return op

    def tell(self, *peers: str, key: Id = KEY, holders: int = 8) -> None:
        endpoints = tuple(Endpoint.of(peer.partition(":")[0], 80) for peer in peers)
        handles = self.daemon.driver.node.handles
        handles.tell(WatchUpdate(self.ops[key], key, endpoints, (), (), holders), 0.0)
        self.daemon.driver.flush()

    @property
    def open(self) -> set[Handle]:
        return self.daemon.driver.node.handles.open


class Reader:
    """A client that reads an event when it is asked to, or all of them."""

    def __init__(self, *, reads: bool = True) -> None:
        self.events: list[Any] = []
        self.may_read = trio.Event()
        if reads:
            self.may_read.set()

    async def emit(self, event: Event) -> None:
        await self.may_read.wait()
        assert matches(event, WatchEvent)
        self.events.append(event)


def request(*keys: Id) -> WatchRequest:
    return WatchRequest(tuple(WatchedId(key, None) for key in keys))


@asynccontextmanager
async def watching(
    watched: Watched, directory: Path, request: WatchRequest, reader: Reader, caller: Client | None = None
) -> AsyncIterator[Daemon]:
    """Run a watch, until the client hangs up at the end of the block."""
    async with daemon(Wire(), directory) as one, trio.open_nursery() as nursery:
        watched.daemon = one
        nursery.start_soon(one.handler, request, reader.emit, caller or Client())
        await wait_all_tasks_blocked()
        yield one
        nursery.cancel_scope.cancel()
    assert not watched.open


def changes(reader: Reader) -> list[tuple[list[str], list[str]]]:
    return [(event["added"], event["removed"]) for event in reader.events]


async def test_a_watch_tells_what_is_there_and_changes(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock, tmp_path: Path
) -> None:
    watched, reader, client = Watched(monkeypatch), Reader(), Client()
    async with watching(watched, tmp_path, request(KEY), reader, client):
        assert client.is_watching
        for peers in ((ONE, TWO), (TWO, THREE), ()):
            watched.tell(*peers)
            await wait_all_tasks_blocked()
    assert reader.events == [
        {"id": KEY_TEXT, "name": None, "peers": peers, "added": added, "removed": removed, "holders": 8}
        for peers, added, removed in (
            ([ONE, TWO], [ONE, TWO], []),
            ([TWO, THREE], [THREE], [ONE]),
            ([], [], [TWO, THREE]),
        )
    ]


async def test_an_empty_beginning_is_told_as_well(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock, tmp_path: Path
) -> None:
    watched, reader = Watched(monkeypatch), Reader()
    async with watching(watched, tmp_path, request(KEY), reader):
        watched.tell(holders=0)
        await wait_all_tasks_blocked()
        assert [(event["peers"], event["holders"]) for event in reader.events] == [([], 0)]


async def test_a_silent_client_misses_only_steps(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock, tmp_path: Path
) -> None:
    """Changes do not queue up: one update waits for each ID, with all that has changed since the one before."""
    watched, reader = Watched(monkeypatch), Reader(reads=False)
    async with watching(watched, tmp_path, request(KEY, OTHER), reader):
        watched.tell(ONE)
        await wait_all_tasks_blocked()
        for _ in range(1_000):
            watched.tell(ONE, THREE)
            watched.tell(THREE, key=OTHER)
            watched.tell(TWO)
        reader.may_read.set()
        await wait_all_tasks_blocked()
    assert changes(reader) == [([ONE], []), ([TWO], [ONE]), ([THREE], [])]


async def test_a_change_there_and_back_is_no_news(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock, tmp_path: Path
) -> None:
    watched, reader = Watched(monkeypatch), Reader()
    async with watching(watched, tmp_path, request(KEY), reader):
        for peers, holders in (((ONE,), 8), ((ONE, TWO), 8), ((ONE,), 7)):
            watched.tell(*peers, holders=holders)
        await wait_all_tasks_blocked()
        watched.tell(ONE, holders=5)
        await wait_all_tasks_blocked()
        assert changes(reader) == [([ONE], [])]


async def test_an_outage_and_its_end_are_told(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock, tmp_path: Path
) -> None:
    watched, reader = Watched(monkeypatch), Reader()
    async with watching(watched, tmp_path, request(KEY), reader):
        for holders in (3, 0, 2):
            watched.tell(ONE, holders=holders)
            await wait_all_tasks_blocked()
    assert changes(reader) == [([ONE], []), ([], []), ([], [])]
    assert [event["holders"] for event in reader.events] == [3, 0, 2]


async def test_each_id_has_the_name_it_was_given(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock, tmp_path: Path
) -> None:
    watched, reader = Watched(monkeypatch), Reader()
    wanted = (WatchedId(KEY, "wiki"), WatchedId(OTHER, None), WatchedId(KEY, "twice"))
    async with watching(watched, tmp_path, WatchRequest(wanted), reader) as one:
        one.driver.labels.set(RecordKey.of(OTHER, Peer.on(80)), Label("blog", None))
        for key in watched.ops:
            watched.tell(key=key)
        await wait_all_tasks_blocked()
        assert [(event["id"], event["name"]) for event in reader.events] == [
            (KEY_TEXT, "wiki"),
            (NATIVE.format(OTHER), "blog"),
        ]


async def test_too_many_watches_leave_none(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock, tmp_path: Path
) -> None:
    watched = Watched(monkeypatch, limit=2)
    async with daemon(Wire(), tmp_path) as one:
        watched.daemon = one
        with pytest.raises(TooManyWatches):
            await one.ask(request(KEY, OTHER, Id(9)), Client())
        assert not watched.open


async def test_a_watch_that_fails_is_a_defect(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock, tmp_path: Path
) -> None:
    """What has come before is told first."""
    watched, reader = Watched(monkeypatch), Reader(reads=False)
    async with serving_watch(watched, tmp_path, reader) as peer:
        await peer.send(b'{"method":"watch","params":{"ids":[{"id":"%s"}]}}\n' % KEY_TEXT.encode())
        await wait_all_tasks_blocked()
        watched.tell(ONE)
        one = watched.daemon
        one.driver.node.handles.tell(GaveUp(watched.ops[KEY]), 0.0)
        one.driver.flush()
        assert (await peer.line())["event"]["peers"] == [ONE]
        assert await peer.code() == "internal-error"


@asynccontextmanager
async def serving_watch(watched: Watched, directory: Path, reader: Reader) -> AsyncIterator[Any]:
    notes: list[str] = []
    async with (
        daemon(Wire(), directory) as one,
        serving(directory, one.handler, note=notes.append) as served,
    ):
        watched.daemon = one
        yield await served.peer()
    assert notes == ["request watch failed"]


async def test_a_real_node_watches_for_a_client(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Its watch ends at once, at the other node as well, when the client hangs up."""
    reader = Reader()
    async with two(tmp_path) as (one, other):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.handler, request(KEY), reader.emit, Client())
            await trio.sleep(1)
            assert (len(one.driver.node.watching.own), len(other.driver.node.watching.held)) == (1, 1)
            await other.ask(EnterRequest(KEY, 80))
            await other.ask(DeleteRequest(KEY, 80))
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        await trio.sleep(0.1)
        assert (len(one.driver.node.watching.own), len(other.driver.node.watching.held)) == (0, 0)
    served = f"{other.at[0]}:80"
    assert changes(reader) == [([], []), ([served], []), ([], [served])]
