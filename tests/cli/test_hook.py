"""The command behind `dht watch … --`: when it runs, with what, and commands that fail, hang or read nothing.

A command tells of itself by one pipe, and waits for an order by another.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dhtd.cli import hook as hooks
from dhtd.cli.hook import Hook, check_command
from dhtd.cli.wakeups import Wakeups
from dhtd.cli.watched import Change
from dhtd.errors import UsageError

DEADLINE = 60.0
ID, OTHER = "07" * 32, "08" * 32
ONE, TWO, THREE = (f"10.7.7.{number}:80" for number in (1, 2, 3))


class Stage:
    """A hook, the two pipes, and what was said."""

    def __init__(self, wakeups: Wakeups) -> None:
        self.wakeups = wakeups
        self.said: list[str] = []
        self._told, self.telling = os.pipe()
        self.waiting, self._order = os.pipe()
        os.set_inheritable(self.telling, True)
        os.set_inheritable(self.waiting, True)
        self._lines = os.fdopen(self._told, "r", encoding="utf-8")
        self.hook: Hook

    def start(self, script: str) -> None:
        script = script.format(told=f"/dev/fd/{self.telling}", order=f"/dev/fd/{self.waiting}")
        self.hook = Hook(["sh", "-c", script], self.wakeups, self.said.append)

    def change(self, *peers: str, id: str = ID, name: str | None = None) -> None:
        self.hook.go_on(Change(id, name, peers, (), (), False, True, True, {}))

    def told(self) -> str:
        return self._lines.readline().rstrip("\n")

    def order(self, text: str) -> None:
        os.write(self._order, f"{text}\n".encode())

    def go_on(self, times: int = 1) -> None:
        """Go on when a run has ended."""
        for _ in range(times):
            pid = self.hook._pid
            while self.hook._pid == pid is not None:
                self.wakeups.wait(DEADLINE)
                self.hook.go_on()

    def close(self) -> None:
        if hasattr(self, "hook"):
            self.hook.end(signal.SIGKILL)
        for descriptor in (self.telling, self.waiting, self._order):
            os.close(descriptor)
        self._lines.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Wakeups() as wakeups:
        made = Stage(wakeups)
        yield made
        made.close()


TELLS = 'echo "$DHT_ID/$DHT_NAME/$DHT_ADDED/$DHT_REMOVED/$(tr "\\n" " ")" > {told}; '
WAITS = TELLS + "read status < {order}; exit $status"


def test_a_run_has_the_set_and_the_difference(stage: Stage) -> None:
    stage.start(TELLS)
    stage.change(ONE, TWO, name="wiki")
    assert stage.told() == f"{ID}/wiki/{ONE} {TWO}//{ONE} {TWO} "
    stage.go_on()
    stage.change(TWO, THREE)
    assert stage.told() == f"{ID}//{THREE}/{ONE}/{TWO} {THREE} "
    stage.go_on()
    stage.change()
    assert stage.told() == f"{ID}///{TWO} {THREE}/"
    stage.go_on()
    assert stage.hook.is_done
    assert stage.said == []


def test_an_empty_beginning_is_a_run(stage: Stage) -> None:
    stage.start(TELLS)
    stage.change()
    assert stage.told() == f"{ID}////"


def test_changes_meanwhile_make_one_run(stage: Stage) -> None:
    stage.start(WAITS)
    stage.change(ONE)
    assert stage.told() == f"{ID}//{ONE}//{ONE} "
    for _ in range(100):
        stage.change(ONE, TWO)
        stage.change(THREE)
    stage.order("0")
    stage.go_on()
    assert stage.told() == f"{ID}//{THREE}/{ONE}/{THREE} "
    stage.order("0")
    stage.go_on()
    assert stage.hook.is_done


def test_a_change_there_and_back_makes_no_run(stage: Stage) -> None:
    stage.start(WAITS)
    stage.change(ONE, TWO)
    stage.told()
    stage.change(ONE)
    stage.change(TWO, ONE)
    stage.order("0")
    stage.go_on()
    assert stage.hook.is_done


def test_ids_take_turns_one_at_a_time(stage: Stage) -> None:
    stage.start(WAITS)
    stage.change(ONE)
    assert stage.told().startswith(ID)
    stage.change(TWO, id=OTHER)
    stage.change(THREE)
    stage.change(THREE, id=OTHER)
    for expected in (f"{OTHER}//{THREE}//{THREE} ", f"{ID}//{THREE}/{ONE}/{THREE} "):
        stage.order("0")
        stage.go_on()
        assert stage.told() == expected


def test_each_failure_is_told_once(stage: Stage) -> None:
    stage.start(WAITS)
    for number, status in enumerate(("3", "0", "1")):
        stage.change(f"10.7.7.{number}:80")
        stage.told()
        stage.order(status)
        stage.go_on()
    assert stage.said == ["the command 'sh' ended with status 3", "the command 'sh' ended with status 1"]


def test_a_killed_run_is_told_by_its_signal(stage: Stage) -> None:
    stage.start("kill -9 $$")
    stage.change(ONE)
    stage.go_on()
    assert stage.said == ["the command 'sh' was ended by signal 9"]


@pytest.mark.parametrize("script", ["exec <&-; echo up > {told}", "echo up > {told}"], ids=["closed", "unread"])
def test_a_huge_set_that_nobody_reads_does_no_harm(stage: Stage, script: str) -> None:
    """It is larger than a pipe."""
    stage.start(script)
    with suppress(OSError):
        stage.change(*(f"[2001:db8::{number:x}]:80" for number in range(4_000)))
    assert stage.told() == "up"
    stage.go_on()
    assert stage.said == []


def test_the_set_may_be_read_twice(stage: Stage) -> None:
    stage.start('echo "$(cat /dev/stdin)$(cat /dev/stdin)" > {told}')
    stage.change(ONE)
    assert stage.told().startswith(ONE)


def test_too_much_for_the_environment_is_told(stage: Stage) -> None:
    stage.start(TELLS)
    stage.change(*(f"10.{number >> 8}.{number & 255}.1:80" for number in range(20_000)))
    assert stage.said == ["the command 'sh' cannot be started: Argument list too long"]
    stage.change(ONE)
    assert stage.told().endswith(f"/{ONE} ")


def test_a_command_removed_meanwhile_is_told(stage: Stage, tmp_path: Path) -> None:
    script = tmp_path / "run"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    stage.hook = Hook([str(script)], stage.wakeups, stage.said.append)
    script.unlink()
    stage.change(ONE)
    assert stage.said == [f"the command {str(script)!r:.80} cannot be started: No such file or directory"]
    assert stage.hook.is_done


def test_an_end_forwards_its_signal(stage: Stage) -> None:
    stage.start("trap 'echo caught > {told}; exit 0' TERM; echo up > {told}; read x < {order}")
    stage.change(ONE)
    stage.change(TWO)
    assert stage.told() == "up"
    stage.hook.end(signal.SIGTERM)
    assert stage.told() == "caught"
    assert stage.hook.is_done
    assert stage.said == []


def test_a_command_that_its_end_kills_has_not_failed(stage: Stage) -> None:
    stage.start("echo up > {told}; read x < {order}")
    stage.change(ONE)
    assert stage.told() == "up"
    stage.hook.end(signal.SIGTERM)
    assert stage.hook.is_done
    assert stage.said == []


def test_a_command_has_five_seconds_to_end(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        now = 1_000.0

        def monotonic(self) -> float:
            return self.now

    clock, waits = Clock(), list[float]()

    def wait(seconds: float) -> None:
        waits.append(seconds)
        clock.now += 2.0

    stage.start("trap '' TERM; echo up > {told}; read x < {order}; read x < {order}")
    stage.change(ONE)
    assert stage.told() == "up"
    with monkeypatch.context() as patch:
        patch.setattr(hooks, "time", clock)
        patch.setattr(stage.wakeups, "wait", wait)
        stage.hook.end(signal.SIGTERM)
    assert waits == [5.0, 3.0, 1.0]


def test_an_end_reaches_what_the_command_runs(stage: Stage) -> None:
    """Its own children, in the foreground of a shell, and even stopped ones."""
    stage.start("(trap 'echo caught > {told}; exit' INT; kill -STOP $$; echo up > {told}; read x < {order}) ; exit 0")
    stage.change(ONE)
    assert stage.told() == "up"
    stage.hook.end(signal.SIGINT)
    assert stage.told() == "caught"


def test_a_command_that_ignores_its_end_is_killed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "END_WITHIN", 0.01)
    stage.start("trap '' TERM; echo up > {told}; read x < {order}; read x < {order}")
    stage.change(ONE)
    assert stage.told() == "up"
    stage.hook.end(signal.SIGTERM)
    assert stage.said == ["the command 'sh' was ended by signal 9"]


def test_an_impatient_user_kills_the_command(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    stage.start("trap '' INT; echo up > {told}; read x < {order}; read x < {order}")
    stage.change(ONE)
    assert stage.told() == "up"
    with monkeypatch.context() as patch:
        patch.setattr(stage.wakeups, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stage.hook.end(signal.SIGINT)
    assert stage.hook.is_done


def test_finish_waits_for_what_is_due(stage: Stage) -> None:
    stage.start(TELLS)
    stage.change(ONE)
    stage.change(TWO)
    stage.hook.finish()
    assert [stage.told(), stage.told()] == [f"{ID}//{ONE}//{ONE} ", f"{ID}//{TWO}/{ONE}/{TWO} "]
    assert stage.hook.is_done


def test_a_command_has_the_signals_of_the_parent(stage: Stage) -> None:
    stage.start("grep -E 'SigIgn|SigBlk' /proc/self/status > {told}")
    stage.change(ONE)
    told = dict(stage.told().split(":\t") for _ in range(2))
    assert int(told["SigBlk"], 16) == 0
    assert int(told["SigIgn"], 16) & 1 << signal.SIGPIPE - 1 == 0


def test_without_memory_files_a_temporary_one_serves(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(name: str) -> int:
        raise PermissionError(1, "Operation not permitted")

    stage.start(TELLS)
    monkeypatch.setattr(os, "memfd_create", forbidden)
    stage.change(ONE)
    assert stage.told() == f"{ID}//{ONE}//{ONE} "
    stage.go_on()
    monkeypatch.delattr(os, "memfd_create")
    stage.change(TWO)
    assert stage.told() == f"{ID}//{TWO}/{ONE}/{TWO} "


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("no-such-command", "No such file or directory"),
        ("./no-such-command", "No such file or directory"),
        ("/etc/passwd", "Permission denied"),
        ("/etc", "Permission denied"),
        ("/etc/passwd/run", "No such file or directory"),
    ],
)
def test_a_command_that_is_not_there_is_refused(command: str, reason: str) -> None:
    with pytest.raises(UsageError, match=f"the command '{command}' cannot be started: {reason}"):
        check_command(command)


def test_a_file_on_the_path_may_not_be_executable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "no-program").touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    check_command("sh")
    with pytest.raises(UsageError, match="cannot be started: Permission denied"):
        check_command("no-program")
