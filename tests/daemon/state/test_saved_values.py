"""Values come back after a restart: own ones all, and those of others that have not expired."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import trio

from dhtd.core.ids import Id, packed
from dhtd.core.messages import VALUE_LASTS
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.records import Immutable, Value
from dhtd.core.storage.held_values import HeldValue
from dhtd.daemon.driver import Driver
from dhtd.daemon.labels import Labels
from dhtd.daemon.state import contents as state_contents
from dhtd.daemon.state.file import KeepValue, SavedHeldValue, SavedOwnValue, StateFile
from dhtd.daemon.state.saver import Saver
from dhtd.errors import StateError
from tests.daemon.state.test_restorer import Bare, machine, new_node
from tests.values import by_owner, hold

NOW, WALL = 1_000.0, 1_700_000_000.0
KEYS = [Id(number) for number in range(20)]
SOURCE = machine(3)
TEXT = Immutable(b"text")


class Run:
    """A node with its saver, from one start to the next."""

    def __init__(
        self, file: StateFile, clock: float = NOW, wall: float = WALL, policy: Policy = DEFAULT, at_once: float = 1e9
    ) -> None:
        self.file = file
        self.now, self.wall = clock, wall
        self.node = new_node(policy)
        self.labels = Labels()
        self.saver = Saver(file, lambda: self.now, lambda: self.wall, labels=self.labels)
        self.saver.restore(self.node, at_once)

    def hold(self, key: Id, value: Value, lasts: int = VALUE_LASTS) -> None:
        hold(self.node.values.held, key, value, SOURCE, self.now, lasts)

    async def save(self) -> None:
        await self.saver.save(self.node)

    async def finish(self) -> None:
        await self.saver.restore_rest(cast("Driver", Bare(self.node)))

    def held(self) -> dict[Id, Value]:
        return {held.key: held.value for held in self.node.values.held}

    def in_file(self) -> dict[Id, Value]:
        return {held.key: held.value for held in self.file.load().held_values}


@pytest.fixture
def file(tmp_path: Path) -> Iterator[StateFile]:
    with closing(StateFile.open(tmp_path / "state.db")) as file:
        yield file


# Own values


async def test_own_values_come_back_with_their_names(file: StateFile) -> None:
    run = Run(file)
    await run.saver.keep_value(SavedOwnValue(KEYS[1], TEXT, 3, "note"))
    await run.saver.keep_value(SavedOwnValue(KEYS[2], by_owner(1), 0))
    await run.saver.keep_value(SavedOwnValue(KEYS[3], TEXT, 0))
    await run.saver.drop_value(KEYS[3])
    later = Run(file)
    assert [(own.key, own.value, own.wanted) for own in later.node.values.own] == [
        (KEYS[1], TEXT, 3),
        (KEYS[2], by_owner(1), 0),
    ]
    assert [later.labels.name(key) for key in KEYS[1:4]] == ["note", None, None]
    due = later.node.values.next_timeout()
    assert due is not None
    assert NOW <= due <= NOW + DEFAULT.startup_spread


async def test_what_supersedes_an_own_value_is_saved(file: StateFile) -> None:
    file.apply([KeepValue(SavedOwnValue(KEYS[1], by_owner(1), 2, "news"))])
    run = Run(file)
    [own] = run.node.values.own
    run.node.values.own.supersede(own, by_owner(2))
    await run.save()
    assert file.load().own_values == [SavedOwnValue(KEYS[1], by_owner(2), 2, "news")]
    serial = file.fact("serial")
    await run.save()
    assert file.fact("serial") == serial
    run.node.values.own.supersede(own, by_owner(3))
    run.saver.save_now(run.node)
    assert [own.value for own in file.load().own_values] == [by_owner(3)]


async def test_a_superseded_value_waits_for_the_disk(file: StateFile, monkeypatch: pytest.MonkeyPatch) -> None:
    file.apply([KeepValue(SavedOwnValue(KEYS[1], by_owner(1), 1))])
    run = Run(file)
    await run.save()
    [own] = run.node.values.own
    run.node.values.own.supersede(own, by_owner(2))

    def refuse(changes: object) -> None:
        run.node.values.own.supersede(own, by_owner(3))  # meanwhile
        raise StateError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(file, "apply", refuse)
        with pytest.raises(StateError):
            await run.save()
    await run.save()
    assert [own.value for own in file.load().own_values] == [by_owner(3)]


def test_the_log_tells_of_a_value_that_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Opening compares sums of hashes. That a row differs from its hash shows when it is read."""
    path = tmp_path / "state.db"
    with closing(StateFile.open(path)) as file:
        file.apply([KeepValue(SavedOwnValue(KEYS[1], TEXT, 1)), KeepValue(SavedOwnValue(KEYS[2], by_owner(1), 1))])
    path.write_bytes(path.read_bytes().replace(b"text", b"tixt"))
    with closing(StateFile.open(path)) as file:
        assert file.damage is None
        assert [own.value for own in Run(file).node.values.own] == [by_owner(1)]
        assert file.set_aside is not None
    assert f"was damaged (it had impossible rows); as it was, it is now {file.set_aside}. Kept: " in caplog.text
    assert "1 own value. What was lost of own values must be put again" in caplog.text


