"""The state file against plain sets: reading gives what was written, and a crash at any write leaves old or new.

The crashes are those of tests/daemon/disk.py: each step of SQLite on the disk is noted, and the directories that a
dying process or a power failure can leave behind are made from the notes and opened. The opening may crash at any of
its own writes, too.
"""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dhtd.core.ids import Id
from dhtd.core.messages import LEASE_MAX, Contact
from dhtd.core.records import DATA_MAX, SALT_MAX, SEQ_MAX, Immutable, Mutable, Peer, RecordKey, Value
from dhtd.daemon.labels import BLANK, Label
from dhtd.daemon.state.file import (
    AddOwn,
    Change,
    DropValue,
    KeepValue,
    RemoveOwn,
    SavedGuard,
    SavedHeldValue,
    SavedHolder,
    SavedOwnValue,
    SavedRecord,
    SavedState,
    SetGuard,
    SetHolders,
    StateFile,
)
from dhtd.daemon.state.saved import HELD
from dhtd.errors import InvalidPort
from tests.core.small import SEVEN, endpoint
from tests.daemon import disk
from tests.daemon.old_state import OLD_VERSIONS, write_old
from tests.records import KEPT, own_key
from tests.strategies import ids, scaled

pytestmark = pytest.mark.skipif(disk.RECORDER is None, reason="this Python hides its SQLite")

NAME = "state.db"
MEMORY = Path("/dev/shm")  # Linux's: nothing here depends on a disk, and much is written


@dataclass(frozen=True)
class Kept:
    """The expected content of a state file. Only contacts have an order."""

    node_id: Id | None = None
    contacts: tuple[Contact, ...] = ()
    own: frozenset[RecordKey] = frozenset()
    held: frozenset[SavedRecord] = frozenset()
    holders: frozenset[tuple[RecordKey, SavedHolder]] = frozenset()
    guards: frozenset[tuple[RecordKey, SavedGuard]] = frozenset()
    labels: frozenset[tuple[RecordKey, Label]] = frozenset()  # without blank ones
    own_values: frozenset[SavedOwnValue] = frozenset()
    held_values: frozenset[SavedHeldValue] = frozenset()


# What may be asked of it: what it does to the file, and what it should do to what is kept


@dataclass(frozen=True)
class NewId:
    id: Id

    def make(self, file: StateFile) -> None:
        file.set_node_id(self.id)

    def applied(self, kept: Kept) -> Kept:
        return replace(kept, node_id=self.id)


@dataclass(frozen=True)
class Contacts:
    contacts: tuple[Contact, ...]

    def make(self, file: StateFile) -> None:
        file.save_contacts(self.contacts)

    def applied(self, kept: Kept) -> Kept:
        return replace(kept, contacts=self.contacts)


@dataclass(frozen=True)
class Own:
    changes: tuple[Change, ...]

    def make(self, file: StateFile) -> None:
        file.apply(self.changes)

    def applied(self, kept: Kept) -> Kept:
        own, holders, guards, labels = set(kept.own), set(kept.holders), set(kept.guards), dict(kept.labels)
        values = {each.key: each for each in kept.own_values}
        for change in self.changes:
            match change:
                case AddOwn(record_key, label, guard):
                    own.add(record_key)
                    labels[record_key] = label
                    guards = {each for each in guards if each[0] != record_key}
                    guards |= {(record_key, guard)} if guard is not None else set()
                case RemoveOwn(record_keys):
                    own -= set(record_keys)
                    labels = {each: label for each, label in labels.items() if each not in record_keys}
                    guards = {each for each in guards if each[0] not in record_keys}
                case SetHolders(record_key, those):
                    holders = {each for each in holders if each[0] != record_key} | {(record_key, by) for by in those}
                case SetGuard(record_key, guard):
                    guards = {each for each in guards if each[0] != record_key}
                    guards |= {(record_key, guard)} if guard is not None else set()
                case KeepValue(value):
                    values[value.key] = value
                case DropValue(key):
                    values.pop(key, None)
        labelled = frozenset((each, label) for each, label in labels.items() if label != BLANK)
        return replace(
            kept,
            own=frozenset(own),
            holders=frozenset(holders),
            guards=frozenset(guards),
            labels=labelled,
            own_values=frozenset(values.values()),
        )


