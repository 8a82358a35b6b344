"""Entries that live as long as a connection: it keeps its place, and ends after they have been let go."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from dhtd.control import server
from dhtd.control.connection import LEAVE_WITHIN
from dhtd.control.limits import Limits, Places
from dhtd.errors import Busy
from dhtd.service.method import Caller, Emit, Request, Result
from dhtd.service.node import StatusRequest
from tests.control.serving import DONE, NODE_ID, serving
from tests.control.test_limits import ALICE, BOB, OWN, Connection
from tests.control.test_server import member

STATUS = b'{"method":"status"}\n'


class Entries:
    """Attaches one entry for each `node-id`, and none for other requests."""

    def __init__(self) -> None:
        self.callers: list[Caller] = []
        self.left = 0
        self.takes = 0.0  # seconds to withdraw

    async def handle(self, request: Request, emit: Emit[Any], caller: Caller) -> Result:
        await trio.lowlevel.checkpoint()
        if not isinstance(request, StatusRequest):
            caller.attach(self._leave)
            self.callers.append(caller)
        return DONE

    async def _leave(self) -> None:
        await trio.sleep(self.takes)
        self.left += 1


async def test_the_end_of_a_connection_lets_go(autojump_clock: MockClock, tmp_path: Path) -> None:
    entries = Entries()
    async with serving(tmp_path, entries.handle) as daemon:
        peer = await daemon.peer()
        for _ in range(2):
            await peer.send(NODE_ID + b"\n")
            assert "result" in await peer.line()
        await trio.sleep(10_000)
        assert entries.left == 0
        await peer.close()
        await wait_all_tasks_blocked()
        assert entries.left == 2


async def test_a_client_can_wait_until_it_is_let_go(autojump_clock: MockClock, tmp_path: Path) -> None:
    entries = Entries()
    entries.takes = 3.0
    async with serving(tmp_path, entries.handle) as daemon:
        peer = await daemon.peer()
        await peer.send(NODE_ID + b"\n")
        await peer.line()
        began = trio.current_time()
        await peer.stream.send_eof()
        assert await peer.rest() == b""
        assert (entries.left, trio.current_time()) == (1, began + 3)


async def test_a_withdrawal_without_end_keeps_nobody(autojump_clock: MockClock, tmp_path: Path) -> None:
    entries = Entries()
    entries.takes = 1e9
    async with serving(tmp_path, entries.handle) as daemon:
        peer = await daemon.peer()
        await peer.send(NODE_ID + b"\n")
        await peer.line()
        began = trio.current_time()
        await peer.stream.send_eof()
        assert await peer.rest() == b""
        assert trio.current_time() == began + LEAVE_WITHIN


async def test_an_attached_connection_keeps_its_place(autojump_clock: MockClock, tmp_path: Path) -> None:
    entries = Entries()
    async with serving(tmp_path, entries.handle, Limits(clients=2)) as daemon:
        attached = await daemon.peer()
        await attached.send(NODE_ID + b"\n")
        await attached.line()
        for _ in range(5):
            peer = await daemon.peer()
            await peer.send(STATUS)
            assert "result" in await peer.line()
        await attached.send(STATUS)
        assert "result" in await attached.line()
        assert (entries.left, daemon.counters.control_displaced) == (0, 4)


async def test_attached_connections_leave_places_to_others(autojump_clock: MockClock, tmp_path: Path) -> None:
    entries = Entries()
    async with serving(tmp_path, entries.handle, Limits(clients=8)) as daemon:
        peers = [await daemon.peer() for _ in range(6)]
        for peer in peers:
            await peer.send(NODE_ID + b"\n")
            await peer.line()
        refused = await daemon.peer()
        await refused.send(NODE_ID + b"\n" + STATUS)
        answer = await refused.line()
        assert answer["error"]["code"] == "busy"
        assert "has 6 connections that watch, or have entries that live as long as these" in answer["error"]["message"]
        assert "result" in await refused.line()
        await peers[0].close()
        await wait_all_tasks_blocked()
        await refused.send(NODE_ID + b"\n")
        assert "result" in await refused.line()


async def test_a_daemon_that_stops_lets_nothing_go(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The next start finds these entries in the state file, and forgets them."""
    entries = Entries()
    async with serving(tmp_path, entries.handle) as daemon:
        peer = await daemon.peer()
        await peer.send(NODE_ID + b"\n")
        await peer.line()
        daemon.stop()
    assert entries.left == 0


async def test_a_caller_has_its_user(autojump_clock: MockClock, tmp_path: Path) -> None:
    entries = Entries()
    async with serving(tmp_path, entries.handle) as daemon:
        peer = await daemon.peer()
        await peer.send(NODE_ID + b"\n")
        await peer.line()
        [caller] = entries.callers
        assert (caller.uid, caller.is_owner) == (os.geteuid(), True)


async def test_a_member_of_the_group_is_no_owner(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = Entries()
    async with serving(tmp_path, entries.handle) as daemon:
        monkeypatch.setattr(server._Server, "_user", member)
        peer = await daemon.peer()
        await peer.send(NODE_ID + b"\n")
        await peer.line()
        [caller] = entries.callers
        assert (caller.uid, caller.is_owner) == (os.geteuid() + 1, False)


def test_members_of_the_group_share_attached_places() -> None:
    places = Places[Connection](Limits(clients=100, others=4), OWN)
    for uid in (ALICE, BOB, ALICE):
        places.check_lasting(uid)
        places.take(Connection(uid, None, is_lasting=True))
    with pytest.raises(Busy, match=r"the members of the socket's group have 3 connections .* may have \(4\)"):
        places.check_lasting(BOB)
    places.check_lasting(OWN)
