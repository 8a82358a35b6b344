"""Daemons as guests in one process: each is a whole one, and the process goes on without it."""

from __future__ import annotations

import gc
import json
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import Mock

import pytest
import trio

from dhtd.config.settings import SETTINGS, Settings
from dhtd.daemon.app import Ready
from dhtd.daemon.guest import Guest
from dhtd.daemon.state.file import StateFile
from dhtd.errors import PortTaken

DEADLINE = 60.0  # seconds; only a hang reaches it


@dataclass
class Running:
    guest: Guest
    ready: Ready
    scope: trio.CancelScope


def settings_in(directory: Path, name: str, **more: object) -> Settings:
    values = {setting.field: setting.default for setting in SETTINGS}
    places = {"state": directory / f"{name}.db", "socket": directory / f"{name}.sock"}
    return Settings(**{**values, "port": 0, "bind": ("127.0.0.1",), **places, **more}, origins={})  # type: ignore[arg-type]


def suffixes(directory: Path) -> list[str]:
    return sorted(path.suffix for path in directory.iterdir())


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            guest, announced, said = Guest(settings), trio.Event(), list[Ready]()

            def announce(ready: Ready) -> None:
                said.append(ready)
                announced.set()

            nursery.start_soon(guest.run, announce)
            await announced.wait()
            yield Running(guest, said[0], nursery.cancel_scope)
            guest.stop()


async def asked(path: str, method: str) -> tuple[dict[str, object], bytes]:
    """Return the answer to a request, and what follows until the end of the connection."""
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(json.dumps({"method": method}).encode() + b"\n")
        if method != "stop":
            await stream.send_eof()
        data = b"".join([part async for part in stream])
    line, _, rest = data.partition(b"\n")
    return json.loads(line), rest


async def test_two_guests_on_one_loop_join_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, freeze = signal.getsignal(signal.SIGTERM), Mock()
    monkeypatch.setattr(gc, "freeze", freeze)
    async with running(settings_in(tmp_path, "a")) as first:
        bootstrap = tuple(first.ready.endpoints)
        async with running(settings_in(tmp_path, "b", bootstrap=bootstrap)) as second:
            await first.guest.has_joined()
            await second.guest.has_joined()
            answer, rest = await asked(second.ready.socket, "node-id")
            assert isinstance(answer["result"], dict)
            assert answer["result"]["node_id"] == second.ready.node_id
            assert rest == b""
    assert signal.getsignal(signal.SIGTERM) == before
    freeze.assert_not_called()
    assert suffixes(tmp_path) == [".db", ".db"]


async def test_a_guest_that_is_stopped_has_saved(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, "b")
    async with running(settings_in(tmp_path, "a")) as first:
        async with running(settings_in(tmp_path, "b", bootstrap=tuple(first.ready.endpoints))) as second:
            await second.guest.has_joined()
        with closing(StateFile.open(settings.state)) as file:
            assert len(file.contacts()) == 1


async def test_a_guest_that_vanishes_leaves_its_socket(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, "a")) as one:
        one.guest.vanish()
        await one.guest.has_ended.wait()
        assert suffixes(tmp_path) == [".db", ".sock"]
        with closing(socket.socket(socket.AF_UNIX)) as client, pytest.raises(ConnectionRefusedError):
            client.connect(one.ready.socket)
    async with running(settings_in(tmp_path, "a")) as again:
        assert again.ready.node_id == one.ready.node_id


async def test_a_client_that_stops_a_guest_hears_its_end(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, "a")) as one:
        answer, rest = await asked(one.ready.socket, "stop")
        assert answer["result"] == {"pid": None}
        assert rest == b""
        await one.guest.has_ended.wait()


async def test_a_guest_that_cannot_start_says_why(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path, "a")) as one:
        port = int(one.ready.endpoints[0].rpartition(":")[2])
        guest = Guest(settings_in(tmp_path, "b", port=port))
        with pytest.raises(PortTaken):
            await guest.run(lambda _: None)
        assert guest.has_ended.is_set()
        assert isinstance(guest.failure, PortTaken)


async def test_a_guest_that_is_cancelled_saves_all_the_same(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, "a")
    async with running(settings) as one:
        one.scope.cancel()
    assert one.guest.has_ended.is_set()
    with closing(StateFile.open(settings.state)) as file:
        assert file.node_id() is not None
