"""Processes are found, told from others, and their end is noticed."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import trio
from trio.testing import MockClock

from dhtd.daemon.guards import processes
from dhtd.daemon.guards.processes import Facts, Process, facts_of, find
from dhtd.errors import InvalidPid

DEADLINE = 60.0
US = os.geteuid()
NOBODY = 65_534

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc of Linux")


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


@pytest.fixture
def no_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> NoReturn:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "pidfd_open", refuse)


async def test_a_killed_process_has_ended(child: subprocess.Popen[bytes]) -> None:
    process = await find(child.pid, US)
    with trio.fail_after(DEADLINE):
        with trio.move_on_after(0):
            await process.ended()
            raise AssertionError("it runs")
        child.kill()
        await process.ended()
    descriptor = process._descriptor
    assert descriptor is not None
    process.close()
    process.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.usefixtures("no_descriptors")
async def test_a_killed_process_has_ended_without_descriptors(child: subprocess.Popen[bytes]) -> None:
    process = await find(child.pid, US)
    child.kill()
    with trio.fail_after(DEADLINE):
        await process.ended()
    process.close()


async def test_a_later_process_of_the_number_is_another(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = iter([Facts(frozenset({1}), "yesterday")] * 3 + [Facts(frozenset({1}), "today")])
    monkeypatch.setattr(processes, "facts_of", lambda pid: next(told))
    await Process(4711, "yesterday", None).ended()
    assert list(told) == []


async def test_a_process_that_runs_is_looked_at_each_second(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []

    def look(pid: int) -> Facts:
        looks.append(1.0)
        return Facts(frozenset(), "")

    monkeypatch.setattr(processes, "facts_of", look)
    monkeypatch.setattr(processes, "in_thread", at_once)
    with trio.move_on_after(3.5):
        await Process(4711, "", None).ended()
    assert len(looks) == 3


async def at_once(work: object, **_: object) -> object:
    await trio.lowlevel.checkpoint()
    assert callable(work)
    return work()


async def test_nobody_s_number_is_refused(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    with pytest.raises(InvalidPid, match=f"no process has the number {child.pid}"):
        await find(child.pid, US)


@pytest.mark.usefixtures("no_descriptors")
async def test_nobody_s_number_is_refused_without_descriptors(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    with pytest.raises(InvalidPid, match=f"no process has the number {child.pid}"):
        await find(child.pid, US)


@pytest.mark.parametrize("has_descriptors", [True, False])
async def test_a_process_that_nobody_has_waited_for_is_gone(
    child: subprocess.Popen[bytes], request: pytest.FixtureRequest, *, has_descriptors: bool
) -> None:
    if not has_descriptors:
        request.getfixturevalue("no_descriptors")
    child.kill()
    await trio.to_thread.run_sync(os.waitid, os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(InvalidPid, match="or it has just ended"):
        await find(child.pid, US)


async def test_a_thread_is_no_process() -> None:
    numbers: list[int] = []
    told, over = threading.Event(), threading.Event()

    def run() -> None:
        numbers.append(threading.get_native_id())
        told.set()
        over.wait(DEADLINE)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert told.wait(DEADLINE)
        with pytest.raises(InvalidPid, match=f"{numbers[0]} is the number of a thread|no process has the number"):
            await find(numbers[0], US)
    finally:
        over.set()
        thread.join()


async def test_the_process_of_another_user_is_refused(child: subprocess.Popen[bytes]) -> None:
    with pytest.raises(InvalidPid, match=f"the process {child.pid} is of user {US}, and not of user {NOBODY}"):
        await find(child.pid, NOBODY)
    (await find(child.pid, 0)).close()


async def test_a_process_that_the_system_hides_is_taken(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "self").mkdir()
    monkeypatch.setattr(processes, "facts_of", lambda pid: facts_of(pid, tmp_path))
    process = await find(child.pid, NOBODY)
    child.kill()
    with trio.fail_after(DEADLINE):
        await process.ended()
    process.close()
    child.wait()
    assert facts_of(child.pid, tmp_path) is None


def test_another_user_s_hidden_process_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(pid: int, number: int) -> NoReturn:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert facts_of(4711, tmp_path) == Facts(frozenset(), "")


def test_odd_names_confuse_nobody(tmp_path: Path) -> None:
    directory = tmp_path / "7"
    directory.mkdir()
    (directory / "status").write_text("Name:\ta\\nUid: 9\nUid:\t1\t2\t3\t4\n")
    (directory / "stat").write_text("7 (a) R (b)) S " + " ".join(map(str, range(4, 53))) + "\n")
    assert facts_of(7, tmp_path) == Facts(frozenset({1, 2}), "22")


PS = """#!/bin/sh
[ "$*" = "-o stat=,uid=,ruid=,lstart= -p 7" ] && [ "$LC_ALL" = C ] || exit 9
"""


@pytest.mark.parametrize(
    ("answer", "facts"),
    [
        ("S+   501  502 Mon Nov 30 03:00:00 2026", Facts(frozenset({501, 502}), "Mon Nov 30 03:00:00 2026")),
        ("Z+   501  501 Mon Nov 30 03:00:00 2026", None),
        ("S 501 502 yesterday", Facts(frozenset({501, 502}), "yesterday")),
        ("S 501 502", None),
        ("", None),
    ],
)
def test_other_systems_are_asked_by_ps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, facts: Facts | None
) -> None:
    ps = tmp_path / "ps"
    ps.write_text(f"{PS}echo '{answer}'\ntest '{answer}'\n")  # without an answer, the status is 1
    ps.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(processes, "_PROC_SELF", tmp_path / "nothing")
    assert facts_of(7, tmp_path / "nothing") == facts


def test_without_ps_a_signal_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, child: subprocess.Popen[bytes]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(processes, "_PROC_SELF", tmp_path / "nothing")
    assert facts_of(child.pid, tmp_path / "nothing") == Facts(frozenset(), "")
