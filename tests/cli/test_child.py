"""`dht enter … -- COMMAND`: the child has our streams and signals, and we end with its status."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dhtd.cli.child import Child
from dhtd.errors import UsageError
from tests.cli.conftest import Run
from tests.cli.fake import FakeDaemon, Frame, error, result

DEADLINE = 60.0
ID = "07" * 32
RUN = "import sys; from dhtd.cli.child import Child; sys.exit(Child(sys.argv[1:]).wait())"


def started(*command: str, **given: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", RUN, *command], stdout=subprocess.PIPE, text=True, **given)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ended(process: subprocess.Popen[str]) -> int:
    with process:
        return process.wait(DEADLINE)


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
)
def test_the_status_is_the_child_s(script: str, status: int) -> None:
    assert ended(started("sh", "-c", script)) == status


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2"])
def test_signals_go_on_to_the_child(name: str) -> None:
    script = (
        f"import signal, sys; signal.signal(signal.SIG{name}, lambda *_: sys.exit(42));"
        " print('up', flush=True); signal.pause()"
    )
    process = started(sys.executable, "-c", script)
    assert line(process) == "up"
    process.send_signal(signal.Signals[f"SIG{name}"])
    assert ended(process) == 42


def test_a_child_may_survive_signals() -> None:
    script = "trap 'echo caught' TERM; echo up; while read x; do echo $x; done; while read x; do exit 5; done"
    process = started("sh", "-c", script, stdin=subprocess.PIPE)
    assert line(process) == "up"
    process.send_signal(signal.SIGTERM)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("one\n")
    process.stdin.flush()
    assert {line(process), line(process)} == {"caught", "one"}
    process.kill()
    ended(process)


def test_the_child_has_the_signals_of_the_parent() -> None:
    """Nothing stays blocked, or ignored that Python ignores."""
    script = "import signal; print(signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getsignal(signal.SIGXFSZ))"
    shell = f"{sys.executable} -c '{script}'; grep -E 'SigIgn|SigBlk' /proc/self/status"
    process = started("sh", "-c", shell)
    assert line(process).startswith("set()")
    told = dict(line(process).split(":\t") for _ in range(2))
    assert int(told["SigBlk"], 16) == 0
    assert int(told["SigIgn"], 16) & 1 << signal.SIGPIPE - 1 == 0
    assert ended(process) == 0


def test_an_ignored_end_of_children_is_no_hindrance() -> None:
    ignoring = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
    command = [sys.executable, "-c", f"{ignoring}; {RUN}", "sh", "-c", "exit 7"]
    assert subprocess.run(command, timeout=DEADLINE, check=False).returncode == 7


@pytest.mark.parametrize(
    ("command", "reason"), [("no-such-command", "No such file"), ("/etc/passwd", "Permission denied")]
)
def test_a_command_that_cannot_start_is_refused(command: str, reason: str) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with pytest.raises(UsageError, match=f"the command '{command}' cannot be started: {reason}"):
        Child([command])
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


COUNT = """
import signal, sys
count = 0
def note(*_):
    global count
    count += 1
    print("interrupted", count, flush=True)
signal.signal(signal.SIGINT, note)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(count))
print("up", flush=True)
while True:
    signal.pause()
