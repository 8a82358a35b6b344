"""What is saved when, and what a restart gives back. The file is real where that matters, else it only takes notes."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from dhtd.core.endpoint import Endpoint
from dhtd.core.messages import Contact
from dhtd.core.metric import NATIVE, Id
from dhtd.core.node import Node
from dhtd.core.policy import DEFAULT
from dhtd.core.store import HeldEntry
from dhtd.daemon.saver import SAVE_INTERVAL, Saver
from dhtd.daemon.state_file import SavedEntry, SavedState, StateFile
from dhtd.errors import StateError
from dhtd.wire.native import NativeCodec

KEY, OTHER = Id(7), Id(8)
EXPIRY = DEFAULT.store_expiry
CLOCK, WALL = 1_000.0, 1_700_000_000.0


def endpoint(number: int) -> Endpoint:
    return Endpoint.of(f"192.0.2.{number}", 1729)


def new_node(now: float = CLOCK) -> Node:
    rng = random.Random(1)
    return Node(NATIVE.random(rng), NativeCodec(), rng=rng, now=now)


class Notes:
    """A state file that takes notes, and fails when it is told to."""

    def __init__(self, held: Sequence[SavedEntry] = ()) -> None:
        self.state = SavedState(None, [], [], list(held))
        self.contacts: list[list[Contact]] = []
        self.held: list[dict[Id, list[SavedEntry]]] = []
        self.failing = False

    def load(self) -> SavedState:
        return self.state

    def save_contacts(self, contacts: Sequence[Contact]) -> None:
        self._fail()
        self.contacts.append(list(contacts))

    def save_held(self, changes: Mapping[Id, Sequence[SavedEntry]]) -> None:
        self._fail()
        self.held.append({key: list(entries) for key, entries in changes.items()})

    def _fail(self) -> None:
        if self.failing:
            raise StateError("no space left")


def saver_of(notes: Notes, clock: float = CLOCK, wall: float = WALL) -> Saver:
    return Saver(cast("StateFile", notes), lambda: clock, lambda: wall)


async def test_only_what_has_changed_is_written() -> None:
    notes, node = Notes(), new_node()
    saver = saver_of(notes)
    saver.restore(node)
    await saver.save(node)
    assert (notes.contacts, notes.held) == ([], [])

    node.store.put(KEY, endpoint(1), CLOCK)
    node.store.put(OTHER, endpoint(1), CLOCK)
    node.restore_contact(Contact(Id(5), endpoint(9)))
    await saver.save(node)
    await saver.save(node)
    assert notes.contacts == [[Contact(Id(5), endpoint(9))]]
    assert [sorted(changes) for changes in notes.held] == [[KEY, OTHER]]

    node.store.put(KEY, endpoint(2), CLOCK)
    node.store.remove(OTHER, endpoint(1))
    await saver.save(node)
    expires_at = WALL + EXPIRY
    assert notes.held[1:] == [
        {KEY: [SavedEntry(KEY, endpoint(1), expires_at), SavedEntry(KEY, endpoint(2), expires_at)], OTHER: []}
    ]
    assert len(notes.contacts) == 1


async def test_what_could_not_be_saved_is_tried_again() -> None:
    notes, node = Notes(), new_node()
    saver = saver_of(notes)
    node.store.put(KEY, endpoint(1), CLOCK)
    notes.failing = True
    with pytest.raises(StateError):
        await saver.save(node)
    node.restore_contact(Contact(Id(5), endpoint(9)))
    with pytest.raises(StateError):
        await saver.save(node)
    notes.failing = False
    await saver.save(node)
    assert [list(changes) for changes in notes.held] == [[KEY]]
    assert len(notes.contacts) == 1


async def test_it_saves_now_and_then_and_survives_a_full_disk(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    # A thread would be one that virtual time does not wait for.
    class Unthreaded(Saver):
        async def save(self, node: Node) -> None:
            saves.append(trio.current_time())
            if len(saves) < 3:
                raise StateError("no space left")

    saves: list[float] = []
    with trio.move_on_after(4 * SAVE_INTERVAL):
        await Unthreaded(cast("StateFile", Notes()), lambda: CLOCK).run(new_node())
    assert SAVE_INTERVAL == 15.0
    assert saves == [1.0, 3.0, 7.0, 15.0, 30.0, 45.0]
    assert caplog.messages == ["no space left", "no space left"]


@pytest.mark.parametrize("clock_then", [0.5, 1e6])
@pytest.mark.parametrize("clock_now", [0.25, 5e6])
async def test_entries_keep_their_wall_clock_expiry_over_a_restart(
    tmp_path: Path, clock_then: float, clock_now: float
) -> None:
    before = new_node(clock_then)
    before.store.put(KEY, endpoint(1), clock_then)
    before.store.restore(HeldEntry(OTHER, endpoint(2), clock_then + 100), clock_then)
    file = StateFile.open(tmp_path / "state.db")
    saver = Saver(file, lambda: clock_then, lambda: WALL)
    await saver.save(before)
    file.close()

    file = StateFile.open(tmp_path / "state.db")
    after = new_node(clock_now)
    Saver(file, lambda: clock_now, lambda: WALL + 60).restore(after)
    file.close()
    assert {(held.key, held.endpoint, round(held.expires_at - clock_now, 3)) for held in after.store} == {
        (KEY, endpoint(1), EXPIRY - 60),
        (OTHER, endpoint(2), 40.0),
    }


async def test_entries_that_have_expired_meanwhile_are_gone_from_the_file_too(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    file = StateFile.open(path)
    gone, kept = SavedEntry(KEY, endpoint(1), WALL - 1), SavedEntry(OTHER, endpoint(2), WALL + 1)
    file.save_held({KEY: [gone], OTHER: [kept]})
    node = new_node()
    saver = Saver(file, lambda: CLOCK, lambda: WALL)
    saver.restore(node)
    assert [held.key for held in node.store] == [OTHER]
    await saver.save(node)
    assert file.load().held == [kept]
    file.close()


@pytest.mark.parametrize("ahead", [EXPIRY + 1, 1e9, 1e300])
def test_a_wall_clock_that_was_once_wrong_makes_no_entry_immortal(ahead: float) -> None:
    node = new_node()
    saver_of(Notes([SavedEntry(KEY, endpoint(1), WALL + ahead)])).restore(node)
    assert [held.expires_at for held in node.store] == [CLOCK + EXPIRY]


def test_what_a_quota_refuses_is_forgotten_at_the_next_save() -> None:
    rng = random.Random(1)
    policy = replace(DEFAULT, store_entries_per_key=1)
    node = Node(NATIVE.random(rng), NativeCodec(), rng=rng, now=CLOCK, policy=policy)
    saver_of(Notes([SavedEntry(KEY, endpoint(number), WALL + 9) for number in (1, 2)])).restore(node)
    assert len(node.store) == 1
    assert node.store.take_changes() == {KEY}


def test_contacts_and_own_entries_come_back() -> None:
    notes, node = Notes(), new_node()
    contact = Contact(Id(5), endpoint(9))
    notes.state = SavedState(None, [contact], [(KEY, 80), (KEY, 81)], [])
    saver_of(notes).restore(node)
    assert list(node.state.table) == [contact]
    assert node.tracker.ports(KEY) == [80, 81]


async def test_own_entries_are_on_disk_when_the_call_returns(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    file = StateFile.open(path)
    saver = Saver(file, lambda: CLOCK)
    await saver.add_own(KEY, 80)
    await saver.add_own(KEY, 81)
    await saver.remove_own(KEY, [80])
    assert file.load().own == [(KEY, 81)]
    file.close()


async def test_calls_of_the_file_never_overlap() -> None:
    two_inside = threading.Barrier(2)

    class Slow(Notes):
        calls = 0
        overlaps = 0

        def add_own(self, key: Id, port: int) -> None:
            self.calls += 1
            with suppress(threading.BrokenBarrierError):
                two_inside.wait(0.2)  # for somebody who must not come; who waits in vain breaks it for all after
                self.overlaps += 1

    slow = Slow()
    saver = saver_of(slow)
    async with trio.open_nursery() as nursery:
        for port in range(1, 50):
            nursery.start_soon(saver.add_own, KEY, port)
    assert (slow.calls, slow.overlaps) == (49, 0)


async def test_a_save_that_is_cancelled_before_it_began_loses_no_change() -> None:
    holding, release = threading.Event(), threading.Event()

    class Busy(Notes):
        def add_own(self, key: Id, port: int) -> None:
            holding.set()
            release.wait(60)

    notes, node = Busy(), new_node()
    saver = saver_of(notes)
    node.store.put(KEY, endpoint(1), CLOCK)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(saver.add_own, KEY, 80)
        await trio.to_thread.run_sync(holding.wait, 60)
        with trio.CancelScope() as scope:
            scope.cancel()
            await saver.save(node)
        release.set()
    assert not notes.held
    await saver.save(node)
    assert [list(changes) for changes in notes.held] == [[KEY]]
