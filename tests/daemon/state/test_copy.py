"""A backup of a state file in use: it is a state file of one moment, and leaves no other file behind."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import Contact
from dhtd.core.node import Node
from dhtd.daemon.state import copy as state_copy
from dhtd.daemon.state.disk import connect
from dhtd.daemon.state.file import AddOwn, SavedHolder, SetHolders, StateFile
from dhtd.daemon.state.saver import Saver
from dhtd.errors import StateError
from dhtd.wire.native import NativeCodec
from tests.records import hold_peer, own_key

KEY, OTHER = Id(7), Id(8)
AT = Endpoint.of("10.0.0.9", 1729)
HOLDER = Contact(Id(5), AT)
CLOCK, WALL = 1_000.0, 1_700_000_000.0


@pytest.fixture
def file(tmp_path: Path) -> Iterator[StateFile]:
    file = StateFile.open(tmp_path / "state.db")
    file.set_node_id(Id(99))
    file.add_own(AddOwn(own_key(KEY, 80)))
    file.save_contacts([HOLDER])
    file.save_holders([SetHolders(own_key(KEY, 80), [SavedHolder(HOLDER, WALL)])])
    yield file
    file.close()


def restored(file: StateFile, place: Path) -> StateFile:
    """Return a copy of a file, opened later."""
    with file.copy() as copy:
        place.write_bytes(copy.read())
    return StateFile.open(place)


def new_node() -> Node:
    rng = random.Random(1)
    return Node(NATIVE.random(rng), NativeCodec(), rng=rng, now=CLOCK)


def test_a_copy_is_a_whole_state_file(file: StateFile, tmp_path: Path) -> None:
    before = file.load()
    copy = restored(file, tmp_path / "copy.db")
    file.add_own(AddOwn(own_key(OTHER, 80)))
    assert copy.load() == before
    assert (copy.node_id(), copy.notices()) == (Id(99), [])
    copy.close()


def test_a_copy_has_no_name_and_leaves_none(file: StateFile, tmp_path: Path) -> None:
    names = sorted(tmp_path.iterdir())
    with file.copy():
        assert sorted(tmp_path.iterdir()) == names
    assert sorted(tmp_path.iterdir()) == names


def test_a_copied_file_stays_locked_and_writable(file: StateFile) -> None:
    with file.copy():
        file.add_own(AddOwn(own_key(OTHER, 80)))
    with pytest.raises(StateError, match="in use"):
        StateFile.open(file.path)
    assert file.load().own == [own_key(KEY, 80), own_key(OTHER, 80)]


def test_a_copy_without_room_leaves_nothing(file: StateFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def narrow(path: Path, parameters: str) -> sqlite3.Connection:
        connection = connect(path, parameters)
        connection.execute("PRAGMA max_page_count = 1")
        return connection

    names = sorted(tmp_path.iterdir())
    monkeypatch.setattr(state_copy, "connect", narrow)
    with pytest.raises(StateError, match=r"no copy of the state file .* can be made \(.*full.*\)"):
        file.copy()
    assert sorted(tmp_path.iterdir()) == names
    file.add_own(AddOwn(own_key(OTHER, 80)))
    assert file.load().own == [own_key(KEY, 80), own_key(OTHER, 80)]


def test_a_directory_that_takes_no_copy_is_said(file: StateFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(StateError, match=r"can be made \(No space left on device\)"):
        file.copy()


async def test_a_copy_has_what_was_not_saved_yet(file: StateFile, tmp_path: Path) -> None:
    node, saver = new_node(), Saver(file, lambda: CLOCK, lambda: WALL)
    hold_peer(node.store, OTHER, AT, CLOCK)
    with await saver.copy(node) as copy:
        data = b""
        while piece := await saver.read(copy, 5_000):
            assert len(piece) <= 5_000
            data += piece
    (tmp_path / "copy.db").write_bytes(data)
    opened = StateFile.open(tmp_path / "copy.db")
    assert [held.key for held in opened.load().held] == [OTHER]
    opened.close()


@pytest.mark.parametrize("boot", ["this boot", "another boot"])
async def test_entries_of_an_old_copy_have_one_lease(boot: str, file: StateFile, tmp_path: Path) -> None:
    node, saver = new_node(), Saver(file, lambda: CLOCK, lambda: WALL, "this boot")
    hold_peer(node.store, KEY, AT, CLOCK, lease=60)
    hold_peer(node.store, OTHER, AT, CLOCK, lease=600, session=b"another session.")
    await saver.save(node)
    copy = restored(file, tmp_path / "copy.db")
    clock = CLOCK + 300 if boot == "this boot" else 5.0
    rng = random.Random(1)
    after = Node(NATIVE.random(rng), NativeCodec(), rng=rng, now=clock)
    Saver(copy, lambda: clock, lambda: WALL + 300, boot).restore(after)
    copy.close()
    assert {held.key: held.expires_at - clock for held in after.store} == {KEY: 60.0, OTHER: 600.0}
    assert after.own_records.ports(KEY) == [80]
