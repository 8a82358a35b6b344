"""A lock on the directory of a state file, so that daemons open files there one after another.

SQLite can lock a database only. While a damaged file is moved aside and a fresh one is made, there is none, and two
daemons that start at once must not meet there.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dhtd.errors import StateLocked

_WAIT: Final = 5.0  # seconds; a large file on a slow disk is open by then
_PAUSE: Final = 0.02  # seconds from one try to the next

_LOCKS: Final = Path("/proc/locks")  # on Linux: proc_locks(5)


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """Have other daemons that open a state file in this directory wait until the context ends.

    Raises `StateLocked` if another one does not let go: going on could cost a file, and waiting for ever would tell
    nobody why. Where the directory is not readable, or its file system has no locks, we go on unlocked.
    """
    try:
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        _lock(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    for _ in range(round(_WAIT / _PAUSE)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE)
        except OSError:
            return
        else:
            return
    holders = " and ".join(f"process {holder}" for holder in lock_holders(os.fstat(descriptor))) or "another process"
    raise StateLocked(
        f"{path.parent}, where the state file {path.name} is, is locked by {holders}, which has not let go for"
        f" {_WAIT:g} s: stop it, or choose a file in another directory with --state"
    )


def lock_holders(file: os.stat_result, kind: str = "FLOCK") -> list[int]:
    """Return the IDs of the processes that hold a lock of this kind on a file, as far as the system tells."""
    name = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    try:
        lines = _LOCKS.read_text("ascii").splitlines()
    except OSError:
        return []
    # "1: FLOCK  ADVISORY  WRITE 4711 08:01:131074 0 EOF"; a process that waits has an arrow after the number.
    locks = [line.split() for line in lines]
    return sorted({int(lock[4]) for lock in locks if len(lock) > 5 and lock[1] == kind and lock[5] == name} - {0, -1})