@dataclass(frozen=True)
class HeldEntries:
    entries: tuple[tuple[Id, tuple[SavedRecord, ...]], ...]

    def make(self, file: StateFile) -> None:
        file.save_held(self.entries)

    def applied(self, kept: Kept) -> Kept:
        saved = dict(self.entries)
        held = {entry for entry in kept.held if entry.key not in saved}
        return replace(kept, held=frozenset(held.union(*saved.values())))


@dataclass(frozen=True)
class HeldValues:
    values: tuple[tuple[Id, SavedHeldValue | None], ...]

    def make(self, file: StateFile) -> None:
        file.save_held_values(self.values)

    def applied(self, kept: Kept) -> Kept:
        saved = dict(self.values)
        held = {value for value in kept.held_values if value.key not in saved}
        return replace(kept, held_values=frozenset(held | {value for value in saved.values() if value is not None}))


Step = NewId | Contacts | Own | HeldEntries | HeldValues

keys = ids(SEVEN)
few_keys = st.integers(0, 2).map(Id)
few_own = st.builds(own_key, few_keys, st.sampled_from([1, 2, 65_535]))
machines = st.integers(1, 30).map(endpoint)
times = st.floats(-1e12, 1e12) | st.just(-0.0)
leases = st.integers(0, LEASE_MAX)
held_places = st.dictionaries(st.tuples(machines, st.sampled_from([b"", KEPT, b"another"])), leases, max_size=5)

new_ids = st.builds(NewId, keys)
contact_lists = st.builds(Contacts, st.lists(st.builds(Contact, keys, machines), max_size=5).map(tuple))
seen = st.lists(st.tuples(st.binary(min_size=4, max_size=4), times), max_size=4).map(tuple)
holder_lists = st.dictionaries(st.builds(Contact, few_keys, machines), st.tuples(times, seen), max_size=3).map(
    lambda holders: tuple(SavedHolder(contact, *each) for contact, each in holders.items())
)
few_guards = st.sampled_from([None, HELD, SavedGuard("tcp", 5.0), SavedGuard("exec a", 0.5, False)])
few_labels = st.sampled_from([BLANK, Label("wiki"), Label("caf\xe9", "/e/a.toml"), Label(None, "/e/\udcff.toml")])
few_names = st.sampled_from([None, "wiki", "caf\xe9"])
few_values: st.SearchStrategy[Value] = st.sampled_from(
    [
        Immutable(b""),
        Immutable(bytes(DATA_MAX)),
        Mutable(bytes(32), b"", 0, b"text", bytes(64)),
        Mutable(bytes(32), bytes(SALT_MAX), SEQ_MAX, bytes(DATA_MAX), bytes(64)),
    ]
)
sources = st.sampled_from([bytes(4), bytes(8), bytes(16)])
own_changes = st.one_of(
    st.builds(AddOwn, few_own, few_labels, few_guards),
    st.builds(RemoveOwn, st.lists(few_own, max_size=2).map(tuple)),
    st.builds(SetHolders, few_own, holder_lists),
    st.builds(SetGuard, few_own, few_guards),
    st.builds(KeepValue, st.builds(SavedOwnValue, few_keys, few_values, st.integers(0, 9), few_names)),
    st.builds(DropValue, few_keys),
)
own_lists = st.builds(Own, st.lists(own_changes, max_size=6).map(tuple))


@st.composite
def held_entries(draw: st.DrawFn) -> HeldEntries:
    """Draw entries under up to three keys, each endpoint once a session and key; an empty key is to be forgotten."""
    by_key = draw(st.dictionaries(few_keys, held_places, max_size=3))
    return HeldEntries(
        tuple(
            (key, tuple(SavedRecord(key, Peer(at), lease, session) for (at, session), lease in places.items()))
            for key, places in by_key.items()
        )
    )


