"""Runs the command behind `--` as a child, in our place: with our streams, our terminal and our signals.

The child stays in our process group, so the terminal stops, continues and interrupts both of us, and a shell sees one
job. Signals that somebody sends to us alone go on to the child. Signals are waited for rather than handled, since only
then the kernel says who has sent them: those of the terminal have reached the child already.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from dhtd.errors import UsageError

FORWARDED: Final = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM),
)
_AWAITED: Final = (*FORWARDED, signal.SIGCHLD)
_OF_TERMINAL: Final = (signal.SIGINT, signal.SIGQUIT)
IGNORED_BY_PYTHON: Final = tuple(getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, name))


class Child:
    """A running command. From its creation on, the signals of this thread and of later ones are blocked."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start the command; raise `UsageError` if that is not possible."""
        # 1. From here on no signal ends us, and none is lost.
        signal.signal(signal.SIGCHLD, _nothing)  # our parent may ignore it, and then no child could be waited for
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
        # 2. The child has the signals as we had them.
        try:
            self.pid = os.posix_spawnp(
                command[0], list(command), os.environ, setsigmask=before, setsigdef=IGNORED_BY_PYTHON
            )
        except (OSError, ValueError) as error:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise UsageError(f"the command {command[0]!r:.80} cannot be started: {reason}") from None

    def wait(self) -> int:
        """Pass signals on until the child ends; return its status, as a shell tells it: 128 and more for signals."""
        while True:
            number, is_ours = _next_signal()
            if number == signal.SIGCHLD:
                ended, status = os.waitpid(self.pid, os.WNOHANG)
                if ended:
                    code = os.waitstatus_to_exitcode(status)
                    return code if code >= 0 else 128 - code
            elif is_ours or not self._is_of_our_job():
                os.kill(self.pid, number)

    def _is_of_our_job(self) -> bool:
        with suppress(ProcessLookupError):
            return os.getpgid(self.pid) == os.getpgrp()
        return True


def _next_signal() -> tuple[int, bool]:
    """Return the next signal, and whether somebody has sent it to us alone: else the terminal has, to the whole job."""
    if hasattr(signal, "sigwaitinfo"):
        info = signal.sigwaitinfo(_AWAITED)
        return info.si_signo, info.si_code <= 0  # SI_USER and its like; the kernel's own are above
    number = signal.sigwait(_AWAITED)
    return number, number not in _OF_TERMINAL or sys.stdin is None or not sys.stdin.isatty()


def _nothing(number: int, frame: object) -> None:
    pass  # the signal is waited for