async def test_a_refused_value_leaves_the_file(file: StateFile) -> None:
    """It was written before others could refuse it, and the disk did not take it back then."""
    file.apply([KeepValue(SavedOwnValue(KEYS[1], by_owner(1), 1))])
    run = Run(file)
    run.node.commands.drop_value(KEYS[1], NOW)
    run.node.values.own.changed.add(packed(KEYS[1]))
    await run.save()
    assert file.load().own_values == []


async def test_a_dropped_value_is_not_saved_again(file: StateFile) -> None:
    file.apply([KeepValue(SavedOwnValue(KEYS[1], by_owner(1), 1))])
    run = Run(file)
    [own] = run.node.values.own
    run.node.values.own.supersede(own, by_owner(2))
    async with run.saver.own_entries, trio.open_nursery() as nursery:
        nursery.start_soon(run.save)  # which has to wait
        await trio.testing.wait_all_tasks_blocked()
        await run.saver.drop_value(KEYS[1])
        run.node.commands.drop_value(KEYS[1], NOW)
        run.saver.own_entries.release()
        await run.saver.own_entries.acquire()
    assert file.load().own_values == []


# Held values


async def test_held_values_come_back(file: StateFile) -> None:
    run = Run(file)
    run.hold(KEYS[1], by_owner(1), lasts=3_600)
    run.hold(KEYS[2], TEXT, lasts=60)
    await run.save()
    assert [(held.source, held.until) for held in file.load().held_values] == [
        (SOURCE.ip, WALL + 3_600),
        (SOURCE.ip, WALL + 60),
    ]
    later = Run(file, clock=5.0, wall=WALL + 600)
    assert list(later.node.values.held) == [HeldValue(KEYS[1], by_owner(1), SOURCE.ip, 3_005.0)]
    await later.save()
    assert later.in_file() == {KEYS[1]: by_owner(1)}  # without what has expired meanwhile


