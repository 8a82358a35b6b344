"""`dht watch` and `dht lookup --wait`, with a stand-in for the daemon that comes and goes."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dhtd.cli import watching
from dhtd.cli.verbs import lookup
from dhtd.cli.watched import Change, Watched
from tests.cli.conftest import Run
from tests.cli.fake import FakeDaemon, Frame, error, result
from tests.e2e.daemons import BIN, DEADLINE

ID, OTHER = "07" * 32, "08" * 32
ONE, TWO, THREE = (f"10.7.7.{number}:80" for number in (1, 2, 3))
STATS = {"hops": 1, "queries": 5, "responses": 4, "timeouts": 1, "elapsed_ms": 12.5, "first_ms": 8.5}
GONE, BACK = "the daemon has gone away; watching again as soon as it is back\n", "the daemon is back\n"


def event(*peers: str, id: str = ID, name: str | None = None, holders: int = 8) -> Frame:
    """Return an event; `dht` finds out itself what it adds and removes."""
    return {
        "event": {"id": id, "name": name, "peers": list(peers), "added": [], "removed": [], "holders": holders},
    }


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "RETRY_FIRST", 0.001)


# What is printed


def test_what_is_there_and_each_change_are_printed(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", [event(ONE), event(ONE), event(TWO), event(TWO, THREE)]) as fake:
        done = dht("--socket", fake.path, "watch", ID, "--until", 2)
    assert done == (0, f"+ {ONE}\n+ {TWO}\n- {ONE}\n+ {THREE}\n", "")
    assert fake.requests == [("watch", {"ids": [{"id": ID}]})]


def test_several_ids_are_told_apart(dht: Run, home: Path) -> None:
    frames = [event(ONE, id=OTHER, name="my printer"), event(ONE), event(id=OTHER), event(TWO, id=OTHER)]
    with FakeDaemon(home / "s", frames) as fake:
        done = dht("--socket", fake.path, "watch", ID, OTHER, ID, "--until", 1)
    # The second one is served when the first one is, but not to the end.
    assert done.out == f"+ {ONE} 'my printer'\n+ {ONE} {ID}\n"
    assert fake.requests == [("watch", {"ids": [{"id": ID}, {"id": OTHER}]})]


def test_names_are_taken_as_by_other_commands(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", error("busy", "not now")) as fake:
        dht("--socket", fake.path, "watch", "wiki", ID, "--name")
    [(_, params)] = fake.requests
    assert [each["name"] for each in params["ids"]] == ["wiki", ID]


def test_json_is_one_object_a_line(dht: Run, home: Path) -> None:
    frames = [event(ONE), event(ONE, holders=0), event(TWO, THREE)]
    with FakeDaemon(home / "s", frames) as fake:
        done = dht("--socket", fake.path, "watch", ID, "--until", 2, "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [(line["added"], line["removed"], line["holders"]) for line in lines] == [
        ([ONE], [], 8),
        ([], [], 0),
        ([TWO, THREE], [ONE], 8),
    ]
    assert [line["peers"] for line in lines] == [[ONE], [ONE], [TWO, THREE]]
    assert (done.status, done.err) == (0, "")


def test_what_is_not_there_is_said(dht: Run, home: Path) -> None:
    frames = [event(name="wiki"), event(name="wiki", holders=0), event(name="wiki"), event(ONE)]
    with FakeDaemon(home / "s", frames) as fake:
        done = dht("--socket", fake.path, "watch", ID, "--until", 1)
    assert done[:2] == (0, f"+ {ONE}\n")
    assert done.err.splitlines() == [
        "nobody serves wiki yet",
        "no other node tells of changes of wiki any more; trying again. See dht status",
        "other nodes tell of changes of wiki again",
    ]


def test_an_outage_at_first_is_no_nobody(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", [event(holders=0), event(ONE, holders=0)]) as fake:
        done = dht("--socket", fake.path, "watch", ID, "--until", 1)
    assert done.err == "no other node answers: whether others serve this ID is not known yet. See dht status\n"


# The daemon comes and goes


def test_after_a_restart_only_differences_are_printed(dht: Run, home: Path) -> None:
    answers = [[event(ONE, TWO)], [event(holders=0), event(TWO, THREE)], [event(ONE, TWO, THREE)]]
    with FakeDaemon(home / "s", *answers) as fake:
        done = dht("--socket", fake.path, "watch", ID, "--until", 3)
    assert done.out == f"+ {ONE}\n+ {TWO}\n+ {THREE}\n- {ONE}\n+ {ONE}\n"
    assert [line for line in done.err.splitlines(keepends=True) if "daemon" in line] == [GONE, BACK] * 2


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (error("shutting-down", "the daemon is stopping"), "the daemon has gone away"),
        (error("too-many-clients", "another client needs its place"), "the daemon has gone away"),
        (error("internal-error", "a defect in dhtd"), "a defect in dhtd"),
    ],
)
def test_any_end_of_a_watch_begins_another(dht: Run, home: Path, frames: list[Frame], said: str) -> None:
    failing = error("busy", "not now")
    with FakeDaemon(home / "s", [event(ONE), *frames], failing, failing, [event(ONE, TWO)]) as fake:
        done = dht("--socket", fake.path, "watch", ID, "--until", 2)
    assert (done.status, done.out) == (0, f"+ {ONE}\n+ {TWO}\n")
    assert done.err == f"{said}; watching again as soon as it is back\n{BACK}"
    assert len(fake.requests) == 4


def test_a_lost_daemon_is_said_with_json_too(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", [event(ONE)], [event(ONE, TWO)]) as fake:
        done = dht("--socket", fake.path, "watch", ID, "--until", 2, "--json")
    assert done.err == GONE + BACK
    assert [json.loads(line)["added"] for line in done.out.splitlines()] == [[ONE], [TWO]]


def test_without_a_daemon_there_is_no_watch(dht: Run, home: Path) -> None:
    done = dht("--socket", home / "none", "watch", ID)
    assert (done.status, done.out) == (3, "")
    assert done.err.startswith("dht: no daemon is running")


@pytest.mark.parametrize(
    ("code", "message", "status"),
    [
        ("too-many-watches", "this node watches as many IDs as it can", 1),
        ("busy", "try again", 1),
        ("unknown-method", "no method 'watch'", 2),
        ("bad-request", "watch: 'ids' has 256 elements at most", 2),
    ],
)
def test_a_refused_watch_is_a_failure(dht: Run, home: Path, code: str, message: str, status: int) -> None:
    with FakeDaemon(home / "s", error(code, message)) as fake:
        assert dht("--socket", fake.path, "watch", ID) == (status, "", f"dht: {message}\n")


def test_a_daemon_of_another_version_may_come_back(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", [event(ONE)], error("unknown-method", "no method 'watch'")) as fake:
        done = dht("--socket", fake.path, "watch", ID)
    assert done == (2, f"+ {ONE}\n", f"{GONE}dht: no method 'watch'\n")


def test_a_place_is_waited_for(dht: Run, home: Path) -> None:
    full = error("too-many-clients", "no place")
    with FakeDaemon(home / "s", full, full, [event(ONE)]) as fake:
        assert dht("--socket", fake.path, "watch", ID, "--until", 1) == (0, f"+ {ONE}\n", "")


def test_a_silent_daemon_is_not_waited_for_for_ever(dht: Run, home: Path) -> None:
    with Holding(home / "s", []) as fake:
        done = dht("--socket", fake.path, "--timeout", "0.05", "watch", ID)
    assert (done.status, done.out) == (3, "")
    assert "has not answered within 0.05 s" in done.err


def test_a_stranger_is_no_daemon(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", b"garbage\n") as fake:
        done = dht("--socket", fake.path, "watch", ID)
    assert (done.status, "is not dhtd" in done.err) == (3, True)


# Commands


def test_a_command_has_each_set_on_its_input(dht: Run, home: Path) -> None:
    script = f'(echo "run $DHT_ID/$DHT_NAME/$DHT_ADDED/$DHT_REMOVED"; cat) >> {home}/runs'
    with FakeDaemon(home / "s", [event(ONE, name="wiki"), event(TWO, THREE)]) as fake:
        assert dht("--socket", fake.path, "watch", ID, "--until", 2, "--", "sh", "-c", script).status == 0
    # Both events may have come at once.
    runs = (home / "runs").read_text().split("run ")[1:]
    assert runs[-1].endswith(f"\n{TWO}\n{THREE}\n")
    assert runs[0].startswith(f"{ID}/wiki/")
    assert 1 <= len(runs) <= 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--"], "behind -- stands the command to run"),
        (["--", "no-such-command"], "the command 'no-such-command' cannot be started: No such file or directory"),
        (["--", "/etc/passwd"], "the command '/etc/passwd' cannot be started: Permission denied"),
        (["--until", "0"], "--until 0: give a number from 1 up"),
        (["--until", "-1"], "--until -1: give a number from 1 up"),
        (["--until", "many"], "'many' is not a valid int"),
        (["abc def"], "for a name, write --name 'abc def'"),
    ],
)
def test_a_bad_watch_asks_nobody(dht: Run, home: Path, arguments: list[str], reason: str) -> None:
    done = dht("--socket", home / "none", "watch", ID, *arguments)
    assert (done.status, done.out) == (2, "")
    assert reason in done.err


def test_a_watch_of_nothing_is_refused(dht: Run, home: Path) -> None:
    assert dht("watch").status == 2


# As a process


class Holding(FakeDaemon):
    """Sends its frames, and keeps the connection until the client hangs up."""

    def _answer(self, answer: list[Frame] | bytes, stream: io.BufferedRWPair) -> None:
        super()._answer(answer, stream)
        while stream.readline():
            pass


def started(fake: FakeDaemon, *arguments: str, **given: Any) -> subprocess.Popen[str]:
    command = [str(BIN / "dht"), "--socket", str(fake.path), "watch", ID, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **given)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=DEADLINE)
    return process.returncode, out, err


def test_lines_come_at_once_off_a_terminal(tmp_path: Path) -> None:
    with Holding(tmp_path / "s", [event(ONE)]) as fake:
        process = started(fake)
        assert line(process) == f"+ {ONE}"
        process.send_signal(signal.SIGINT)
        assert ended(process) == (130, "", "")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -15), (signal.SIGHUP, -1)])
def test_a_signal_ends_the_watch_and_its_command(tmp_path: Path, number: signal.Signals, status: int) -> None:
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo caught {name}; exit 0' {name}; echo up; while :; do sleep 0.01; done"
    with Holding(tmp_path / "s", [event(ONE)]) as fake:
        process = started(fake, "--", "sh", "-c", script)
        assert [line(process), line(process)] == [f"+ {ONE}", "up"]
        process.send_signal(number)
        assert ended(process)[:2] == (status, f"caught {name}\n")


def test_a_closed_stdout_ends_it_by_sigpipe(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with Holding(tmp_path / "s", [event(ONE)]) as fake:
        command = [str(BIN / "dht"), "--socket", str(fake.path), "watch", ID]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=DEADLINE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_that_goes_away_ends_it_at_once(tmp_path: Path, options: list[str]) -> None:
    """Nothing has to change for that."""
    with Holding(tmp_path / "s", [event(ONE)]) as fake:
        process = started(fake, *options)
        assert ONE in line(process)
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(DEADLINE) == -signal.SIGPIPE
        assert process.stderr is not None
        assert process.stderr.read() == ""
        process.stderr.close()


def test_an_ignored_end_of_children_is_no_hindrance(tmp_path: Path) -> None:
    ignoring = (
        "import os, signal, sys\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nos.execv(sys.argv[1], sys.argv[1:])"
    )
    with Holding(tmp_path / "s", [event(ONE)]) as fake:
        command = [
            sys.executable,
            "-c",
            ignoring,
            str(BIN / "dht"),
            "--socket",
            str(fake.path),
            "watch",
            ID,
            "--until",
            "1",
        ]
        done = subprocess.run(
            [*command, "--", "sh", "-c", "exit 3"], capture_output=True, text=True, timeout=DEADLINE, check=False
        )
    assert (done.returncode, done.stdout) == (0, f"+ {ONE}\n")
    assert done.stderr == "the command 'sh' ended with status 3\n"


# dht lookup --wait


FOUND = result({"id": ID, "name": None, "peers": [ONE], "stats": STATS, "complete": True})
NOBODY = result({"id": ID, "name": None, "peers": [], "stats": STATS, "complete": True})


def test_lookup_waits_until_somebody_serves(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", [event(), event(ONE)], FOUND) as fake:
        assert dht("--socket", fake.path, "lookup", ID, "--wait") == (0, f"{ONE}\n", "")
    assert [method for method, _ in fake.requests] == ["watch", "lookup"]


def test_lookup_waits_over_restarts_and_false_news(dht: Run, home: Path) -> None:
    answers = [[event(ONE)], NOBODY, [event(ONE)], error("no-peers", "alone"), [event(ONE)], FOUND]
    with FakeDaemon(home / "s", *answers) as fake:
        done = dht("--socket", fake.path, "lookup", "--wait", ID, "--json")
    assert (done.status, done.body) == (0, FOUND[0]["result"])
    assert done.err == (GONE + BACK) * 2


class Clock:
    """A clock that jumps far ahead once an event was taken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        take = Watched.take

        def taken(watched: Watched, body: Mapping[str, Any]) -> Change | None:
            self.now = 1e6
            return take(watched, body)

        monkeypatch.setattr(Watched, "take", taken)
        monkeypatch.setattr(watching, "time", self)
        monkeypatch.setattr(lookup, "time", self)

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize("words", [["--wait", "0.05", ID], [ID, "--wait=0.05"]])
def test_lookup_waits_for_a_limited_time(
    dht: Run, home: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Clock(monkeypatch)
    with Holding(home / "s", [event(name="wiki")]) as fake:
        done = dht("--socket", fake.path, "lookup", *words)
    assert done == (1, "", "dht: nobody serves this ID, and 0.05 s are over\n")


def test_lookup_waits_in_vain_in_an_outage(dht: Run, home: Path) -> None:
    with Holding(home / "s", [event(holders=0)]) as fake:
        done = dht("--socket", fake.path, "lookup", "--name", "wiki", "--wait", "0.05", "--json")
    assert (done.status, done.body["error"]["code"]) == (4, "no-answer")
    assert "whether somebody serves wiki is not known, and 0.05 s are over" in done.body["error"]["message"]


def test_lookup_passes_on_what_it_cannot_wait_for(dht: Run, home: Path) -> None:
    strange = result({"id": ID, "stats": STATS})
    with FakeDaemon(home / "s", [event(ONE)], strange) as fake:
        done = dht("--socket", fake.path, "lookup", ID, "--wait")
    assert (done.status, "the daemon does not tell who serves this ID" in done.err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--wait", "--first"], "--wait ends with the first endpoint as well: give --wait or --first"),
        (["--wait", "0"], "--wait 0: give a number of seconds above 0"),
        (["--wait", "-5"], "--wait -5: give a number of seconds above 0"),
        (["--wait=nan"], "--wait nan: give a number of seconds above 0"),
        (["--wait=soon"], "'soon' is not a valid float"),
        (["--wait="], "'' is not a valid float"),
    ],
)
def test_a_bad_wait_asks_nobody(dht: Run, home: Path, arguments: list[str], reason: str) -> None:
    done = dht("--socket", home / "none", "lookup", ID, *arguments)
    assert (done.status, done.out) == (2, "")
    assert reason in done.err


def test_a_wait_behind_dashes_is_a_name(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", FOUND) as fake:
        dht("--socket", fake.path, "lookup", "--name", "--", "--wait")
    assert fake.requests[0][1]["name"] == "--wait"
