"""Entries follow the files that declare them; what was made by hand stays, and a broken file changes nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest
import trio
from trio.testing import MockClock

from dhtd.config import entry_files
from dhtd.core.ids import NATIVE, Id
from dhtd.daemon import declaring as daemon_declaring
from dhtd.daemon.declaring import RETRY, Declaring
from dhtd.daemon.labels import Label
from dhtd.daemon.own_entries import WITHDRAWN_WITHIN, OwnEntries, Wanted
from dhtd.daemon.state.saved import SavedGuard
from dhtd.errors import NoThread
from dhtd.service.checks import EVERY_MAX, EVERY_MIN, TcpCheck, parse_check
from dhtd.service.entries import DeleteRequest, EnterRequest
from tests.daemon.handlers.small_daemon import Daemon, daemon, tracked, two
from tests.daemon.wire import POLICY, Wire, end_of
from tests.records import own_key

T = TypeVar("T")
WIKI, BLOG = NATIVE.digest(b"wiki"), NATIVE.digest(b"blog")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "entries.d"
    directory.mkdir(mode=0o755)
    return directory


@pytest.fixture(autouse=True)
def without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read at once: the clock of these tests jumps while a thread works."""

    async def work_here(work: Callable[[], T], *_: object, **_options: object) -> T:
        await trio.lowlevel.checkpoint()
        return work()

    monkeypatch.setattr(daemon_declaring, "in_thread", work_here)


def put(directory: Path, name: str, *entries: tuple[str, int]) -> str:
    path = directory / name
    path.write_text("".join(f'[[entry]]\nname = "{of}"\nport = {port}\n' for of, port in entries))
    path.chmod(0o600)
    return str(path)


def declaring_of(one: Daemon) -> Declaring:
    return Declaring(OwnEntries(one.driver, one.disk, one.guards), one.driver.labels)  # type: ignore[arg-type]


def put_text(path: str, text: str) -> None:
    Path(path).write_text(text)
    Path(path).chmod(0o600)


def remove(path: str) -> None:
    Path(path).unlink()


def rename(path: str, name: str) -> str:
    return str(Path(path).rename(Path(path).with_name(name)))


def open_to_all(directory: Path) -> None:
    directory.chmod(0o777)


@asynccontextmanager
async def declared(tmp_path: Path, directory: Path) -> AsyncIterator[tuple[Daemon, Daemon, Declaring]]:
    """Yield two nodes that know each other, of which the first has read the files."""
    async with two(tmp_path) as (one, other):
        declaring = declaring_of(one)
        await declaring.read(directory)
        yield one, other, declaring


def files(one: Daemon) -> dict[tuple[Id, int], str | None]:
    """Return the files of entries, as info shows them; disk and node have the same entries."""
    assert tracked(one.driver) == one.disk.entries
    return {(key, port): one.driver.labels.file(own_key(key, port)) for key, port in tracked(one.driver)}


