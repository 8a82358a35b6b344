"""The service manager hears of us, if there is one, and never delays us."""

from __future__ import annotations

import socket
import uuid
from pathlib import Path

import pytest

from dhtd.daemon import notify as notify_module
from dhtd.daemon.notify import notify


def test_a_manager_at_a_path_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1")
        notify("STOPPING=1")
        assert [manager.recv(64), manager.recv(64)] == [b"READY=1", b"STOPPING=1"]


def test_a_manager_at_an_abstract_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"dhtd-{uuid.uuid4().hex}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        try:
            manager.bind(f"\0{name}")
        except OSError:
            pytest.skip("this system has no abstract addresses")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify("READY=1")
        assert manager.recv(64) == b"READY=1"


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234", "/nowhere/at/all", "@", "/" + "x" * 300])
def test_without_a_manager_nothing_happens(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify("READY=1")


def test_a_manager_that_does_not_read_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify_module, "TIMEOUT", 0.01)
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other,
    ):
        manager.bind(str(tmp_path / "notify"))
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            fill(other, tmp_path / "notify")
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1")


def fill(other: socket.socket, path: Path) -> None:
    while True:
        other.sendto(b"x", str(path))
