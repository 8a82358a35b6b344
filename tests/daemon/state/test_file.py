"""The state file: what it keeps, what it refuses, and what survives every crash."""

import errno
import fcntl
import os
import random
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from dhtd.config import networks
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id, Keyspace
from dhtd.core.messages import LEASE_MAX, SESSION_SIZE, Contact
from dhtd.core.records import DATA_MAX, SALT_MAX, SEQ_MAX, Immutable, Mutable, Peer
from dhtd.core.storage.packed_value import pack
from dhtd.daemon import make_driver
from dhtd.daemon.labels import BLANK, Label
from dhtd.daemon.state import contents
from dhtd.daemon.state import disk as state_disk
from dhtd.daemon.state.file import (
    AddOwn,
    KeepValue,
    RemoveOwn,
    SavedHeldValue,
    SavedHolder,
    SavedOwnValue,
    SavedRecord,
    SavedState,
    SetHolders,
    StateFile,
)
from dhtd.daemon.state.rows import RowReader
from dhtd.daemon.state.saved import HELD, SavedGuard, SavedOwn
from dhtd.daemon.state.schemas import ROWID, VERSION, Value
from dhtd.errors import InvalidPort, StateError, StateLocked, StateTooNew
from tests.daemon.old_state import OLD_VERSIONS, put_real, write_old
from tests.records import KEPT, SESSION, own_key

ROOT = Path(__file__).parents[3]
NOBODY = 65534

ID = NATIVE.digest(b"node")
KEY = NATIVE.digest(b"printer")
OTHER = NATIVE.digest(b"scanner")
ID_BYTES = NATIVE.to_bytes(ID)
V4 = Endpoint.parse("192.0.2.1:1729")
V6 = Endpoint.parse("[2001:db8::1]:1729")

