"""The mark in the state file: the starts that it allows, and what is kept of another network."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.records import Immutable, Peer
from dhtd.daemon.state.file import (
    AddOwn,
    KeepValue,
    SavedHeldValue,
    SavedHolder,
    SavedOwnValue,
    SavedRecord,
    SetHolders,
    StateFile,
)
from dhtd.daemon.state.network_mark import claim, fingerprints
from dhtd.daemon.state.saver import Saver
from dhtd.errors import WrongNetwork
from dhtd.wire.network_key import KEY_SIZE, NetworkKey
from tests.daemon.state.test_saver import new_node
from tests.records import KEPT, own_key

OLD, NEW, FOREIGN = (NetworkKey(bytes([number]) * KEY_SIZE) for number in (1, 2, 3))
CONTACT = Contact(Id(5), Endpoint.parse("10.0.0.5:1729"))
OWN, HELD = own_key(Id(7), 80), SavedRecord(Id(8), Peer(Endpoint.parse("10.0.0.6:80")), 3_600, KEPT)
HOLDERS = SetHolders(OWN, [SavedHolder(CONTACT, 1e9)])


@pytest.fixture
def file(tmp_path: Path) -> Iterator[StateFile]:
    with closing(StateFile.open(tmp_path / "s.db")) as opened:
        opened.set_node_id(Id(1))
        opened.save_contacts([CONTACT])
        opened.add_own(AddOwn(OWN))
        opened.save_held([(HELD.key, [HELD])])
        opened.save_holders([HOLDERS])
        opened.apply([KeepValue(SavedOwnValue(Id(9), Immutable(b""), 1))])
        opened.save_held_values([(Id(9), SavedHeldValue(Id(9), Immutable(b""), bytes(4), 1e9))])
        yield opened


def kept(file: StateFile) -> tuple[bool, bool, bool, bool]:
    """Return whether it has contacts, own entries and values, held ones, and holders."""
    state = file.load()
    assert (bool(state.own_values), bool(state.held_values)) == (bool(state.own), bool(state.held))
    assert state.node_id == Id(1)
    return bool(state.contacts), bool(state.own), bool(state.held), bool(state.holders)


ALL = (True, True, True, True)


@pytest.mark.parametrize("keys", [(), (OLD,), (OLD, NEW)])
def test_the_first_start_marks_a_file(
    file: StateFile, keys: tuple[NetworkKey, ...], caplog: pytest.LogCaptureFixture
) -> None:
    assert file.networks() is None
    for _ in range(2):
        claim(file, keys, change=False)
        assert file.networks() == fingerprints(keys)
    assert kept(file) == ALL
    assert caplog.records == []


@pytest.mark.parametrize("steps", [[(OLD,), (OLD, NEW), (NEW, OLD), (NEW,)], [(OLD, NEW), (NEW, FOREIGN), (FOREIGN,)]])
def test_a_common_key_lets_a_network_change_keys(file: StateFile, steps: list[tuple[NetworkKey, ...]]) -> None:
    for keys in steps:
        claim(file, keys, change=False)
        assert file.networks() == fingerprints(keys)
    assert kept(file) == ALL


@pytest.mark.parametrize(("keys", "now"), [((), "an open node"), ((FOREIGN,), f"the key {FOREIGN.fingerprint}")])
def test_another_start_is_refused_with_advice(file: StateFile, keys: tuple[NetworkKey, ...], now: str) -> None:
    claim(file, (OLD, NEW), change=False)
    with pytest.raises(WrongNetwork) as caught:
        claim(file, keys, change=False)
    text = str(caught.value)
    assert f"belongs to a private network, key {OLD.fingerprint} or {NEW.fingerprint}, and this would be" in text
    assert now in text
    for way in ("--network-key", "--instance or --state", "--change-network"):
        assert way in text
    assert (caught.value.code, caught.value.exit_status) == ("wrong-network", 1)
    assert file.networks() == fingerprints((OLD, NEW))
    assert kept(file) == ALL


@pytest.mark.parametrize("keys", [(), (FOREIGN,)])
def test_own_entries_alone_go_to_another_network(file: StateFile, keys: tuple[NetworkKey, ...]) -> None:
    claim(file, (OLD,), change=False)
    claim(file, keys, change=True)
    assert file.networks() == fingerprints(keys)
    assert kept(file) == (False, True, False, False)
    claim(file, keys, change=False)


def test_a_node_made_private_drops_held_entries(file: StateFile, caplog: pytest.LogCaptureFixture) -> None:
    claim(file, (), change=False)
    claim(file, (OLD,), change=False)
    assert kept(file) == (True, True, False, False)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "was an open node's" in record.message


def test_the_mark_lasts_and_has_no_part_of_the_key(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with closing(StateFile.open(path)) as file:
        claim(file, (OLD,), change=False)
    with closing(StateFile.open(path)) as file:
        assert file.networks() == (OLD.fingerprint,)
    data = path.read_bytes()
    assert OLD.fingerprint.encode() in data
    assert OLD.secret[:8] not in data
    assert OLD.secret.hex()[:16].encode() not in data


async def test_changed_keys_are_marked_by_the_next_save(file: StateFile) -> None:
    claim(file, (OLD,), change=False)
    saver = Saver(file, time.monotonic)
    node = new_node()
    await saver.save(node)
    assert file.networks() == (OLD.fingerprint,)
    saver.mark(fingerprints((NEW, OLD)))
    await saver.save(node)
    assert file.networks() == (NEW.fingerprint, OLD.fingerprint)


def test_keys_that_change_in_a_save_are_marked_later(file: StateFile, monkeypatch: pytest.MonkeyPatch) -> None:
    claim(file, (OLD,), change=False)
    saver, node = Saver(file, time.monotonic), new_node()
    with monkeypatch.context() as patch:
        patch.setattr(file, "set_networks", lambda networks: saver.mark(fingerprints((NEW,))))
        saver.mark(fingerprints((NEW, OLD)))
        saver.save_now(node)
    saver.save_now(node)
    assert file.networks() == (NEW.fingerprint,)