async def test_only_changed_values_are_written(file: StateFile, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[list[Id]] = []
    really = file.save_held_values
    monkeypatch.setattr("dhtd.daemon.state.saver.HELD_AT_ONCE", 2)

    def save(changes: list[tuple[Id, SavedHeldValue | None]], *, whole: bool) -> None:
        written.append([key for key, _ in changes])
        really(changes, whole=whole)

    monkeypatch.setattr(file, "save_held_values", save)
    run = Run(file)
    for key in KEYS[:3]:
        run.hold(key, TEXT)
    await run.save()
    assert sorted(map(len, written)) == [1, 2]
    run.hold(KEYS[1], TEXT)  # which lasts as long as before
    await run.save()
    assert len(written) == 2
    run.now += 10
    run.hold(KEYS[1], TEXT)
    await run.save()
    assert written[2:] == [[KEYS[1]]]
    assert set(run.in_file()) == set(KEYS[:3])


async def test_a_failed_save_of_values_is_made_up_for(file: StateFile, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(file)
    run.hold(KEYS[1], TEXT)

    def refuse(*_: object, **__: object) -> None:
        raise StateError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(file, "save_held_values", refuse)
        with pytest.raises(StateError):
            await run.save()
    run.saver.save_now(run.node)
    assert run.in_file() == {KEYS[1]: TEXT}


async def test_too_many_changed_values_are_saved_as_all(file: StateFile) -> None:
    file.save_held_values((key, SavedHeldValue(key, TEXT, SOURCE.ip, WALL + 60)) for key in KEYS)
    run = Run(file, policy=replace(DEFAULT, values=1))
    assert len(run.held()) == 1
    for number in range(100):
        run.hold(Id(number << 200), TEXT)
    run.node.values.held.changed.put_back(None)
    await run.save()
    assert run.in_file() == run.held()
    assert len(run.held()) == 1


@pytest.mark.parametrize("pause", [-86_400, -3_600])
async def test_no_clock_lets_a_value_live_for_longer(file: StateFile, pause: int) -> None:
    run = Run(file)
    run.hold(KEYS[1], TEXT)
    await run.save()
    later = Run(file, clock=5.0, wall=WALL + pause)
    assert [held.expires_at for held in later.node.values.held] == [5.0 + VALUE_LASTS]
    await later.save()
    assert [held.until for held in file.load().held_values] == [WALL + pause + VALUE_LASTS]


async def test_a_pause_of_the_machine_counts_in_the_file(file: StateFile) -> None:
    run = Run(file)
    run.hold(KEYS[1], TEXT, lasts=3_600)
    await run.save()
    run.wall += 3_000
    run.node.machine.slept(3_000, NOW)
    await run.save()
    assert [held.expires_at for held in Run(file, wall=WALL + 3_000).node.values.held] == [NOW + 600]
    assert Run(file, clock=5.0, wall=WALL + 3_601).held() == {}  # after a boot


# While the file is being read


@pytest.fixture
def some(file: StateFile, monkeypatch: pytest.MonkeyPatch) -> StateFile:
    """A file with held values, which is read in small slices."""
    monkeypatch.setattr(state_contents, "SLICE", 3)
    file.save_held_values((key, SavedHeldValue(key, by_owner(5), SOURCE.ip, WALL + 600)) for key in KEYS)
    return file


async def test_held_values_come_in_slices(some: StateFile) -> None:
    run = Run(some, at_once=4)
    assert (len(run.held()), run.saver.is_restoring) == (6, True)
    await run.finish()
    assert len(run.held()) == 20
    serial = some.fact("serial")
    await run.save()
    assert some.fact("serial") == serial


@pytest.mark.parametrize("is_at_the_end", [False, True])
async def test_early_values_join_unrestored_ones(some: StateFile, is_at_the_end: bool) -> None:
    run = Run(some, at_once=0)
    run.hold(Id(99), TEXT)
    run.hold(KEYS[7], by_owner(6))
    run.hold(KEYS[8], by_owner(4))
    if is_at_the_end:
        run.saver.save_now(run.node)
    else:
        await run.save()
    in_file = run.in_file()
    assert len(in_file) == 21
    assert [in_file[key] for key in (KEYS[7], KEYS[8])] == [by_owner(6), by_owner(5)]
    await run.finish()
    assert run.held() == in_file


async def test_an_older_value_gives_way_to_a_restored_one(some: StateFile) -> None:
    run = Run(some, at_once=0)
    run.hold(KEYS[7], by_owner(4), lasts=60)
    run.hold(KEYS[8], by_owner(6), lasts=60)
    await run.finish()
    assert [run.held()[key] for key in (KEYS[7], KEYS[8])] == [by_owner(5), by_owner(6)]
    await run.save()
    assert run.in_file() == run.held()


async def test_a_value_that_goes_early_goes_from_the_file(some: StateFile) -> None:
    run = Run(some, at_once=4)
    gone = next(iter(run.held()))
    run.now += 30
    run.node.values.held._drop(run.node.values.held.by_key[packed(gone)])
    await run.save()
    assert len(run.in_file()) == 20
    await run.finish()
    await run.save()
    assert gone not in run.in_file()
    assert len(run.in_file()) == 19


async def test_values_that_do_not_fit_go_from_the_file(some: StateFile) -> None:
    run = Run(some, policy=replace(DEFAULT, values=7))
    assert len(run.held()) == 7
    await run.save()
    assert run.in_file() == run.held()


async def test_a_damaged_row_is_not_served(some: StateFile, tmp_path: Path) -> None:
    some.close()
    data = (tmp_path / "state.db").read_bytes()
    place = data.index(by_owner(5).signature)
    (tmp_path / "state.db").write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    with closing(StateFile.open(tmp_path / "state.db")) as file:
        run = Run(file)
        assert file.damage is not None
        assert file.damage.lost == {"held_value": 1}
        assert len(run.held()) == 19
        assert set(run.held().values()) == {by_owner(5)}