@st.composite
def many_entries(draw: st.DrawFn) -> HeldEntries:
    """Draw a change of many pages."""
    count, lease = draw(st.integers(100, 200)), draw(leases)
    return HeldEntries(
        ((Id(9), tuple(SavedRecord(Id(9), Peer(endpoint(number)), lease, KEPT) for number in range(count))),)
    )


@st.composite
def held_values(draw: st.DrawFn) -> HeldValues:
    """Draw values under up to three keys; None is to be forgotten."""
    held = st.tuples(few_values, sources, times)
    drawn = draw(st.dictionaries(few_keys, st.none() | held, max_size=3))
    return HeldValues(tuple((key, None if each is None else SavedHeldValue(key, *each)) for key, each in drawn.items()))


steps = st.one_of(
    new_ids, contact_lists, own_lists, own_lists, held_entries(), many_entries(), held_values(), held_values()
)


def opened(path: Path) -> StateFile:
    """Open the file, which no crash may have damaged."""
    file = StateFile.open(path / NAME, SEVEN)
    assert file.set_aside is None, file.notice
    return file


def content(file: StateFile) -> Kept:
    state = file.load()
    assert len(state.own) == len(set(state.own))
    assert len(state.held) == len({(entry.key, entry.record, entry.session) for entry in state.held})
    holders = [(own, holder) for own, holders in state.holders.items() for holder in holders]
    assert len(holders) == len({(own, holder.contact) for own, holder in holders})
    own, held = frozenset(state.own), frozenset(state.held)
    guards = frozenset(state.guards.items())
    labels = frozenset(state.labels.items())
    assert len(state.own_values) == len({own.key for own in state.own_values})
    assert len(state.held_values) == len({held.key for held in state.held_values})
    values = frozenset(state.own_values), frozenset(state.held_values)
    return Kept(state.node_id, tuple(state.contacts), own, held, frozenset(holders), guards, labels, *values)


class Scratch:
    """A place for any number of directories."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self._numbers = itertools.count()

    def directory(self, files: disk.Directory) -> Path:
        return disk.write_directory(self.path / str(next(self._numbers)), files)

    def recovered(self, files: disk.Directory) -> Kept:
        """Return the content of these files, opened by a function that leaves one file."""
        path = self.directory(files)
        with closing(opened(path)) as file:
            kept = content(file)
        assert [entry.name for entry in path.iterdir()] == [NAME]
        shutil.rmtree(path)
        return kept

    def close(self) -> None:
        shutil.rmtree(self.path)


# Without crashes, and with crashes at random places


class StateFileMachine(RuleBasedStateMachine):
    """Changes, reopenings and crashes in any order: the file agrees with the sets."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.steps = self.stack.enter_context(disk.recorded())
        self.scratch = Scratch()
        self.stack.callback(self.scratch.close)
        self.path = self.scratch.directory({})
        self.file = opened(self.path)
        self.kept = Kept()

    def teardown(self) -> None:
        self.file.close()
        self.stack.close()

    @rule(step=steps)
    def changes(self, step: Step) -> None:
        self._change(step)

    @rule(step=own_lists)
    def changes_own_entries(self, step: Step) -> None:
        self._change(step)

    @rule(changes=st.lists(own_changes, max_size=3))
    def asks_for_what_cannot_be(self, changes: list[Change]) -> None:
        with pytest.raises(InvalidPort):
            self.file.apply([*changes, AddOwn(own_key(Id(0), 0))])

    @rule()
    def is_reopened(self) -> None:
        self.file.close()
        assert set(disk.read_directory(self.path)) == {NAME}
        self.file = opened(self.path)

    @rule()
    def is_killed_between_changes(self) -> None:
        self._go_on_with(disk.read_directory(self.path))

    @rule(step=steps, data=st.data())
    def crashes_within_a_change(self, step: Step, data: st.DataObject) -> None:
        before = disk.read_directory(self.path)
        self.steps.clear()
        step.make(self.file)
        self._crash(before, data)
        self._go_on_with(self.left)
        kept = content(self.file)
        assert kept in (self.kept, step.applied(self.kept))
        self.kept = kept

    @rule(step=steps, data=st.data())
    def crashes_again_when_it_is_opened_after_a_crash(self, step: Step, data: st.DataObject) -> None:
        before = disk.read_directory(self.path)
        self.steps.clear()
        step.make(self.file)
        self._crash(before, data)
        for _ in range(data.draw(st.integers(1, 3))):
            left = self.left
            self._go_on_with(left)
            self._crash(left, data)
        self._go_on_with(self.left)
        kept = content(self.file)
        assert kept in (self.kept, step.applied(self.kept))
        self.kept = kept

    @invariant()
    def holds_what_was_written(self) -> None:
        assert content(self.file) == self.kept

    def _change(self, step: Step) -> None:
        step.make(self.file)
        self.kept = step.applied(self.kept)

    def _crash(self, before: disk.Directory, data: st.DataObject) -> None:
        """Set `left` to the remains of a crash after any of the noted steps."""
        taken = self.steps[: data.draw(st.integers(0, len(self.steps)))]
        if data.draw(st.booleans()):
            last = taken[-1] if taken else None
            cut = data.draw(st.integers(0, len(last.data))) if isinstance(last, disk.Write) else None
            self.left = disk.killed(before, taken, cut)
        else:
            chance, seed = data.draw(st.sampled_from([0.0, 0.5, 0.9])), data.draw(st.integers(0, 999))
            self.left = disk.powerless(before, taken, chance, Random(seed))

    def _go_on_with(self, files: disk.Directory) -> None:
        self.file.close()
        self.path = self.scratch.directory(files)
        self.steps.clear()
        self.file = opened(self.path)


