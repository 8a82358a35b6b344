"""A backup comes in pieces, one backup at a time."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from typing import cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from dhtd.daemon.handlers.calls import ITSELF
from dhtd.daemon.handlers.owner import PIECE
from dhtd.errors import Busy, StateError
from dhtd.service.method import Event
from dhtd.service.owner import BackupEvent, BackupRequest, BackupResult
from tests.daemon.handlers.small_daemon import daemon, matches
from tests.daemon.wire import Wire


async def test_a_backup_comes_in_pieces_with_its_length(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        one.disk.saved = bytes(range(251)) * 400
        result = await one.ask(BackupRequest())
        assert matches(result, BackupResult)
        assert all(matches(event, BackupEvent) for event in one.events)
        pieces = [b64decode(cast("BackupEvent", event)["data"]) for event in one.events]
        assert [len(piece) for piece in pieces] == [PIECE, PIECE, 100_400 - 2 * PIECE]
        assert (b"".join(pieces), result) == (one.disk.saved, {"bytes": 100_400})


async def test_one_backup_is_taken_at_a_time(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        one.disk.saved = bytes(10)

        async def emit(event: Event) -> None:
            await trio.sleep_forever()  # as for a client that does not read

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.handler, BackupRequest(), emit, ITSELF)
            await wait_all_tasks_blocked()
            with pytest.raises(Busy, match="another backup"):
                await one.ask(BackupRequest())
            nursery.cancel_scope.cancel()
        assert await one.ask(BackupRequest()) == {"bytes": 10}


async def test_a_failed_backup_permits_another(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        one.disk.failing = True
        with pytest.raises(StateError):
            await one.ask(BackupRequest())
        one.disk.failing = False
        assert await one.ask(BackupRequest()) == {"bytes": 0}
