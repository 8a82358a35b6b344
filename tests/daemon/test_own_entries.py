"""Own entries with their labels: one name for all entries of an ID, and many entries at the price of one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from dhtd.core.ids import Id
from dhtd.daemon.driver import Ongoing
from dhtd.daemon.guards.wanted import Checking
from dhtd.daemon.labels import BLANK, Label, Labels
from dhtd.daemon.own_entries import OwnEntries, Wanted
from dhtd.daemon.state.saved import SavedGuard
from dhtd.errors import NotTracked, StateError, TooManyEntries
from dhtd.service.checks import EVERY, TcpCheck
from tests.daemon.handlers.small_daemon import KEY, Daemon, daemon, tracked, two
from tests.daemon.wire import POLICY, Wire
from tests.records import own_key

OTHER = Id(8)


def own_of(one: Daemon) -> OwnEntries:
    return OwnEntries(one.driver, one.disk, one.guards)  # type: ignore[arg-type]  # it stands in for the saver


async def enter(one: Daemon, *wanted: Wanted) -> None:
    for each in wanted:
        publication = await own_of(one).enter(each, patient=False)
        assert isinstance(publication, Ongoing)
        with publication:
            pass


def names(one: Daemon) -> dict[tuple[Id, int], str | None]:
    """Return the names in the node, which the disk has as well."""
    labels = one.driver.labels
    found = {entry.record_key: labels.of(entry.record_key) for entry in one.driver.node.own_records}
    assert all(one.disk.labels.get(record_key, BLANK) == label for record_key, label in found.items())
    return {(record_key.key, record_key.port): label.name for record_key, label in found.items()}


async def test_the_latest_name_goes_to_the_whole_id(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        await enter(one, Wanted(KEY, 80), Wanted(OTHER, 80, "scanner"))
        assert names(one) == {(KEY, 80): None, (OTHER, 80): "scanner"}
        await enter(one, Wanted(KEY, 81, "printer"))
        assert names(one) == {(KEY, 80): "printer", (KEY, 81): "printer", (OTHER, 80): "scanner"}
        await enter(one, Wanted(KEY, 80, "laser"), Wanted(KEY, 82))
        assert names(one) == {**{(KEY, port): "laser" for port in (80, 81, 82)}, (OTHER, 80): "scanner"}


async def test_a_new_name_leaves_guards_alone(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        await own_of(one).enter(Wanted(KEY, 80, guard=Checking(TcpCheck())), patient=False)
        await enter(one, Wanted(KEY, 81, "printer"))
        assert one.disk.guards[own_key(KEY, 80)] == SavedGuard("tcp", EVERY, False)
        assert one.disk.labels[own_key(KEY, 80)] == Label("printer")
        assert own_of(one).is_guarded(own_key(KEY, 80), Checking(TcpCheck()))
        assert own_of(one).is_guarded(own_key(KEY, 81), None)


async def test_a_deleted_entry_has_no_label(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        await enter(one, Wanted(KEY, 80, "printer"), Wanted(KEY, 81))
        withdrawal, ports, name = await own_of(one).delete(KEY, 80)
        assert withdrawal is not None
        with withdrawal:
            await withdrawal.event()
        assert (ports, name, names(one)) == ([80], "printer", {(KEY, 81): "printer"})
        await own_of(one).delete(KEY, None)
        assert one.driver.labels.of(own_key(KEY, 81)) == BLANK
        await enter(one, Wanted(KEY, 80))
        assert names(one) == {(KEY, 80): None}
        with pytest.raises(NotTracked):
            await own_of(one).delete(KEY, 81)


async def test_an_entry_made_by_hand_is_no_file_s(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        labels = one.driver.labels
        await enter(one, Wanted(KEY, 80, "printer", "a.toml"), Wanted(KEY, 81, None, "a.toml"))
        assert labels.made_by_files() == [(own_key(KEY, 80), "a.toml"), (own_key(KEY, 81), "a.toml")]
        await enter(one, Wanted(KEY, 80))
        assert labels.made_by_files() == [(own_key(KEY, 81), "a.toml")]
        assert one.disk.labels[own_key(KEY, 80)] == Label("printer")


async def test_many_are_written_at_once_or_not(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path, replace(POLICY, own_ports=2, own_entries=5)) as one:
        many = [Wanted(KEY, 80), Wanted(OTHER, 80, "scanner"), Wanted(KEY, 81, "printer"), Wanted(OTHER, 80)]
        await own_of(one).track(many)
        assert one.disk.writes == 1
        assert names(one) == {(KEY, 80): "printer", (KEY, 81): "printer", (OTHER, 80): "scanner"}
        before = tracked(one.driver)
        for few, why in (
            ([Wanted(Id(9), 1), Wanted(KEY, 82)], "this ID on as many ports"),
            ([Wanted(Id(number), 1) for number in (9, 10, 11)], r"as many entries as it takes \(5\)"),
        ):
            with pytest.raises(TooManyEntries, match=why):
                await own_of(one).track(few)
        one.disk.failing = True
        with pytest.raises(StateError):
            await own_of(one).track([Wanted(Id(9), 1, "nine")])
        assert (tracked(one.driver), one.disk.entries, one.disk.writes) == (before, before, 1)
        assert one.driver.labels.name(Id(9)) is None


async def test_tracked_entries_are_published_soon(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await own_of(one).track([Wanted(Id(number), 80) for number in range(1, 31)])
        await trio.sleep(POLICY.startup_spread + 1)
        assert {held.key for held in other.driver.node.store} == {Id(number) for number in range(1, 31)}


def test_an_entry_has_its_name_in_the_log() -> None:
    labels = Labels()
    assert labels.text(own_key(KEY, 80)) == f"{KEY:064x} port 80"
    labels.set(own_key(KEY, 80), Label("printer"))
    assert labels.text(own_key(KEY, 80)) == f"{KEY:064x} (printer) port 80"
    assert (Label(), BLANK) == ((None, None), (None, None))


def test_a_file_declares_an_entry_or_has_made_it() -> None:
    labels, made, declared = Labels(), own_key(KEY, 80), own_key(KEY, 81)
    labels.set(made, Label(None, "a.toml"))
    labels.declared = {declared: "b.toml"}
    assert [labels.file(each) for each in (made, declared, own_key(OTHER, 80))] == ["a.toml", "b.toml", None]
    labels.set(made, BLANK)
    assert labels.file(made) is None
