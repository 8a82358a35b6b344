"""The reaction to new addresses of this machine."""

from __future__ import annotations

import logging
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from dhtd.core.endpoint import Endpoint
from dhtd.daemon.discovery import moves as module
from dhtd.daemon.discovery.moves import Moves
from dhtd.daemon.driver import Driver
from dhtd.daemon.sockets.links import Links

HOME, WORK = frozenset({Endpoint.of("192.168.1.5", 1729)}), frozenset({Endpoint.of("203.0.113.5", 1729)})
BESIDE = frozenset({Endpoint.of("203.0.113.6", 1729)})


class FakeDriver:
    """A driver, its node, its machine and its sockets, as far as `Moves` knows them: notes its calls."""

    def __init__(self) -> None:
        self.said: list[object] = []
        self.node = self.machine = self.udp = self
        self.clock = trio.current_time

    def listening(self) -> list[Endpoint]:
        return []

    def links_changed(self) -> None:
        self.said.append("links")

    def live_in(self, networks: tuple[bytes, ...], now: float) -> None:
        self.said.append(networks)

    def moved(self, now: float) -> None:
        self.said.append("moved")

    def flush(self) -> None:
        self.said.append("flushed")


class FakeLinks:
    """Reports possible news every ten seconds."""

    async def changed(self) -> None:
        await trio.sleep(10)


async def test_node_and_sockets_hear_of_new_addresses(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dhtd")
    addresses = iter([HOME, WORK, WORK, BESIDE, frozenset[Endpoint]()])
    monkeypatch.setattr(module, "own_addresses", lambda listening: next(addresses))
    driver = FakeDriver()
    moves = Moves(cast("Driver", driver), cast("Links", FakeLinks()), HOME)
    with trio.move_on_after(55):
        await moves.run()
    assert driver.said == [
        *("links",),
        *("links", (bytes((203, 0, 113)),), "moved", "flushed"),
        *("links",),
        *("links", "moved", "flushed"),
        *("links", (), "moved", "flushed"),
    ]
    assert caplog.messages == [
        "this machine has other addresses now: 203.0.113.5:1729",
        "this machine has other addresses now: 203.0.113.6:1729",
        "this machine has other addresses now: none",
    ]
