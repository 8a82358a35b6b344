"""Users without a home directory, an entry in the list of users, or anything in their environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.e2e.daemons import BIN, DEADLINE

USER = 61_234  # a user that the system does not know


@pytest.fixture
def own() -> Iterator[Path]:
    """Return a directory of that user."""
    with TemporaryDirectory() as name:
        os.chown(name, USER, USER)
        yield Path(name)


AS_USER = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*AS_USER, str(BIN / command[0]), *command[1:]],
        env={"PATH": "/usr/bin:/bin", **environment},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def can_be_another_user() -> bool:
    if os.geteuid() != 0 or shutil.which(AS_USER[0]) is None:
        return False
    done = subprocess.run([*AS_USER, sys.executable, "-c", ""], cwd="/", capture_output=True, check=False)
    return done.returncode == 0


pytestmark = pytest.mark.skipif(not can_be_another_user(), reason="only root can be another user")


HOMES = [None, "", "relative", "/dev/null"]
VERBS = ["info", "node-id", "lookup", "delete", "ping"]
QUICK = {("info", None), ("node-id", ""), ("lookup", "relative"), ("delete", "/dev/null"), ("ping", None)}


@pytest.mark.parametrize(
    ("verb", "home"),
    [pytest.param(*each, marks=[] if each in QUICK else pytest.mark.slow) for each in product(VERBS, HOMES)],
)
def test_the_client_reports_that_no_daemon_runs(verb: str, home: str | None) -> None:
    argument = {"lookup": ["ab" * 32], "delete": ["ab" * 32], "ping": ["127.0.0.1:1"]}.get(verb, [])
    done = run("dht", "--json", verb, *argument, **({} if home is None else {"HOME": home}))
    assert (done.returncode, done.stderr) == (3, "")
    assert json.loads(done.stdout)["error"]["code"] == "daemon-unreachable"


@pytest.mark.parametrize("home", [None, "", "relative"])
def test_the_daemon_names_the_missing_place(home: str | None) -> None:
    environment = {} if home is None else {"HOME": home}
    done = run("dhtd", "start", "--json", **environment)
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"]) == (2, "bad-configuration")
    assert "no home directory for the state file" in error["message"]
    assert done.stderr.endswith(f"Z error: {error['message']}\n")
    if home is None:
        assert run("dhtd", "start").stderr.endswith(f"Z error: {error['message']}\n")


def test_what_needs_no_place_works(own: Path) -> None:
    assert run("dht", "hash", "x").returncode == 0
    assert run("dhtd", "keygen", str(own / "key")).returncode == 0
    assert run("dhtd", "--version").returncode == 0


@pytest.mark.parametrize("shell", ["bash", *(pytest.param(each, marks=pytest.mark.slow) for each in ("zsh", "fish"))])
def test_completion_needs_no_place(shell: str) -> None:
    assert run("dht", "inf", _DHT_COMPLETE=f"complete_{shell}").stdout.startswith("info")
    assert run("dhtd", "start", "--instance", "", _DHTD_COMPLETE=f"complete_{shell}").stderr == ""


def test_with_all_places_named_the_daemon_starts(own: Path) -> None:
    command = [
        *AS_USER,
        str(BIN / "dhtd"),
        "start",
        f"--state={own / 's.db'}",
        f"--socket={own / 's.sock'}",
        "--bind=127.61.2.34",
    ]
    process = subprocess.Popen(
        command,
        env={"HOME": "/root", "PATH": "/usr/bin:/bin"},
        cwd="/",
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("node ")
        assert run("dht", f"--socket={own / 's.sock'}", "node-id").returncode == 0
        process.terminate()
        assert process.wait(DEADLINE) == 0
    finally:
        process.kill()
        process.communicate()


def test_root_makes_nothing_in_a_user_s_home(own: Path) -> None:
    done = subprocess.run(
        [str(BIN / "dhtd"), "start", "--json", "--bind=127.61.2.35"],
        env={"HOME": str(own)},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 2
    assert f"at user {USER}'s, and this is user 0: set HOME" in json.loads(done.stdout)["error"]["message"]
    assert list(own.iterdir()) == []