SIGNED = Mutable(bytes(range(32)), b"salt", 7, b"\0text\xff", bytes(range(64)))
FULL = SavedState(
    node_id=ID,
    contacts=[Contact(NATIVE.digest(bytes([number])), V4.with_port(number + 1)) for number in (3, 1, 2)],
    own=sorted([own_key(KEY, 80), own_key(KEY, 443), own_key(OTHER, 22)]),
    held=[SavedRecord(KEY, Peer(V4), 3_600, KEPT)],
    holders={
        own_key(KEY, 80): [
            SavedHolder(Contact(ID, V4), 1_700_000_001.5, ((V4.ip, 1_700_000_000.5), (bytes(4), 1_700_000_001.5))),
            SavedHolder(Contact(ID, V6), 1_700_000_002.5),
        ],
        own_key(OTHER, 80): [SavedHolder(Contact(KEY, V4), 1_700_000_003.0)],  # which was an own entry
    },
    labels={
        own_key(KEY, 80): Label("the printer é", "/etc/dhtd/entries.d/pr\udcffnter.toml"),
        own_key(OTHER, 22): Label("scanner"),
    },
    guards={
        own_key(KEY, 80): SavedGuard("http://127.0.0.1:80/", 5.0),
        own_key(OTHER, 22): SavedGuard("tcp", 0.5, False),
    },
    own_values=[
        SavedOwnValue(OTHER, SIGNED._replace(seq=SEQ_MAX, salt=bytes(SALT_MAX)), 3, "the scanner's \xe9"),
        SavedOwnValue(KEY, Immutable(bytes(DATA_MAX)), 0),
    ],
    held_values=[
        SavedHeldValue(ID, Immutable(b""), V4.ip, 1_700_000_004.5),
        SavedHeldValue(OTHER, SIGNED._replace(data=bytes(DATA_MAX)), V6.ip[:8], 1_700_000_006.5),
        SavedHeldValue(KEY, SIGNED, V6.ip, 1_700_000_005.5),
    ],
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "default.db"


def fill(path: Path) -> bytes:
    """Write a file with `FULL` in it and return its bytes."""
    with closing(StateFile.open(path)) as file:
        file.set_node_id(ID)
        file.save_contacts(FULL.contacts)
        file.add_own(*(AddOwn(own, FULL.labels.get(own, BLANK), FULL.guards.get(own)) for own in FULL.own))
        file.save_held([(KEY, FULL.held)])
        file.save_holders(SetHolders(own, holders) for own, holders in FULL.holders.items())
        file.apply(map(KeepValue, FULL.own_values))
        file.save_held_values((held.key, held) for held in FULL.held_values)
    return path.read_bytes()


def tamper(path: Path, *statements: str) -> None:
    """Change the file as another program would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def zero_root(path: Path, table: str) -> None:
    """Overwrite the first page of a table."""
    with closing(sqlite3.connect(path)) as connection:
        [root] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    content = path.read_bytes()
    path.write_bytes(content[: 4096 * (root - 1)] + bytes(4096) + content[4096 * root :])


def loaded(path: Path) -> SavedState:
    with closing(StateFile.open(path)) as file:
        assert file.set_aside is None, file.notice
        return file.load()


def in_order(state: SavedState) -> SavedState:
    """Return the same in the order of `FULL`: only contacts have an order."""
    holders = {own: sorted(holders, key=lambda holder: holder.until) for own, holders in state.holders.items()}
    values = sorted(state.own_values, key=lambda each: each.key)
    held_values = sorted(state.held_values, key=lambda each: each.key)
    return replace(state, own=sorted(state.own), holders=holders, own_values=values, held_values=held_values)


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir())


# What it keeps


def test_a_new_file_is_empty_and_private(path: Path) -> None:
    with closing(StateFile.open(path)) as file:
        assert file.load() == SavedState(None, [], [], [])
        assert (file.set_aside, file.notice) == (None, None)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_missing_directories_are_made_private(tmp_path: Path) -> None:
    StateFile.open(tmp_path / "a" / "b" / "state.db").close()
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "a/b")] == [0o700, 0o700]


def test_the_mode_of_a_directory_is_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    StateFile.open(tmp_path / "state.db").close()
    assert tmp_path.stat().st_mode & 0o777 == 0o750


def test_everything_is_there_after_reopening(path: Path) -> None:
    fill(path)
    state = loaded(path)
    assert in_order(state) == FULL


def test_a_closed_file_is_one_file_that_says_its_kind(path: Path) -> None:
    data = fill(path)
    assert names(path) == ["default.db"]
    assert data[:16] == b"SQLite format 3\0"
    assert data[68:72] == b"DHTD"
    assert data[60:64] == bytes([0, 0, 0, VERSION])


def test_an_own_entry_added_twice_is_there_once(path: Path) -> None:
    with closing(StateFile.open(path)) as file:
        file.add_own(AddOwn(own_key(KEY, 80)))
        file.add_own(AddOwn(own_key(KEY, 80)))
        assert file.load().own == [own_key(KEY, 80)]


def test_a_removal_leaves_other_ports_and_keys(path: Path) -> None:
    fill(path)
    with closing(StateFile.open(path)) as file:
        file.remove_own([own_key(KEY, 80), own_key(KEY, 81)])
        file.remove_own([own_key(NATIVE.digest(b"never entered"), 80)])
    assert sorted(loaded(path).own) == sorted([own_key(KEY, 443), own_key(OTHER, 22)])


def test_changes_are_ordered_and_atomic(path: Path) -> None:
    with closing(StateFile.open(path)) as file:
        file.apply([AddOwn(own_key(KEY, 80)), RemoveOwn([own_key(KEY, 80)]), AddOwn(own_key(KEY, 81))])
        with pytest.raises(InvalidPort):
            file.apply([AddOwn(own_key(OTHER, 22)), AddOwn(own_key(OTHER, 0))])
        assert file.load().own == [own_key(KEY, 81)]


def test_contacts_and_node_id_replace_the_old_ones(path: Path) -> None:
    fill(path)
    with closing(StateFile.open(path)) as file:
        file.save_contacts([Contact(OTHER, V6)])
        file.set_node_id(OTHER)
    state = loaded(path)
    assert (state.node_id, state.contacts) == (OTHER, [Contact(OTHER, V6)])


def test_held_entries_replace_their_keys_only(path: Path) -> None:
    fill(path)
    with closing(StateFile.open(path)) as file:
        file.save_held(
            [(OTHER, [SavedRecord(OTHER, Peer(V4), 3_600, KEPT), SavedRecord(OTHER, Peer(V6), 3_600, KEPT)])]
        )
        file.save_held([(KEY, []), (OTHER, [SavedRecord(OTHER, Peer(V6), 3_600, KEPT)])])
    assert loaded(path).held == [SavedRecord(OTHER, Peer(V6), 3_600, KEPT)]


def test_held_entries_may_replace_all_others(path: Path) -> None:
    fill(path)
    with closing(StateFile.open(path)) as file:
        file.save_held([(OTHER, [SavedRecord(OTHER, Peer(V4), 3_600, KEPT)])], whole=True)
    assert loaded(path).held == [SavedRecord(OTHER, Peer(V4), 3_600, KEPT)]
    with closing(StateFile.open(path)) as file:
        file.save_held([], whole=True)
    assert loaded(path).held == []


def test_the_extremes_of_every_range_survive(path: Path) -> None:
    lowest, highest = Id(0), Id(NATIVE.size - 1)
    with closing(StateFile.open(path)) as file:
        file.apply([AddOwn(own_key(lowest, 1)), AddOwn(own_key(highest, 65_535))])
        file.save_contacts([Contact(lowest, V4.with_port(0)), Contact(highest, Endpoint(b"\xff" * 18))])
        file.save_held([(highest, [SavedRecord(highest, Peer(V4), 3_600, KEPT)])])
        written = file.load()
    assert loaded(path) == written
    assert len(written.contacts) == 2


def test_a_keyspace_of_its_own_is_kept_apart(path: Path) -> None:
    with closing(StateFile.open(path, Keyspace(7))) as file:
        file.set_node_id(Id(127))
    with closing(StateFile.open(path, Keyspace(7))) as file:
        assert file.load().node_id == 127
    before = path.read_bytes()
    with pytest.raises(StateError, match=r"default\.db is of a network whose IDs have 7 bits, not 256: give .*--state"):
        StateFile.open(path)
    assert (path.read_bytes(), names(path)) == (before, ["default.db"])


@pytest.mark.parametrize("ours", [networks.NATIVE, networks.MAINLINE])
def test_the_network_of_a_file_is_named(ours: networks.Network, path: Path) -> None:
    """A user who forgets the --network of an instance is told."""
    [other] = [each for each in networks.NETWORKS.values() if each is not ours]
    StateFile.open(path, other.keyspace).close()
    bits = f"{other.keyspace.bits} bits, not {ours.keyspace.bits}"
    with pytest.raises(StateError, match=rf"have {bits}: say --network {other.name}, or give this daemon a file"):
        StateFile.open(path, ours.keyspace)


def test_calls_may_come_from_any_thread(path: Path) -> None:
    with closing(StateFile.open(path)) as file:
        thread = threading.Thread(target=file.add_own, args=(AddOwn(own_key(KEY, 80)),))
        thread.start()
        thread.join()
        assert file.load().own == [own_key(KEY, 80)]


def test_a_relative_path_is_meant_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(StateFile.open(Path("state.db"))) as file:
        assert file.path == tmp_path / "state.db"


@pytest.mark.parametrize("name", [":memory:", "a?mode=memory", "sp ace%20#.db", "file:x.db", "ü\udcff.db"])
def test_a_name_with_a_meaning_to_sqlite_is_a_name(tmp_path: Path, name: str) -> None:
    fill(tmp_path / name)
    assert loaded(tmp_path / name).node_id == ID
    assert names(tmp_path / name) == [name]


def test_a_second_close_is_harmless_a_use_is_a_mistake(path: Path) -> None:
    file = StateFile.open(path)
    file.close()
    file.close()
    with pytest.raises(sqlite3.ProgrammingError):
        file.add_own(AddOwn(own_key(KEY, 80)))
    with pytest.raises(sqlite3.ProgrammingError):
        file.load()


@pytest.mark.parametrize(("lease", "session"), [(-1, KEPT), (LEASE_MAX + 1, KEPT), (60, KEPT[1:]), (60, SESSION)])
def test_unreadable_values_are_not_written(path: Path, lease: int, session: bytes) -> None:
    with closing(StateFile.open(path)) as file:
        with pytest.raises(AssertionError):
            file.save_held([(KEY, [SavedRecord(KEY, Peer(V4), lease, session)])])
        with pytest.raises(AssertionError):
            file.save_held([(OTHER, [SavedRecord(KEY, Peer(V4), 3_600, KEPT)])])
        assert file.load().held == []


# Possible holders


def test_a_second_opening_is_refused(path: Path) -> None:
    fill(path)
    with closing(StateFile.open(path)) as file:
        for _ in range(2):
            with pytest.raises(StateLocked, match=r"default\.db is in use(, most likely)? by .*: stop it, .*--inst"):
                StateFile.open(path)
        file.add_own(AddOwn(own_key(KEY, 9)))
    assert own_key(KEY, 9) in loaded(path).own
    assert (StateLocked.code, StateLocked.exit_status) == ("state-locked", 1)


HOLD = """
import sys
from pathlib import Path
from dhtd.daemon.state.file import StateFile
from dhtd.errors import StateLocked
print("ready", flush=True)
sys.stdin.readline()
try:
    file = StateFile.open(Path(sys.argv[1]))
except StateLocked:
    print("locked", flush=True)
else:
    print("open", flush=True)
    sys.stdin.readline()
    file.close()
"""


class Child:
    """A process that runs a script on a state file."""

    def __init__(self, script: str, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin: IO[str] = self.process.stdin
        self.stdout: IO[str] = self.process.stdout

    def say(self) -> None:
        self.stdin.write("\n")
        self.stdin.flush()

    def hear(self) -> str:
        return self.stdout.readline().strip()

    def end(self, *, kill: bool = False) -> list[str]:
        """Let it end, or kill it, and return its last words."""
        if kill:
            self.process.send_signal(signal.SIGKILL)
        with suppress(BrokenPipeError):
            self.stdin.close()
        last = self.stdout.read().splitlines()
        self.stdout.close()
        self.process.wait()
        return last


def test_a_process_is_refused_until_the_first_dies(path: Path) -> None:
    fill(path)
    child = Child(HOLD, path)
    child.say()
    assert [child.hear(), child.hear()] == ["ready", "open"]
    with pytest.raises(StateLocked):
        StateFile.open(path)
    child.end(kill=True)
    assert loaded(path).node_id == ID


@pytest.mark.parametrize("content", [None, b"garbage" * 500], ids=["new", "damaged"])
def test_one_of_many_starts_gets_the_file(path: Path, content: bytes | None) -> None:
    if content is not None:
        path.parent.mkdir()
        path.write_bytes(content)
    children = [Child(HOLD, path) for _ in range(5)]
    assert {child.hear() for child in children} == {"ready"}
    for child in children:
        child.say()
    assert sorted(child.hear() for child in children) == ["locked"] * 4 + ["open"]
    for child in children:
        child.end()
    damaged = [name for name in names(path) if "damaged" in name]
    assert [path.with_name(name).read_bytes() for name in damaged] == ([] if content is None else [content])
    assert loaded(path) == SavedState(None, [], [], [])


def test_a_file_put_in_order_meanwhile_is_not_replaced(path: Path) -> None:
    before = fill(path)
    with (
        pytest.raises(StateLocked, match=r"another dhtd has just begun with the state file .*default\.db"),
        state_disk.replacement(path, (0, 0)),
    ):
        pass
    assert (path.read_bytes(), names(path)) == (before, ["default.db"])


# A file of an earlier version


REAL = replace(FULL, held=[SavedRecord(KEY, Peer(V6), 3_600, KEPT), *FULL.held])


def before(version: int, state: SavedState) -> SavedState:
    """Return what a file of this version can hold: no holders in 1, nothing that they saw in 2, no values in any.

    Before version 5 there are no sessions, labels and guards.
    """
    state = replace(state, own_values=[], held_values=[])
    if version >= 5:
        return state
    unseen = {own: [replace(at, seen=()) for at in holders] for own, holders in state.holders.items()}
    holders = {1: {}, 2: unseen}.get(version, state.holders)
    held = [replace(entry, lease=60, session=b"") for entry in state.held]
    return replace(state, held=held, holders=holders, labels={}, guards={})


@pytest.mark.parametrize("version", OLD_VERSIONS)
def test_a_real_file_of_each_version_is_upgraded(path: Path, version: int) -> None:
    put_real(path, version)
    with closing(StateFile.open(path)) as file:
        assert (file.set_aside, file.notice, file.warnings) == (None, None, [])
        assert in_order(file.load()) == before(version, REAL)
        assert file.networks() == (("0123456789abcdef",) if version > 1 else None)
        assert file.fact("clock") == ("anchor" if version > 2 else None)
    assert in_order(loaded(path)) == before(version, REAL)
    assert names(path) == ["default.db"]


@pytest.mark.parametrize("version", OLD_VERSIONS)
def test_an_earlier_file_gets_what_it_lacks(path: Path, version: int) -> None:
    write_old(path, version, FULL)
    with closing(StateFile.open(path)) as file:
        assert (file.set_aside, file.notice) == (None, None)
        assert in_order(file.load()) == before(version, FULL)
        file.save_holders(SetHolders(own, holders) for own, holders in FULL.holders.items())
        file.save_held([(KEY, FULL.held)])
        file.apply([AddOwn(own, FULL.labels.get(own, BLANK), FULL.guards.get(own)) for own in FULL.own])
        file.apply(map(KeepValue, FULL.own_values))
        file.save_held_values((held.key, held) for held in FULL.held_values)
    assert in_order(loaded(path)) == FULL
    assert names(path) == ["default.db"]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)


@pytest.mark.parametrize("version", OLD_VERSIONS)
def test_an_upgraded_file_has_the_tables_of_a_new_one(path: Path, tmp_path: Path, version: int) -> None:
    write_old(path, version, FULL)
    loaded(path)
    fill(tmp_path / "new.db")
    made = "SELECT name, sql, rootpage FROM sqlite_master"
    with closing(sqlite3.connect(path)) as old, closing(sqlite3.connect(tmp_path / "new.db")) as new:
        assert old.execute(made).fetchall() == new.execute(made).fetchall()


IMPOSSIBLE = ("INSERT INTO own VALUES (zeroblob(31), 80)", "INSERT INTO held VALUES (zeroblob(32), 5, 1.5)")
NO_ID = "UPDATE meta SET value = 'me' WHERE name = 'node_id'"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("has_id", [True, False])
def test_an_upgrade_leaves_out_impossible_rows(path: Path, version: int, *, has_id: bool) -> None:
    write_old(path, version, FULL)
    tamper(path, *IMPOSSIBLE, *(() if has_id else (NO_ID,)))
    kept = before(version, FULL)
    with closing(StateFile.open(path)) as file:
        assert file.set_aside is not None
        assert file.notice is not None
        assert ("(it had 2 impossible rows)" if has_id else "(its ID cannot be one)") in file.notice
        assert file.damage is not None
        assert (file.damage.lost, file.damage.has_new_id) == ({"own": 1, "held": 1}, not has_id)
        assert in_order(file.load()) == (kept if has_id else replace(kept, node_id=None))
    assert file.set_aside.exists()


@pytest.mark.parametrize(
    ("statement", "lost", "reason"),
    [
        ("UPDATE own SET port = 81 WHERE port = 80", {"own": 1}, "it had 1 impossible row"),
        ("UPDATE holder SET until = 5", {"holder": 3}, "it had 3 impossible rows"),
        ("DELETE FROM held", {"held": 1}, "what it has of held is not what was last written there"),
        ("UPDATE meta SET value = 'me' WHERE name = 'node_id'", {}, "what it has once is not as it was written"),
    ],
    ids=["own", "holder", "held", "meta"],
)
def test_an_upgrade_finds_what_was_changed(path: Path, statement: str, lost: dict[str, int], reason: str) -> None:
    write_old(path, 3, FULL)
    tamper(path, statement)
    with closing(StateFile.open(path)) as file:
        assert file.damage is not None
        assert reason in file.damage.reason
        assert (file.damage.lost, file.damage.has_new_id) == (lost, False)
        assert is_part(in_order(file.load()), before(3, FULL))
        assert file.node_id() == ID  # which the spare has
    with closing(StateFile.open(path)) as file:
        assert file.damage is None


def test_an_upgrade_that_cannot_copy_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_old(path, 3, FULL)
    tamper(path, "DELETE FROM held")
    old = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(contents, "copy_aside", fail)
    with pytest.raises(StateError, match=r"default\.db cannot be copied: no space left"):
        StateFile.open(path)
    assert path.read_bytes() == old


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize("damaged", ["own", "held", "holder"])
def test_sound_tables_of_an_earlier_file_are_kept(path: Path, damaged: str, version: int) -> None:
    write_old(path, version, FULL)
    zero_root(path, damaged)
    whole = before(version, FULL)
    kept = {
        "own": replace(whole, own=[]),
        "held": replace(whole, held=[]),
        "holder": replace(whole, holders={}),
    }[damaged]
    with closing(StateFile.open(path)) as file:
        assert in_order(file.load()) == kept
        assert file.damage is not None
        count = {"own": 3, "held": 1, "holder": 3}[damaged] if version >= 3 else None
        assert (file.damage.has_new_id, file.damage.lost) == (False, {damaged: count})


@pytest.mark.parametrize("statement", ["PRAGMA user_version = 2", "CREATE TABLE holder (key BLOB)"])
def test_a_file_with_tables_of_no_version_is_damaged(path: Path, statement: str) -> None:
    write_old(path, 1, FULL)
    tamper(path, statement)
    with closing(StateFile.open(path)) as file:
        assert file.set_aside is not None
        assert in_order(file.load()) == before(1, FULL)


# Guards of own entries


TCP = SavedGuard("tcp", 5.0)


def test_an_entry_has_the_guard_of_its_last_enter(path: Path) -> None:
    with closing(StateFile.open(path)) as file:
        file.add_own(AddOwn(own_key(KEY, 80), guard=TCP))
        file.add_own(AddOwn(own_key(KEY, 80), guard=SavedGuard("exec a", 0.5, False)))
        file.add_own(AddOwn(own_key(KEY, 81), guard=HELD))
        file.add_own(AddOwn(own_key(KEY, 81)))
        assert file.guards() == {own_key(KEY, 80): SavedGuard("exec a", 0.5, False)}


def test_a_removed_entry_has_no_guard(path: Path) -> None:
    with closing(StateFile.open(path)) as file:
        file.add_own(AddOwn(own_key(KEY, 80), guard=TCP), AddOwn(own_key(KEY, 81), guard=TCP))
        file.remove_own([own_key(KEY, 80)])
    assert loaded(path).guards == {own_key(KEY, 81): TCP}


def test_what_processes_held_is_forgotten_with_its_guard(path: Path) -> None:
    holder = SavedHolder(Contact(KEY, V4), 1_700_000_003.0)
    with closing(StateFile.open(path)) as file:
        for port, guard in ((80, HELD), (81, TCP), (82, None)):
            file.add_own(AddOwn(own_key(KEY, port), guard=guard))
            file.save_holders([SetHolders(own_key(KEY, port), [holder])])
        file.forget_held()
        file.forget_held()
    state = loaded(path)
    assert sorted(state.own) == [own_key(KEY, 81), own_key(KEY, 82)]
    assert state.guards == {own_key(KEY, 81): TCP}
    assert state.holders.keys() == {own_key(KEY, port) for port in (80, 81, 82)}


@pytest.mark.parametrize(
    ("what", "every", "passed"),
    [
        *(("tcp", 0.0, 1), ("tcp", 5.0, 2), ("tcp", 5.0, None), ("tcp", 5.0, "1"), ("garbage", 5.0, 1)),
        *((None, 5.0, 1), (b"tcp", 5.0, 1), ("tcp", "soon", 1), ("tcp", float("inf"), 1), ("", 5.0, 1), ("", 0.0, 0)),
    ],
)
def test_a_guard_is_a_check_or_held(what: Value, every: Value, passed: Value) -> None:
    reader, key = RowReader(NATIVE), (ID_BYTES, 1, b"\0\x50")
    assert reader.guard(*key, "tcp", 5.0, 0) == (own_key(ID, 80), SavedGuard("tcp", 5.0, False))
    assert reader.guard(*key, "", 0.0, 1) == (own_key(ID, 80), HELD)
    with pytest.raises(ValueError):  # noqa: PT011 - no other is to be told from it
        reader.guard(*key, what, every, passed)


# Possible holders of entries


def test_holders_outlive_their_entry(path: Path) -> None:
    first, second = FULL.holders[own_key(KEY, 80)]
    with closing(StateFile.open(path)) as file:
        file.add_own(AddOwn(own_key(KEY, 80)))
        file.save_holders([SetHolders(own_key(KEY, 80), [first]), SetHolders(own_key(KEY, 443), [first])])
        file.remove_own([own_key(KEY, 80)], [SetHolders(own_key(KEY, 80), [first, second])])
    state = loaded(path)
    assert state.own == []
    assert in_order(state).holders == {own_key(KEY, 80): [first, second], own_key(KEY, 443): [first]}
    with closing(StateFile.open(path)) as file:
        file.save_holders([SetHolders(own_key(KEY, 80), [])])
        with pytest.raises(InvalidPort):
            file.save_holders([SetHolders(own_key(KEY, 443), []), SetHolders(own_key(KEY, 0), [first])])
    assert loaded(path).holders == {own_key(KEY, 443): [first]}


# What it refuses


def test_a_newer_file_is_left_alone(path: Path) -> None:
    fill(path)
    tamper(path, f"PRAGMA user_version = {VERSION + 1}")
    before, status = path.read_bytes(), path.stat()
    newer = rf"default\.db was written by a newer dhtd .*is {VERSION + 1}.* knows {VERSION}\): upgrade dhtd"
    with pytest.raises(StateTooNew, match=newer):
        StateFile.open(path)
    after = path.stat()
    assert (path.read_bytes(), after.st_mtime_ns, names(path)) == (before, status.st_mtime_ns, ["default.db"])
    assert (StateTooNew.code, StateTooNew.exit_status) == ("state-too-new", 1)


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE note (text)"],
        ["PRAGMA application_id = 7"],
        [f"PRAGMA user_version = {VERSION}"],
        ["PRAGMA journal_mode = WAL", "CREATE TABLE note (text)"],
    ],
    ids=["tables", "application_id", "user_version", "wal"],
)
def test_a_foreign_database_is_left_as_it_is(path: Path, statements: list[str]) -> None:
    path.parent.mkdir()
    tamper(path, *statements)
    before, status = path.read_bytes(), path.stat()
    with pytest.raises(StateError, match=r"default\.db is another program's database; it was left as it is; .*--state"):
        StateFile.open(path)
    after = path.stat()
    assert (path.read_bytes(), after.st_mtime_ns, names(path)) == (before, status.st_mtime_ns, ["default.db"])


def test_a_foreign_database_in_use_is_not_touched(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as theirs:
        theirs.execute("PRAGMA journal_mode = WAL")
        theirs.execute("CREATE TABLE note (text)")
        theirs.execute("PRAGMA wal_checkpoint")
        theirs.execute("INSERT INTO note VALUES ('x')")
        before = names(path)
        with pytest.raises(StateError, match="another program's database"):
            StateFile.open(path)
        assert names(path) == before
        assert theirs.execute("SELECT text FROM note").fetchall() == [("x",)]


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"is a directory: give a file with --state, such as .*/dhtd\.db"):
        StateFile.open(tmp_path)


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "target.db")
    for _ in range(2):
        with pytest.raises(StateError, match=r"link\.db is a symbolic link: give the path of the file itself"):
            StateFile.open(tmp_path / "link.db")
        (tmp_path / "target.db").touch()
    assert (tmp_path / "target.db").read_bytes() == b""


def test_a_fifo_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(StateError, match=r"fifo is not a regular file; .*--state"):
        StateFile.open(tmp_path / "fifo")


def test_a_file_as_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for below in ("file/state.db", "file/deeper/state.db"):
        with pytest.raises(StateError, match=r"cannot make the state file .*: Not a directory; choose another"):
            StateFile.open(tmp_path / below)


@pytest.mark.parametrize(("name", "reason"), [("x" * 256, "File name too long"), ("a\0b", "null (byte|character)")])
def test_an_impossible_name_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(StateError, match=rf"(?s)cannot make the state file .*: .*{reason}"):
        StateFile.open(tmp_path / name)


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """Act as a user without root's rights, in a directory of its own: root passes all permissions."""
    with tempfile.TemporaryDirectory() as directory:
        if os.geteuid() != 0:
            yield Path(directory)
            Path(directory).chmod(0o700)
            return
        os.chown(directory, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield Path(directory)
        finally:
            os.seteuid(0)


def test_an_unwritable_directory_is_an_error(unprivileged: Path) -> None:
    unprivileged.chmod(0o500)
    with pytest.raises(StateError, match=r"cannot make the state file .*: Permission denied; .*--state"):
        StateFile.open(unprivileged / "state.db")
    with pytest.raises(StateError, match=r"cannot make the state file .*: Permission denied; .*--state"):
        StateFile.open(unprivileged / "below" / "state.db")
    unprivileged.chmod(0o000)
    with pytest.raises(StateError, match=r"cannot make the state file .*: Permission denied; .*--state"):
        StateFile.open(unprivileged / "state.db")
    assert (StateError.code, StateError.exit_status) == ("state-unusable", 1)


def test_a_directory_made_read_only_is_an_error(unprivileged: Path) -> None:
    path = unprivileged / "state.db"
    before = fill(path)
    unprivileged.chmod(0o500)
    with pytest.raises(StateError, match=r"state\.db cannot be written .*it and its directory must be writable"):
        StateFile.open(path)
    assert path.read_bytes() == before


def test_a_read_only_file_is_an_error_at_once(unprivileged: Path) -> None:
    path = unprivileged / "state.db"
    before = fill(path)
    path.chmod(0o400)
    with pytest.raises(StateError, match=r"state\.db cannot be written .*it and its directory must be writable"):
        StateFile.open(path)
    path.chmod(0o000)
    with pytest.raises(StateError, match=r"state\.db cannot be written .*it and its directory must be writable"):
        StateFile.open(path)
    path.chmod(0o600)
    assert path.read_bytes() == before


def test_a_damaged_file_that_cannot_move_stays(unprivileged: Path) -> None:
    path = unprivileged / "state.db"
    path.write_bytes(b"garbage" * 500)
    unprivileged.chmod(0o500)
    with pytest.raises(StateError, match=r"damaged state file .*state\.db cannot be replaced: Permission denied"):
        StateFile.open(path)
    unprivileged.chmod(0o700)
    assert (path.read_bytes(), names(path)) == (b"garbage" * 500, ["state.db"])


# Damage


def garbage(data: bytes) -> bytes:
    return b"this is not a database\n" * 400


def cut_in_half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def cut_in_a_page(data: bytes) -> bytes:
    return data[:-1000]


def cut_in_the_header(data: bytes) -> bytes:
    return data[:50]


def one_page_zeroed(data: bytes) -> bytes:
    return data[:8192] + bytes(4096) + data[12288:]


def one_page_scribbled(data: bytes) -> bytes:
    return data[:-4096] + bytes(random.Random(1).randbytes(4096))


def words_that_are_no_text(data: bytes) -> bytes:
    """SQLite quotes them in its complaint, which Python then cannot read."""
    return data.replace(b"CREATE TABLE own", b"CREATE TA\xb7LE own")


def wrong_size_in_the_header(data: bytes) -> bytes:
    """SQLite corrects this at the next change, which must not be ours; the list of free pages is damage enough."""
    return data[:24] + bytes(range(1, 13)) + (1).to_bytes(4, "big") + data[40:]


def version_zero(data: bytes) -> bytes:
    return data[:60] + bytes(4) + data[64:]


def is_part(state: SavedState, whole: SavedState) -> bool:
    """Whether everything that is there is unchanged."""
    return (
        state.node_id in (None, whole.node_id)
        and {*state.contacts} <= {*whole.contacts}
        and {*state.own} <= {*whole.own}
        and {*state.held} <= {*whole.held}
        and all({*holders} <= {*whole.holders[own]} for own, holders in state.holders.items())
        and {*state.own_values} <= {*whole.own_values}
        and {*state.held_values} <= {*whole.held_values}
    )


@pytest.mark.parametrize(
    ("damage", "keeps"),
    [
        (garbage, []),
        (cut_in_half, ["node_id"]),
        (cut_in_a_page, ["node_id", "own", "contacts", "held"]),
        (cut_in_the_header, []),
        (one_page_zeroed, ["node_id", "own", "contacts", "held", "holders"]),
        (one_page_scribbled, ["node_id", "own", "contacts", "held"]),
        (words_that_are_no_text, ["node_id", "own", "contacts", "held", "holders"]),
        (wrong_size_in_the_header, ["node_id", "own", "contacts", "held", "holders"]),
        (version_zero, ["node_id", "own", "contacts", "held", "holders"]),
    ],
    ids=lambda damage: getattr(damage, "__name__", ""),
)
def test_the_sound_part_of_a_damaged_file_goes_on(
    path: Path, damage: Callable[[bytes], bytes], keeps: list[str]
) -> None:
    damaged = damage(fill(path))
    path.write_bytes(damaged)
    with closing(StateFile.open(path)) as file:
        aside = file.set_aside
        assert aside is not None
        assert aside.read_bytes() == damaged
        assert aside.name.startswith("default.db.damaged-20")
        assert aside.stat().st_mode & 0o777 == 0o600
        assert file.notice is not None
        assert f"{path} was damaged (" in file.notice
        assert f"); as it was, it is now {aside}. Kept: " in file.notice
        state = in_order(file.load())
        assert is_part(state, FULL)
        assert [name for name in keeps if getattr(state, name) != getattr(FULL, name)] == []
        assert file.damage is not None
        assert file.damage.has_new_id is ("node_id" not in keeps)
        file.add_own(AddOwn(own_key(KEY, 9)))
    assert names(path) == ["default.db", aside.name]
    assert sorted(loaded(path).own) == sorted([*state.own, own_key(KEY, 9)])


def test_losses_of_a_damaged_file_are_counted(path: Path) -> None:
    fill(path)
    zero_root(path, "own")
    with closing(StateFile.open(path)) as file:
        assert in_order(file.load()) == replace(FULL, own=[], labels={})
        assert file.notice is not None
        assert file.notice.endswith(
            "Kept: the node's ID, 2 guards of entries, 3 contacts, 1 entry held for others, 3 notes of holders, 2 own"
            " values, 3 values held for others. Lost: 3 own entries. What was lost of own entries must be entered again"
        )


def test_lost_own_values_must_be_put_again(path: Path) -> None:
    fill(path)
    zero_root(path, "own_value")
    zero_root(path, "held_value")
    with closing(StateFile.open(path)) as file:
        assert in_order(file.load()) == replace(FULL, own_values=[], held_values=[])
        assert file.notice is not None
        assert file.notice.endswith(
            "3 notes of holders. Lost: 2 own values, 3 values held for others. What was lost of own values must be put"
            " again"
        )


@pytest.mark.parametrize("table", ["meta", "spare"])
def test_node_id_and_network_survive_a_lost_page(path: Path, table: str) -> None:
    fill(path)
    with closing(StateFile.open(path)) as file:
        file.set_networks(["0123abcd"])
    zero_root(path, table)
    with closing(StateFile.open(path)) as file:
        assert in_order(file.load()) == FULL
        assert file.networks() == ("0123abcd",)


def test_no_bit_can_be_flipped_in_silence(path: Path) -> None:
    content, rng = fill(path), random.Random(1)
    for _ in range(150):
        bit = rng.randrange(8 * len(content))
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with closing(StateFile.open(path)) as file:
            state = in_order(file.load())
            assert state.node_id == ID, bit
            assert is_part(state, FULL), bit
            assert state == FULL or file.notice is not None, bit


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE own",
        "ALTER TABLE held RENAME COLUMN source TO address",
        "ALTER TABLE contact ADD COLUMN more",  # nothing could be saved to it
        "CREATE TRIGGER undo AFTER INSERT ON own BEGIN DELETE FROM own; END",
        "DELETE FROM meta WHERE name = 'bits'",
        "UPDATE spare SET value = 'wide' WHERE name = 'bits'",
    ],
)
def test_a_database_without_our_tables_is_damaged(path: Path, statement: str) -> None:
    fill(path)
    tamper(path, statement)
    with closing(StateFile.open(path)) as file:
        assert file.set_aside is not None
        state = in_order(file.load())
        assert state.node_id == ID
        assert is_part(state, FULL)
        assert (state.own == FULL.own) is ("own" not in statement.split()[:3])


