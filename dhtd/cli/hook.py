"""Runs a command at each change of a watched ID: one at a time, with all that is there on its standard input.

Changes do not queue up. While the command runs, each ID has its newest endpoints, and the next run gets those. An ID
that is as its last run left it is not due any more.

The input is a file without a name rather than a pipe. So a command that reads none of it, or closes it, neither stops
us nor ends us. The command has a process group of its own: a signal reaches it once, when we end it.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from dhtd.cli.child import IGNORED_BY_PYTHON
from dhtd.cli.wakeups import Wakeups
from dhtd.cli.watched import Change
from dhtd.errors import UsageError

END_WITHIN: Final = 5.0  # seconds from the signal that ends a command until it is killed
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Hook:
    """A command. `say` tells of runs that fail. Raises `UsageError` if there is no such command."""

    def __init__(self, command: Sequence[str], wakeups: Wakeups, say: Callable[[str], None]) -> None:
        check_command(command[0])
        self._command = command
        self._wakeups = wakeups
        self._say = say
        self._pid: int | None = None
        self._due: dict[str, Change] = {}  # the newest change of each ID, the longest waiting ID first
        self._last: dict[str, tuple[str, ...]] = {}  # the endpoints of each ID at its last run

    @property
    def is_done(self) -> bool:
        """Whether nothing runs, and nothing is due."""
        return self._pid is None and not self._due

    def go_on(self, change: Change | None = None) -> None:
        """Take a change, and begin the next run if the one before has ended."""
        if change is not None and self._is_new(change):
            self._due[change.id] = change  # in the place of the one before
        elif change is not None:
            self._due.pop(change.id, None)
        self._reap(os.WNOHANG)
        while self._pid is None and self._due:
            self._run(self._due.pop(next(iter(self._due))))

    def _is_new(self, change: Change) -> bool:
        """Whether something has changed since the last run."""
        last = self._last.get(change.id)
        return last is None or set(last) != set(change.peers)

    def finish(self) -> None:
        """Wait for the end of all runs that are due."""
        while True:
            self._wakeups.take()
            self.go_on()
            if self.is_done:
                return
            self._wakeups.wait(3600)

    def end(self, number: int) -> None:
        """End the command by a signal, which is no failure; if it does not end soon, or we are interrupted, kill it."""
        self._due.clear()
        try:
            self._signal(number)
            end_by = time.monotonic() + END_WITHIN
            while self._pid is not None and (remaining := end_by - time.monotonic()) > 0:
                self._reap(os.WNOHANG, expected=number)
                if self._pid is not None:
                    self._wakeups.wait(remaining)
        finally:
            self._signal(signal.SIGKILL)
            self._reap(0)

    def _run(self, change: Change) -> None:
        last = self._last.get(change.id, ())
        environment = {
            **os.environ,
            "DHT_ID": change.id,
            "DHT_NAME": change.name or "",
            "DHT_ADDED": " ".join(each for each in change.peers if each not in last),
            "DHT_REMOVED": " ".join(each for each in last if each not in change.peers),
        }
        try:
            with _input(change.peers) as descriptor, _undisturbed() as mask:
                self._pid = os.posix_spawnp(
                    self._command[0],
                    list(self._command),
                    environment,
                    file_actions=[(os.POSIX_SPAWN_DUP2, descriptor, 0)],
                    setpgroup=0,
                    setsigmask=mask,
                    setsigdef=IGNORED_BY_PYTHON,
                )
            self._last[change.id] = change.peers
        except OSError as error:
            self._say(_cannot_start(self._command[0], error.strerror))

    def _reap(self, options: int, expected: int = 0) -> None:
        code = 0
        with _undisturbed():
            if self._pid is not None:
                ended, status = os.waitpid(self._pid, options)
                if ended:
                    self._pid = None
                    code = os.waitstatus_to_exitcode(status)
        if code and code != -expected:
            how = f"ended with status {code}" if code > 0 else f"was ended by signal {-code}"
            self._say(f"the command {self._command[0]!r:.80} {how}")

    def _signal(self, number: int) -> None:
        if self._pid is not None:
            for each in (number, signal.SIGCONT):  # it may be stopped
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._pid, each)


def check_command(name: str) -> None:
    """Raise `UsageError` if there is no such command, or if it may not be run."""
    places = [name] if os.sep in name else [f"{place or '.'}/{name}" for place in os.get_exec_path()]
    there = [place for place in places if os.access(place, os.F_OK)]
    if not any(os.access(place, os.X_OK) and Path(place).is_file() for place in there):
        raise UsageError(_cannot_start(name, os.strerror(errno.EACCES if there else errno.ENOENT)))


def _cannot_start(name: str, why: str | None) -> str:
    return f"the command {name!r:.80} cannot be started: {why}"


@contextmanager
def _undisturbed() -> Iterator[set[int]]:
    """Hold back signals that end us, so that no child is forgotten; return those that were held back before."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _input(lines: Sequence[str]) -> Iterator[int]:
    """Return the descriptor of a file that has these lines."""
    descriptor = _nameless_file()
    try:
        data = "".join(f"{line}\n" for line in lines).encode()
        while data:
            data = data[os.write(descriptor, data) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        with suppress(OSError):  # a container may forbid it
            return os.memfd_create("endpoints")
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
