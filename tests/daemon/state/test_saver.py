"""What is saved when, and what a restart restores. The file is real if that matters, else it only takes notes."""

from __future__ import annotations

import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from math import floor
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
import trio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from trio.testing import MockClock

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id, packed
from dhtd.core.messages import VALUE_LASTS, Contact
from dhtd.core.node import Node
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.records import Mutable, Peer, RecordKey
from dhtd.daemon.driver import Driver
from dhtd.daemon.state.file import (
    AddOwn,
    DropValue,
    KeepValue,
    SavedGuard,
    SavedHeldValue,
    SavedHolder,
    SavedOwn,
    SavedOwnValue,
    SavedRecord,
    SavedState,
    SetHolders,
    StateFile,
)
from dhtd.daemon.state.saver import HELD_AT_ONCE, SAVE_INTERVAL, Saver
from dhtd.errors import NoThread, StateError
from dhtd.wire.native import NativeCodec
from tests.daemon.wire import Wire, joined
from tests.records import KEPT, SESSION, hold_peer, let_go, own_key
from tests.strategies import scaled
from tests.values import by_owner, hold

T = TypeVar("T")

KEY, OTHER = Id(7), Id(8)
EXPIRY = 3_600  # seconds: the lease of a held entry, of which most is left when time passes
LEASE = 60.0  # seconds: the lease of own entries with few holders
CLOCK, WALL = 1_000.0, 1_700_000_000.0


def endpoint(number: int) -> Endpoint:
    return Endpoint.of(f"10.0.0.{number}", 1729)


HOLDER = Contact(Id(5), endpoint(9))


def new_node(now: float = CLOCK) -> Node:
    rng = random.Random(1)
    return Node(NATIVE.random(rng), NativeCodec(), rng=rng, now=now)


class Notes:
    """A state file that takes notes, and fails on demand."""

    def __init__(self, held: Sequence[SavedRecord] = ()) -> None:
        self.state = SavedState(None, [], [], list(held))
        self.noted_contacts: list[list[Contact]] = []
        self.noted_held: list[dict[Id, list[SavedRecord]]] = []
        self.wholes: list[bool] = []
        self.noted_holders: list[list[SetHolders]] = []
        self.tried: list[list[SetHolders]] = []  # these, with the refused ones
        self.failing = False
        self.facts: dict[str, object] = {}

    is_unsettled = False

    def fact(self, name: str) -> object:
        return self.facts.get(name)

    def set_fact(self, name: str, value: object) -> None:
        self._fail()
        self.facts[name] = value

    def settle(self) -> None:
        self._fail()

    def contacts(self) -> list[Contact]:
        return self.state.contacts

    def own(self) -> Iterator[list[SavedOwn]]:
        yield from ([SavedOwn(each)] for each in self.state.own)

    def held(self) -> Iterator[list[SavedRecord]]:
        yield from ([each] for each in self.state.held)

    def own_values(self) -> Iterator[list[SavedOwnValue]]:
        yield from ([each] for each in self.state.own_values)

    def held_values(self) -> Iterator[list[SavedHeldValue]]:
        yield from ([each] for each in self.state.held_values)

    def holders(self) -> Iterator[list[tuple[RecordKey, SavedHolder]]]:
        yield from ([(own, each)] for own, holders in self.state.holders.items() for each in holders)

    def of_key(self, key: Id) -> tuple[list[SavedOwn], list[tuple[RecordKey, SavedHolder]]]:
        holders = [(own, each) for own, those in self.state.holders.items() for each in those if own.key == key]
        return [SavedOwn(each) for each in self.state.own if each.key == key], holders

    def forget_held(self) -> None:
        pass

    def guards(self) -> dict[RecordKey, SavedGuard]:
        return self.state.guards

    def save_contacts(self, contacts: Sequence[Contact]) -> None:
        self._fail()
        self.noted_contacts.append(list(contacts))

    def save_held(self, changes: Iterable[tuple[Id, Sequence[SavedRecord]]], *, whole: bool = False) -> None:
        self._fail()
        self.wholes.append(whole)
        self.noted_held.append({key: list(entries) for key, entries in changes})

    def save_holders(self, holders: Sequence[SetHolders]) -> None:
        self.tried.append(list(holders))
        self._fail()
        self.noted_holders.append(list(holders))

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
    assert (notes.noted_contacts, notes.noted_held) == ([], [])

    hold_peer(node.store, KEY, endpoint(1), CLOCK)
    hold_peer(node.store, OTHER, endpoint(1), CLOCK)
    node.overlays.restore(Contact(Id(5), endpoint(9)))
    await saver.save(node)
    await saver.save(node)
    assert notes.noted_contacts == [[Contact(Id(5), endpoint(9))]]
    assert [sorted(changes) for changes in notes.noted_held] == [[KEY, OTHER]]

    hold_peer(node.store, KEY, endpoint(2), CLOCK)
    let_go(node.store, OTHER, endpoint(1))
    await saver.save(node)
    assert notes.noted_held[1:] == [
        {
            KEY: [SavedRecord(KEY, Peer(endpoint(1)), 3_600, KEPT), SavedRecord(KEY, Peer(endpoint(2)), 3_600, KEPT)],
            OTHER: [],
        }
    ]
    assert len(notes.noted_contacts) == 1