@pytest.mark.parametrize("statement", ["ANALYZE", "VACUUM", "REINDEX"])
def test_database_maintenance_does_no_harm(path: Path, statement: str) -> None:
    fill(path)
    tamper(path, statement)
    with closing(StateFile.open(path)) as file:
        assert (file.set_aside, in_order(file.load())) == (None, FULL)


def test_no_damaged_file_overwrites_another(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asides = []
    for number in range(4):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"%d" % number * 2000)
        with closing(StateFile.open(path)) as file:
            asides.append(file.set_aside)
    assert [aside and aside.read_bytes() for aside in asides] == [b"%d" % number * 2000 for number in range(4)]


def test_journals_go_with_a_damaged_file(path: Path) -> None:
    path.parent.mkdir()
    for suffix in ("", "-journal", "-wal", "-shm", ".new"):
        Path(f"{path}{suffix}").write_text(f"garbage{suffix}")
    aside = state_disk.put_in_place(Path(f"{path}.new"), path)
    assert names(path) == ["default.db", *(aside.name + suffix for suffix in ("", "-journal", "-shm", "-wal"))]
    assert [file.read_text() for file in (path, aside)] == ["garbage.new", "garbage"]
    assert Path(f"{aside}-journal").read_text() == "garbage-journal"


def test_a_disk_that_damages_a_fresh_file_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_damage(*args: object) -> bool:
        raise state_disk.DamagedError("bits fall over")

    fill(path)
    monkeypatch.setattr("dhtd.daemon.state.file.check_origin", find_damage)
    with pytest.raises(StateError, match=r"fresh state file .* is damaged at once \(bits fall over\): check the disk"):
        StateFile.open(path)
    assert names(path) == ["default.db"]


