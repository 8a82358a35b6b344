"""Keeping an entry while a command runs: what is said of trouble, and what is asked of systems without lists."""

from __future__ import annotations

import socket
import threading
from typing import NoReturn

import pytest

from dhtd.cli import holding
from dhtd.cli.holding import Holding

DEADLINE = 60.0


def never(*_: object) -> NoReturn:
    raise AssertionError


def test_a_port_that_does_not_listen_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks, enough = [], threading.Event()

    def look(port: int) -> bool:
        looks.append(port)
        if len(looks) > 50:
            enough.set()
        return False

    monkeypatch.setattr(holding, "is_listening", look)
    monkeypatch.setattr(holding, "LOOK_FIRST", 0.001)
    monkeypatch.setattr(holding, "LOOK_MAX", 0.001)
    monkeypatch.setattr(holding, "PATIENCE", 0.01)
    said: list[str] = []
    kept = Holding(80, never, never, never, said.append)
    kept.begin()
    assert enough.wait(DEADLINE)
    kept.end()
    assert said == ["nothing listens on port 80 yet: not entered"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_system_without_lists_is_asked_by_connecting(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setattr(holding, "is_listening", lambda port: None)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listening:
        listening.bind((host, 0))
        port = listening.getsockname()[1]
        assert not holding._listens(port)
        listening.listen()
        assert holding._listens(port)
