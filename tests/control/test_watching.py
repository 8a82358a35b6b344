"""Requests without an end: their connections keep a place while the client reads, and stop with the daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from dhtd.control.limits import Limits
from dhtd.service.method import Caller, Emit, Request, Result
from dhtd.service.node import StatusRequest
from tests.control.serving import DONE, NODE_ID, serving

WATCH, STATUS = NODE_ID + b"\n", b'{"method":"status"}\n'
HUGE = "x" * 10_000_000  # more than the kernel keeps of an answer


class Watches:
    """Serves `node-id` as a watch: an event at once, and one at each `change`."""

    def __init__(self) -> None:
        self._changes = trio.Event()
        self.event: dict[str, str] = {}

    def change(self, text: str) -> None:
        self.event = {"text": text}
        was, self._changes = self._changes, trio.Event()
        was.set()

    async def handle(self, request: Request, emit: Emit[Any], caller: Caller) -> Result:
        await trio.lowlevel.checkpoint()
        if isinstance(request, StatusRequest):
            return DONE
        caller.watch()
        while True:
            await emit(self.event)
            await self._changes.wait()


async def test_a_watching_connection_keeps_its_place(autojump_clock: MockClock, tmp_path: Path) -> None:
    watches = Watches()
    async with serving(tmp_path, watches.handle, Limits(clients=2)) as daemon:
        watching = await daemon.peer()
        await watching.send(WATCH)
        await watching.line()
        await trio.sleep(10_000)
        for _ in range(3):
            peer = await daemon.peer()
            await peer.send(STATUS)
            assert "result" in await peer.line()
        watches.change("new")
        assert (await watching.line())["event"] == {"text": "new"}


async def test_a_watch_that_nobody_reads_gives_way(autojump_clock: MockClock, tmp_path: Path) -> None:
    watches = Watches()
    async with serving(tmp_path, watches.handle, Limits(clients=2)) as daemon:
        watching = await daemon.peer()
        await watching.send(WATCH)
        await watching.line()
        await wait_all_tasks_blocked()
        watches.change(HUGE)
        await trio.sleep(10)
        for _ in range(2):
            peer = await daemon.peer()
            await peer.send(STATUS)
            assert "result" in await peer.line()
        assert daemon.counters.control_displaced == 1


async def test_watches_leave_places_to_requests(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path, Watches().handle, Limits(clients=4)) as daemon:
        peers = [await daemon.peer() for _ in range(3)]
        for peer in peers:
            await peer.send(WATCH)
            await peer.line()
        refused = await daemon.peer()
        for _ in range(2):  # a refused watch is none
            await refused.send(WATCH + STATUS)
            assert await refused.code() == "busy"
            assert "result" in await refused.line()
        await peers[0].close()
        await wait_all_tasks_blocked()
        await refused.send(WATCH)
        assert "event" in await refused.line()


async def test_a_stop_ends_watches_read_or_not(autojump_clock: MockClock, tmp_path: Path) -> None:
    watches = Watches()
    async with serving(tmp_path, watches.handle) as daemon:
        reading, unread = await daemon.peer(), await daemon.peer()
        await unread.send(WATCH)
        await wait_all_tasks_blocked()
        watches.change(HUGE)
        watches.change("")
        await reading.send(WATCH)
        await reading.line()
        began = trio.current_time()
        daemon.stop()
        assert await reading.code() == "shutting-down"
        assert await reading.rest() == b""
    assert trio.current_time() - began < 10
