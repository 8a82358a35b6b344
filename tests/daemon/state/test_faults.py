"""A disk that fails at any step of a change: a refused change is not in the file, and a change in the file is not
refused.

The disk is that of tests/daemon/disk.py. It fails at one step, at that step and the next ones, or from there on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from random import Random

import pytest

from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.records import Immutable, Mutable, Peer
from dhtd.daemon.state.file import (
    AddOwn,
    Change,
    DropValue,
    KeepValue,
    RemoveOwn,
    SavedHolder,
    SavedOwnValue,
    SavedRecord,
    SetHolders,
    StateFile,
)
from dhtd.errors import StateError
from tests.core.small import SEVEN, endpoint
from tests.daemon import disk
from tests.daemon.state.test_model import NAME, Kept, Own, Scratch, content, opened
from tests.records import KEPT, own_key

pytestmark = pytest.mark.skipif(disk.RECORDER is None, reason="this Python hides its SQLite")

HOLDER = SavedHolder(Contact(Id(5), endpoint(9)), 5.0)
NEWS = SavedOwnValue(Id(1), Mutable(bytes(32), b"", 7, b"news", bytes(64)), 1, "news")
BEFORE = Own(
    (
        AddOwn(own_key(Id(1), 80)),
        AddOwn(own_key(Id(2), 80)),
        SetHolders(own_key(Id(1), 80), (HOLDER,)),
        KeepValue(NEWS),
    )
)
CHANGES: list[tuple[Change, ...]] = [
    (AddOwn(own_key(Id(3), 80)),),
    (RemoveOwn([own_key(Id(1), 80)]), SetHolders(own_key(Id(1), 80), (HOLDER,))),
    (SetHolders(own_key(Id(2), 80), (HOLDER,)),),
    (
        KeepValue(replace(NEWS, value=Mutable(bytes(32), b"", 8, b"more", bytes(64)), name=None)),
        KeepValue(SavedOwnValue(Id(2), Immutable(b"text"), 0)),
    ),
    (DropValue(Id(1)), DropValue(Id(2))),
]


@pytest.fixture
def scratch() -> Iterator[Scratch]:
    with closing(Scratch()) as scratch:
        yield scratch


def attempt(scratch: Scratch, changes: tuple[Change, ...], refuses: Callable[[int], bool]) -> tuple[str, int]:
    """Make changes on a failing disk; check the reports of them against the truth; return this and the steps taken."""
    old = BEFORE.applied(Kept())
    new = Own(changes).applied(old)
    path = scratch.directory({})
    with disk.recorded(), closing(opened(path)) as file:
        BEFORE.make(file)
        said = ""
        with disk.failing(refuses):
            try:
                file.apply(changes)
            except StateError as error:
                said = str(error)
            taken = disk.steps_taken()
            left = disk.read_directory(path)  # by a kill now
        if not said:
            assert scratch.recovered(left) == new
            assert content(file) == new
        elif "nothing was changed" in said:
            assert scratch.recovered(left) == old
            assert content(file) == old
        else:
            assert "whether the change is in it is unknown, and it is undone" in said
        file.save_contacts([])  # a saver does this now and then
        assert scratch.recovered(disk.read_directory(path)) == (old if said else new)
    return said, taken


@pytest.mark.parametrize("changes", CHANGES, ids=["enter", "delete", "holders", "put", "drop"])
@pytest.mark.parametrize(
    "length",
    [
        pytest.param(1, id="once"),
        pytest.param(2, id="twice", marks=pytest.mark.slow),
        pytest.param(3, id="thrice", marks=pytest.mark.slow),
        pytest.param(1_000, id="from then on"),
    ],
)
def test_what_a_failing_disk_has_is_what_is_said(scratch: Scratch, changes: tuple[Change, ...], length: int) -> None:
    first, outcomes = 0, set()
    while True:
        said, taken = attempt(scratch, changes, range(first, first + length).__contains__)
        outcomes.add("nothing was changed" in said if said else None)
        if taken <= first:
            break
        first += 1
    assert first > 5
    assert None in outcomes


def test_a_disk_that_fails_at_random_is_never_hidden(scratch: Scratch) -> None:
    rng = Random(7)
    for _ in range(100):
        fails = {number for number in range(100) if rng.random() < rng.choice([0.1, 0.3, 0.6])}
        attempt(scratch, rng.choice(CHANGES), fails.__contains__)


def test_the_next_save_undoes_a_refused_entry(scratch: Scratch) -> None:
    path = scratch.directory({})
    with disk.recorded(), closing(opened(path)) as file:
        with disk.failing(lambda number: number >= 6), pytest.raises(StateError):
            file.apply([AddOwn(own_key(Id(3), 80))])
        file.save_held([(Id(4), [SavedRecord(Id(4), Peer(endpoint(1)), 3_600, KEPT)])])
        kept = content(file)
    assert (kept.own, len(kept.held)) == (frozenset(), 1)


def test_a_failed_disk_leaves_the_file_locked(scratch: Scratch) -> None:
    path = scratch.directory({})
    with disk.recorded(), closing(opened(path)) as file:
        with disk.failing(lambda number: number == 3), pytest.raises(StateError):
            file.apply([AddOwn(own_key(Id(3), 80))])
        with pytest.raises(StateError, match="in use"):
            StateFile.open(path / NAME, SEVEN)
