"""A home without this machine's configuration, and what writes configuration files there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from dhtd.config import paths

Configure = Callable[..., Path]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hide this machine's configuration."""
    for name in ("config", "system", "state", "run"):
        (tmp_path / name).mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(paths, "user_config", lambda name="dhtd.toml": tmp_path / "config" / name)
    monkeypatch.setattr(paths, "system_config", lambda name="dhtd.toml": tmp_path / "system" / name)
    monkeypatch.setattr(paths, "state_file", lambda instance="default": tmp_path / "state" / f"{instance}.db")
    monkeypatch.setattr(paths, "control_socket", lambda instance="default": Path("/run/dhtd") / f"{instance}.sock")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def user(home: Path) -> Configure:
    return partial(_write, home / "config")


@pytest.fixture
def system(home: Path) -> Configure:
    return partial(_write, home / "system")


def _write(directory: Path, text: str, name: str = "dhtd.toml") -> Path:
    path = directory / name
    path.write_text(text)
    return path
