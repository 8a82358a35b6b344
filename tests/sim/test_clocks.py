"""Clocks that jump, and restarts from the daemon's own file: no entry is lost, and none lives for ever."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from math import floor
from pathlib import Path

import pytest

from dhtd.core.ids import NATIVE, Id
from dhtd.core.policy import DEFAULT
from dhtd.core.records import RecordKey
from dhtd.core.storage.held_record import HeldRecord
from dhtd.daemon.state.file import AddOwn, SavedHolder, SavedRecord, SetHolders, StateFile
from dhtd.sim import invariants
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from dhtd.sim.saved import Holding, Saved
from tests.records import own_key

KEY = NATIVE.digest(b"the key")
HOUR = 3_600.0
LEASE = DEFAULT.heartbeats_in_lease * DEFAULT.heartbeat


def grown(seed: int, size: int = 16) -> Network:
    net = Network(seed)
    net.grow(size)
    net.run_for(60)
    return net


def holders(net: Network) -> list[Host]:
    return [host for host in net.live if host.node.store.get(KEY, host.clock(net.now))]


def finders(net: Network, owner: Host) -> int:
    return sum(owner.endpoint.with_port(3000) in net.lookup(host, KEY).endpoints for host in net.live)


def test_a_long_suspension_serves_nothing_expired() -> None:
    net = grown(1)
    owner = net.hosts[0]
    net.enter(owner, KEY, 3000)
    held_by = holders(net)
    sleeper = held_by[0]
    net.jump(sleeper, 2 * HOUR)
    assert holders(net) == held_by[1:]
    net.run_for(1)
    assert len(sleeper.node.store) == 0  # swept, since that was long due
    assert finders(net, owner) == 16
    for host in net.hosts:
        invariants.check_host(host, net.now)


def test_a_suspended_owner_publishes_at_once() -> None:
    net = grown(2)
    owner = net.hosts[0]
    net.enter(owner, KEY, 3000)
    net.jump(owner, 2 * HOUR)
    entry = owner.node.own_records.get(own_key(KEY, 3000))
    assert entry is not None
    net.run_for(10)
    assert entry.published_at is not None
    assert entry.published_at >= 2 * HOUR
    assert finders(net, owner) == 16


@pytest.mark.parametrize("wall", [-30 * 86_400.0, -60.0, 60.0, 86_400.0])
def test_a_restart_gives_one_lease_by_any_clock(wall: float) -> None:
    net = grown(3)
    owner = net.hosts[0]
    net.enter(owner, KEY, 3000)
    holder = holders(net)[0]
    saved = net.kill(holder)
    net.jump(holder, 0.0, wall=wall)
    net.restart(holder, saved)
    assert holder in holders(net)
    (held,) = [entry for entry in holder.node.store if entry.key == KEY]
    assert held.expires_at == floor(holder.clock(net.now) + LEASE)
    invariants.check_host(holder, net.now)


def test_an_owner_that_is_gone_is_held_for_one_lease() -> None:
    net = grown(4)
    owner = net.hosts[0]
    net.enter(owner, KEY, 3000)
    holder = next(host for host in holders(net) if host is not owner)
    net.kill(owner)
    saved = net.kill(holder)
    net.run_for(2 * HOUR)
    net.restart(holder, saved)
    assert holders(net) == [holder]
    net.run_for(LEASE + 1)
    assert holders(net) == []


@pytest.mark.parametrize("wall", [-30 * 86_400.0, 0.0, 60.0])
def test_no_clock_forgets_a_withdrawal(wall: float) -> None:
    net = grown(6)
    owner = net.hosts[0]
    net.enter(owner, KEY, 3000)
    holder = next(host for host in holders(net) if host is not owner)
    saved = net.kill(holder)
    net.delete(owner, KEY)
    state = net.kill(owner)
    net.jump(owner, 0.0, wall=wall)
    net.restart(owner, state)
    assert len(owner.node.withdrawals) == len(state.holders) > 0
    assert all(each.until == owner.clock(net.now) + LEASE for each in owner.node.withdrawals)
    net.restart(holder, saved)
    assert holder in holders(net)
    net.run_for(LEASE / 2)
    assert holders(net) == []


def test_no_holder_is_asked_for_an_expired_entry() -> None:
    net = grown(7)
    owner = net.hosts[0]
    net.enter(owner, KEY, 3000)
    net.kill(next(host for host in holders(net) if host is not owner))
    net.delete(owner, KEY)
    net.run_for(LEASE * 2 / 3)  # the others have confirmed it
    assert len(owner.node.withdrawals) == 1
    net.jump(owner, 2 * HOUR)
    net.run_for(1)
    assert len(owner.node.withdrawals) == 0  # swept, since that was long due


def test_a_moved_machine_names_what_it_leaves() -> None:
    net = grown(8)
    owner = net.hosts[0]
    net.enter(owner, KEY, 3000)
    before = owner.endpoint
    saved = net.kill(owner)
    net.move(owner)
    net.restart(owner, saved)
    net.run_for(LEASE / 2)
    assert [left.endpoint for left in net.delete(owner, KEY).left_behind] == [before.with_port(3000)]


def test_a_moved_machine_leaves_nothing_after_a_lease() -> None:
    net = grown(8)
    owner = net.hosts[0]
    net.enter(owner, KEY, 3000)
    saved = net.kill(owner)
    net.move(owner)
    net.restart(owner, saved)
    net.run_for(2 * LEASE)
    assert net.delete(owner, KEY).left_behind == ()
    assert holders(net) == []


def through_a_file(path: Path, saved: Saved) -> Saved:
    """Return a state after a way through the daemon's state file."""
    assert saved.session is not None
    with closing(StateFile.open(path)) as file:
        file.set_node_id(saved.id)
        file.set_fact("session", saved.session)
        file.save_contacts(saved.contacts)
        for record_key in saved.own:
            file.add_own(AddOwn(record_key))
        entries: dict[Id, list[SavedRecord]] = {}
        for entry in saved.held:
            saved_entry = SavedRecord(entry.key, entry.record, entry.lease, entry.session)
            entries.setdefault(entry.key, []).append(saved_entry)
        file.save_held(entries.items())
        holders: dict[RecordKey, list[SavedHolder]] = {}
        for each in saved.holders:
            holders.setdefault(each.record_key, []).append(SavedHolder(each.contact, each.until, each.seen))
        file.save_holders(SetHolders(own, those) for own, those in holders.items())
    with closing(StateFile.open(path)) as file:
        state, session = file.load(), file.session()
    assert state.node_id is not None
    held = tuple(HeldRecord(entry.key, entry.record, 0.0, entry.lease, entry.session) for entry in state.held)
    holders_again = tuple(
        Holding(own, holder.contact, holder.until, holder.seen)
        for own, those in state.holders.items()
        for holder in those
    )
    return Saved(state.node_id, tuple(state.contacts), tuple(state.own), held, holders_again, session)


def test_a_whole_network_returns_from_its_files(tmp_path: Path) -> None:
    net = grown(5)
    keys = [NATIVE.digest(b"%d" % number) for number in range(16)]
    for host, key in zip(net.hosts, keys, strict=True):
        net.enter(host, key, 3000)
    saved = [(host, net.kill(host)) for host in net.hosts]
    net.run_for(600)
    for number, (host, state) in enumerate(saved):
        again = through_a_file(tmp_path / f"{number}.db", state)
        assert (again.id, again.contacts, set(again.own), set(again.holders), again.session) == (
            state.id,
            state.contacts,
            set(state.own),
            set(state.holders),
            state.session,
        )
        assert set(again.held) == {replace(entry, expires_at=0.0) for entry in state.held}
        assert len(again.holders) >= DEFAULT.k
        net.restart(host, again)
    net.run_for(30)
    for owner, key in zip(net.hosts, keys, strict=True):
        for asker in net.hosts:
            assert owner.endpoint.with_port(3000) in net.lookup(asker, key).endpoints
