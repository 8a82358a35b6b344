"""The units of systemd in contrib/: they name existing things, they confine, and the daemon works confined."""

from __future__ import annotations

import ctypes.util
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from random import SystemRandom

import pytest
import typer.main

from dhtd.cli import dhtd as daemon
from dhtd.config import key_file
from dhtd.config.settings import SETTINGS
from dhtd.config.sources import load_settings
from dhtd.control.client import Client
from dhtd.service.entries import DELETE
from tests.daemon.unit import Unit
from tests.e2e.daemons import BIN, DEADLINE, Network

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "contrib/systemd"
SYSTEM, USER = UNITS / "dhtd.service", UNITS / "user/dhtd.service"
MAINLINE, MAINLINE_USER = (path.with_name("dhtd-mainline.service") for path in (SYSTEM, USER))
EXPOSURE = {SYSTEM: 1.5, USER: 6.3, MAINLINE: 1.5, MAINLINE_USER: 6.3}  # of 10: see `systemd-analyze security`
every = pytest.mark.parametrize("path", EXPOSURE, ids=["system", "user", "mainline", "mainline user"])
needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


def parts(path: Path) -> dict[str, str]:
    found = re.split(r"^\[(\w+)\]\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


@every
def test_it_starts_a_command_that_there_is(path: Path) -> None:
    program, verb, *options = Unit(path).one("ExecStart").split()
    assert (Path(program).name, verb, options) == ("dhtd", "start", [])
    assert verb in typer.main.get_command(daemon.app).commands  # type: ignore[attr-defined]


@every
def test_every_variable_in_it_is_one_of_a_setting(path: Path) -> None:
    known = {setting.variable for setting in SETTINGS}
    assert set(re.findall(r"DHTD_[A-Z_]+", path.read_text(encoding="utf-8"))) <= known
    environment = dict(line.split("=", 1) for line in Unit(path).all("Environment"))
    settings = load_settings({}, environment)
    assert settings.network == ("mainline" if path in (MAINLINE, MAINLINE_USER) else "native")
    if path in (SYSTEM, MAINLINE):
        assert settings.state.parent == Path("/var/lib") / Unit(path).one("StateDirectory")
        assert settings.socket.parent == Path("/run") / Unit(path).one("RuntimeDirectory")


@every
def test_it_restarts_unless_told_wrong(path: Path) -> None:
    unit = Unit(path)
    assert "StartLimitIntervalSec=0\n" in parts(path)["Unit"]  # elsewhere, systemd would ignore it
    assert unit.one("Restart") == "on-failure"
    assert unit.one("RestartSec") == "5s"
    assert unit.one("RestartPreventExitStatus") == "2"
    assert unit.one("Type") == "notify"
    assert unit.one("ExecReload") == "/bin/kill -HUP $MAINPID"


@every
@needs_analyze
def test_systemd_knows_every_line_of_it(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / path.name
    copy.write_text(
        re.sub(r"^ExecStart=.*", "ExecStart=/bin/true", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(copy)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if path.name in line]) == (0, [])


@every
@needs_analyze
def test_systemd_rates_its_exposure_within_bounds(path: Path) -> None:
    done = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=true",
            "--no-pager",
            f"--threshold={10 * EXPOSURE[path]:.0f}",
            str(path),
        ],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-200:]


@pytest.mark.parametrize(("path", "of"), [(MAINLINE, SYSTEM), (MAINLINE_USER, USER)], ids=["system", "user"])
def test_one_of_another_network_is_confined_alike(path: Path, of: Path) -> None:
    apart = {"Description", "Documentation", "Environment", "EnvironmentFile", "StateDirectory", "RuntimeDirectory"}
    ours, others = ([each for each in Unit(file).settings if each[0] not in apart] for file in (path, of))
    assert ours == others
    for key in ("EnvironmentFile", "StateDirectory", "RuntimeDirectory"):  # they run beside each other
        assert Unit(path).all(key) != Unit(of).all(key) or not Unit(of).all(key)


def can_confine() -> bool:
    if shutil.which("systemd-analyze") is None or ctypes.util.find_library("seccomp") is None:
        return False
    done = subprocess.run(
        [sys.executable, "-m", "tests.daemon.confine", str(USER), "/bin/true"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


@pytest.mark.parametrize("path", [SYSTEM, USER], ids=["system", "user"])
def test_the_daemon_works_as_it_is_confined(path: Path) -> None:
    if not can_confine():
        pytest.skip("this takes systemd-analyze, libseccomp and Linux 6.3")
    with Network() as network:
        key = network.directory / "network.key"
        key_file.make(key, SystemRandom())
        socket = network.directory / "run" / "sock"
        command = [sys.executable, "-m", "tests.daemon.confine", str(path), str(BIN / "dhtd"), "start"]
        options = [f"--state={network.directory / 's.db'}", f"--socket={socket}", f"--network-key={key}"]
        process = subprocess.Popen(
            [*command, *options, f"--bind=127.61.2.{36 if path == SYSTEM else 37}", "--log-level=warning"],
            cwd=ROOT,
            env={**os.environ, **network.environment()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("node "), process.communicate()
            with Client(socket, DEADLINE) as client:
                client.enter("ab" * 32, 80, wait=True)
            with Client(socket, DEADLINE) as client:
                assert client.ask(DELETE, id="ab" * 32, port=80)["removed"] == [80]
            with Client(socket, DEADLINE) as client:
                assert client.info(None)["node"]["state_notices"] == []
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=DEADLINE)
            assert (process.returncode, log) == (0, "")
        finally:
            process.kill()
            process.communicate()
