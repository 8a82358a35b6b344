"""Whom a node of the Mainline network serves, as --read-only says."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from dhtd.core.endpoint import Endpoint
from dhtd.core.node import Node
from dhtd.core.serving.gate import Serves
from dhtd.daemon.serving import LOOK, Serving
from dhtd.wire.bep5 import Bep5Codec
from tests.core.mainline import packed
from tests.daemon.handlers.small_daemon import daemon
from tests.daemon.wire import Wire

HOUR = 3_600.0
STRANGER = Endpoint.parse("198.51.100.7:6881")


def served(node: Node) -> tuple[str, bool]:
    """Return whom the node serves, and whether its queries say that it is read-only."""
    return node.gate.serves.value, node.requester.options.is_read_only


async def test_it_serves_contacts_after_a_silent_hour(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dhtd")
    async with daemon(Wire(Bep5Codec()), tmp_path) as one, trio.open_nursery() as nursery:
        node, serving = one.driver.node, Serving(one.driver, "auto")
        serving.begin()
        nursery.start_soon(serving.run)
        await trio.sleep(HOUR - LOOK)
        assert served(node) == ("all", False)
        await trio.sleep(2 * LOOK)
        assert served(node) == ("contacts", True)
        # A stranger gets no answer, but the next one will.
        assert node.handle_datagram(packed(b"ping", {}), STRANGER, trio.current_time()) is None
        assert node.counters.unserved == 1
        await trio.sleep(2 * LOOK)
        assert served(node) == ("all", False)
        assert node.handle_datagram(packed(b"ping", {}), STRANGER, trio.current_time()) is not None
        # It is nothing to tell twice.
        await trio.sleep(10 * LOOK)
        assert caplog.messages == [
            "no stranger has reached this node for an hour: it serves its contacts, and says that it is read-only",
            "a stranger has reached this node: it serves all again",
        ]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("read_only", "serves"), [("yes", Serves.NOBODY), ("no", Serves.ALL)])
async def test_what_is_said_stays(read_only: str, serves: Serves, autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(Bep5Codec()), tmp_path) as one:
        serving = Serving(one.driver, read_only)
        serving.begin()
        await serving.run()  # there is nothing to watch
        await trio.sleep(2 * HOUR)
        answer = one.driver.node.handle_datagram(packed(b"ping", {}), STRANGER, trio.current_time())
        assert (one.driver.node.gate.serves, answer is None) == (serves, serves is Serves.NOBODY)
