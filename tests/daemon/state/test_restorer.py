"""The content of the state file comes to a node that serves already: nothing is lost, nothing deleted comes back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import Contact
from dhtd.core.node import Node
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.records import Peer
from dhtd.core.storage.leases import SESSION_KEPT
from dhtd.daemon.driver import Driver
from dhtd.daemon.labels import Label, Labels
from dhtd.daemon.state import contents as state_contents
from dhtd.daemon.state.file import AddOwn, SavedHolder, SavedOwn, SavedRecord, SetHolders, StateFile
from dhtd.daemon.state.restorer import Restorer
from dhtd.daemon.state.saver import Saver
from dhtd.errors import StateError
from dhtd.wire.native import NativeCodec
from tests.records import KEPT, hold_peer, let_go, own_key

KEYS = [Id(number) for number in range(20)]
NOW, WALL = 1_000.0, 1_700_000_000.0
UNTIL = WALL + 1_000


def machine(number: int) -> Endpoint:
    return Endpoint.of(f"10.0.0.{number}", 1729)


ANOTHER = b"another session."  # than that of all other entries
ONE, OTHER = Contact(NATIVE.digest(b"one"), machine(1)), Contact(NATIVE.digest(b"other"), machine(2))


def new_node(policy: Policy) -> Node:
    rng = random.Random(1)
    return Node(NATIVE.random(rng), NativeCodec(), rng=rng, now=NOW, policy=policy)


class Bare:
    """A driver that only has a node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.flushes = 0

    def flush(self) -> None:
        self.flushes += 1


class Case:
    """A file with entries, and a node that has none of them yet."""

    def __init__(self, path: Path) -> None:
        self.file = StateFile.open(path)
        self.file.apply([AddOwn(own_key(key, 80)) for key in KEYS])
        self.file.save_holders([SetHolders(own_key(key, 80), [SavedHolder(ONE, UNTIL)]) for key in KEYS])
        self.file.save_held([(key, [SavedRecord(key, Peer(machine(3)), 3_600, KEPT)]) for key in KEYS])
        self.node = new_node(DEFAULT)
        self.driver = Bare(self.node)
        self.saver = Saver(self.file, lambda: NOW, lambda: WALL)

    def begin(self, at_once: float = 0) -> None:
        self.saver.restore(self.node, at_once)

    async def finish(self) -> None:
        await self.saver.restore_rest(cast("Driver", self.driver))

    def holders(self, key: Id) -> set[Contact]:
        """Return the possible holders of an entry in the file."""
        return {holder.contact for holder in self.file.load().holders.get(own_key(key, 80), [])}


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    monkeypatch.setattr(state_contents, "SLICE", 3)
    case = Case(tmp_path / "state.db")
    yield case
    case.file.close()


async def test_the_rest_comes_in_slices(case: Case) -> None:
    before = case.file.load()
    case.begin(at_once=2)
    assert (len(case.node.own_records), case.saver.is_restoring) == (6, True)
    await case.finish()
    assert (len(case.node.own_records), len(case.node.store), case.saver.is_restoring) == (20, 20, False)
    assert all(set(entry.holders(NOW)) == {ONE} for entry in case.node.own_records)
    assert len(case.node.withdrawals) == 0
    assert case.driver.flushes > 10
    serial = case.file.fact("serial")
    await case.saver.save(case.node)
    assert (case.file.load(), case.file.fact("serial")) == (before, serial)


async def test_an_entry_may_be_deleted_before_it_is_restored(case: Case) -> None:
    case.begin()
    async with case.saver.own_entries:
        await case.saver.bring([KEYS[7]])
        assert case.node.own_records.ports(KEYS[7]) == [80]
        await case.saver.remove_own(case.node, [own_key(KEYS[7], 80)])
        case.node.commands.delete(KEYS[7], None, NOW)
    await case.finish()
    assert case.node.own_records.get(own_key(KEYS[7], 80)) is None
    assert [(each.record_key.key, each.holder) for each in case.node.withdrawals] == [(KEYS[7], ONE)]
    assert (len(case.node.own_records), len(case.file.load().own)) == (19, 19)
    assert case.holders(KEYS[7]) == {ONE}


