"""A network works on a wire as poor as BEP 5: the core takes nothing of the native wire for granted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.endpoint import Family
from dhtd.core.events import CannotWithdraw
from dhtd.core.ids import NATIVE, Id, Keyspace
from dhtd.core.messages import FindNode, Message, Query, Withdraw
from dhtd.core.policy import DEFAULT
from dhtd.sim.host import Host
from dhtd.sim.json_codec import JsonCodec
from dhtd.sim.network import Network
from tests.records import own_key, to_withdraw

NODES = 30
KEYS = [NATIVE.digest(b"%d" % number) for number in range(8)]
HOUR = DEFAULT.store_expiry


def grown(keyspace: Keyspace = NATIVE) -> Network:
    """Return a network of nodes that came one by one."""
    net = Network(1, codec=JsonCodec(keyspace, bare=True))
    net.grow(NODES)
    net.run_for(60)
    return net


def holders(net: Network, key: Id) -> list[Host]:
    return [host for host in net.live if host.node.store.get(key, net.now)]


def delete(net: Network, host: Host, key: Id) -> CannotWithdraw:
    op, _ = host.node.commands.delete(key, None, net.now)
    return net.finish(host, op, CannotWithdraw)


@pytest.mark.parametrize("bits", [160, pytest.param(256, marks=pytest.mark.slow)])
def test_the_nearest_hold_it_and_all_find_it(bits: int) -> None:
    net = grown(Keyspace(bits))
    key, owner = net.codec.traits.keyspace.digest(b"a key"), net.hosts[7]
    published = net.enter(owner, key, 80)
    nearest = [host for host in net.closest(key, DEFAULT.k + 1) if host is not owner][: DEFAULT.k]
    assert {contact.id for contact in published.replicas} == {host.id for host in nearest}
    for host in net.hosts:
        assert net.lookup(host, key).endpoints == (owner.endpoint.with_port(80),)


def test_only_an_empty_lookup_is_complete() -> None:
    """An answer does not tell whether it was cut."""
    net = grown()
    net.enter(net.hosts[1], KEYS[0], 80)
    assert not net.lookup(net.hosts[2], KEYS[0]).complete
    assert net.lookup(net.hosts[2], KEYS[1]).complete


@pytest.mark.slow
def test_nothing_is_lost_when_half_of_them_die() -> None:
    net = grown()
    owners = dict(zip(KEYS, net.hosts, strict=False))
    for key, owner in owners.items():
        net.enter(owner, key, 80)
    for host in net.hosts[NODES // 2 :]:
        net.kill(host)
    net.run_for(HOUR)
    for key, owner in owners.items():
        assert net.lookup(net.hosts[9], key).endpoints == (owner.endpoint.with_port(80),)
        assert len(holders(net, key)) >= DEFAULT.k


def test_a_delete_tells_its_holders_and_its_end() -> None:
    net = grown()
    owner, key = net.hosts[3], KEYS[0]
    net.enter(owner, key, 80)
    net.enter(owner, key, 81)
    told = delete(net, owner, key)
    assert (told.key, told.ports, told.holders) == (key, (80, 81), len(holders(net, key)))
    assert told.until is not None
    assert told.until - net.now == pytest.approx(HOUR, abs=10)
    assert len(owner.node.withdrawals) == 2 * told.holders
    assert net.lookup(net.hosts[9], key).endpoints
    net.run_for(told.until - net.now)
    assert holders(net, key) == []
    net.run_for(DEFAULT.store_sweep)
    assert len(owner.node.withdrawals) == 0


def test_nobody_is_asked_to_withdraw() -> None:
    net = grown()
    said: list[Message] = []
    net.taps.append(lambda _, __, data: said.append(net.codec.decode(data)))
    owner = net.hosts[3]
    net.enter(owner, KEYS[0], 80)
    delete(net, owner, KEYS[0])
    net.outage()
    net.run_for(120)
    net.heal()
    net.restart(owner, net.kill(owner))
    net.run_for(600)
    assert len(owner.node.withdrawals)
    assert not any(isinstance(each, Query) and isinstance(each.request, Withdraw) for each in said)


def test_a_new_entry_keeps_its_old_holders() -> None:
    net = grown()
    owner, key = net.hosts[3], KEYS[0]
    first = set(net.enter(owner, key, 80).replicas)
    delete(net, owner, key)
    net.enter(owner, key, 80)
    assert first <= set(owner.node.publisher.holders(own_key(key, 80), net.now))
    assert len(owner.node.withdrawals) == 0


def test_a_lone_node_leaves_nothing() -> None:
    net = Network(1, codec=JsonCodec(NATIVE, bare=True))
    alone = net.add()
    net.enter(alone, KEYS[0], 80)
    assert net.lookup(alone, KEYS[0]).endpoints == (alone.endpoint.with_port(80),)  # though nobody tells its address
    told = delete(net, alone, KEYS[0])
    assert (told.holders, told.until) == (0, None)


def test_a_withdrawal_is_an_unknown_method() -> None:
    net = grown()
    host = net.hosts[0]
    query = JsonCodec(NATIVE).encode_query(b"12", Id(1), to_withdraw(KEYS[0], 80, b"token"))
    answer = host.node.handle_datagram(query, net.hosts[1].endpoint, net.now)
    assert answer is not None
    assert b"unknown method" in answer


def test_no_find_shows_a_token() -> None:
    net = Network(1, codec=JsonCodec(NATIVE, bare=True), policy=replace(DEFAULT, introduction=60.0))
    said: list[Message] = []
    net.taps.append(lambda _, __, data: said.append(net.codec.decode(data)))
    net.grow(NODES)
    net.run_for(300)
    finds = [each.request for each in said if isinstance(each, Query) and isinstance(each.request, FindNode)]
    assert finds
    assert {find.token for find in finds} == {None}


def test_both_families_make_two_networks() -> None:
    net = Network(1, codec=JsonCodec(NATIVE, bare=True))
    for number in range(12):
        families = [(Family.IPV4,), (Family.IPV6,), (Family.IPV4, Family.IPV6)][number % 3]
        net.add(bootstrap=net.hosts[2:3], families=families)
        net.run_for(1)
    net.run_for(60)
    both = net.hosts[5]
    net.enter(both, KEYS[0], 80)
    for host, own in zip(net.hosts[3:5], both.endpoints, strict=True):
        assert own.with_port(80) in net.lookup(host, KEYS[0]).endpoints
