"""A delete that deletes: a node that comes back with a deleted entry soon drops it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from random import Random

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE
from dhtd.core.policy import DEFAULT, Policy
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from dhtd.sim.saved import Saved
from tests.records import own_key

KEY = NATIVE.digest(b"the key")
PORT = 3000
HOURLY = replace(DEFAULT, heartbeat=1_200.0)  # leases of an hour: no copy expires while a test runs
JITTER = 1 + DEFAULT.republish_jitter
ATTEMPT = 10.0  # seconds that asking a holder takes at most, and the lookup of one that is lost


def lease(policy: Policy) -> float:
    return policy.heartbeats_in_lease * policy.heartbeat


def grown(seed: int, policy: Policy = HOURLY, size: int = 24) -> Network:
    net = Network(seed, policy=policy)
    net.grow(size)
    net.run_for(60)
    return net


def holders(net: Network) -> list[Host]:
    return [host for host in net.live if host.node.store.get(KEY, net.now)]


def is_let_go(net: Network) -> bool:
    return not holders(net)


def entered(seed: int, policy: Policy = HOURLY) -> tuple[Network, Host, Host]:
    """Return a network, the owner of an entry in it, and a holder that is not the owner and not its bootstrap."""
    net = grown(seed, policy)
    owner = net.hosts[5]
    net.enter(owner, KEY, PORT)
    holder = net.rng.choice([host for host in holders(net) if host.endpoint not in owner.bootstrap])
    return net, owner, holder


def is_found(net: Network, owner: Host) -> bool:
    return any(owner.endpoint.with_port(PORT) in net.lookup(host, KEY).endpoints for host in net.live)


def grace(away: float) -> float:
    """Return the seconds until a holder is told after this absence, by dht-protocol(7)."""
    return JITTER * min(away + DEFAULT.withdraw_retry, DEFAULT.withdraw_retry_max) + ATTEMPT


@pytest.mark.parametrize(
    ("policy", "away"),
    [
        *((DEFAULT, 5.0), (DEFAULT, 40.0), (HOURLY, 2_000.0)),
        *(pytest.param(HOURLY, away, marks=pytest.mark.slow) for away in (5.0, 40.0, 300.0)),
    ],
)
@pytest.mark.parametrize("seeds", [range(1), pytest.param(range(1, 3), marks=pytest.mark.slow)])
def test_a_returning_holder_lets_go(policy: Policy, away: float, seeds: range) -> None:
    for seed in seeds:
        net, owner, holder = entered(seed, policy)
        saved = net.kill(holder)
        gone = net.now
        assert net.delete(owner, KEY).silent == 1
        net.run_for(gone + away - net.now)
        net.restart(holder, saved)
        assert holders(net) == [holder]
        net.run_for(min(grace(away), lease(policy) / 2))
        assert holders(net) == [], f"seed {seed}"
        assert not is_found(net, owner)
        net.run_for(2 * DEFAULT.withdraw_confirm)
        assert len(owner.node.withdrawals) == 0, f"seed {seed}"


def test_a_holder_away_for_longer_forgets() -> None:
    """It comes back with the entry, and nobody asks it any more: it keeps it for one lease of grace."""
    net, owner, holder = entered(11, DEFAULT)
    saved = net.kill(holder)
    net.delete(owner, KEY)
    net.run_for(300)
    assert len(owner.node.withdrawals) == 0
    net.restart(holder, saved)
    assert holders(net) == [holder]
    net.run_for(lease(DEFAULT))
    assert holders(net) == []
    assert not is_found(net, owner)


def test_heartbeats_keep_no_deleted_entry() -> None:
    """A renewal is for all that a holder has of ours: also for an entry that was deleted while it was away."""
    never = lease(HOURLY)
    net, owner, holder = entered(12, replace(DEFAULT, withdraw_retry=never, withdraw_retry_max=never))
    net.enter(owner, KEY, PORT + 1)
    saved = net.kill(holder)
    assert net.delete(owner, KEY, PORT).silent == 1
    net.restart(holder, saved)
    assert {entry.record.endpoint.port for entry in holder.node.store} == {PORT, PORT + 1}
    net.run_for(2.5 * DEFAULT.heartbeat)
    assert {entry.record.endpoint.port for entry in holder.node.store} == {PORT + 1}
    assert net.lookup(holder, KEY).endpoints == (owner.endpoint.with_port(PORT + 1),)


@pytest.mark.parametrize("kills", [1, 2, 3])
@pytest.mark.parametrize("seeds", [range(1), pytest.param(range(1, 3), marks=pytest.mark.slow)])
def test_a_holder_killed_too_early_lets_go_again(kills: int, seeds: range) -> None:
    """However often: it is not confirmed as long as it has the entry again."""
    for seed in seeds:
        net, owner, holder = entered(seed)
        saved = net.kill(holder)
        net.restart(holder, saved)  # its state file is like this for the next 15 seconds
        net.run_for(5)
        assert net.delete(owner, KEY).silent == 0
        net.run_for(5)
        for _ in range(kills):
            assert holders(net) == []
            net.kill(holder)
            net.run_for(2)
            net.restart(holder, saved)
            assert holders(net) == [holder]
            net.run_until(partial(is_let_go, net), limit=JITTER * DEFAULT.withdraw_confirm + ATTEMPT)
            net.run_for(0.5)
        net.run_for(2 * JITTER * (DEFAULT.withdraw_confirm + DEFAULT.withdraw_retry))
        assert len(owner.node.withdrawals) == 0, f"seed {seed}"


@pytest.mark.parametrize("wait", [0.0, 0.1, 1.0, 30.0])
@pytest.mark.slow
def test_a_killed_owner_goes_on_withdrawing(wait: float) -> None:
    net, owner, holder = entered(4)
    saved_holder = net.kill(holder)
    owner.node.commands.delete(KEY, PORT, net.now)
    net.flush(owner)
    net.run_for(wait)
    saved_owner = net.kill(owner)
    assert saved_owner.own == ()
    net.run_for(20)
    net.restart(owner, saved_owner)
    net.run_for(60)
    net.restart(holder, saved_holder)
    net.run_for(grace(60))
    assert holders(net) == []
    assert not is_found(net, owner)


def test_a_restarted_owner_knows_its_old_holders() -> None:
    net, owner, holder = entered(5)
    saved_holder = net.kill(holder)
    net.restart(owner, net.kill(owner))
    net.run_for(60)
    entry = owner.node.own_records.get(own_key(KEY, PORT))
    assert entry is not None
    assert holder.contact not in entry.replicas
    assert net.delete(owner, KEY).silent == 1
    net.run_for(30)
    net.restart(holder, saved_holder)
    net.run_for(grace(100))
    assert holders(net) == []


def test_a_holder_under_a_new_id_lets_go() -> None:
    net, owner, holder = entered(6)
    saved = net.kill(holder)
    net.delete(owner, KEY)
    net.run_for(30)
    net.restart(holder, saved, id=NATIVE.random(Random(6)))
    assert holders(net) == [holder]
    net.run_for(grace(30))
    assert holders(net) == []


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.slow
def test_a_holder_at_a_new_address_lets_go(seed: int) -> None:
    net, owner, holder = entered(seed)
    saved = net.kill(holder)
    net.delete(owner, KEY)
    net.run_for(30)
    moved = net.add(id=saved.id, endpoint=Endpoint.of("10.99.0.1", 1729), bootstrap=net.live[:1], start=False)
    moved.load(saved, net.now)
    moved.node.start(moved.bootstrap, net.now)
    net.flush(moved)
    assert holders(net) == [moved]
    net.run_for(grace(30) + grace(60))  # it is looked for when it has failed twice
    assert holders(net) == []


def test_an_entry_entered_again_is_not_withdrawn() -> None:
    net, owner, holder = entered(7)
    saved = net.kill(holder)
    net.delete(owner, KEY)
    net.run_for(10)
    net.enter(owner, KEY, PORT)
    assert len(owner.node.withdrawals) == 0
    net.restart(holder, saved)
    for _ in range(10):
        net.run_for(30)
        assert len(holders(net)) >= DEFAULT.k
        assert holder in holders(net)
    net.delete(owner, KEY)  # and its old holders are still known
    net.run_for(60)
    assert holders(net) == []


def test_an_absent_holder_is_given_up_at_expiry() -> None:
    net, owner, holder = entered(8)
    net.kill(holder)
    net.delete(owner, KEY)
    net.run_for(60)
    assert len(owner.node.withdrawals) == 1
    asked: list[float] = []
    net.taps.append(lambda source, to, data: asked.append(net.now) if (source, to) == pair else None)
    pair = (owner.endpoint, holder.endpoint)
    net.run_for(lease(HOURLY) + DEFAULT.store_sweep)
    assert len(owner.node.withdrawals) == 0
    assert 10 <= len({at // 30 for at in asked}) <= 30  # attempts, of three datagrams each
    asked.clear()
    net.run_for(lease(HOURLY))
    assert len(asked) <= 10  # probes of a lost contact


def test_deletions_while_cut_off_are_made_up_for() -> None:
    net, owner, _ = entered(9)
    net.unplug(owner)
    net.run_for(30)
    assert net.delete(owner, KEY).nodes == 0
    net.run_for(600)
    assert len(holders(net)) == DEFAULT.k
    net.heal()
    net.run_until(lambda: owner.node.overlays.first.is_joined, limit=400.0)
    net.run_for(DEFAULT.startup_spread + ATTEMPT)
    assert holders(net) == []


def test_many_withdrawals_cost_one_query_a_pause() -> None:
    net = grown(10)
    owner = net.hosts[5]
    keys = [NATIVE.digest(b"%d" % number) for number in range(40)]
    for key in keys:
        net.enter(owner, key, PORT)
    holder = max((host for host in net.hosts if host is not owner), key=lambda host: len(host.node.store))
    held = len(holder.node.store)
    assert held > 10
    saved: Saved = net.kill(holder)
    for key in keys:
        net.delete(owner, key)
    net.run_for(240)
    assert len(owner.node.withdrawals) == held
    before = owner.node.counters.queries_sent
    net.run_for(DEFAULT.withdraw_retry_max)
    assert owner.node.counters.queries_sent - before < 100
    net.restart(holder, saved)
    assert len(holder.node.store) == held
    net.run_for(grace(1_000))
    assert len(holder.node.store) == 0
