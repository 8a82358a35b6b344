"""The mistakes of the ancestor (DESIGN section 8): one test for each that would have caught it."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Answered, Published, Republished, Unanswered
from dhtd.core.ids import NATIVE, Id, packed
from dhtd.core.messages import (
    ERROR_PROTOCOL,
    Contact,
    Error,
    FindValue,
    Found,
    Ping,
    Query,
    Reply,
    Request,
)
from dhtd.core.node import Node
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.routing.standing import Standing
from dhtd.sim.host import Host
from dhtd.sim.links import LinkModels
from dhtd.sim.network import Network
from dhtd.wire.native import NativeCodec
from tests.records import hold_peer, own_key, to_store

CODEC = NativeCodec()
KEY = NATIVE.digest(b"the key")
STRANGER = Endpoint.of("192.0.2.1", 4000)
TID = b"12345678"


def lone(id: int = 1, policy: Policy = DEFAULT) -> Node:
    return Node(Id(id), CODEC, rng=Random(1), now=0.0, policy=policy)


def query(request: Request, sender: int = 99, tid: bytes = TID) -> bytes:
    return CODEC.encode_query(tid, Id(sender), request)


def found(node: Node, key: Id, source: Endpoint, now: float = 0.0) -> Found:
    """Return the node's answer to a find_value."""
    request = FindValue(key)
    answer = node.handle_datagram(query(request), source, now)
    assert answer is not None
    reply = CODEC.decode(answer)
    assert isinstance(reply, Reply)
    result = CODEC.decode_result(request, reply.body)
    assert isinstance(result, Found)
    return result


def token_of(node: Node, key: Id, source: Endpoint, now: float = 0.0) -> bytes:
    """Return the token of the node's answer to a find_value."""
    token = found(node, key, source, now).token
    assert token is not None
    return token


def chain(net: Network, ids: list[int]) -> list[Host]:
    """Return hosts that each know only the next one."""
    hosts = [net.add(id=Id(id)) for id in ids]
    for host, successor in pairwise(hosts):
        host.node.overlays.restore(successor.contact)
    return hosts


def test_trap_01_searches_learn_beyond_one_round() -> None:
    net = Network(1, links=LinkModels(sigma=0.0))
    hosts = chain(net, [2**250, 2**200, 2**150, 2**100, 2**50])
    hold_peer(hosts[-1].node.store, Id(0), STRANGER, net.now)
    done = net.lookup(hosts[0], Id(0))
    assert done.endpoints == (STRANGER,)
    assert done.stats.hops == 4
    assert done.stats.responses == 4


@pytest.mark.no_cover
def test_trap_02_progress_is_towards_the_target() -> None:
    net = Network(1)
    target = NATIVE.size - 1
    # Each is nearer to the target than the one before, and farther from the asking node, whose ID is 0.
    hosts = chain(net, [0, *(target ^ 2**bit for bit in range(255, 240, -1))])
    near_us = [net.add(id=Id(number)) for number in range(1, 9)]
    for neighbour in near_us:
        hosts[0].node.overlays.restore(neighbour.contact)
    hold_peer(hosts[-1].node.store, Id(target), STRANGER, net.now)
    done = net.lookup(hosts[0], Id(target))
    assert done.endpoints == (STRANGER,)
    assert done.stats.hops > 3  # hosts meet on the way, so it need not be all fifteen


def test_trap_03_ids_have_one_width() -> None:
    rng = Random(3)
    made = [NATIVE.random(rng) for _ in range(1000)]
    made += [NATIVE.digest(b"%d" % number) for number in range(1000)]
    for bit in range(256):  # each bit is set about as often as not
        assert 850 < sum(id >> bit & 1 for id in made) < 1150
    for id in made:
        message = CODEC.decode(CODEC.encode_query(TID, id, FindValue(id)))
        assert message == Query(TID, id, FindValue(id))
        assert len(NATIVE.to_bytes(id)) == 32


