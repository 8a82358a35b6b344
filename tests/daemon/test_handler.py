"""The handler serves every method of the table but `stop`."""

from __future__ import annotations

from pathlib import Path

from trio.testing import MockClock

from dhtd.service.methods import METHODS
from dhtd.service.owner import STOP
from tests.daemon.handlers.small_daemon import daemon
from tests.daemon.wire import Wire


async def test_every_method_but_stop_is_served(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        assert one.handler._serving.keys() == {method.request for method in METHODS.values() if method is not STOP}
