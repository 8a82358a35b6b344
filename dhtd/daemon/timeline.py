"""The three times of a daemon: the node's clock, the wall clock, and the time of the expiries in the state file.

The node runs on CLOCK_BOOTTIME. Nobody can set it, and it goes on while the machine is suspended, like the entries that
others hold for us. But it begins anew at each boot. So the file has its own time, which no setting of the wall clock
disturbs:

- within a boot it keeps its distance to the node's clock;
- from one boot to the next it keeps its distance to the wall clock, the only one that went on meanwhile.

An `Anchor` in the file has the three times at one moment. It is written again after the wall clock was set.
A stopped virtual machine looks like a clock that was set: neither of the machine's own clocks has counted the pause.
Entries then keep the time that they had, and the node publishes its own again, which is right in both cases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TOLERANCE: Final = 2.0  # seconds; a slow correction changes both clocks, and does not move them apart
SENSIBLE: Final = 1_600_000_000.0  # September 2020: an earlier wall clock was never set since the boot

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")  # Linux


def boot_id() -> str:
    """Return the ID of this boot, or nothing if the system has none."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


@dataclass(frozen=True, slots=True)
class Anchor:
    """The three times at one moment of a boot, in seconds."""

    boot: str
    clock: float
    file: float
    wall: float

    def __str__(self) -> str:
        return f"{self.boot or '-'} {self.clock!r} {self.file!r} {self.wall!r}"

    @classmethod
    def parse(cls, text: object) -> Anchor | None:
        """Read `str(anchor)`; return None for any other text."""
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
        self.saved = anchor  # in the file
        now, today = clock(), wall()
        if anchor is None:
            # A new file: its time begins as the wall clock's.
            self.offset = today - now
        elif boot and anchor.boot == boot and now >= anchor.clock:
            # The same boot: the node's clock went on.
            self.offset = anchor.file - anchor.clock
        elif anchor.wall < SENSIBLE <= today:
            # Another boot, after one with a wrong wall clock: nobody knows how long the machine was off, so count
            # nothing.
            self.offset = anchor.file - now
        else:
            # Another boot: the wall clock went on.
            self.offset = anchor.file - anchor.wall + today - now

    def anchor(self) -> Anchor:
        now = self._clock()
        return Anchor(self._boot, now, now + self.offset, self._wall())

    def is_news(self, anchor: Anchor) -> bool:
        """Whether the anchor must be saved: the boot is another, or the wall clock was set."""
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
        """Return by how many seconds the wall clock has jumped ahead, or back, since the last call; mostly 0."""
        apart = self._wall() - self._clock()
        moved = apart - self._apart
        if abs(moved) <= TOLERANCE:
            return 0.0
        self._apart = apart
        return moved
