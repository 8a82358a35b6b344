"""Daemons that are killed and restarted, and that never outlive the soak."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from tests.e2e.daemons import BIN, Daemon, Network

ELDERS: Final = 4  # one daemon of so many is never killed

_LIBC: Final = ctypes.CDLL(None)
_PR_SET_PDEATHSIG: Final = 1


def _die_with_parent() -> None:
    """Have the kernel end this process when the thread that has started it ends, even by SIGKILL.

    It runs between fork(2) and execve(2), where other threads may have left locks held: it takes none.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass
class Presence:
    """Since when a daemon is up, or away; by time.monotonic()."""

    up_since: float
    away_since: float | None = None
    was_away: float = 0.0  # seconds, the last time


class Swarm(Network):
    """A network of daemons that come and go. The main thread starts and kills; any thread may ask which are up."""

    def __init__(self) -> None:
        super().__init__()
        self.elders: list[Daemon] = []
        self.presence: dict[str, Presence] = {}  # by address
        self.history: list[tuple[float, str, str]] = []  # time by time.monotonic(), address, event
        self._down: list[tuple[float, Daemon]] = []  # and when each comes back
        self._lock = threading.Lock()

    def start(self, many: int, *options: str) -> list[Daemon]:
        started = super().start(many, *options)
        self.presence.update((daemon.address, Presence(time.monotonic())) for daemon in started)
        return started

    def populate(self, many: int) -> None:
        self.start(1)
        self.start(many - 1)
        self.elders = self.daemons[::ELDERS]

    def up(self) -> list[Daemon]:
        """Return the daemons that should be running."""
        with self._lock:
            down = [daemon for _, daemon in self._down]
        return [daemon for daemon in self.daemons if daemon not in down]

    def kill_one(self, rng: Random, now: float, away: float, at_least: float = 0.0) -> Daemon | None:
        """Kill one, no elder, for up to `away` seconds; None if there is none to kill."""
        candidates = [daemon for daemon in self.up() if daemon not in self.elders]
        if not candidates:
            return None
        victim = rng.choice(candidates)
        with self._lock:
            self._down.append((now + rng.uniform(at_least, away), victim))
        victim.kill()
        self._note(victim, "killed")
        self.presence[victim.address].away_since = time.monotonic()
        return victim

    def bring_back(self, now: float) -> list[Daemon]:
        """Restart the daemons that are due, from their state files alone."""
        with self._lock:
            due = [daemon for when, daemon in self._down if when <= now]
        for daemon in due:
            self.launch(daemon)
            self._note(daemon, "back")
            since, up_since = self.presence[daemon.address].away_since, time.monotonic()
            self.presence[daemon.address] = Presence(up_since, None, up_since - since if since else 0.0)
            with self._lock:
                self._down = [entry for entry in self._down if entry[1] is not daemon]
        return due

    def _note(self, daemon: Daemon, what: str) -> None:
        self.history.append((time.monotonic(), daemon.address, what))

    def _popen(self, arguments: Sequence[str], log: Path) -> subprocess.Popen[str]:
        with log.open("a", encoding="utf-8") as stderr:
            return subprocess.Popen(
                [BIN / "dhtd", "start", *arguments],
                env=self.environment(),
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - see there
            )
