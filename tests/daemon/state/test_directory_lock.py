"""The lock of a state file's directory: how long a start waits for its holder, and how it names the holder."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dhtd.daemon.state import directory_lock as module
from dhtd.daemon.state.directory_lock import turn
from dhtd.daemon.state.file import StateFile
from dhtd.errors import StateLocked


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "default.db"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Sleep takes no time, and is noted in this list."""
    paused: list[float] = []
    monkeypatch.setattr(time, "sleep", paused.append)
    return paused


@pytest.fixture
def held(path: Path) -> Iterator[int]:
    """The lock that others wait for, until this is closed."""
    descriptor = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield descriptor
    os.close(descriptor)


def locks(path: Path, *holders: int, kind: str = "FLOCK", arrow: str = "") -> str:
    """Return the text of /proc/locks about the directory, among others."""
    status = path.parent.stat()
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    ours = "".join(f"2: {arrow}{kind}  ADVISORY  WRITE {holder} {file} 0 EOF\n" for holder in holders)
    return f"1: FLOCK  ADVISORY  WRITE 11 {file}7 0 EOF\n\n{ours}3: POSIX  ADVISORY  READ 12 {file} 0 EOF\n4:\n"


def test_a_lock_that_stays_is_named_after_five_seconds(path: Path, held: int, pauses: list[float]) -> None:
    with pytest.raises(StateLocked) as caught:
        StateFile.open(path)
    assert sum(pauses) == pytest.approx(5.0)
    found = re.fullmatch(
        rf"{path.parent}, where the state file default\.db is, is locked by (another process|process (\d+)), which has"
        r" not let go for 5 s: stop it, or choose a file in another directory with --state",
        str(caught.value),
    )
    assert found is not None
    assert found[2] in (None, str(os.getpid()))  # not every system tells
    assert path.read_bytes() == b""


def test_a_lock_that_goes_in_time_is_waited_for(path: Path, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []

    def sleep(seconds: float) -> None:
        paused.append(seconds)
        if len(paused) == 3:
            fcntl.flock(held, fcntl.LOCK_UN)

    monkeypatch.setattr(time, "sleep", sleep)
    StateFile.open(path).close()
    assert len(paused) == 3


def test_the_turn_ends_with_its_context(path: Path, pauses: list[float]) -> None:
    with pytest.raises(ZeroDivisionError), turn(path):
        assert 1 / 0
    with turn(path), pytest.raises(StateLocked), turn(path):
        pass
    with turn(path):
        pass


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ({"holders": [4711]}, "process 4711, which"),
        ({"holders": [90, 8]}, "process 8 and process 90, which"),
        ({"holders": [0]}, "another process, which"),  # of a container that we do not see into
        ({"holders": [4711], "arrow": "-> "}, "another process, which"),  # it waits as we do
        ({"holders": [4711], "kind": "POSIX"}, "another process, which"),
    ],
)
def test_the_system_names_the_lock_holder(
    listed: dict[str, list[int]],
    expected: str,
    path: Path,
    held: int,
    pauses: list[float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = locks(path, *listed.pop("holders"), **listed)  # type: ignore[arg-type]
    monkeypatch.setattr(module, "_LOCKS", tmp_path / "locks")
    (tmp_path / "locks").write_text(text)
    with pytest.raises(StateLocked, match=f"is locked by {expected}"), turn(path):
        pass


def test_an_untold_lock_holder_stays_open(
    path: Path, held: int, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOCKS", path)
    with pytest.raises(StateLocked, match="is locked by another process"), turn(path):
        pass


def test_a_file_system_without_locks_will_do(path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    StateFile.open(path).close()
    assert pauses == []


def test_so_will_a_directory_that_cannot_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refuse)
    with turn(path):
        pass