"""


ON_TERMINAL = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"


def test_ctrl_c_reaches_the_child_once() -> None:
    """The terminal sends SIGINT to the whole job, so nobody has to send it on."""
    terminal, ours = os.openpty()
    job = subprocess.Popen(
        [sys.executable, "-c", f"{ON_TERMINAL}; {RUN}", sys.executable, "-c", COUNT],
        stdin=ours,
        stdout=ours,
        stderr=ours,
        start_new_session=True,
    )
    os.close(ours)
    with job, os.fdopen(terminal, "rb", buffering=0) as screen:

        def until(word: bytes) -> None:
            seen = b""
            while word not in seen:
                seen += screen.read(1)

        until(b"up")
        os.write(terminal, b"\3")
        until(b"interrupted 1")
        job.terminate()
        assert job.wait(DEADLINE) == 1


# The whole command, with a stand-in for the daemon


@pytest.fixture
def port() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


ENTERED = {
    "id": ID,
    "port": 80,
    "replicas": [{"node_id": "01" * 32, "endpoint": "127.0.0.1:9"}],
    "refresh_in_s": 900.0,
    "expires_in_s": 3600.0,
    "listening": None,
    "guard": "connection",
    "state": "passing",
    "since_s": 0.0,
    "message": "held by 1 client",
}
NODE = {"node_id": "02" * 32, "endpoints": []}


def dht_run(*arguments: object, **given: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from dhtd.cli.entry import dht; dht()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False, **given)


class Noting(FakeDaemon):
    """Makes a file once it has given its answers, for which `UNTIL_TOLD` waits."""

    def __init__(self, directory: Path, *answers: list[Frame]) -> None:
        super().__init__(directory / "sock", *answers)
        self.told = directory / "told"

    def _serve(self) -> None:
        super()._serve()
        self.told.touch()


UNTIL_TOLD = "while ! [ -e {} ]; do sleep 0.01; done"


@pytest.mark.parametrize(
    ("id", "until"),
    [(ID, "withdrawn when the command ends"), (ID[:40], "not announced again once the command ends")],
    ids=["native", "mainline"],
)
def test_an_entry_is_attached_while_the_command_runs(id: str, until: str, tmp_path: Path, port: int) -> None:
    with Noting(tmp_path, result(NODE), result({**ENTERED, "id": id})) as daemon:
        script = f"{UNTIL_TOLD.format(daemon.told)}; echo served; exit 3"
        done = dht_run("--socket", daemon.path, "enter", id, port, "--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (3, "served\n")
    assert f"on 1 node; published again in 15 min; {until}" in done.stderr
    assert [method for method, _ in daemon.requests] == ["node-id", "enter"]
    assert daemon.requests[1][1] | {"within_s": None} == {
        "id": id, "port": port, "wait": True, "within_s": None, "attached": True
    }  # fmt: skip


def test_json_is_printed_once_entered(tmp_path: Path, port: int) -> None:
    with FakeDaemon(tmp_path / "sock", result(NODE), result(ENTERED)) as daemon:
        script = "read line; exit 0"
        command = [
            sys.executable,
            "-c",
            "from dhtd.cli.entry import dht; dht()",
            "--json",
            "--socket",
            str(daemon.path),
        ]
        with subprocess.Popen(
            [*command, "enter", ID, str(port), "--", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert json.loads(process.stdout.readline()) == ENTERED
            process.stdin.write(b"\n")
            process.stdin.close()
            assert process.wait(DEADLINE) == 0


def test_trouble_with_the_daemon_leaves_the_command_alone(tmp_path: Path, port: int) -> None:
    with Noting(tmp_path, result(NODE), error("busy", "not now"), error("busy", "not now")) as daemon:
        script = f"{UNTIL_TOLD.format(daemon.told)}; exit 4"
        done = dht_run("--socket", daemon.path, "enter", ID, port, "--", "sh", "-c", script)
    assert done.returncode == 4
    assert done.stderr.count("not entered: not now; trying again while the command runs") == 1
    assert len(daemon.requests) == 3


def test_a_command_waits_for_its_port(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with FakeDaemon(tmp_path / "sock", result(NODE)) as daemon:
            done = dht_run("--socket", daemon.path, "enter", ID, unused.getsockname()[1], "--", "sleep", "0.3")
    assert (done.returncode, [method for method, _ in daemon.requests]) == (0, ["node-id"])


def test_without_a_daemon_the_command_does_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    done = dht_run("--socket", tmp_path / "nobody", "enter", ID, 80, "--", "touch", ran)
    assert (done.returncode, ran.exists()) == (3, False)


# Bad input


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--"], "behind -- stands the command to run"),
        (["--", ""], "behind -- stands the command to run"),
        (["--pid", "1", "--", "true"], "an entry has one guard, and --pid and -- COMMAND are 2: give one"),
        (["--pid", "1", "--check", "tcp"], "an entry has one guard, and --pid and --check are 2: give one"),
        (["--check", "tcp", "--", "true"], "--check and -- COMMAND are 2"),
        (["--pid", "0"], "0 is not the number of a process"),
        (["--pid", "-1"], "-1 is not the number of a process"),
        (["--pid", "4294967296"], "4294967296 is not the number of a process"),
        (["--pid", "me"], "'me' is not a valid int"),
        (["--check", "garbage"], "'garbage' is not a check: give tcp"),
        (["--check", ""], "'' is not a check: give tcp"),
        (["--check", "exec"], "the check exec has no command"),
        (["--check", "http://example.org/"], "neither localhost nor an IP address"),
        (["--check", "tcp", "--every", "0"], "--every is a number of seconds from 0.5 to 3600, not 0"),
        (["--check", "tcp", "--every", "-5"], "--every is a number of seconds from 0.5"),
        (["--check", "tcp", "--every", "nan"], "--every is a number of seconds from 0.5"),
        (["--check", "tcp", "--every", "inf"], "--every is a number of seconds from 0.5"),
        (["--every", "5"], "--every is for --check, and there is none"),
    ],
)
def test_a_guard_that_cannot_be_is_refused(dht: Run, arguments: list[str], reason: str) -> None:
    done = dht("enter", ID, 80, *arguments)
    assert (done.status, done.out) == (2, "")
    assert reason in done.err


@pytest.mark.parametrize(
    ("code", "message", "status"),
    [
        ("invalid-pid", "no process has the number 4711", 2),
        ("not-permitted", "only the daemon's own user and root may have dhtd run commands", 1),
        ("invalid-check", "no command 'x' is in /bin: give its whole path", 2),
    ],
)
def test_what_the_daemon_refuses_has_its_status(dht: Run, home: Path, code: str, message: str, status: int) -> None:
    with FakeDaemon(home / "sock", error(code, message)) as daemon:
        done = dht("--socket", daemon.path, "enter", ID, 80, "--check", "exec x")
    assert (done.status, done.err) == (status, f"dht: {message}\n")


def test_enter_warns_where_nothing_listens(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "sock", result(ENTERED | {"listening": False, "guard": None, "state": None})) as daemon:
        done = dht("--socket", daemon.path, "enter", ID, 80)
    assert done.status == 0
    assert "nothing listens on port 80: is the service running?" in done.err


def test_enter_tells_of_a_check_that_fails(dht: Run, home: Path) -> None:
    told = ENTERED | {"guard": "tcp", "state": "waiting", "message": "port 80 accepts no connection", "replicas": []}
    with FakeDaemon(home / "sock", result(told)) as daemon:
        done = dht("--socket", daemon.path, "enter", ID, 80, "--check", "tcp", "--every", "2")
    assert (done.status, done.out) == (0, "")
    assert done.err == (
        "kept on disk, and published as soon as its check passes; waiting now: port 80 accepts no connection\n"
    )
    [(_, params)] = daemon.requests
    assert (params["check"], params["every"]) == ("tcp", 2.0)