def test_a_write_ahead_log_is_switched_back(path: Path) -> None:
    fill(path)
    tamper(path, "PRAGMA journal_mode = WAL")
    with closing(StateFile.open(path)) as file:
        file.add_own(AddOwn(own_key(KEY, 9)))
        with pytest.raises(StateLocked):
            StateFile.open(path)
        assert names(path) == ["default.db", "default.db-journal"]
    assert len(loaded(path).own) == len(FULL.own) + 1


@pytest.mark.parametrize("name", ["SQLITE_NOMEM", "SQLITE_TOOBIG", "SQLITE_PROTOCOL", "SQLITE_IOERR"])
def test_other_sqlite_errors_are_no_damage(path: Path, name: str) -> None:
    error = sqlite3.OperationalError("no")
    error.sqlite_errorcode, error.sqlite_errorname = getattr(sqlite3, name), name
    explained = state_disk.explain(path, error)
    assert isinstance(explained, StateError)
    assert str(explained) == f"the state file {path}: no ({name}); nothing was changed; check the disk and its log"


@pytest.mark.parametrize("left", [b"", b"S"], ids=["nothing", "a byte"])
def test_an_empty_file_is_a_new_one(left: bytes, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(left)
    with closing(StateFile.open(path)) as file:
        assert file.warnings == [
            (
                f"the state file {path} was empty: if a node was in it, its ID and its entries are lost. This"
                " node begins anew; if you made the file, all is well"
            )
        ]
        assert file.notices() == file.warnings
        assert file.load() == SavedState(None, [], [], [])
    with closing(StateFile.open(path)) as file:
        assert file.notices() == []


def test_a_failed_first_start_leaves_no_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_FULL, "SQLITE_FULL"

    def full(file: StateFile, *, check: bool) -> None:
        raise state_disk.explain(path, error)

    with monkeypatch.context() as patch:
        patch.setattr(StateFile, "_attach_to", full)
        with pytest.raises(StateError, match="no space left"):
            StateFile.open(path)
    assert list(path.parent.iterdir()) == []
    with closing(StateFile.open(path)) as file:
        assert file.notices() == []


def test_a_failed_start_leaves_an_empty_file_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.parent.mkdir()
    path.touch()

    def fail(file: StateFile, *, check: bool) -> None:
        raise StateError("no")

    monkeypatch.setattr(StateFile, "_attach_to", fail)
    with pytest.raises(StateError):
        StateFile.open(path)
    assert path.exists()


def test_a_journal_without_its_file_is_said_to_be(path: Path) -> None:
    path.parent.mkdir()
    Path(f"{path}-journal").write_bytes(b"of another machine")
    with closing(StateFile.open(path)) as file:
        [warning] = file.warnings
    assert f"there is {path}-journal, and nothing in the state file that it belongs to" in warning


BLOB = "zeroblob(32)"


@pytest.mark.parametrize(
    "statement",
    [
        f"INSERT INTO own VALUES ({BLOB}, 1, x'0000', x'', NULL, NULL)",
        f"INSERT INTO own VALUES ({BLOB}, 1, x'010000', x'', NULL, NULL)",
        f"INSERT INTO own VALUES ({BLOB}, 1, x'', x'', NULL, NULL)",
        f"INSERT INTO own VALUES ({BLOB}, 1, 80, x'', NULL, NULL)",
        f"INSERT INTO own VALUES ({BLOB}, 1, 'ht', x'', NULL, NULL)",
        f"INSERT INTO own VALUES ({BLOB}, 1, x'50', x'', NULL, NULL)",
        f"INSERT INTO own VALUES ({BLOB}, 2, x'0050', x'', NULL, NULL)",
        f"INSERT INTO own VALUES ({BLOB}, 'peer', x'0050', x'', NULL, NULL)",
        f"INSERT INTO own VALUES ({BLOB}, 1, x'0050', x'01', NULL, NULL)",
        f"INSERT INTO own VALUES ({BLOB}, 1, x'0050', NULL, NULL, NULL)",
        "INSERT INTO own VALUES (zeroblob(31), 1, x'0050', x'', NULL, NULL)",
        "INSERT INTO own VALUES (zeroblob(33), 1, x'0050', x'', NULL, NULL)",
        "INSERT INTO own VALUES ('0123456789abcdef0123456789abcdef', 1, x'0050', x'', NULL, NULL)",
        "INSERT INTO own VALUES (5, 1, x'0050', x'', NULL, NULL)",
        "INSERT INTO own VALUES (CAST(x'ff' AS TEXT), 1, x'0050', x'', NULL, NULL)",
        f"INSERT INTO own VALUES ({BLOB}, 1, x'0050', x'', 5, NULL)",
        f"INSERT INTO own VALUES ({BLOB}, 1, x'0050', x'', x'77', NULL)",
        f"INSERT INTO own VALUES ({BLOB}, 1, x'0050', x'', 'wiki', 'wiki.toml')",
        f"INSERT INTO guard VALUES ({BLOB}, 1, x'0050', 'tcp', 5.0, 1)",
        f"INSERT INTO contact VALUES (99, {BLOB}, NULL)",
        f"INSERT INTO contact VALUES (99, {BLOB}, zeroblob(5))",
        f"INSERT INTO contact VALUES (99, NULL, x'{V4.hex()}')",
        f"INSERT INTO held VALUES ({BLOB}, 1, x'0050', x'{V4.ip.hex()}', zeroblob(7), x'', 'soon')",
        f"INSERT INTO held VALUES ({BLOB}, 1, x'0050', x'{V4.ip.hex()}', zeroblob(7), x'', 14401)",
        f"INSERT INTO held VALUES ({BLOB}, 1, x'0050', '1.2.3.4', zeroblob(7), x'', 60)",
        f"INSERT INTO held VALUES ({BLOB}, 1, x'0050', zeroblob(5), zeroblob(7), x'', 60)",
        f"INSERT INTO held VALUES ({BLOB}, 1, x'50', zeroblob(5), zeroblob(7), x'', 60)",
        f"INSERT INTO held VALUES ({BLOB}, 2, x'0050', x'{V4.ip.hex()}', zeroblob(7), x'', 60)",
        f"INSERT INTO held VALUES ({BLOB}, 1, x'0050', x'{V4.ip.hex()}', zeroblob(7), x'01', 60)",
        "INSERT INTO held VALUES (zeroblob(1), 1, x'0050', zeroblob(4), zeroblob(7), x'', 60)",
        f"INSERT INTO holder VALUES ({BLOB}, 1, x'0000', {BLOB}, x'{V4.hex()}', 1.5, x'')",
        f"INSERT INTO holder VALUES (zeroblob(3), 1, x'0050', {BLOB}, x'{V4.hex()}', 1.5, x'')",
        f"INSERT INTO holder VALUES ({BLOB}, 1, x'0050', zeroblob(3), x'{V4.hex()}', 1.5, x'')",
        f"INSERT INTO holder VALUES ({BLOB}, 1, x'0050', {BLOB}, zeroblob(3), 1.5, x'')",
        f"INSERT INTO holder VALUES ({BLOB}, 1, x'0050', {BLOB}, x'{V4.hex()}', 'soon', x'')",
        f"INSERT INTO holder VALUES ({BLOB}, 1, x'0050', {BLOB}, x'{V4.hex()}', 1.5, NULL)",
        f"INSERT INTO holder VALUES ({BLOB}, 1, x'0050', {BLOB}, x'{V4.hex()}', 1.5, zeroblob(13))",
        f"INSERT INTO holder VALUES ({BLOB}, 1, x'0050', {BLOB}, x'{V4.hex()}', 1.5, x'01020304fff8000000000000')",
        f"INSERT INTO own_value VALUES ({BLOB}, x'02', 1, NULL)",
        f"INSERT INTO own_value VALUES ({BLOB}, NULL, 1, NULL)",
        f"INSERT INTO held_value VALUES ({BLOB}, x'02', x'{V4.ip.hex()}', 1.5)",
    ],
)
def test_foreign_rows_go_and_the_rest_stays(path: Path, statement: str) -> None:
    fill(path)
    tamper(path, statement.replace(")", ", 5)") if statement.count(")") == 1 else f"{statement[:-1]}, 5)")
    with closing(StateFile.open(path)) as file:
        state, aside, notice = file.load(), file.set_aside, file.notice
    table = statement.split()[2]
    assert aside is not None
    assert notice is not None
    assert f"was damaged (what it has of {table} is not what was last written there); as it was, it is now" in notice
    assert notice.endswith("Lost: nothing.")
    assert in_order(state) == FULL
    assert names(path) == ["default.db", aside.name]
    assert aside.stat().st_mode & 0o777 == 0o600
    assert in_order(loaded(path)) == FULL
    with closing(sqlite3.connect(aside)) as copy:  # the row is still to be seen there
        [count] = copy.execute(f"SELECT count(*) FROM {table}").fetchone()
    rows = {"own": 3, "guard": 2, "contact": 3, "held": 1, "holder": 3, "own_value": 2, "held_value": 3}
    assert count == rows[table] + 1


@pytest.mark.parametrize(
    ("statement", "lost"),
    [
        ("UPDATE own SET place = x'0051' WHERE place = x'0050'", "own"),
        ("UPDATE guard SET what = 'exec /bin/sh' WHERE every = 0.5", "guard"),
        ("UPDATE held SET lease = 5", "held"),
        ("UPDATE contact SET endpoint = x'c00002010001' WHERE position = 1", "contact"),
        ("UPDATE holder SET until = until + 1 WHERE until < 1700000002", "holder"),
        ("UPDATE holder SET seen = x'' WHERE until < 1700000002", "holder"),
        ("UPDATE holder SET seen = NULL WHERE until < 1700000002", "holder"),
        ("UPDATE holder SET seen = zeroblob(24) WHERE until < 1700000002", "holder"),
        ("DELETE FROM own WHERE place = x'0050'", "own"),
        ("UPDATE own_value SET wanted = 1 WHERE wanted = 3", "own_value"),
        ("UPDATE own_value SET name = 'mine' WHERE name IS NULL", "own_value"),
        ("UPDATE held_value SET until = until + 1 WHERE until < 1700000005", "held_value"),
        (f"UPDATE held_value SET source = zeroblob(4) WHERE source = x'{V4.ip.hex()}'", "held_value"),
        ("UPDATE held_value SET body = x'0200' WHERE body = x'02'", "held_value"),
        ("DELETE FROM held_value WHERE body = x'02'", "held_value"),
    ],
)
def test_a_changed_row_is_lost_and_reported(path: Path, statement: str, lost: str) -> None:
    fill(path)
    tamper(path, statement)
    with closing(StateFile.open(path)) as file:
        assert is_part(in_order(file.load()), FULL)
        assert file.damage is not None
        assert file.damage.lost == {lost: 1}


SIGNED_ROW = pack(SIGNED)


@pytest.mark.parametrize(
    "body",
    [
        None,
        5,
        "text",
        b"",
        b"\1",
        b"\2" + bytes(DATA_MAX + 1),
        SIGNED_ROW[:105],
        SIGNED_ROW + bytes(DATA_MAX),
        pack(SIGNED._replace(salt=bytes(SALT_MAX + 1))),
        pack(SIGNED._replace(seq=SEQ_MAX + 1)),
    ],
    ids=["none", "number", "text", "empty", "peer", "long", "cut", "long and signed", "salt", "seq"],
)
def test_no_row_gives_an_impossible_value(body: Value) -> None:
    reader = RowReader(NATIVE)
    assert reader.own_value(ID_BYTES, SIGNED_ROW, 0, None) == SavedOwnValue(ID, SIGNED, 0)
    with pytest.raises(ValueError):  # noqa: PT011 - no other is to be told from it
        reader.own_value(ID_BYTES, body, 0, None)
    with pytest.raises(ValueError):  # noqa: PT011
        reader.held_value(ID_BYTES, body, V4.ip, 1.5)


@pytest.mark.parametrize(
    "row",
    [
        (ID_BYTES[1:], SIGNED_ROW, 0, None),
        (ID_BYTES, SIGNED_ROW, -1, None),
        (ID_BYTES, SIGNED_ROW, 1.0, None),
        (ID_BYTES, SIGNED_ROW, 1, b"name"),
    ],
)
def test_no_row_gives_an_impossible_own_value(row: tuple[Value, Value, Value, Value]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - no other is to be told from it
        RowReader(NATIVE).own_value(*row)


@pytest.mark.parametrize(
    "row",
    [
        (ID_BYTES[1:], SIGNED_ROW, V4.ip, 1.5),
        (ID_BYTES, SIGNED_ROW, V4.ip + b"1", 1.5),
        (ID_BYTES, SIGNED_ROW, "host", 1.5),
        (ID_BYTES, SIGNED_ROW, V4.ip, float("inf")),
    ],
)
def test_no_row_gives_an_impossible_held_value(row: tuple[Value, Value, Value, Value]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - no other is to be told from it
        RowReader(NATIVE).held_value(*row)


def test_values_outlive_the_index_of_their_table(path: Path) -> None:
    fill(path)
    for table in ROWID:
        zero_root(path, f"sqlite_autoindex_{table}_1")
    with closing(StateFile.open(path)) as file:
        assert file.damage is not None
        assert file.damage.lost == {}
        assert in_order(file.load()) == FULL


def test_many_large_values_take_little_more_room(path: Path) -> None:
    values = [SavedHeldValue(Id(number), Immutable(bytes(DATA_MAX)), V4.ip, 1.5) for number in range(1_000)]
    with closing(StateFile.open(path)) as file:
        file.save_held_values((held.key, held) for held in values)
    assert path.stat().st_size < 1.5 * 1_000 * DATA_MAX


@pytest.mark.parametrize("seen", [None, 5, bytes(13), V4.ip + b"\x7f\xf8" + bytes(6)], ids=["none", "5", "cut", "nan"])
def test_seen_addresses_are_whole_and_have_times(seen: bytes | int | None) -> None:
    reader = RowReader(NATIVE)
    key = (ID_BYTES, 1, b"\0\x50")
    assert reader.holder(*key, ID_BYTES, bytes(V4), 1.5, V4.ip + bytes(8))[1].seen == ((V4.ip, 0.0),)
    with pytest.raises(ValueError):  # noqa: PT011 - no other is to be told from it
        reader.holder(*key, ID_BYTES, bytes(V4), 1.5, seen)


@pytest.mark.parametrize(
    ("kind", "place", "body"),
    [
        *((2, b"\0\x50", b""), (None, b"\0\x50", b""), ("1", b"\0\x50", b"")),
        *((1, b"\0", b""), (1, b"\0\0\x50", b""), (1, b"\0\0", b""), (1, 80, b""), (1, None, b"")),
        *((1, b"\0\x50", b"x"), (1, b"\0\x50", None)),
    ],
)
def test_an_own_row_is_a_peer_on_a_port(kind: Value, place: Value, body: Value) -> None:
    reader = RowReader(NATIVE)
    assert reader.own(ID_BYTES, 1, b"\0\x50", b"", None, None) == SavedOwn(own_key(ID, 80))
    with pytest.raises(ValueError):  # noqa: PT011 - no other is to be told from it
        reader.own(ID_BYTES, kind, place, body, None, None)


@pytest.mark.parametrize(
    ("kind", "place", "source", "body"),
    [
        *((2, b"\0\x50", V4.ip, b""), (1, b"\x50", V4.ip, b""), (1, 80, V4.ip, b"")),
        *((1, b"\0\x50", V4.ip[1:], b""), (1, b"\0\x50", None, b""), (1, b"\0\x50", V4.ip, b"x")),
    ],
)
def test_a_held_row_is_a_peer_from_an_address(kind: Value, place: Value, source: Value, body: Value) -> None:
    reader = RowReader(NATIVE)
    expected = SavedRecord(ID, Peer(V4.with_port(80)), 3_600, KEPT)
    assert reader.held(ID_BYTES, 1, b"\0\x50", V4.ip, KEPT, b"", 3_600) == expected
    with pytest.raises(ValueError):  # noqa: PT011 - no other is to be told from it
        reader.held(ID_BYTES, kind, place, source, KEPT, body, 3_600)


@pytest.mark.parametrize(
    ("session", "lease"),
    [
        *((KEPT[1:], 60), (SESSION, 60), (None, 60), (5, 60), ("1234567", 60)),
        *((KEPT, -1), (KEPT, LEASE_MAX + 1), (KEPT, 60.0), (KEPT, None), (KEPT, b"60")),
    ],
)
def test_a_held_row_has_a_session_and_a_lease(session: Value, lease: Value) -> None:
    reader = RowReader(NATIVE)
    row = ID_BYTES, 1, b"\0\x50", V4.ip
    for sound in (b"", 0), (KEPT, LEASE_MAX):
        assert reader.held(*row, sound[0], b"", sound[1]) == SavedRecord(ID, Peer(V4.with_port(80)), sound[1], sound[0])
    with pytest.raises(ValueError):  # noqa: PT011 - no other is to be told from it
        reader.held(*row, session, b"", lease)


def test_two_sessions_with_one_endpoint_are_two_rows(path: Path) -> None:
    ours, theirs = SavedRecord(KEY, Peer(V4), 60, bytes(7)), SavedRecord(KEY, Peer(V4), 60, bytes(6) + b"x")
    with closing(StateFile.open(path)) as file:
        file.save_held([(KEY, [theirs, ours])])
    assert loaded(path).held == [ours, theirs]
    with closing(StateFile.open(path)) as file:
        file.merge_held([replace(theirs, lease=90)])
    assert loaded(path).held == [ours, replace(theirs, lease=90)]
    with closing(StateFile.open(path)) as file:
        file.save_held([(KEY, [ours])])
    assert loaded(path).held == [ours]


def test_a_session_is_kept_over_restarts(path: Path) -> None:
    with closing(StateFile.open(path)) as file:
        assert file.session() is None
        file.set_fact("session", SESSION)
    with closing(StateFile.open(path)) as file:
        assert file.session() == SESSION


def test_a_node_draws_a_session_where_there_is_none(path: Path) -> None:
    with closing(StateFile.open(path)) as file:
        drawn = make_driver._session(file, random.Random(1))
        assert len(drawn) == SESSION_SIZE
        assert make_driver._session(file, random.Random(2)) == file.session() == drawn
        file.set_fact("session", drawn[1:])
        again = make_driver._session(file, random.Random(2))
        assert (len(again), file.session()) == (SESSION_SIZE, again)
        assert again != drawn


def test_a_damaged_session_comes_from_the_spare(path: Path) -> None:
    fill(path)
    with closing(StateFile.open(path)) as file:
        file.set_fact("session", SESSION)
    tamper(path, "UPDATE meta SET value = zeroblob(15) WHERE name = 'session'")
    with closing(StateFile.open(path)) as file:
        assert file.damage is not None
        assert file.session() == SESSION


@pytest.mark.parametrize("damaged", ["x''", "zeroblob(15)", "'sixteen letters!'", "16", "NULL"])
def test_a_session_that_cannot_be_one_is_none(path: Path, damaged: str) -> None:
    fill(path)
    with closing(StateFile.open(path)) as file:
        file.set_fact("session", SESSION)
    tamper(path, *(f"UPDATE {table} SET value = {damaged} WHERE name = 'session'" for table in ("meta", "spare")))
    with closing(StateFile.open(path)) as file:
        assert file.session() is None
        assert in_order(file.load()) == FULL


def test_a_row_that_came_back_is_damage(path: Path) -> None:
    """It may be a deleted entry, and looks as it was written."""
    fill(path)
    with closing(StateFile.open(path)) as file:
        sums = str(file.fact("sum own"))
    with closing(StateFile.open(path)) as file:
        file.add_own(AddOwn(own_key(KEY, 9)))
        file.set_fact("sum own", sums)
        file._sums = {}
    with closing(StateFile.open(path)) as file:
        assert file.damage is not None
        assert "what it has of own is not what was last written there" in file.damage.reason


def test_an_impossible_node_id_goes_alone(path: Path) -> None:
    fill(path)
    with closing(StateFile.open(path)) as file:
        file.set_fact("node_id", b"me")
    tamper(path, f"INSERT INTO own VALUES ({BLOB}, 1, x'0000', x'', NULL, NULL, 0)")
    with closing(StateFile.open(path)) as file:
        assert file.damage is not None
        assert file.damage.has_new_id
        assert file.node_id() is None
        assert sorted(file.load().own) == FULL.own


def test_a_failed_copy_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path)
    tamper(path, f"INSERT INTO own VALUES ({BLOB}, 1, x'0000', x'', NULL, NULL, 0)")
    before = path.read_bytes()
    with limited_file_size(8192), pytest.raises(StateError, match=r"default\.db: disk I/O error"):
        StateFile.open(path)
    assert (path.read_bytes(), names(path)) == (before, ["default.db"])

    def refuse(path: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(state_disk, "reserve_aside", refuse)
    with pytest.raises(StateError, match=r"the damaged state file .*default\.db cannot be copied: .*Permission denied"):
        StateFile.open(path)
    assert (path.read_bytes(), names(path)) == (before, ["default.db"])


def test_only_the_latest_damaged_files_are_kept(path: Path) -> None:
    asides = []
    for number in range(state_disk.ASIDES_MAX + 3):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"%d" % number * 2000)
        with closing(StateFile.open(path)) as file:
            asides.append(file.set_aside)
            assert file.set_aside is not None
            os.utime(file.set_aside, (number, number))
    assert sorted(names(path)) == sorted(["default.db", *(aside.name for aside in asides[-8:] if aside)])


def test_a_failed_setting_aside_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, destination: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path.parent.mkdir()
    path.write_bytes(b"garbage" * 500)
    monkeypatch.setattr(state_disk, "_copy", refuse)
    for _ in range(2):
        with pytest.raises(StateError, match=r"damaged state file .*db cannot be set aside: No space left on device"):
            StateFile.open(path)
    assert (path.read_bytes(), names(path)) == (b"garbage" * 500, ["default.db"])


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EXDEV])
def test_a_damaged_file_on_a_mount_is_written_over(path: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = one_page_zeroed(fill(path))
    path.write_bytes(damaged)
    inode, replace_really = path.stat().st_ino, Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if target == path:
            raise OSError(code, os.strerror(code))
        return replace_really(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with closing(StateFile.open(path)) as file:
        assert in_order(file.load()) == FULL
        assert file.set_aside is not None
        assert file.set_aside.read_bytes() == damaged
    assert (path.stat().st_ino, len(names(path))) == (inode, 2)
    assert in_order(loaded(path)) == FULL


# File systems that lack something


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EBADF])
def test_a_file_system_may_sync_no_directories(tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync_really = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        fsync_really(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    path = tmp_path / "a" / "b" / "state.db"
    with closing(StateFile.open(path)) as file:
        assert file._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    path.write_bytes(b"garbage" * 500)
    with closing(StateFile.open(path)) as file:
        assert file.set_aside is not None


def test_a_failing_directory_sync_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    (tmp_path / "state.db").touch()
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StateError, match="Input/output error"):
        StateFile.open(tmp_path / "state.db")


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_without_locks_is_told(path: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite gives the same error as for a file in use, so this one is in use."""
    fill(path)

    def lockf(*arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    child = Child(HOLD, path)
    child.say()
    assert [child.hear(), child.hear()] == ["ready", "open"]
    monkeypatch.setattr(fcntl, "lockf", lockf)
    with closing(StateFile.open(path)) as file:
        [warning] = file.warnings
        assert f"the file system of the state file {path} has no locks" in warning
        file.add_own(AddOwn(own_key(KEY, 9)))
    child.end()
    assert own_key(KEY, 9) in loaded(path).own


# A disk that fails


@contextmanager
def limited_file_size(size: int) -> Iterator[None]:
    """Let no file grow beyond `size`: writes fail as on a disk that has had enough (Python ignores SIGXFSZ)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_failing_disk_changes_nothing(path: Path) -> None:
    fill(path)
    with closing(StateFile.open(path)) as file:
        before = file.load()
        with limited_file_size(0):
            changes: list[Callable[[], None]] = [
                lambda: file.add_own(AddOwn(own_key(KEY, 9))),
                lambda: file.remove_own([own_key(KEY, 80)]),
                lambda: file.set_node_id(OTHER),
                lambda: file.save_contacts([]),
                lambda: file.save_held([(KEY, [])]),
            ]
            for change in changes:
                with pytest.raises(StateError, match=r"default\.db: disk I/O error \(.*nothing was changed; check the"):
                    change()
        assert file.load() == before
        file.add_own(AddOwn(own_key(KEY, 9)))
        with pytest.raises(StateLocked):
            StateFile.open(path)
    assert own_key(KEY, 9) in loaded(path).own


def test_every_change_waits_for_the_disk(path: Path) -> None:
    """test_state_model.py shows the effect in a power failure; `fullfsync` is for macOS alone."""
    with closing(StateFile.open(path)) as file:
        [synchronous] = file._connection.execute("PRAGMA synchronous").fetchone()
        [full] = file._connection.execute("PRAGMA fullfsync").fetchone()
        assert (synchronous, full) == (3, 1)  # EXTRA, ON


def test_a_full_disk_changes_nothing(path: Path) -> None:
    fill(path)
    many = [AddOwn(own_key(Id(number), 80)) for number in range(1000)]
    with closing(StateFile.open(path)) as file:
        before = file.load()
        file._connection.execute("PRAGMA max_page_count = 6")
        with pytest.raises(StateError, match=r"no space left for the state file .*default\.db: nothing was changed"):
            file.apply(many)
        assert file.load() == before
        file._connection.execute("PRAGMA max_page_count = 1000000")
        file.apply(many)
    assert len(loaded(path).own) == 1003


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_taken_away_acknowledges_nothing(path: Path, replaced: bool) -> None:
    fill(path)
    with closing(StateFile.open(path)) as file:
        path.rename(path.with_suffix(".moved"))
        if replaced:
            path.touch()
        with pytest.raises(StateError, match=r"default\.db was moved, deleted or replaced under the running dhtd"):
            file.add_own(AddOwn(own_key(KEY, 9)))
        path.with_suffix(".moved").rename(path)
        file.add_own(AddOwn(own_key(KEY, 10)))
    assert sorted(own.port for own in loaded(path).own if own.key == KEY) == [10, 80, 443]


def test_damage_at_run_time_is_an_error(path: Path) -> None:
    fill(path)
    with closing(StateFile.open(path)) as file:
        file._connection.execute("DROP TABLE own")
        with pytest.raises(StateError, match=r"default\.db is damaged \(no such table: own\): .*restart dhtd"):
            file.add_own(AddOwn(own_key(KEY, 9)))
        with pytest.raises(StateError, match=r"default\.db is damaged \(no such table: own\): .*restart dhtd"):
            file.load()


# Crashes


def test_a_change_cut_short_is_undone_by_its_journal(path: Path, tmp_path: Path) -> None:
    crashed = tmp_path / "crashed" / "default.db"
    crashed.parent.mkdir()
    fill(path)
    with closing(StateFile.open(path)) as file:
        file._connection.execute("PRAGMA cache_size = 1")  # so that it writes before it commits
        file._connection.execute("BEGIN")
        file._connection.execute("UPDATE own SET body = x'01'")
        for number in range(5000):
            file._connection.execute(
                "INSERT INTO own VALUES (?, 1, x'0050', x'', 0, NULL, NULL)", (NATIVE.to_bytes(Id(number)),)
            )
        for name in names(path):
            shutil.copy(path.with_name(name), crashed.with_name(name))
        file._connection.execute("ROLLBACK")
    assert names(crashed) == ["default.db", "default.db-journal"]
    assert crashed.stat().st_size > 2 * path.stat().st_size  # the file itself is in the middle of it
    state = loaded(crashed)
    assert in_order(state) == FULL
    assert names(crashed) == ["default.db"]


def test_an_old_backup_with_a_new_journal_is_damaged(path: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed" / "default.db"
    mixed.parent.mkdir()
    mixed.write_bytes(fill(path))
    with closing(StateFile.open(path)) as file:
        file.add_own(AddOwn(own_key(KEY, 9)))
        file._connection.execute("PRAGMA cache_size = 1")
        file._connection.execute("BEGIN")
        file._connection.execute("UPDATE own SET hash = hash + 1")
        for number in range(5000):
            file._connection.execute(
                "INSERT INTO held VALUES (?, 1, ?, ?, zeroblob(7), ?, 60, 0)",
                (NATIVE.to_bytes(Id(number)), b"xx", b"x", b""),
            )
        shutil.copy(f"{path}-journal", f"{mixed}-journal")
        file._connection.execute("ROLLBACK")
    with closing(StateFile.open(mixed)) as file:
        state = in_order(file.load())
        assert file.damage is not None
        assert "what it has of own is not what was last written there" in file.damage.reason
    assert sorted(state.own) == sorted([*FULL.own, own_key(KEY, 9)])


# Forks a process for each line that it reads (a path, a number), which adds own entries from that number on, now and
# then removes one, or keeps a newer value under one of four keys, and says so when each is done. Every seventh time it
# also replaces all held entries under one key, and every fourth all held values: a reader must never see some of them
# old and some new.
WRITERS = """
import os, sys
from pathlib import Path
from dhtd.core.endpoint import Endpoint
from dhtd.core.records import Immutable, Mutable, Peer, RecordKey
from dhtd.daemon.state.file import AddOwn, KeepValue, SavedHeldValue, SavedOwnValue, SavedRecord, StateFile

def own(key):
    return RecordKey.of(key, Peer.on(1729))

def write(path, number):
    os.write(1, b"%d\\n" % os.getpid())
    file = StateFile.open(Path(path))
    if file.set_aside is not None:
        sys.exit(file.notice)
    endpoint = Endpoint.parse("192.0.2.1:1729")
    while True:
        number += 1
        file.add_own(AddOwn(own(number)))
        os.write(1, b"+%d\\n" % number)
        if number % 5 == 0:
            file.remove_own([own(number - 2)])
            os.write(1, b"-%d\\n" % (number - 2))
        if number % 3 == 0:
            value = Mutable(bytes(32), b"", number, bytes(number % 1_000), bytes(64))
            file.apply([KeepValue(SavedOwnValue(number % 4, value, 1))])
            os.write(1, b"v%d\\n" % number)
        if number % 4 == 0:
            text = Immutable(b"%d" % number)
            file.save_held_values([(key, SavedHeldValue(key, text, bytes(4), float(number))) for key in range(50)])
        if number % 7 == 0:
            peers = [Peer(endpoint.with_port(port)) for port in range(1, 200)]
            file.save_held([(0, [SavedRecord(0, peer, number % 14_400, bytes(7)) for peer in peers])])

for line in sys.stdin:
    path, number = line.rsplit(" ", 1)
    child = os.fork()
    if not child:
        write(path, int(number))
    os.write(1, b"ended %d\\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def crash_again_and_again(path: Path, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    writers = Child(WRITERS)
    acknowledged: set[int] = set()
    kept = dict.fromkeys(range(4), 0)  # by key: the seq of the latest acknowledged value
    last = 0
    for kill in range(kills):
        where = f"seed {seed}, kill {kill}"
        writers.stdin.write(f"{path} {last}\n")
        writers.stdin.flush()
        pid = int(writers.hear())
        begun = time.perf_counter()
        said = [writers.hear() for _ in range(rng.randint(1, 20))]
        assert not said[-1].startswith("ended"), where
        heard = time.perf_counter()
        pace = (heard - begun) / len(said)  # of this disk, now
        spin = heard + rng.random() * 2 * pace  # into any step of the next change or two
        while time.perf_counter() < spin:
            pass
        os.kill(pid, signal.SIGKILL)
        said += iter(writers.hear, f"ended -{signal.SIGKILL.value}")
        for line in said:
            number = int(line[1:])
            last = max(last, number)
            if line[0] == "+":
                acknowledged.add(number)
            elif line[0] == "v":
                kept[number % 4] = number
            else:
                acknowledged.discard(number)
        with closing(StateFile.open(path)) as file:
            assert file.set_aside is None, where
            state = file.load()
        own = {int(each.key) for each in state.own}
        # One change may have been made that was not acknowledged any more: the next addition, or a removal.
        assert acknowledged - own <= ({last - 2} if last % 5 == 0 else set()), where
        assert own - acknowledged <= {last + 1}, where
        assert len({entry.lease for entry in state.held}) <= 1, where
        assert len(state.held) in {0, 199}, where
        assert len({held.until for held in state.held_values}) <= 1, where
        assert len(state.held_values) in {0, 50}, where
        seqs = {int(own.key): own.value.seq for own in state.own_values if isinstance(own.value, Mutable)}
        assert all(seqs.get(key, 0) >= seq for key, seq in kept.items()), where
        acknowledged = own
        last = max(last, *own)
    writers.end()


@pytest.mark.parametrize("kills", [20, pytest.param(60, marks=pytest.mark.slow)])
def test_acknowledged_changes_survive_kill_9(path: Path, kills: int) -> None:
    crash_again_and_again(path, kills, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 22))
def test_acknowledged_changes_survive_many_kills(path: Path, seed: int) -> None:
    crash_again_and_again(path, kills=500, seed=seed)


def test_a_lack_of_memory_is_damage_only_amid_plenty(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite gives the same error for a file with impossible sizes, and a good file must not be set aside for it."""
    assert isinstance(state_disk.explain(path, MemoryError()), state_disk.DamagedError)
    monkeypatch.setattr(state_disk, "_PLENTY", 1 << 60)
    error = state_disk.explain(path, MemoryError())
    assert isinstance(error, StateError)
    assert "too little memory" in str(error)