def test_trap_04_unasked_senders_are_not_contacts() -> None:
    node = lone()
    assert node.handle_datagram(query(Ping()), STRANGER, 0.0) is not None
    assert node.handle_datagram(CODEC.encode_acknowledged(TID, Id(98), STRANGER), STRANGER, 0.0) is None
    assert list(node.state.table) == []
    transmit = node.poll_transmit()  # it is pinged first
    assert transmit is not None
    ping = CODEC.decode(transmit.data)
    assert isinstance(ping, Query)
    for now in (1.0, 3.0, 6.0, 10.0):  # silence does not make it a contact either
        node.handle_timeout(now)
        node.handle_datagram(query(Ping()), STRANGER, now)
    assert list(node.state.table) == []
    while (transmit := node.poll_transmit()) is not None:
        ping = CODEC.decode(transmit.data)
        assert isinstance(ping, Query)
    node.handle_datagram(CODEC.encode_acknowledged(ping.tid, Id(99), STRANGER), STRANGER, 10.1)
    assert list(node.state.table) == [Contact(Id(99), STRANGER)]


def test_trap_05_timeouts_make_contacts_bad() -> None:
    net = Network(5, policy=Policy(bucket_refresh=1e9, good_for=1e9, probe_interval=1e9))
    hosts = net.grow(4)
    net.run_for(60)
    asker, dead = hosts[0], hosts[2]
    net.kill(dead)
    for _ in range(2):
        assert asker.node.state.standing(dead.contact, net.now) is Standing.GOOD
        net.lookup(asker, KEY)
        net.run_for(DEFAULT.query_timeout)
    assert asker.node.state.standing(dead.contact, net.now) is Standing.BAD
    assert dead.contact not in found(asker.node, KEY, STRANGER, net.now).contacts


def test_trap_06_a_reused_tid_does_no_harm() -> None:
    node = lone()
    op = node.commands.ping(STRANGER, 0.0)
    transmit = node.poll_transmit()
    assert transmit is not None
    ours = CODEC.decode(transmit.data)
    assert isinstance(ours, Query)
    assert node.handle_datagram(query(Ping(), tid=ours.tid), STRANGER, 0.1) is not None
    error = CODEC.encode_error(TID, Id(99), 202, "an answer to nothing")
    assert node.handle_datagram(error, STRANGER, 0.1) is None
    assert node.poll_event() is None
    node.handle_datagram(CODEC.encode_acknowledged(ours.tid, Id(99), STRANGER), STRANGER, 0.2)
    assert isinstance(node.poll_event(), Answered)

    op = node.commands.ping(STRANGER, 1.0)
    while (transmit := node.poll_transmit()) is not None:
        ours = CODEC.decode(transmit.data)
        assert isinstance(ours, Query)
    assert node.handle_datagram(CODEC.encode_error(ours.tid, Id(99), 777, "?"), STRANGER, 1.1) is None
    event = None
    while (news := node.poll_event()) is not None:
        event = news if isinstance(news, Unanswered) else event
    assert event == Unanswered(op, STRANGER, Error(ours.tid, Id(99), 777, "?"))


def test_trap_07_a_bad_token_stores_nothing() -> None:
    node = lone()
    elsewhere = Endpoint.of("192.0.2.2", 4000)
    token = token_of(node, KEY, STRANGER)
    wrong = [
        (b"bad", KEY, STRANGER, 0.0),
        (b"another!", KEY, STRANGER, 0.0),
        (token, Id(KEY ^ 1), STRANGER, 0.0),
        (token, KEY, elsewhere, 0.0),
        (token, KEY, STRANGER, 2 * DEFAULT.token_rotation),
    ]
    for token_shown, key, source, now in wrong[:4]:
        answer = node.handle_datagram(query(to_store(key, 80, token_shown)), source, now)
        assert answer is not None
        assert CODEC.decode(answer) == Error(TID, Id(1), ERROR_PROTOCOL, "bad token")
        assert len(node.store) == 0
    answer = node.handle_datagram(query(to_store(KEY, 80, token)), STRANGER, 1.0)
    assert answer is not None
    assert isinstance(CODEC.decode(answer), Reply)
    assert node.store.get(KEY, 1.0) == [STRANGER.with_port(80)]
    answer = node.handle_datagram(query(to_store(KEY, 81, token)), STRANGER, wrong[4][3])
    assert answer is not None
    assert isinstance(CODEC.decode(answer), Error)
    assert len(node.store) == 1


