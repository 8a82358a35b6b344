"""The three times of a daemon: the node's clock, the wall clock, and the time in which the state file has its expiries.

The node runs on CLOCK_BOOTTIME. Nobody can set it, and it counts the time in which the machine was suspended, as the
entries do that others hold for us. It begins anew at each boot, so the file needs a time of its own, which goes on
whatever happens to the wall clock:

- within a boot it keeps its distance to the node's clock, however often the wall clock is set;
- from one boot to the next it keeps its distance to the wall clock, which is all that went on meanwhile.

An `Anchor` in the file says what the three were at one moment. It is written again when the wall clock was set.
A stopped virtual machine looks the same as a clock that was set: neither of the machine's own clocks has counted the
pause. Then entries keep the time that they had, and the node publishes its own ones again: right in either case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TOLERANCE: Final = 2.0  # seconds; clocks that are corrected slowly do not move apart, since both are
SENSIBLE: Final = 1_600_000_000.0  # September 2020: a wall clock before that was never set since the boot

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")  # Linux


def boot_id() -> str:
    """Return what tells this boot from all others; empty where the system does not say."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


@dataclass(frozen=True, slots=True)
class Anchor:
    """What the three times were at one moment of a boot; seconds."""

    boot: str
    clock: float
    file: float
    wall: float

    def __str__(self) -> str:
        """Return the text of it, as the file has it."""
        return f"{self.boot or '-'} {self.clock!r} {self.file!r} {self.wall!r}"

    @classmethod
    def parse(cls, text: object) -> Anchor | None:
        """Read such a text; None where it is none."""
        try:
            boot, *times = str(text).split()
            clock, file, wall = map(float, times)
        except ValueError:
            return None
        return cls("" if boot == "-" else boot, clock, file, wall)


class Timeline:
    """Translates between the node's clock and the file's time."""

    def __init__(
        self, clock: Callable[[], float], wall: Callable[[], float], boot: str = "", anchor: Anchor | None = None
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._boot = boot
        self.saved = anchor  # what the file has
        now, today = clock(), wall()
        if anchor is None:
            self.offset = today - now
        elif boot and anchor.boot == boot and now >= anchor.clock:
            self.offset = anchor.file - anchor.clock
        elif anchor.wall < SENSIBLE <= today:
            self.offset = anchor.file - now  # nobody knows how long it was off: no time at all
        else:
            self.offset = anchor.file - anchor.wall + today - now

    def anchor(self) -> Anchor:
        """Return what the times are now."""
        now = self._clock()
        return Anchor(self._boot, now, now + self.offset, self._wall())

    def is_news(self, anchor: Anchor) -> bool:
        """Whether the file has to know of it: another boot, or a wall clock that was set."""
        saved = self.saved
        if saved is None or anchor.boot != saved.boot or (anchor.boot and anchor.clock < saved.clock):
            return True
        return abs((anchor.wall - anchor.file) - (saved.wall - saved.file)) > TOLERANCE


class ClockWatch:
    """Notices that the wall clock and the node's clock have moved apart."""

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._clock = clock
        self._wall = wall
        self._apart = wall() - clock()

    def moved(self) -> float:
        """Return by how many seconds the wall clock has gone ahead since the last call, or back; mostly 0."""
        apart = self._wall() - self._clock()
        moved = apart - self._apart
        if abs(moved) <= TOLERANCE:
            return 0.0
        self._apart = apart
        return moved
