"""Processes of this machine, and their end.

A descriptor (pidfd_open(2), Linux) tells of the end at once, and belongs to one process for ever. Without descriptors,
we look every second; the time at which a process has begun tells it from a later one with the same number.
"""

from __future__ import annotations

import errno
import os
import select
import subprocess
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import trio

from dhtd.control.threads import in_thread
from dhtd.errors import InvalidPid

LOOK_INTERVAL: Final = 1.0  # seconds
_PROC: Final = Path("/proc")
_PROC_SELF: Final = _PROC / "self" / "stat"  # of Linux; other systems have none, or one of another form
_PS_WITHIN: Final = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Facts:
    """What the system says of a process."""

    users: frozenset[int]  # the real and the effective one; empty if it hides them
    began: str  # only ever compared


class Process:
    """One process. `ended` may be called once, and `close` must be."""

    def __init__(self, pid: int, began: str, descriptor: int | None) -> None:
        self.pid = pid
        self._began = began
        self._descriptor = descriptor

    async def ended(self) -> None:
        """Return when the process has ended, however it did."""
        if self._descriptor is not None:
            await trio.lowlevel.wait_readable(self._descriptor)
            return
        while True:
            await trio.sleep(LOOK_INTERVAL)
            facts = await in_thread(partial(facts_of, self.pid), may_be_left=True)
            if facts is None or facts.began != self._began:
                return

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


async def find(pid: int, uid: int) -> Process:
    """Return a process of this user, or any one for root; raise `InvalidPid`.

    Where the system hides the user of a process (hidepid in proc(5), ProtectProc= in systemd.exec(5)), any one is
    taken.
    """
    descriptor = _descriptor(pid)
    try:
        # The descriptor comes first. If the process is still there afterwards, the facts are about the same one.
        facts = facts_of(pid) if _PROC_SELF.exists() else await in_thread(partial(_by_ps, pid))
        if facts is None or (descriptor is not None and _is_readable(descriptor)):
            raise InvalidPid(f"no process has the number {pid}, or it has just ended")
        if uid != 0 and facts.users and uid not in facts.users:
            raise InvalidPid(f"the process {pid} is of user {min(facts.users)}, and not of user {uid}, who asks")
    except BaseException:
        if descriptor is not None:
            os.close(descriptor)
        raise
    return Process(pid, facts.began, descriptor)


def _descriptor(pid: int) -> int | None:
    """Return a descriptor of a process; None if the system has none to give."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise InvalidPid(f"no process has the number {pid}") from None
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.ENOENT}:
            raise InvalidPid(f"{pid} is the number of a thread: give that of its process") from None
        return None  # an old kernel, a sandbox, or too many descriptors


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def facts_of(pid: int, proc: Path = _PROC) -> Facts | None:
    """Return what the system says of a process; None if there is none, or none that has not ended."""
    try:
        status = (proc / f"{pid}/status").read_text("utf-8", "replace")
        stat = (proc / f"{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return _hidden(pid) if _PROC_SELF.exists() else _by_ps(pid)
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    _, _, rest = stat.rpartition(")")  # behind the name, which may have any characters
    state, began = rest.split()[0], rest.split()[19]
    if state in {"Z", "X"}:
        return None
    return Facts(frozenset(map(int, fields["Uid"].split()[:2])), began)


def _hidden(pid: int) -> Facts | None:
    """Return that a process is there, and no more."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return Facts(frozenset(), "")


def _by_ps(pid: int) -> Facts | None:
    """Ask ps(1), which every system has."""
    command = ["ps", "-o", "stat=,uid=,ruid=,lstart=", "-p", str(pid)]
    try:
        answer = subprocess.run(  # noqa: S603 - a number is all that is ours
            command, capture_output=True, text=True, timeout=_PS_WITHIN, check=False, env={**os.environ, "LC_ALL": "C"}
        )
    except (OSError, subprocess.TimeoutExpired):
        return _hidden(pid)
    words = answer.stdout.split()
    if len(words) < 4 or words[0].startswith("Z"):
        return None
    return Facts(frozenset(map(int, words[1:3])), " ".join(words[3:]))