TestStateFileHoldsWhatTheSetsHold = StateFileMachine.TestCase
TestStateFileHoldsWhatTheSetsHold.settings = scaled(8)


# Crashes at each write of one change


@pytest.fixture
def scratch() -> Iterator[Scratch]:
    with closing(Scratch()) as scratch:
        yield scratch


def all_that_a_crash_may_leave(before: disk.Directory, taken: list[disk.Step]) -> Iterator[disk.Directory]:
    """Yield the different directories for a crash after each step, from before the first until after the last."""
    seen: set[frozenset[tuple[str, bytes]]] = set()
    for left in _left_after_each(before, taken):
        whole = frozenset(left.items())
        if whole not in seen:
            seen.add(whole)
            yield left


def _left_after_each(before: disk.Directory, taken: list[disk.Step]) -> Iterator[disk.Directory]:
    for count in range(len(taken) + 1):
        steps = taken[:count]
        yield disk.killed(before, steps)
        if steps and isinstance(last := steps[-1], disk.Write):
            for written in {1, len(last.data) // 2, len(last.data) - 1}:
                yield disk.killed(before, steps, written)
        yield disk.powerless(before, steps, 0.0, Random(0))
        for chance in (0.5, 0.9):
            yield disk.powerless(before, steps, chance, Random(count))


@scaled(6)
@given(st.lists(steps, max_size=4), steps, st.booleans())
def test_a_crash_in_a_change_leaves_old_or_new(earlier: list[Step], step: Step, with_little_memory: bool) -> None:
    kept = Kept()
    with disk.recorded() as taken, closing(Scratch()) as scratch:
        path = scratch.directory({})
        with closing(opened(path)) as file:
            for one in earlier:
                one.make(file)
                kept = one.applied(kept)
            if with_little_memory:  # then it writes to the file before it commits
                file._connection.execute("PRAGMA cache_size = 1")
            before = disk.read_directory(path)
            taken.clear()
            step.make(file)
            during = list(taken)
            new = step.applied(kept)
            assert disk.read_directory(path) == disk.killed(before, during)  # nothing was done behind our back
        seen = [scratch.recovered(left) for left in all_that_a_crash_may_leave(before, during)]
        assert set(seen) <= {kept, new}
        assert seen[0] == kept
        # The change was acknowledged here, so it has to be on the disk from now on.
        assert scratch.recovered(disk.powerless(before, during, 0.0, Random(0))) == new
        assert scratch.recovered(disk.killed(before, during)) == new


@pytest.mark.parametrize("before", [{}, {NAME: b""}], ids=["no file", "an empty file"])
def test_a_crash_in_a_first_opening_leaves_a_new_file(scratch: Scratch, before: disk.Directory) -> None:
    with disk.recorded() as taken:
        with closing(opened(scratch.directory(before))):
            pass
        during = list(taken)
        assert len(during) > 20
        for left in all_that_a_crash_may_leave(before, during):
            assert scratch.recovered(left) == Kept()


def test_a_crash_in_a_recovery_leaves_the_same(scratch: Scratch) -> None:
    old, new = Kept(), Own((AddOwn(own_key(Id(1), 80)), AddOwn(own_key(Id(2), 80))))
    with disk.recorded() as taken:
        path = scratch.directory({})
        with closing(opened(path)) as file:
            before = disk.read_directory(path)
            taken.clear()
            new.make(file)
            during = list(taken)
        [in_file] = [place for place, step in enumerate(during) if step == disk.Sync(NAME)]
        left = disk.killed(before, during[:in_file])  # all but the end of the journal is there
        assert left[NAME] != before[NAME]
        path = scratch.directory(left)
        taken.clear()
        opened(path).close()
        recovery = list(taken)
        assert disk.Sync(NAME) in recovery
        for left_again in all_that_a_crash_may_leave(left, recovery):
            assert scratch.recovered(left_again) == old


@pytest.mark.parametrize(
    "version",
    [
        pytest.param(version, marks=pytest.mark.slow) if version < OLD_VERSIONS[-1] else version
        for version in OLD_VERSIONS
    ],
)
def test_a_crash_in_an_upgrade_leaves_a_whole_file(scratch: Scratch, version: int) -> None:
    own = Own((AddOwn(own_key(Id(1), 80)), AddOwn(own_key(Id(2), 443))))
    with disk.recorded() as taken:
        path = scratch.directory({})
        write_old(path / NAME, version, SavedState(Id(3), [], [own_key(Id(1), 80), own_key(Id(2), 443)], []), SEVEN)
        before = disk.read_directory(path)
        taken.clear()
        opened(path).close()
        during = list(taken)
        assert disk.Sync(NAME) in during
        for left in all_that_a_crash_may_leave(before, during):
            assert scratch.recovered(left) == own.applied(Kept(Id(3)))


def test_a_crash_while_mending_loses_no_row(scratch: Scratch) -> None:
    own = Own((AddOwn(own_key(Id(1), 80)), AddOwn(own_key(Id(2), 443))))
    with disk.recorded() as taken:
        path = scratch.directory({})
        with closing(opened(path)) as file:
            own.make(file)
        with closing(sqlite3.connect(path / NAME, isolation_level=None)) as connection:
            connection.execute("INSERT INTO own VALUES (x'03', 1, x'0000', x'', NULL, NULL, 7)")
        before = disk.read_directory(path)
        taken.clear()
        StateFile.open(path / NAME, SEVEN).close()
        during = list(taken)
        for left in all_that_a_crash_may_leave(before, during):
            path = scratch.directory(left)
            with closing(StateFile.open(path / NAME, SEVEN)) as file:
                assert content(file) == own.applied(Kept())
            assert any(has_the_bad_row(aside) for aside in path.glob(f"{NAME}.damaged-*Z*") if is_database(aside))
            shutil.rmtree(path)


def is_database(path: Path) -> bool:
    return not path.name.endswith("-journal") and path.stat().st_size > 0


def has_the_bad_row(path: Path) -> bool:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection, suppress(sqlite3.Error):
        return (b"\x03", b"\0\0") in connection.execute("SELECT key, place FROM own").fetchall()
    return False
