"""What all handlers share: a cancelled request ends its operation."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from dhtd.service.entries import DeleteRequest, EnterRequest, LookupRequest
from dhtd.service.method import Request
from dhtd.service.node import BootstrapRequest
from dhtd.service.queries import PingRequest
from tests.daemon.handlers.small_daemon import KEY, NOBODY, two
from tests.daemon.wire import end_of


@pytest.mark.parametrize(
    "request_",
    [
        LookupRequest(KEY),
        PingRequest(NOBODY),
        BootstrapRequest((NOBODY,)),
        DeleteRequest(KEY, None),
    ],
)
async def test_a_cancelled_request_ends_its_operation(
    autojump_clock: MockClock, tmp_path: Path, request_: Request
) -> None:
    async with two(tmp_path) as (one, other):
        await one.ask(EnterRequest(KEY, 80, wait=True))
        end_of(other.driver)._wire.cut = True
        with trio.move_on_after(0.01) as scope:
            await one.ask(request_)
        assert scope.cancelled_caught
        assert not one.driver._operations
