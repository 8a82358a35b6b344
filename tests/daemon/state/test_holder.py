"""The process with a state file is named with its sockets, as far as the system tells."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from dhtd.daemon.state import holder
from dhtd.daemon.state.holder import control_sockets, who_has

HEADING = "Num       RefCount Protocol Flags    Type St Inode Path\n"


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in for /proc: process 7 has some sockets open."""
    made = tmp_path / "proc"
    (made / "net").mkdir(parents=True)
    (made / "7" / "fd").mkdir(parents=True)
    for number, link in enumerate(("socket:[11]", "socket:[12]", "socket:[14]", "/dev/null", "pipe:[13]")):
        (made / "7" / "fd" / str(number)).symlink_to(link)
    (made / "net" / "unix").write_text(
        f"{HEADING}"
        "0000: 00000002 00000000 00010000 0001 01 11 /run/with blanks/a.sock\n"
        "0000: 00000002 00000000 00000000 0001 03 12 /run/connected.sock\n"
        "0000: 00000002 00000000 00010000 0001 01 13 /run/another-process.sock\n"
        "0000: 00000002 00000000 00010000 0001 01 14\n"
    )
    monkeypatch.setattr(holder, "_PROC", made)
    return made


def test_sockets_of_a_process_are_those_it_listens_on(proc: Path) -> None:
    assert control_sockets(7) == ["/run/with blanks/a.sock"]
    assert control_sockets(8) == []
    (proc / "net" / "unix").unlink()
    assert control_sockets(7) == []


@pytest.mark.parametrize(
    ("holders", "words"),
    [
        ([], None),
        ([7], "process 7, whose control socket is /run/with blanks/a.sock"),
        ([7, 8], "process 7, whose control socket is /run/with blanks/a.sock and process 8"),
    ],
)
def test_a_files_user_is_named(
    proc: Path, holders: list[int], words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holder, "lock_holders", lambda status, kind: holders)
    assert who_has(proc) == words
    assert who_has(proc / "missing") is None


@pytest.mark.skipif(not Path("/proc/net/unix").exists(), reason="Linux alone tells")
def test_the_system_tells_where_we_listen(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "sock"))
        listening.listen()
        assert str(tmp_path / "sock") in control_sockets(os.getpid())