async def test_what_could_not_be_saved_is_tried_again() -> None:
    notes, node = Notes(), new_node()
    saver = saver_of(notes)
    hold_peer(node.store, KEY, endpoint(1), CLOCK)
    notes.failing = True
    with pytest.raises(StateError):
        await saver.save(node)
    node.overlays.restore(Contact(Id(5), endpoint(9)))
    with pytest.raises(StateError):
        await saver.save(node)
    notes.failing = False
    await saver.save(node)
    assert [list(changes) for changes in notes.noted_held] == [[KEY]]
    assert len(notes.noted_contacts) == 1


async def test_it_saves_now_and_then_despite_a_full_disk(
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
@pytest.mark.parametrize("pause", [-86_400, 60, 86_400])
async def test_a_restart_gives_entries_one_lease_of_grace(
    tmp_path: Path, clock_then: float, clock_now: float, pause: int
) -> None:
    before = new_node(clock_then)
    hold_peer(before.store, KEY, endpoint(1), clock_then)
    hold_peer(before.store, OTHER, endpoint(2), clock_then, lease=60, session=b"another session.")
    file = StateFile.open(tmp_path / "state.db")
    saver = Saver(file, lambda: clock_then, lambda: WALL)
    await saver.save(before)
    file.close()

    file = StateFile.open(tmp_path / "state.db")
    after = new_node(clock_now)
    Saver(file, lambda: clock_now, lambda: WALL + pause).restore(after)
    file.close()
    assert {(held.key, held.record.endpoint, held.lease, held.expires_at) for held in after.store} == {
        (KEY, endpoint(1), 3_600, floor(clock_now + 3_600)),
        (OTHER, endpoint(2), 60, floor(clock_now + 60)),
    }
    assert after.store.remove(OTHER, endpoint(2), b"another session.")


async def test_expired_entries_go_from_the_file_too(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    file = StateFile.open(path)
    gone, kept = SavedRecord(KEY, Peer(endpoint(1)), 60, KEPT), SavedRecord(OTHER, Peer(endpoint(2)), 3_600, KEPT)
    file.save_held([(KEY, [gone]), (OTHER, [kept])])
    node = new_node()
    saver = Saver(file, lambda: CLOCK, lambda: WALL)
    saver.restore(node)
    assert not node.store.sweep(CLOCK + 60)
    assert [held.key for held in node.store] == [OTHER]
    await saver.save(node)
    assert file.load().held == [kept]
    file.close()


async def test_nothing_is_written_for_a_renewal() -> None:
    notes, node = Notes(), new_node()
    saver = saver_of(notes)
    hold_peer(node.store, KEY, endpoint(1), CLOCK, lease=60)
    await saver.save(node)
    for second in range(1, 100):
        assert node.store.renew(endpoint(1).ip, SESSION, 60 + second, CLOCK + second) == 1
        hold_peer(node.store, KEY, endpoint(1), CLOCK + second, lease=60 + second)
        await saver.save(node)
    assert [list(changes) for changes in notes.noted_held] == [[KEY]]


async def test_another_lease_is_written_at_a_store() -> None:
    notes, node = Notes(), new_node()
    saver = saver_of(notes)
    for lease in 60, 90:
        hold_peer(node.store, KEY, endpoint(1), CLOCK, lease=lease)
        await saver.save(node)
    assert [changes[KEY][0].lease for changes in notes.noted_held] == [60, 90]


def test_the_next_save_forgets_refused_entries() -> None:
    rng = random.Random(1)
    policy = replace(DEFAULT, store_entries_per_key=1)
    node = Node(NATIVE.random(rng), NativeCodec(), rng=rng, now=CLOCK, policy=policy)
    saver_of(Notes([SavedRecord(KEY, Peer(endpoint(number)), 3_600, KEPT) for number in (1, 2)])).restore(node)
    assert len(node.store) == 1
    assert node.store.changed.take() == {packed(KEY)}


def test_contacts_and_own_entries_come_back() -> None:
    notes, node = Notes(), new_node()
    contact = Contact(Id(5), endpoint(9))
    notes.state = SavedState(None, [contact], [own_key(KEY, 80), own_key(KEY, 81)], [])
    saver_of(notes).restore(node)
    assert list(node.state.table) == [contact]
    assert node.own_records.ports(KEY) == [80, 81]


async def test_own_entries_are_on_disk_at_return(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    file = StateFile.open(path)
    saver = Saver(file, lambda: CLOCK)
    await saver.add_own([AddOwn(own_key(KEY, 80))])
    await saver.add_own([AddOwn(own_key(KEY, 81))])
    await saver.remove_own(new_node(), [own_key(KEY, 80)])
    assert file.load().own == [own_key(KEY, 81)]
    file.close()


async def test_a_deletion_is_on_disk_with_its_holders(tmp_path: Path) -> None:
    path, node = tmp_path / "state.db", new_node()
    file = StateFile.open(path)
    saver = Saver(file, lambda: CLOCK, lambda: WALL)
    await saver.add_own([AddOwn(own_key(KEY, 80))])
    node.own_records.may_hold(node.own_records.add(own_key(KEY, 80)), HOLDER, CLOCK + 40)
    await saver.remove_own(node, [own_key(KEY, 80)])
    file.close()  # as if it were killed before the node has withdrawn anything

    file = StateFile.open(path)
    after = new_node(0.5)
    Saver(file, lambda: 0.5, lambda: WALL + 60).restore(after)
    file.close()
    assert len(after.own_records) == 0
    assert [(each.record_key, each.holder, each.until) for each in after.withdrawals] == [
        (own_key(KEY, 80), HOLDER, 0.5 + LEASE)
    ]


async def test_former_holders_go_from_the_file_too(tmp_path: Path) -> None:
    """Of another address family, for example: this node has none of them."""
    file, node = StateFile.open(tmp_path / "state.db"), new_node()
    live = SavedHolder(HOLDER, WALL + LEASE)
    gone = SavedHolder(Contact(Id(6), Endpoint.of("2001:db8::8", 1729)), WALL + LEASE)
    file.save_holders(
        [
            SetHolders(own_key(KEY, 80), [live, gone]),
            SetHolders(own_key(OTHER, 80), [gone]),
            SetHolders(own_key(KEY, 81), [live]),
        ]
    )
    saver = Saver(file, lambda: CLOCK, lambda: WALL)
    saver.restore(node)
    assert node.publisher.changed_records() == {own_key(KEY, 80), own_key(OTHER, 80)}
    await saver.save(node)
    assert file.load().holders == {own_key(KEY, 80): [live], own_key(KEY, 81): [live]}
    node.withdrawals.holds_nothing(own_key(KEY, 81), HOLDER)
    await saver.save(node)
    assert file.load().holders == {own_key(KEY, 80): [live]}
    file.close()


async def test_seen_addresses_come_back_after_a_restart(tmp_path: Path) -> None:
    path, node = tmp_path / "state.db", new_node()
    file = StateFile.open(path)
    saver = Saver(file, lambda: CLOCK, lambda: WALL)
    await saver.add_own([AddOwn(own_key(KEY, 80))])
    entry = node.own_records.add(own_key(KEY, 80))
    node.own_records.may_hold(entry, HOLDER, CLOCK + 200)
    await saver.save(node)
    node.own_records.seen_at(entry, endpoint(1), HOLDER.endpoint, CLOCK + 100)
    node.own_records.seen_at(entry, endpoint(2), HOLDER.endpoint, CLOCK + 200)
    await saver.save(node)
    file.close()

    file = StateFile.open(path)
    after = new_node(0.5)
    Saver(file, lambda: 0.5, lambda: WALL + 60).restore(after)
    file.close()
    assert after.publisher.seen_by(own_key(KEY, 80), HOLDER.endpoint) == (
        (endpoint(1).ip, 40.5),  # an address that is ours no more renews nothing
        (endpoint(2).ip, 0.5 + LEASE),
    )
    assert after.publisher.changed_records() == set()


# Without threads


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*arguments: object) -> None:
        raise NoThread("the system starts no further thread")

    monkeypatch.setattr("dhtd.daemon.state.saver.in_thread", refuse)


async def test_without_a_thread_all_is_saved_and_said(no_threads: None, caplog: pytest.LogCaptureFixture) -> None:
    notes, node, now = Notes(), new_node(), CLOCK
    saver = Saver(cast("StateFile", notes), lambda: now, lambda: WALL)
    for number, seconds in enumerate((0.0, 59.0, 1.0)):
        now += seconds
        hold_peer(node.store, Id(number), endpoint(1), now)
        await saver.save(node)
    assert [list(changes) for changes in notes.noted_held] == [[Id(0)], [Id(1)], [Id(2)]]
    assert (
        caplog.messages
        == ["the state is saved without a thread, while nothing is served: the system starts no further thread"] * 2
    )


def test_the_last_save_needs_no_thread_and_no_loop(tmp_path: Path) -> None:
    file, node = StateFile.open(tmp_path / "state.db"), new_node()
    saver = Saver(file, lambda: CLOCK, lambda: WALL)
    hold_peer(node.store, KEY, endpoint(1), CLOCK)
    node.overlays.restore(HOLDER)
    node.own_records.may_hold(node.own_records.add(own_key(OTHER, 80)), HOLDER, CLOCK + 100)
    saver.save_now(node)
    state = file.load()
    assert (state.contacts, state.held) == ([HOLDER], [SavedRecord(KEY, Peer(endpoint(1)), 3_600, KEPT)])
    assert state.holders == {own_key(OTHER, 80): [SavedHolder(HOLDER, WALL + 100)]}
    file.close()


def test_a_failed_last_save_counts_nothing_as_saved() -> None:
    notes, node = Notes(), new_node()
    saver = saver_of(notes)
    hold_peer(node.store, KEY, endpoint(1), CLOCK)
    node.overlays.restore(HOLDER)
    node.own_records.may_hold(node.own_records.add(own_key(OTHER, 80)), HOLDER, CLOCK + 100)
    notes.failing = True
    with pytest.raises(StateError):
        saver.save_now(node)
    notes.failing = False
    saver.save_now(node)
    assert (notes.noted_contacts, len(notes.noted_holders), [list(each) for each in notes.noted_held]) == (
        [[HOLDER]],
        1,
        [[KEY]],
    )


class Unthreaded(Saver):
    """For virtual time, which does not wait for a thread: the disk takes a set time."""

    slowness = 0.0

    async def _in_thread(self, work: Callable[[], T]) -> T:
        async with self._thread:
            await trio.sleep(self.slowness)
            return work()


class Publishing:
    """A node with one contact, its saver, the entries at that contact, and the written holders."""

    def __init__(self, driver: Driver, other: Driver) -> None:
        self.driver, self.other = driver, other
        self.notes = Notes()
        self.saver = Unthreaded(cast("StateFile", self.notes), driver.clock, lambda: WALL)

    @property
    def written(self) -> set[tuple[Id, Contact]]:
        return {
            (each.record_key.key, at.contact)
            for holders in self.notes.noted_holders
            for each in holders
            for at in each.holders
        }

    @property
    def held(self) -> set[tuple[Id, Contact]]:
        [endpoint] = self.other.udp.listening()
        return {(held.key, Contact(self.other.node.own_id, endpoint)) for held in self.other.node.store}

    def enter(self, key: Id) -> None:
        self.driver.begin(lambda now: self.driver.node.commands.enter(key, 80, now))


@asynccontextmanager
async def publishing(*, write_ahead: bool = True) -> AsyncIterator[Publishing]:
    wire = Wire()
    async with wire.driver(write_ahead=True) as driver, wire.driver() as other:
        await joined(driver, other)
        case = Publishing(driver, other)
        async with trio.open_nursery() as nursery:
            if write_ahead:
                nursery.start_soon(case.saver.write_ahead, driver)
            yield case
            nursery.cancel_scope.cancel()


async def test_a_holder_is_on_disk_before_a_store_is_sent(autojump_clock: MockClock) -> None:
    async with publishing() as case:
        case.saver.slowness = 1.0
        case.enter(KEY)
        await trio.sleep(0.9)
        assert (case.written, case.held) == (set(), set())
        case.enter(OTHER)
        await trio.sleep(1.0)
        assert case.written == case.held == {(KEY, contact) for _, contact in case.held} != set()
        await trio.sleep(1.0)
        assert case.written == case.held
        assert {key for key, _ in case.held} == {KEY, OTHER}


async def test_holders_are_written_together_on_a_busy_disk(autojump_clock: MockClock) -> None:
    async with publishing() as case:
        case.saver.slowness = 1.0
        for number in range(100):
            case.enter(Id(number))
            await trio.sleep(0.001)
        await trio.sleep(3.0)
        assert len(case.held) == 100
        assert [len(holders) for holders in case.notes.noted_holders] == [1, 99]


async def test_a_save_under_way_is_waited_for(autojump_clock: MockClock) -> None:
    async with publishing(write_ahead=False) as case, trio.open_nursery() as nursery:
        await case.saver.save(case.driver.node)  # all that is not holders
        case.enter(KEY)
        await case.driver.has_unwritten.wait()
        case.saver.slowness = 1.0
        nursery.start_soon(case.saver.save, case.driver.node)
        await trio.sleep(0.5)
        assert case.driver.node.publisher.changed_records() == set()
        nursery.start_soon(case.saver.write_ahead, case.driver)
        await trio.sleep(0.4)
        assert (case.written, case.held) == (set(), set())
        await trio.sleep(0.2)
        assert case.written == case.held != set()
        nursery.cancel_scope.cancel()


async def test_a_failing_disk_stops_no_publication(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    async with publishing() as case:
        case.notes.failing = True
        case.enter(KEY)
        await trio.sleep(1.0)
        assert len(case.held) == 1
        assert caplog.messages == ["no space left"]
        assert case.written == set()
        case.notes.failing = False
        await case.saver.save(case.driver.node)  # the next round does this
        assert case.written == case.held


async def test_a_publication_retries_no_other_save(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    async with publishing() as case:
        case.notes.failing = True
        for number in range(10):
            case.enter(Id(number))
            await trio.sleep(1.0)
        assert len(case.held) == 10
        assert [len(holders) for holders in case.notes.tried] == [1] * 10
        assert caplog.messages == ["no space left"], "one line for each few entries fills the log"
        case.notes.failing = False
        case.enter(KEY)
        await trio.sleep(1.0)
        assert {key for key, _ in case.written} == {KEY}
        await case.saver.save(case.driver.node)
        assert case.written == case.held
        case.notes.failing = True
        case.enter(Id(10))
        await trio.sleep(1.0)
        assert caplog.messages == ["no space left"] * 2


async def test_calls_of_the_file_never_overlap() -> None:
    two_inside = threading.Barrier(2)

    class Slow(Notes):
        calls = 0
        overlaps = 0

        def add_own(self, *entries: AddOwn) -> None:
            self.calls += 1
            with suppress(threading.BrokenBarrierError):
                # For another call, which must not come; a wait in vain breaks the barrier for all later ones.
                two_inside.wait(0.2)
                self.overlaps += 1

    slow = Slow()
    saver = saver_of(slow)
    async with trio.open_nursery() as nursery:
        for port in range(1, 50):
            nursery.start_soon(saver.add_own, [AddOwn(own_key(KEY, port))])
    assert (slow.calls, slow.overlaps) == (49, 0)


async def test_a_cancelled_save_loses_no_change() -> None:
    holding, release = threading.Event(), threading.Event()

    class Busy(Notes):
        def add_own(self, *entries: AddOwn) -> None:
            holding.set()
            release.wait(60)

    notes, node = Busy(), new_node()
    saver = saver_of(notes)
    hold_peer(node.store, KEY, endpoint(1), CLOCK)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(saver.add_own, [AddOwn(own_key(KEY, 80))])
        await trio.to_thread.run_sync(holding.wait, 60)
        with trio.CancelScope() as scope:
            scope.cancel()
            await saver.save(node)
        release.set()
    assert not notes.noted_held
    await saver.save(node)
    assert [list(changes) for changes in notes.noted_held] == [[KEY]]


async def test_too_many_changes_are_saved_as_all_there_is() -> None:
    notes, node = (
        Notes(),
        Node(NATIVE.id(1), NativeCodec(), rng=random.Random(1), now=CLOCK, policy=Policy(store_entries=8)),
    )
    saver = saver_of(notes)
    saver.restore(node)
    for number in range(100):  # without a quota on this, a source that stores and withdraws fills memory
        hold_peer(node.store, NATIVE.id(number), endpoint(1), CLOCK)
        if number < 96:
            let_go(node.store, NATIVE.id(number), endpoint(1))
    notes.failing = True
    with pytest.raises(StateError):
        await saver.save(node)
    notes.failing = False
    await saver.save(node)
    assert notes.wholes == [True]
    assert set(notes.noted_held[0]) == {NATIVE.id(number) for number in range(96, 100)}
    hold_peer(node.store, KEY, endpoint(2), CLOCK)
    await saver.save(node)
    assert (notes.wholes, set(notes.noted_held[1])) == ([True, False], {KEY})


class SaverMachine(RuleBasedStateMachine):
    """A node, its saver and a file that may fail, with kills at any time: what was saved last comes back.

    Nothing that has changed since the last save that worked is missing from the next one. The file is made of lists
    here: the real one has a model of its own.
    """

    class File(Notes):
        failing_halfway = False

        def save_contacts(self, contacts: Sequence[Contact]) -> None:
            super().save_contacts(contacts)
            self.state = replace(self.state, contacts=list(contacts))

        def save_held(self, changes: Iterable[tuple[Id, Sequence[SavedRecord]]], *, whole: bool = False) -> None:
            if self.failing_halfway:
                raise StateError("no space left for held entries")
            super().save_held(changes, whole=whole)
            saved = dict(changes)
            others = [entry for entry in self.state.held if entry.key not in saved and not whole]
            self.state = replace(self.state, held=others + [entry for entries in saved.values() for entry in entries])

        def apply(self, changes: Sequence[KeepValue | DropValue]) -> None:
            self._fail()
            kept = {own.key: own for own in self.state.own_values}
            for change in changes:
                if isinstance(change, KeepValue):
                    kept[change.own.key] = change.own
                else:
                    kept.pop(change.key, None)
            self.state = replace(self.state, own_values=list(kept.values()))

        def save_held_values(self, changes: Iterable[tuple[Id, SavedHeldValue | None]], *, whole: bool = False) -> None:
            self._fail()
            kept = {} if whole else {held.key: held for held in self.state.held_values}
            for key, held in changes:
                kept.pop(key, None)
                if held is not None:
                    kept[key] = held
            self.state = replace(self.state, held_values=list(kept.values()))

        def save_holders(self, holders: Sequence[SetHolders]) -> None:
            super().save_holders(holders)
            kept = {**self.state.holders, **{each.record_key: list(each.holders) for each in holders}}
            self.state = replace(self.state, holders={own: those for own, those in kept.items() if those})

        def add_own(self, *entries: AddOwn) -> None:
            self._fail()
            self.state = replace(self.state, own=[*self.state.own, *(each.record_key for each in entries)])

        def remove_own(self, record_keys: Sequence[RecordKey], holders: Sequence[SetHolders] = ()) -> None:
            self.save_holders(holders)
            self.state = replace(self.state, own=[own for own in self.state.own if own not in record_keys])

    def __init__(self) -> None:
        super().__init__()
        self.file = self.File()
        self.begin(CLOCK)

    @initialize(clock=st.sampled_from([CLOCK, 0.0, 1e7]))
    def begin(self, clock: float) -> None:
        self.now, self.wall = clock, WALL
        self.contacts: set[Contact] = set()
        self.held: set[tuple[Id, Endpoint]] = set()
        self.leases: dict[Endpoint, float] = {}  # by source: until when
        self.holders: dict[tuple[Id, int, Contact], float] = {}  # until when
        self.saved_holders = set(self.holders)
        self.saved = set(self.contacts), set(self.held)
        self.own: set[tuple[Id, int]] = set()
        self.values: dict[Id, tuple[int, float]] = {}  # held ones: the seq, and until when
        self.saved_values: dict[Id, tuple[int, float]] = {}  # until when by the wall clock
        self.own_values: dict[Id, int] = {}  # their seqs
        self.saved_own_values: dict[Id, int] = {}
        self._start()

    keys = st.sampled_from([KEY, OTHER])
    endpoints = st.integers(1, 3).map(endpoint)
    seqs = st.integers(1, 3)
    own_keys = st.sampled_from([Id(17), Id(18)])  # of values: held ones have the others

    @rule(entries=st.lists(st.tuples(keys, endpoints), min_size=1, max_size=3))
    def entries_are_stored(self, entries: list[tuple[Id, Endpoint]]) -> None:
        for key, source in entries:
            hold_peer(self.node.store, key, source, self.now)
            self.held.add((key, source))
            self.leases[source] = floor(self.now + EXPIRY)

    @rule(source=endpoints)
    def a_lease_is_renewed(self, source: Endpoint) -> None:
        number = sum(its == source for _, its in self.held)
        assert self.node.store.renew(source.ip, SESSION, EXPIRY, self.now) == number
        self.leases[source] = floor(self.now + EXPIRY)

    @rule(key=keys, source=endpoints)
    def an_entry_is_withdrawn(self, key: Id, source: Endpoint) -> None:
        let_go(self.node.store, key, source)
        self.held.discard((key, source))

    @rule(key=keys, seq=seqs, lasts=st.sampled_from([60, VALUE_LASTS]))
    def a_value_is_stored(self, key: Id, seq: int, lasts: int) -> None:
        held, until = self.values.get(key, (0, 0.0))
        hold(self.node.values.held, key, by_owner(seq), endpoint(1), self.now, lasts)
        if seq >= held:
            self.values[key] = seq, max(until, int(self.now) + lasts)

    @rule(key=own_keys, fails=st.booleans())
    def a_value_is_put(self, key: Id, fails: bool) -> None:
        seq = self.own_values.get(key, 0) + 1
        own = SavedOwnValue(key, by_owner(seq), 1)
        if self._works(lambda: self.saver.keep_value(own), fails=fails):
            self.node.commands.put(key, own.value, self.now)
            self.own_values[key] = self.saved_own_values[key] = seq

    @rule(key=own_keys, fails=st.booleans())
    def a_value_is_dropped(self, key: Id, fails: bool) -> None:
        if self._works(lambda: self.saver.drop_value(key), fails=fails):
            self.node.commands.drop_value(key, self.now)
            self.own_values.pop(key, None)
            self.saved_own_values.pop(key, None)

    @rule(key=own_keys)
    def an_own_value_is_superseded(self, key: Id) -> None:
        own = self.node.values.own.get(key)
        if own is not None:
            self.own_values[key] += 1
            self.node.values.own.supersede(own, by_owner(self.own_values[key]))

    @rule(numbers=st.sets(st.integers(1, 4), min_size=1, max_size=2))
    def contacts_come_or_go(self, numbers: set[int]) -> None:
        for number in sorted(numbers):
            self._contact_comes_or_goes(number)

    def _contact_comes_or_goes(self, number: int) -> None:
        contact = Contact(Id(number), endpoint(number))
        if contact in self.contacts:
            self.node.state.moved(contact.id, contact.endpoint)
        else:
            assert self.node.overlays.restore(contact)
        self.contacts ^= {contact}

    @rule(key=keys, port=st.sampled_from([80, 443]), fails=st.booleans())
    def is_entered(self, key: Id, port: int, fails: bool) -> None:
        entries = [AddOwn(own_key(key, port))]
        if (key, port) not in self.own and self._works(lambda: self.saver.add_own(entries), fails=fails):
            self.node.commands.enter(key, port, self.now)
            self.own.add((key, port))

    @rule(key=keys, fails=st.booleans())
    def is_deleted(self, key: Id, fails: bool) -> None:
        ports = sorted(port for own, port in self.own if own == key)
        if self._works(lambda: self.saver.remove_own(self.node, [own_key(key, port) for port in ports]), fails=fails):
            self.own -= {(key, port) for port in ports}
            deleted = {(key, port) for port in ports}
            kept = {holder for holder in self.saved_holders if holder[:2] not in deleted}
            self.saved_holders = kept | {holder for holder in self.holders if holder[:2] in deleted}
            self.node.commands.delete(key, None, self.now)

    @rule(key=keys, port=st.sampled_from([80, 443]), numbers=st.sets(st.integers(1, 3), min_size=1))
    def is_stored_on(self, key: Id, port: int, numbers: set[int]) -> None:
        entry = self.node.own_records.get(own_key(key, port))
        for number in sorted(numbers) if entry is not None else ():
            assert entry is not None
            self.node.own_records.may_hold(entry, Contact(Id(number), endpoint(number)), self.now + LEASE)
            self.holders[key, port, Contact(Id(number), endpoint(number))] = self.now + LEASE

    @rule(key=keys, port=st.sampled_from([80, 443]), number=st.integers(1, 3))
    def lets_go(self, key: Id, port: int, number: int) -> None:
        if (key, port) not in self.own:
            contact = Contact(Id(number), endpoint(number))
            self.node.withdrawals.holds_nothing(own_key(key, port), contact)
            self.holders.pop((key, port, contact), None)

    @rule(seconds=st.sampled_from([1.0, 25.0, 1_000.0, EXPIRY]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds
        self.node.store.sweep(self.now)
        self.node.withdrawals.sweep(self.now)
        while self.node.values.held.sweep(self.now)[1]:
            pass
        self._expire()

    @rule()
    def fails_to_save(self) -> None:
        self._works(lambda: self.saver.save(self.node), fails=True)

    @rule()
    def saves_contacts_and_fails_to_save_entries(self) -> None:
        self.file.failing_halfway = True
        with suppress(StateError):
            trio.run(self.saver.save, self.node)
        self.file.failing_halfway = False
        self.saved, self.saved_holders = (set(self.contacts), self.saved[1]), set(self.holders)
        assert set(self.file.state.contacts) == self.contacts

    @rule()
    def saves(self) -> None:
        assert self._works(lambda: self.saver.save(self.node), fails=False)
        self.saved, self.saved_holders = (set(self.contacts), set(self.held)), set(self.holders)
        self.saved_own_values = dict(self.own_values)
        self.saved_values = {key: (seq, until - self.now + self.wall) for key, (seq, until) in self.values.items()}
        expected: Any = {key: (seq, pytest.approx(until, abs=0.01)) for key, (seq, until) in self.saved_values.items()}
        assert self._values_in_file() == expected
        assert set(self.file.state.contacts) == self.contacts
        assert {(entry.key, entry.record.endpoint) for entry in self.file.state.held} == self.held
        assert all((entry.lease, entry.session) == (EXPIRY, KEPT) for entry in self.file.state.held)
        offset = self.wall - self.now
        holders = {holder: until - offset for holder, until in self._holders_in_file().items()}
        live = {holder: until for holder, until in holders.items() if until > self.now + 0.001}
        assert live == {holder: pytest.approx(until, abs=0.01) for holder, until in self.holders.items()}
        assert self._works(lambda: self.saver.save(self.node), fails=True)  # for there is nothing to write

    @rule(pause=st.sampled_from([0.0, 10.0, 4_000.0]), clock=st.sampled_from([0.5, 1e6]))
    def is_killed_and_started_again(self, pause: float, clock: float) -> None:
        """Everything in the file has one lease of grace: it may have been renewed since, and nothing tells."""
        in_file = self._holders_in_file()
        assert in_file.keys() >= self.saved_holders
        assert all(in_file[holder] <= self.wall + 0.001 for holder in in_file.keys() - self.saved_holders)
        self.now, self.wall = clock, self.wall + pause
        self.contacts, self.held = set(self.saved[0]), set(self.saved[1])
        self.leases = {source: floor(clock + EXPIRY) for _, source in self.held}
        self.holders = dict.fromkeys(in_file, clock + LEASE)
        self.saved_holders = set(in_file)
        self.own_values = dict(self.saved_own_values)
        self.values = {
            key: (seq, floor(until - self.wall + self.now + 0.001))
            for key, (seq, until) in self._values_in_file().items()
            if until - self.wall > 0.001
        }
        assert {key: seq for key, (seq, _) in self._values_in_file().items()}.items() >= {
            key: seq for key, (seq, until) in self.saved_values.items() if until > self.wall + 0.001
        }.items()
        self._start()
        assert {(entry.key, entry.port) for entry in self.node.own_records} == self.own
        assert {own.key: own.value for own in self.node.values.own} == {
            key: by_owner(seq) for key, seq in self.own_values.items()
        }
        if len(self.values) < len(self._values_in_file()):  # what has expired goes from the file
            assert self._works(lambda: self.saver.save(self.node), fails=False)
        self.saved_values = self._values_in_file()
        assert self._works(lambda: self.saver.save(self.node), fails=True)  # for there is nothing new

    @invariant()
    def the_node_has_what_it_should(self) -> None:
        assert {(entry.key, entry.record.endpoint): entry.expires_at for entry in self.node.store} == {
            (key, source): self.leases[source] for key, source in self.held
        }
        assert set(self.node.state.table) == self.contacts
        expected: Any = {
            key: (by_owner(seq), pytest.approx(until, abs=1.001)) for key, (seq, until) in self.values.items()
        }
        assert {held.key: (held.value, held.expires_at) for held in self.node.values.held} == expected
        assert {own.key: own.value for own in self.node.values.own} == {
            key: by_owner(seq) for key, seq in self.own_values.items()
        }
        entries = [(key, port) for key in (KEY, OTHER) for port in (80, 443)]
        assert {
            (*own, contact): pytest.approx(until, abs=0.01)
            for own in entries
            for contact, until in self.node.publisher.holders(own_key(*own), self.now).items()
        } == self.holders

    def _start(self) -> None:
        self.node = new_node(self.now)
        self.saver = Saver(cast("StateFile", self.file), lambda: self.now, lambda: self.wall)
        self.saver.restore(self.node)

    def _expire(self) -> None:
        self.held = {(key, source) for key, source in self.held if self.leases[source] > self.now}
        self.values = {key: held for key, held in self.values.items() if held[1] > self.now}
        self.holders = {holder: until for holder, until in self.holders.items() if until > self.now}

    def _values_in_file(self) -> dict[Id, tuple[int, float]]:
        """Return the seqs of the held values in the file, and until when they are held, by the wall clock."""
        return {
            held.key: (held.value.seq, held.until)
            for held in self.file.state.held_values
            if isinstance(held.value, Mutable)
        }

    def _holders_in_file(self) -> dict[tuple[Id, int, Contact], float]:
        """Return the possible holders in the file, and until when, on the wall clock."""
        return {
            (own.key, own.port, holder.contact): holder.until
            for own, holders in self.file.state.holders.items()
            for holder in holders
        }

    def _works(self, call: Callable[[], Awaitable[None]], *, fails: bool) -> bool:
        """Make a call while the file fails or not; return whether it worked, as it does if nothing is written."""
        self.file.failing = fails
        try:
            trio.run(call)
        except StateError:
            assert fails
            return False
        finally:
            self.file.failing = False
        return True


TestSaverGivesBackWhatItSaved = SaverMachine.TestCase
TestSaverGivesBackWhatItSaved.settings = scaled(20)


async def test_many_changes_are_saved_in_steps() -> None:
    notes, node = Notes(), new_node()
    saver = saver_of(notes)
    saver.restore(node)
    for number in range(2 * HELD_AT_ONCE + 1):
        hold_peer(node.store, Id(number), endpoint(number % 256), CLOCK)
    await saver.save(node)
    assert [len(noted) for noted in notes.noted_held] == [HELD_AT_ONCE, HELD_AT_ONCE, 1]
    assert set().union(*notes.noted_held) == set(map(Id, range(2 * HELD_AT_ONCE + 1)))
    assert len(node.store.changed) == 0
