"""The overlays of a node with both address families: two networks, two tables, and ways from one to the other."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.events import Isolated, Joined, Unanswered
from dhtd.core.ids import Id
from dhtd.core.membership.joining import JoiningClock
from dhtd.core.messages import Contact, FindNode, Found, Ping, Reply
from dhtd.core.policy import DEFAULT
from dhtd.core.routing.overlay import Overlay
from dhtd.wire.native import NativeCodec
from tests.core.bench import Bench
from tests.core.both import KEY, answer_all, both, tables, to
from tests.core.small import CODEC, MAPPED, contact, endpoint, six

K = DEFAULT.k


def test_each_family_has_a_table_of_its_own() -> None:
    bench = both()
    bench.know(contact(9), six(9), six(10))
    assert tables(bench) == [{contact(9)}, {six(9), six(10)}]
    assert bench.node.overlays.contacts() == [contact(9), six(9), six(10)]


@pytest.mark.parametrize("asker", [contact(77), six(77)], ids=["IPv4", "IPv6"])
def test_an_answer_has_the_nearest_of_both_tables(asker: Contact) -> None:
    bench = both()
    bench.know(*map(contact, range(1, 5)), *map(six, range(10, 14)))
    codec = type(CODEC)(dual_stack=True)
    data = codec.encode_query(bytes(8), asker.id, FindNode(KEY))
    reply = CODEC.decode(bench.deliver(data, asker.endpoint) or b"")
    assert isinstance(reply, Reply)
    found = CODEC.decode_result(FindNode(KEY), reply.body)
    assert isinstance(found, Found)
    assert set(found.contacts) == {*map(contact, range(1, 5)), *map(six, range(10, 14))}


def test_an_asker_enters_the_table_of_its_family() -> None:
    bench = both()
    for stranger in (contact(9), six(9)):
        bench.query(Ping(), stranger)
        sent = bench.sent_one()
        assert sent.to == stranger.endpoint
        bench.pong(sent, 9)
        answer_all(bench)
    assert tables(bench) == [{contact(9)}, {six(9)}]


def test_a_single_family_node_ignores_the_other() -> None:
    bench = Bench()
    bench.know(contact(1))
    reply = bench.query(FindNode(KEY), six(9))
    assert isinstance(reply, Reply)
    assert bench.sent() == []
    bench.node.commands.ping(six(9).endpoint, bench.now)
    bench.pong(bench.sent_one(), 9)
    assert bench.node.overlays.contacts() == [contact(1)]
    bench.node.commands.ping(six(9).endpoint, bench.now)
    bench.advance(10.0)
    assert isinstance(bench.events()[-1], Unanswered)


def test_strangers_leave_both_families_a_reserve() -> None:
    bench = both(rate_limit_total=10.0)
    bench.know(contact(1), six(2))
    for machine in range(100):
        bench.query(Ping(), contact(9, machine=1_000 + machine))
        bench.query(Ping(), six(9, machine=1_000 + machine))
    assert bench.query(Ping(), contact(9, machine=2_000)) is None
    assert bench.query(Ping(), six(9, machine=2_000)) is None
    assert isinstance(bench.query(Ping(), contact(1)), Reply)
    assert isinstance(bench.query(Ping(), six(2)), Reply)


def test_only_reachable_contacts_are_restored() -> None:
    assert both().node.overlays.restore(six(9))
    assert not Bench().node.overlays.restore(six(9))
    assert not both().node.overlays.restore(Contact(Id(9), MAPPED))


def test_either_family_connects_us() -> None:
    bench = both()
    bench.node.start([contact(1).endpoint, six(2).endpoint], bench.now)
    bench.advance(0.0)
    of_ipv4, of_ipv6 = bench.sent()
    assert (of_ipv4.to, of_ipv6.to) == (contact(1).endpoint, six(2).endpoint)
    connected = [bench.node.overlays.is_connected]
    bench.pong(of_ipv6, 2)
    assert [*connected, bench.node.overlays.is_connected] == [False, True]
    answer_all(bench)
    assert bench.events() == [Joined(1, Family.IPV6)]
    bench.pong(of_ipv4, 1)
    answer_all(bench)
    assert bench.events() == [Joined(1, Family.IPV4)]


def test_an_outage_is_told_of_one_family() -> None:
    bench = both()
    bench.know(contact(1), *map(six, range(10, 14)))
    for _ in range(3):
        bench.node.commands.lookup(KEY, bench.now)
        answer_all(bench, Family.IPV4)
        bench.advance(3.0)
        bench.sent()
    assert [event for event in bench.events() if isinstance(event, Isolated)] == [Isolated(Family.IPV6)]
    assert bench.node.overlays.is_connected
    assert tables(bench)[1] == set(map(six, range(10, 14)))


def make(k: int = K) -> tuple[Overlay, JoiningClock]:
    policy = replace(DEFAULT, k=k)
    overlay = Overlay(Family.IPV6, Id(0), CODEC, Random(1), policy, 0.0)
    return overlay, JoiningClock(overlay, Random(1), policy)


def test_the_first_rumour_is_followed_at_once() -> None:
    overlay, join = make()
    join.attempt_now(0.0)
    assert join.is_attempt_due(0.0)
    assert not join.is_attempt_due(0.0)
    overlay.hear_of([], 0.5)
    assert not join.is_attempt_due(0.5)
    overlay.hear_of([six(9)], 0.5)
    assert join.is_attempt_due(0.5)
    for number in range(100):
        overlay.hear_of([six(10 + number % 20)], 0.6)
        assert not join.is_attempt_due(0.6)


def test_the_latest_k_rumours_are_kept() -> None:
    overlay, _ = make(k=3)
    overlay.hear_of(map(six, (1, 2, 3)), 0.0)
    overlay.hear_of(map(six, (1, 4)), 0.0)
    assert overlay.rumours() == [six(3), six(1), six(4)]
    overlay.state.answered(six(1), 0.1, 0.0)
    assert overlay.rumours() == [six(3), six(4)]


def test_one_rumour_a_network_is_kept() -> None:
    """Each attempt to join sends a datagram to each rumour, and liars would name one victim on many ports."""
    (overlay, _), victim = make(), six(9)
    overlay.hear_of([six(1)], 0.0)
    overlay.hear_of([Contact(Id(number), victim.endpoint.with_port(number)) for number in range(20, 28)], 0.0)
    assert overlay.rumours() == [six(1), Contact(Id(27), victim.endpoint.with_port(27))]
    loopback = [Contact(Id(number), Endpoint.of("::1", number)) for number in range(30, 33)]
    overlay.hear_of(loopback, 0.0)  # a whole swarm may be there
    assert overlay.rumours()[2:] == loopback


def test_a_victim_on_many_ports_gets_one_datagram() -> None:
    bench = both()
    bench.node.start([endpoint(1)], bench.now)
    bench.advance(0.0)
    (ping,) = bench.sent()
    bench.pong(ping, 1)
    names = [Contact(Id(number), six(9).endpoint.with_port(number)) for number in range(20, 28)]
    for query in bench.sent():
        bench.found(query, 1, names)
    bench.advance(0.0)
    assert sum(sent.to.ip == six(9).endpoint.ip for sent in bench.sent()) == 1


def test_rumours_are_for_the_short_of_contacts() -> None:
    overlay, join = make(k=2)
    join.answered(0.0)
    overlay.state.answered(six(1), 0.1, 0.0)
    overlay.hear_of([six(5)], 0.0)
    assert overlay.rumours() == [six(5)]
    overlay.state.answered(six(2), 0.1, 0.0)
    overlay.hear_of([six(6)], 0.0)
    assert overlay.rumours() == [six(5)]
    join.lost(0.0)
    overlay.hear_of([six(6)], 0.0)
    assert overlay.rumours() == [six(5), six(6)]


def test_an_ipv4_node_joins_ipv6_by_rumours() -> None:
    bench = both()
    bench.node.start([contact(1).endpoint], bench.now)
    bench.advance(0.0)
    bench.pong(bench.sent_one(), 1)
    ours = bench.sent_one()
    bench.found(ours, 1, [contact(2), six(3), six(4, machine=5)])
    bench.advance(0.0)
    asked = to(bench.sent(), Family.IPV6)
    assert {query.to for query in asked} == {six(3).endpoint, six(4, machine=5).endpoint}
    assert {type(query.request) for query in asked} == {Ping}
    bench.pong(asked[0], 3)
    assert bench.sent_one().request == FindNode(Id(0))
    assert bench.node.overlays[Family.IPV6].is_connected


def test_a_rumour_is_probed_along_with_the_rest() -> None:
    bench = both(probe_interval=100.0)
    bench.know(contact(1), six(2))
    bench.node.overlays[Family.IPV6].hear_of([six(3)], bench.now)
    bench.advance(101.0)
    assert six(3).endpoint in {query.to for query in bench.sent()}


def test_our_neighbours_show_the_size_of_a_network() -> None:
    rng = Random(1)
    codec = NativeCodec()
    for size in (2, 5, 9, 50, 1000):
        own_id = codec.traits.keyspace.random(rng)
        overlay = Overlay(Family.IPV4, own_id, codec, rng, DEFAULT, 0.0)
        for number in range(size - 1):
            overlay.state.answered(Contact(codec.traits.keyspace.random(rng), endpoint(number)), None, 0.0)
        estimate = overlay.size_by_neighbours()
        assert estimate == size or (size > 8 and size / 3 < estimate < 3 * size)


def test_the_size_is_told_once_joined() -> None:
    bench = Bench()
    overlay = bench.node.overlays.first
    assert overlay.measured_size is None
    bench.know(contact(1), contact(2))
    assert overlay.measured_size == overlay.size.estimate is not None
