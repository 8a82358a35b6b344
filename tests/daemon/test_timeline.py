"""The file's time: it goes on through boots, and through wall clocks that are wrong and are set right."""

from __future__ import annotations

from pathlib import Path

import pytest

from dhtd.daemon import timeline as module
from dhtd.daemon.timeline import Anchor, ClockWatch, Timeline, boot_id

HOUR = 3_600.0
TODAY = 1_790_000_000.0


class Machine:
    """A machine with a wall clock that may be wrong, and a daemon that starts on it again and again."""

    def __init__(self, wall: float = TODAY) -> None:
        self.boots = 0
        self.wall = wall
        self.anchor: Anchor | None = None
        self.boot(wall)

    def boot(self, wall: float) -> None:
        self.boots += 1
        self.clock, self.wall = 10.0, wall
        self.start()

    def start(self) -> None:
        self.timeline = Timeline(lambda: self.clock, lambda: self.wall, f"boot-{self.boots}", self.anchor)
        self.save()

    def save(self) -> bool:
        """Save like a saver; return whether the file needed it."""
        anchor = self.timeline.anchor()
        if not self.timeline.is_news(anchor):
            return False
        self.anchor = self.timeline.saved = Anchor.parse(str(anchor))
        return True

    def run(self, seconds: float) -> None:
        self.clock += seconds
        self.wall += seconds

    @property
    def file(self) -> float:
        """The file's time now."""
        return self.clock + self.timeline.offset


def test_a_new_file_has_the_wall_clocks_time() -> None:
    assert Machine().file == TODAY


def test_the_files_time_runs_while_all_is_off() -> None:
    machine = Machine()
    machine.run(100)
    assert not machine.save()
    machine.start()
    assert machine.file == pytest.approx(TODAY + 100)
    machine.boot(TODAY + 5_000)
    assert machine.file == pytest.approx(TODAY + 5_000)


@pytest.mark.parametrize("by", [5 * HOUR, -5 * HOUR, 50 * 365 * 24 * HOUR, 3.0])
@pytest.mark.parametrize("is_saved", [True, False])
def test_a_wall_clock_that_is_set_moves_nothing(by: float, is_saved: bool) -> None:
    machine = Machine()
    machine.run(100)
    machine.wall += by
    if is_saved:
        assert machine.save()
    machine.run(100)
    machine.start()  # after `kill -9`, where it was not saved: the boot is the same
    assert machine.file == pytest.approx(TODAY + 200)
    machine.run(100)
    machine.boot(machine.wall + 50)
    assert machine.file == pytest.approx(TODAY + 350)


def test_a_clock_set_between_runs_moves_nothing() -> None:
    machine = Machine(TODAY - 5 * HOUR)
    machine.run(100)
    machine.wall += 5 * HOUR
    machine.start()
    assert machine.file == pytest.approx(TODAY - 5 * HOUR + 100)


def test_a_machine_without_a_clock_loses_nothing() -> None:
    machine = Machine(wall=5.0)
    machine.run(100)
    machine.boot(TODAY)
    assert machine.file == 5.0  # when the file last knew: nobody can tell how long it was off
    machine.boot(TODAY + 100)
    assert machine.file == pytest.approx(105.0)


def test_a_boot_in_1970_goes_back_and_then_on() -> None:
    machine = Machine()
    machine.boot(5.0)
    assert machine.file == 5.0
    machine.run(10)
    machine.wall = TODAY + 500
    assert machine.save()
    machine.boot(TODAY + 600)
    assert machine.file == pytest.approx(115.0)


def test_a_clock_set_back_means_another_boot() -> None:
    machine = Machine()
    machine.run(100)
    machine.wall += 50
    machine.save()
    machine.clock = 20.0  # a snapshot of a virtual machine
    machine.start()
    assert machine.file == pytest.approx(TODAY + 100)


def test_without_boot_ids_the_wall_clock_counts() -> None:
    first = Timeline(lambda: 10.0, lambda: TODAY)
    anchor = Anchor.parse(str(first.anchor()))
    assert anchor == first.anchor()
    second = Timeline(lambda: 20.0, lambda: TODAY + 500, anchor=anchor)
    assert second.offset == TODAY + 480
    assert not second.is_news(second.anchor())


@pytest.mark.parametrize("text", [None, "", "boot 1 2", "boot 1 2 three", "boot 1 2 3 4"])
def test_what_is_no_anchor_is_none(text: str | None) -> None:
    assert Anchor.parse(text) is None


def test_the_boot_has_an_id_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BOOT_ID", tmp_path / "boot_id")
    assert boot_id() == ""
    (tmp_path / "boot_id").write_text("0b1c\n")
    assert boot_id() == "0b1c"


def test_each_jump_is_told_once_and_no_drift() -> None:
    clock, wall = 0.0, TODAY
    watch = ClockWatch(lambda: clock, lambda: wall)
    seen = []
    for jump in (0.0, 1.5, 0.0, 7_200.0, 0.0, -2.5, 0.4):
        clock += 60
        wall += 60 + jump
        seen.append(watch.moved())
    assert seen == pytest.approx([0, 0, 0, 7_201.5, 0, -2.5, 0])