async def test_an_entry_entered_early_keeps_its_holders(case: Case) -> None:
    case.begin()
    async with case.saver.own_entries:
        await case.saver.bring([KEYS[7]])
        await case.saver.add_own([AddOwn(own_key(KEYS[7], 80))])
        case.node.commands.enter(KEYS[7], 80, NOW)
    await case.finish()
    entry = case.node.own_records.get(own_key(KEYS[7], 80))
    assert entry is not None
    assert set(entry.holders(NOW)) == {ONE}


@pytest.mark.parametrize("is_at_the_end", [False, True])
async def test_chosen_holders_join_unrestored_ones(case: Case, is_at_the_end: bool) -> None:
    case.begin(at_once=8)  # all own entries, without their holders
    entry = case.node.own_records.get(own_key(KEYS[7], 80))
    assert entry is not None
    case.node.own_records.may_hold(entry, OTHER, NOW + 500)
    if is_at_the_end:
        case.saver.save_now(case.node)
    else:
        await case.saver.save(case.node)
    assert case.holders(KEYS[7]) == {ONE, OTHER}
    await case.finish()
    assert set(entry.holders(NOW)) == {ONE, OTHER}


@pytest.mark.parametrize("is_at_the_end", [False, True])
async def test_stored_entries_join_unrestored_ones(case: Case, is_at_the_end: bool) -> None:
    case.begin()
    hold_peer(case.node.store, KEYS[7], machine(4), NOW)
    if is_at_the_end:
        case.saver.save_now(case.node)
    else:
        await case.saver.save(case.node)
    in_file = {entry.record.endpoint for entry in case.file.load().held if entry.key == KEYS[7]}
    assert in_file == {machine(3), machine(4)}
    await case.finish()
    assert len(case.node.store) == 21


async def test_an_entry_stored_meanwhile_keeps_its_lease(case: Case) -> None:
    case.begin()
    hold_peer(case.node.store, KEYS[7], machine(3), NOW, lease=60, session=ANOTHER)
    case.file.save_held([(KEYS[7], [SavedRecord(KEYS[7], Peer(machine(3)), 3_600, ANOTHER[:SESSION_KEPT])])])
    await case.finish()
    assert [(held.lease, held.expires_at) for held in case.node.store.held(KEYS[7])] == [(60, NOW + 60)]
    await case.saver.save(case.node)
    assert [entry.lease for entry in case.file.load().held if entry.key == KEYS[7]] == [60]


async def test_each_session_has_its_entry_back(case: Case) -> None:
    """Two of them may have the same endpoint under one key: that of a session is there when the other's comes."""
    ours, theirs = (SavedRecord(KEYS[7], Peer(machine(3)), 60, kept) for kept in (KEPT, ANOTHER[:SESSION_KEPT]))
    case.file.save_held([(KEYS[7], [ours, theirs])])
    case.begin()
    await case.finish()
    assert {held.session for held in case.node.store.held(KEYS[7])} == {ours.session, theirs.session}
    hold_peer(case.node.store, KEYS[7], machine(4), NOW)
    await case.saver.save(case.node)
    saved = {(entry.record.endpoint, entry.session) for entry in case.file.load().held if entry.key == KEYS[7]}
    assert saved == {(machine(3), ours.session), (machine(3), theirs.session), (machine(4), KEPT)}


async def test_restored_entries_shorten_no_lease(case: Case) -> None:
    case.begin()
    hold_peer(case.node.store, Id(99), machine(3), NOW, lease=7_200)
    await case.finish()
    assert {(held.lease, held.expires_at) for held in case.node.store} == {(7_200, NOW + 7_200)}


async def test_entries_of_one_session_share_its_longest_lease(case: Case) -> None:
    case.file.save_held([(key, [SavedRecord(key, Peer(machine(3)), 60 + key, KEPT)]) for key in KEYS])
    case.begin()
    await case.finish()
    assert {held.expires_at for held in case.node.store} == {NOW + 60 + max(KEYS)}


