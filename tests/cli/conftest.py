"""Runs the programs in this process, with nothing of this machine's user in reach."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main

from dhtd.cli import dht as client
from dhtd.cli import dhtd as daemon


class Done(NamedTuple):
    """The output of a program, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def body(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        [line] = self.out.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found


Run = Callable[..., Done]


@pytest.fixture(scope="session", autouse=True)
def _commands_are_made_once() -> Iterator[None]:
    """Keep what typer makes of a program: it takes nine tenths of a call, and holds nothing of the call."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.main.get_command", cache(typer.main.get_command))
        yield


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in os.environ:
        if name.startswith(("DHTD_", "XDG_", "_DHT")):
            monkeypatch.delenv(name)
    for name in ("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path


def _runner(
    program: str, main: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", [program, *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Done(end.value.code, out, err)

    return run


@pytest.fixture
def dht(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return _runner("dht", client.main, monkeypatch, capsys)


@pytest.fixture
def dhtd(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run `dhtd` with arguments that do not start a daemon. One that is to start may have set up its log before."""
    ours = logging.getLogger("dhtd")
    handlers, propagate, level = ours.handlers[:], ours.propagate, ours.level
    hooks = sys.unraisablehook, threading.excepthook
    yield _runner("dhtd", daemon.main, monkeypatch, capsys)
    ours.handlers[:], ours.propagate = handlers, propagate
    ours.setLevel(level)
    logging.captureWarnings(False)
    sys.unraisablehook, threading.excepthook = hooks