async def test_what_files_declare_is_entered(
    autojump_clock: MockClock, tmp_path: Path, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dhtd.entries")
    a, b = put(directory, "a.toml", ("wiki", 80), ("wiki", 81)), put(directory, "b.toml", ("blog", 80), ("wiki", 80))
    async with declared(tmp_path, directory) as (one, other, _):
        assert files(one) == {(WIKI, 80): a, (WIKI, 81): a, (BLOG, 80): b}
        assert one.disk.writes == 1
        assert one.driver.labels.name(WIKI) == "wiki"
        await trio.sleep(POLICY.startup_spread + 1)
        assert {held.key for held in other.driver.node.store} == {WIKI, BLOG}
    assert caplog.messages == [
        f"{a} declares wiki port 80",
        f"{a} declares wiki port 81",
        f"{b} declares blog port 80",
        "files declare 3 entries: 3 changed, 0 no longer declared",
    ]


async def test_what_is_declared_no_more_is_withdrawn(
    autojump_clock: MockClock, tmp_path: Path, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a = put(directory, "a.toml", *(("wiki", port) for port in range(1, 41)), ("blog", 80))
    async with declared(tmp_path, directory) as (one, other, declaring):
        await trio.sleep(POLICY.startup_spread + 1)
        assert len(other.driver.node.store) == 41
        put(directory, "a.toml", ("blog", 80))
        await declaring.read(directory)
        assert files(one) == {(BLOG, 80): a}
        assert len(other.driver.node.store) == 1
        caplog.set_level(logging.INFO, "dhtd.entries")
        remove(a)
        await declaring.read(directory)
        await declaring.read(directory)
        assert files(one) == {}
        assert not one.driver._operations
    assert caplog.messages == [
        f"{a} no longer declares blog port 80: deleted it",
        "files declare 0 entries: 0 changed, 1 no longer declared",
    ]


async def test_a_silent_network_holds_up_no_change(autojump_clock: MockClock, tmp_path: Path, directory: Path) -> None:
    put(directory, "a.toml", *(("wiki", port) for port in range(1, 61)), ("blog", 80), ("blog", 81))
    async with declared(tmp_path, directory) as (one, other, declaring):
        await trio.sleep(POLICY.startup_spread + 1)
        end_of(other.driver)._wire.cut = True
        b = put(directory, "b.toml", ("blog", 82))
        remove(str(directory / "a.toml"))
        began = trio.current_time()
        await declaring.read(directory)
        assert trio.current_time() <= began + WITHDRAWN_WITHIN
        assert files(one) == {(BLOG, 82): b}
        assert not one.driver._operations
        assert one.driver.node.withdrawals.entries()


async def test_an_entry_made_by_hand_stays(autojump_clock: MockClock, tmp_path: Path, directory: Path) -> None:
    async with declared(tmp_path, directory) as (one, _, declaring):
        await one.ask(EnterRequest(WIKI, 80, wait=False, name="wiki"))
        a = put(directory, "a.toml", ("wiki", 80), ("blog", 80))
        await declaring.read(directory)
        assert files(one) == {(WIKI, 80): a, (BLOG, 80): a}
        assert one.driver.labels.of(own_key(WIKI, 80)) == Label("wiki", None)
        await one.ask(EnterRequest(BLOG, 80, wait=False))  # from now on it is made by hand as well
        remove(a)
        await declaring.read(directory)
        assert files(one) == {(WIKI, 80): None, (BLOG, 80): None}


async def test_a_deleted_entry_comes_back(autojump_clock: MockClock, tmp_path: Path, directory: Path) -> None:
    a = put(directory, "a.toml", ("wiki", 80))
    async with declared(tmp_path, directory) as (one, _, declaring):
        assert (await one.ask(DeleteRequest(WIKI, None)))["declared"] == [a]
        assert files(one) == {}
        await declaring.read(directory)
        assert files(one) == {(WIKI, 80): a}


async def test_an_entry_may_move_to_another_file(autojump_clock: MockClock, tmp_path: Path, directory: Path) -> None:
    a = put(directory, "a.toml", ("wiki", 80))
    async with declared(tmp_path, directory) as (one, _, declaring):
        b = rename(a, "b.toml")
        await declaring.read(directory)
        assert files(one) == {(WIKI, 80): b}
        writes = one.disk.writes
        await declaring.read(directory)
        assert one.disk.writes == writes  # nothing is new


async def test_a_broken_file_changes_nothing(
    autojump_clock: MockClock, tmp_path: Path, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = put(directory, "a.toml", ("wiki", 80), ("wiki", 81)), put(directory, "b.toml", ("blog", 80))
    async with declared(tmp_path, directory) as (one, _, declaring):
        put_text(a, "[[entry]\n")
        put(directory, "b.toml", ("blog", 81))
        await declaring.read(directory)
        assert files(one) == {(WIKI, 80): a, (WIKI, 81): a, (BLOG, 81): b}
        assert f"the entries of this file are left as they were: {a} is not TOML: " in caplog.text
        assert (await one.ask(DeleteRequest(WIKI, 81)))["declared"] == [a]
        put(directory, "a.toml", ("wiki", 82))
        await declaring.read(directory)
        assert files(one) == {(WIKI, 82): a, (BLOG, 81): b}


async def test_a_file_broken_at_the_start_keeps_its_entries(
    autojump_clock: MockClock, tmp_path: Path, directory: Path
) -> None:
    a, b = str(directory / "a.toml"), str(directory / "b.toml")
    put_text(a, "[[entry]\n")
    async with daemon(Wire(), tmp_path) as one:
        own = OwnEntries(one.driver, one.disk, one.guards)  # type: ignore[arg-type]
        await own.track([Wanted(WIKI, 80, "wiki", a), Wanted(BLOG, 80, "blog", b), Wanted(BLOG, 81)])
        restored = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(declaring_of(one).begin, restored, directory)
            await trio.testing.wait_all_tasks_blocked()
            assert len(files(one)) == 3
            restored.set()
        assert files(one) == {(WIKI, 80): a, (BLOG, 81): None}


async def test_an_unsafe_directory_changes_nothing(
    autojump_clock: MockClock, tmp_path: Path, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a = put(directory, "a.toml", ("wiki", 80))
    async with declared(tmp_path, directory) as (one, _, declaring):
        open_to_all(directory)
        remove(a)
        await declaring.read(directory)
        assert files(one) == {(WIKI, 80): a}
        assert "declared entries are left as they were: the directory " in caplog.text
        await declaring.read(None)  # none is named any more
        assert files(one) == {}


async def test_what_the_disk_refuses_is_tried_again(
    autojump_clock: MockClock, tmp_path: Path, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a = put(directory, "a.toml", ("wiki", 80))
    async with two(tmp_path) as (one, _), trio.open_nursery() as nursery:
        one.disk.failing = True
        nursery.start_soon(declaring_of(one).read, directory)
        await trio.sleep(1.5 * RETRY)
        assert files(one) == {}
        one.disk.failing = False
        await trio.sleep(RETRY)
        assert files(one) == {(WIKI, 80): a}
    assert caplog.messages.count("declared entries are not all entered: no space left; trying again in 15 s") == 2


async def test_too_many_are_refused_together(
    autojump_clock: MockClock, tmp_path: Path, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(directory, "a.toml", *(("wiki", port) for port in (80, 81, 82)))
    async with daemon(Wire(), tmp_path, replace(POLICY, own_ports=2)) as one:
        await declaring_of(one).read(directory)
        assert files(one) == {}
    assert "declared entries are not all entered: this node has entered this ID on as many ports" in caplog.text


async def test_a_disk_that_hangs_holds_up_nothing(
    autojump_clock: MockClock,
    tmp_path: Path,
    directory: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()  # so that threads work
    released = threading.Event()
    monkeypatch.setattr(entry_files, "read", lambda *_: released.wait(60))
    async with daemon(Wire(), tmp_path) as one:
        await declaring_of(one).read(directory)
    released.set()
    assert (
        f"declared entries are left as they were: the directory {directory} cannot be read within 10 s" in caplog.text
    )


async def test_without_a_thread_files_are_read(
    autojump_clock: MockClock, tmp_path: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **_options: object) -> None:
        await trio.lowlevel.checkpoint()
        raise NoThread("no thread")

    monkeypatch.setattr(daemon_declaring, "in_thread", refuse)
    a = put(directory, "a.toml", ("wiki", 80))
    async with daemon(Wire(), tmp_path) as one:
        await declaring_of(one).read(directory)
        assert files(one) == {(WIKI, 80): a}


@pytest.mark.parametrize("seed", range(8))
async def test_files_and_hands_in_any_order(
    autojump_clock: MockClock, tmp_path: Path, directory: Path, seed: int
) -> None:
    rng = Random(seed)
    by_hand: set[tuple[Id, int]] = set()
    contents: dict[str, set[tuple[str, int]] | None] = {}  # by the name of a file; None: it is broken
    ids = {"wiki": WIKI, "blog": BLOG}
    async with two(tmp_path) as (one, _):
        declaring = declaring_of(one)
        for _step in range(60):
            name, entry = rng.choice(["a.toml", "b.toml"]), (rng.choice(list(ids)), rng.choice([80, 81, 82]))
            of, port = entry
            match rng.randrange(6):
                case 0:
                    contents[name] = {entry}
                    put(directory, name, entry)
                case 1:
                    contents[name] = {entry, ("blog", 82)}
                    put(directory, name, entry, ("blog", 82))
                case 2:
                    contents[name] = None
                    put_text(str(directory / name), "[[entry]")
                case 3 if contents.pop(name, "none") != "none":
                    remove(str(directory / name))
                case 4:
                    await one.ask(EnterRequest(ids[of], port, wait=False))
                    by_hand.add((ids[of], port))
                case 5 if (ids[of], port) in tracked(one.driver):
                    await one.ask(DeleteRequest(ids[of], port))
                    by_hand.discard((ids[of], port))
            before = files(one)
            await declaring.read(directory)
            after = files(one)
            declared = {(ids[of], port) for some in contents.values() for of, port in some or ()}
            broken = {str(directory / name) for name, some in contents.items() if some is None}
            kept = {each for each, file in before.items() if file in broken}
            assert declared | by_hand | kept == after.keys()


async def test_a_declared_check_guards_its_entry(autojump_clock: MockClock, tmp_path: Path, directory: Path) -> None:
    a = str(directory / "a.toml")
    put_text(a, '[[entry]]\nname = "wiki"\nport = 80\ncheck = "tcp"\nevery = 60\n')
    async with declared(tmp_path, directory) as (one, _, declaring):
        key = own_key(WIKI, 80)
        assert one.disk.guards[key] == SavedGuard("tcp", 60.0, False)
        assert key not in one.driver.node.own_records  # nothing has passed yet
        writes = one.disk.writes
        await declaring.read(directory)
        assert one.disk.writes == writes
        for change, guard in (("every = 30", SavedGuard("tcp", 30.0, False)), ("", SavedGuard("tcp", 5.0, False))):
            put_text(a, f'[[entry]]\nname = "wiki"\nport = 80\ncheck = "tcp"\n{change}\n')
            await declaring.read(directory)
            assert one.disk.guards[key] == guard
        put(directory, "a.toml", ("wiki", 80))
        await declaring.read(directory)
        assert key not in one.disk.guards
        assert key in one.driver.node.own_records


async def test_a_check_made_by_hand_stays(autojump_clock: MockClock, tmp_path: Path, directory: Path) -> None:
    async with declared(tmp_path, directory) as (one, _, declaring):
        await one.ask(EnterRequest(WIKI, 80, wait=False, check=parse_check("tcp")))
        put(directory, "a.toml", ("wiki", 80))
        await declaring.read(directory)
        assert own_key(WIKI, 80) in one.disk.guards


@pytest.mark.parametrize(
    ("check", "why"),
    [
        ('check = "udp"', "'udp' is not a check: give tcp"),
        ('check = "tcp"\nevery = 0.1', "every 0.1 s is too often or too seldom: 0.5 to 3600 s"),
        ('check = "http://192.0.2.1/"', "192.0.2.1 is no address of this machine"),
        ('check = "exec /none"', "/none"),
    ],
)
async def test_a_check_that_cannot_be_made_is_refused(
    autojump_clock: MockClock, tmp_path: Path, directory: Path, caplog: pytest.LogCaptureFixture, check: str, why: str
) -> None:
    a = str(directory / "a.toml")
    put_text(a, f'[[entry]]\nname = "wiki"\nport = 80\n{check}\n')
    async with declared(tmp_path, directory) as (one, _, _declaring):
        assert files(one) == {}
    assert f"{a}, entry 1 (line 1): check: " in caplog.text
    assert why in caplog.text


async def test_files_are_read_in_a_thread(tmp_path: Path, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # so that threads work
    a = put(directory, "a.toml", ("wiki", 80))
    async with daemon(Wire(), tmp_path) as one:
        await declaring_of(one).read(directory)
        assert files(one) == {(WIKI, 80): a}


async def test_an_entry_without_a_name_is_told_by_its_id(
    autojump_clock: MockClock, tmp_path: Path, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dhtd.entries")
    a = str(directory / "a.toml")
    put_text(a, f'[[entry]]\nid = "{NATIVE.format(WIKI)}"\nport = 80\n')
    async with declared(tmp_path, directory):
        assert caplog.messages[0] == f"{a} declares {NATIVE.format(WIKI)} port 80"


@pytest.mark.parametrize("every", [EVERY_MIN, EVERY_MAX])
def test_the_edges_of_an_interval_are_in_it(every: float) -> None:
    assert daemon_declaring.read_check("tcp", every) == (TcpCheck(), every)