async def test_what_ends_early_goes_from_the_file(case: Case) -> None:
    """It was restored, withdrawn and saved while the file was still being read."""
    case.begin(at_once=9)
    [first, *_] = case.node.store
    assert let_go(case.node.store, first.key, first.record.endpoint)
    await case.saver.save(case.node)
    assert case.saver.is_restoring
    assert len(case.file.load().held) == 20
    await case.finish()
    await case.saver.save(case.node)
    assert first.key not in {entry.key for entry in case.file.load().held}
    assert len(case.file.load().held) == 19


async def test_a_restored_entry_that_makes_room_is_gone(case: Case) -> None:
    """It gives way to one of another source that comes from the file after it."""
    case.node = new_node(replace(DEFAULT, store_entries=20))
    case.driver.node = case.node
    late = SavedRecord(Id(50), Peer(machine(4)), 60, KEPT)
    case.file.save_held([(late.key, [late])])
    case.begin()
    await case.finish()
    assert len(case.node.store) == 20
    await case.saver.save(case.node)
    in_file = case.file.load().held
    assert late in in_file
    assert {(entry.key, entry.record.endpoint) for entry in in_file} == {
        (held.key, held.record.endpoint) for held in case.node.store
    }


@pytest.mark.parametrize("until", [WALL - 1e6, WALL + 1, WALL + 1e9])
async def test_each_holder_has_one_lease_of_grace(case: Case, until: float) -> None:
    """We may have renewed it since it was saved, and nothing is written for that."""
    own, deleted = own_key(KEYS[7], 80), own_key(KEYS[7], 81)
    case.file.save_holders([SetHolders(each, [SavedHolder(ONE, until)]) for each in (own, deleted)])
    case.begin()
    await case.finish()
    lease = case.node.publisher.lease.seconds
    assert lease == 60
    for each in own, deleted:
        assert case.node.publisher.holders(each, NOW) == {ONE: NOW + lease}


async def test_a_file_that_cannot_be_read_is_read_later(
    case: Case, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read_really, reads = Restorer.read, 0

    def read(self: Restorer) -> Any:
        nonlocal reads
        reads += 1
        if reads in (3, 12):
            self._slices = self._starts[self._part]()
            raise StateError("disk I/O error")
        return read_really(self)

    monkeypatch.setattr(Restorer, "read", read)
    monkeypatch.setattr("dhtd.daemon.state.saver.SAVE_INTERVAL", 0.0)
    case.begin()
    await case.finish()
    assert (len(case.node.own_records), len(case.node.store)) == (20, 20)
    assert caplog.messages.count("what the state file holds is not all restored: disk I/O error; trying again") == 2


def test_a_part_that_fails_is_begun_again(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Iterator[Any]:
        for number in range(2):
            if not number:
                raise StateError("disk I/O error")
            yield number

    restorer = Restorer(case.file, case.node, Labels(), case.saver._timeline)
    restorer._slices = fail()
    with pytest.raises(StateError):
        restorer.read()
    assert restorer.read() == [SavedOwn(own_key(key, 80)) for key in KEYS[:3]]


async def test_labels_come_back_with_their_entries(case: Case) -> None:
    labelled = {own_key(KEYS[3], 80): Label("printer", "a.toml"), own_key(KEYS[19], 80): Label("scanner")}
    case.file.add_own(*(AddOwn(record_key, label) for record_key, label in labelled.items()))
    labels = case.saver._labels
    case.begin(at_once=1)
    assert labels.of(own_key(KEYS[3], 80)) == Label()
    async with case.saver.own_entries:
        await case.saver.bring([KEYS[19]])
    assert labels.of(own_key(KEYS[19], 80)).name == "scanner"
    labels.set(own_key(KEYS[19], 80), Label("laser"))
    await case.finish()
    assert labels.of(own_key(KEYS[3], 80)) == Label("printer", "a.toml")
    assert labels.of(own_key(KEYS[19], 80)) == Label("laser")  # nothing older comes over what was brought
