"""The process that has a state file open, and its control socket, for messages. Linux tells; others do not."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from dhtd.daemon.state.directory_lock import lock_holders

_PROC: Final = Path("/proc")
_LISTENS: Final = 0x10000  # __SO_ACCEPTCON, among the flags of /proc/net/unix


def control_sockets(pid: int) -> list[str]:
    """Return the paths of the Unix sockets that a process listens on. They may be gone."""
    # "Num RefCount Protocol Flags Type St Inode Path"
    rows = [line.split(maxsplit=7) for line in _lines(_PROC / "net" / "unix")[1:]]
    paths = {row[6]: row[7] for row in rows if len(row) > 7 and int(row[3], 16) & _LISTENS}
    opened = []
    with suppress(OSError):  # another user's process
        for entry in (_PROC / str(pid) / "fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                opened.append(str(entry.readlink()))
    inodes = [link.removeprefix("socket:[").removesuffix("]") for link in opened if link.startswith("socket:[")]
    return sorted({paths[inode] for inode in inodes if inode in paths})


def who_has(path: Path) -> str | None:
    """Return in words the processes that have a state file open, and how to reach them; None if that is unknown."""
    try:
        holders = lock_holders(path.stat(), "POSIX")
    except OSError:
        return None
    found = []
    for pid in holders:
        sockets = control_sockets(pid)
        found.append(f"process {pid}" + (f", whose control socket is {' or '.join(sockets)}" if sockets else ""))
    return " and ".join(found) or None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("ascii", "backslashreplace").splitlines()
    except OSError:
        return []