@pytest.mark.no_cover
def test_trap_08_enter_names_holders_in_one_chain() -> None:
    net = Network(8)
    hosts = net.grow(12)
    net.run_for(60)
    owner, others = hosts[0], hosts[1:]
    for host in others[:6]:  # these are full, and say so
        host.node.store._policy = Policy(store_entries=0)
    published = net.enter(owner, KEY, 80)
    holders = [host for host in net.hosts if host.node.store.get(KEY, net.now) == [owner.endpoint.with_port(80)]]
    assert {replica.id for replica in published.replicas} == {host.id for host in holders} != set()
    assert set(holders) <= set(others[6:])
    assert published.asked >= DEFAULT.k
    for _ in range(3):
        net.enter(owner, KEY, 80)
    for host in others:
        host.node.store._policy = Policy(store_entries=0)
        for held in list(host.node.store):
            host.node.store.remove(held.key, held.record.endpoint, held.session)
    assert net.enter(owner, KEY, 80).replicas == ()
    for host in others:
        host.node.store._policy = DEFAULT
    owner.events.clear()
    net.run_for(60)  # it is tried again soon
    assert len(net.closest(KEY)[0].node.store) == 1
    net.run_for(2 * DEFAULT.republish)
    chains = sum(isinstance(event, Published | Republished) for _, event in owner.events)
    assert 2 <= chains <= 5  # a chain for each `enter` would make 8


@pytest.mark.no_cover
def test_trap_09_a_lookup_asks_the_network() -> None:
    net = Network(9)
    hosts = net.grow(12)
    net.run_for(60)
    asker, owner = hosts[0], hosts[1]
    net.enter(owner, KEY, 80)
    hold_peer(asker.node.store, KEY, STRANGER, net.now)
    asker.node.own_records.add(own_key(KEY, 443))
    done = net.lookup(asker, KEY)
    assert set(done.endpoints) == {STRANGER, owner.endpoint.with_port(80), asker.endpoint.with_port(443)}
    assert done.stats.responses >= 8


def test_trap_10_all_changes_survive_a_restart() -> None:
    net = Network(10)
    hosts = net.grow(3)
    net.run_for(60)
    holder, owner = hosts[1], hosts[2]
    holder.node.store.changed.take()
    net.enter(owner, KEY, 80)
    assert holder.node.store.changed.take() == {packed(KEY)}
    for host in (holder, owner):
        saved = net.kill(host)
        host.bootstrap = ()
        net.restart(host, saved)
    assert [host.save(net.now).id for host in (holder, owner)] == [holder.id, owner.id]
    assert len(holder.node.state.table) == len(owner.node.state.table) == 2
    assert holder.node.store.get(KEY, net.now) == [owner.endpoint.with_port(80)]
    assert owner.node.own_records.ports(KEY) == [80]
    net.run_for(30)
    assert any(isinstance(event, Published | Republished) and event.replicas for _, event in owner.events[-3:])
    assert net.lookup(hosts[0], KEY).endpoints == (owner.endpoint.with_port(80),)


@pytest.mark.parametrize("count", [255, 256, 300, 1000])
def test_trap_11_any_number_of_values_is_answered(count: int) -> None:
    node = lone()
    everyone = {Endpoint.of(f"11.1.{number // 256}.{number % 256}", 80) for number in range(count)}
    for endpoint in everyone:
        hold_peer(node.store, KEY, endpoint, 0.0)
    told = found(node, KEY, STRANGER).endpoints
    assert 100 < len(told) == len(set(told))
    assert set(told) <= everyone


@pytest.mark.no_cover
def test_trap_11_the_store_is_bounded() -> None:
    policy = Policy(store_entries=20, store_entries_per_key=10, store_entries_per_source=5)
    node = lone(policy=policy)
    for number in range(2_000):
        source = Endpoint.of(f"10.2.{number % 64}.1", 4000)
        key = Id(number % 7)
        token = token_of(node, key, source, number / 100)
        node.handle_datagram(query(to_store(key, 1 + number % 60_000, token)), source, number / 100)
    assert len(node.store) == 20


@pytest.mark.no_cover
def test_trap_11_a_dead_contact_costs_no_round() -> None:
    net = Network(11)
    hosts = net.grow(24)
    net.run_for(60)
    owner = next(host for host in hosts if host is not net.closest(KEY)[0])
    net.enter(owner, KEY, 80)
    net.kill(net.closest(KEY, 1)[0])
    for host in net.live:
        done = net.lookup(host, KEY)
        assert owner.endpoint.with_port(80) in done.endpoints
        assert done.stats.elapsed < DEFAULT.query_timeout
