"""The first seconds: which endpoints are tried, what is told, and which commands wait."""

from __future__ import annotations

import pytest

from dhtd.core.endpoint import Family
from dhtd.core.events import LookupDone, Published, Silence, Unreached
from dhtd.core.ids import NATIVE
from dhtd.core.messages import Ping
from dhtd.core.policy import DEFAULT
from dhtd.sim.network import Network
from tests.core.bench import Bench
from tests.core.small import contact, endpoint
from tests.core.test_node import KEY, STALE, answer_all, joined, live
from tests.records import own_key


def test_a_remembered_contact_is_tried_at_once() -> None:
    bench = Bench()
    bench.node.overlays.restore(contact(1))
    bench.node.start([], bench.now)
    bench.advance(1.5)
    assert [sent.to for sent in bench.sent()] == [endpoint(1)] * 3


def test_silence_is_told_three_times() -> None:
    bench = Bench()
    bench.node.start([endpoint(1)], bench.now)
    told = []
    while bench.now < 3_600.0:
        bench.advance(1.0)
        told += [(bench.now, event) for event in bench.events()]
    assert [event for _, event in told] == [Unreached(Family.IPV4, (endpoint(1),), silence) for silence in Silence]
    first, still, lasting = [when for when, _ in told]
    assert first <= DEFAULT.query_timeout + 1
    assert DEFAULT.join_eager <= still <= DEFAULT.join_eager + 2 * DEFAULT.query_timeout
    assert 200 <= lasting <= 900


def test_without_anything_to_join_by_none_is_told() -> None:
    bench = Bench()
    bench.node.start([], bench.now)
    bench.advance(3_600.0)
    assert bench.events() == []


def test_silence_is_told_again_after_an_answer() -> None:
    bench = joined(1)
    bench.node.memberships.first.join.lost(bench.now)
    told = []
    while bench.now < 3_600.0:
        bench.advance(1.0)
        told += bench.events()
    assert told == [Unreached(Family.IPV4, (endpoint(1),), Silence.LASTING)]


# Commands before the network is reached


def test_commands_wait_for_nodes_that_are_ready_late() -> None:
    bench = Bench()
    bench.node.start([endpoint(1)], bench.now)
    lookup, enter = bench.node.commands.lookup(KEY, bench.now), bench.node.commands.enter(KEY, 80, bench.now)
    bench.advance(5.0)
    assert {type(event) for event in bench.events()} == {Unreached}
    pings = bench.sent()
    assert {type(sent.request) for sent in pings} == {Ping}
    bench.pong(pings[-1], 1)
    answer_all(bench)
    ended = {event.op: event for event in bench.events() if isinstance(event, LookupDone | Published)}
    assert set(ended) == {lookup, enter}
    published = ended[enter]
    assert isinstance(published, Published)
    assert published.replicas == (contact(1),)


@pytest.mark.parametrize("restored", [False, True])
def test_without_answers_to_attempts_a_command_ends(restored: bool) -> None:
    bench = Bench()
    if restored:
        bench.node.overlays.restore(contact(1))
    bench.node.start([endpoint(2)], bench.now)
    bench.node.commands.enter(KEY, 80, bench.now)
    bench.advance(DEFAULT.join_eager - 0.1)
    assert not [event for event in bench.events() if isinstance(event, Published)]
    bench.advance(10.0)
    assert bench.event(Published).replicas == ()


def test_a_node_with_nothing_to_join_by_never_waits() -> None:
    bench = Bench()
    bench.node.start([], bench.now)
    bench.advance(0.0)
    bench.node.commands.enter(KEY, 80, bench.now)
    assert bench.event(Published).replicas == ()
    assert not bench.node.memberships.has_somebody_to_join_by


def test_a_patient_command_waits_for_a_node() -> None:
    bench = Bench()
    bench.node.commands.enter(KEY, 80, bench.now, patient=True)
    bench.node.commands.enter(KEY, 80, bench.now)  # shares its fate
    bench.advance(1_000.0)
    assert bench.events() == []
    assert bench.query(Ping(), contact(1)) is not None
    bench.pong(bench.sent_one(), 1)
    answer_all(bench)
    assert [event.replicas for event in bench.events() if isinstance(event, Published)] == [(contact(1),)] * 2
    assert not bench.node.publisher._publications


def test_an_entry_outlives_the_wait_for_it() -> None:
    bench = Bench()
    op = bench.node.commands.enter(KEY, 80, bench.now, patient=True)
    bench.node.commands.cancel(op)
    bench.advance(300.0)
    assert bench.events() == []
    assert bench.node.handles.running == set()
    entry = bench.node.own_records.get(own_key(KEY, 80))
    assert entry is not None
    assert bench.node.own_records.due_in(entry, bench.now) > 0  # it has been tried


def test_unresolved_names_are_waited_for() -> None:
    bench = Bench()
    bench.node.start([], bench.now, awaits_names=True)
    assert bench.node.memberships.has_somebody_to_join_by
    assert bench.node.memberships.awaits_names
    bench.advance(0.0)
    op = bench.node.commands.lookup(KEY, bench.now)
    bench.advance(3.0)
    assert bench.events() == []
    bench.node.start([endpoint(1)], bench.now)
    bench.advance(0.0)
    bench.pong(bench.sent_one(), 1)
    answer_all(bench)
    assert bench.event(LookupDone).op == op


def test_names_that_lead_nowhere_end_the_wait() -> None:
    bench = Bench()
    bench.node.start([], bench.now, awaits_names=True)
    op = bench.node.commands.lookup(KEY, bench.now)
    bench.node.start([], bench.now)
    bench.advance(0.0)
    assert bench.event(LookupDone).op == op


def test_a_withdrawal_asks_known_holders_at_once() -> None:
    bench = Bench()
    bench.node.overlays.restore(contact(1))
    bench.node.publisher.restore_own(own_key(KEY, 80), bench.now)
    bench.node.publisher.restore_holder(own_key(KEY, 80), contact(2), 1_000.0, bench.now)
    bench.node.start([], bench.now)
    bench.node.commands.delete(KEY, 80, bench.now)
    assert endpoint(2) in {sent.to for sent in bench.sent()}


# Endpoints that change while the network is up


def test_a_new_endpoint_is_tried_while_connected() -> None:
    bench = joined(1)
    bench.node.start([endpoint(1)], bench.now, at_once=False)
    assert bench.sent() == []
    bench.node.start([endpoint(1), endpoint(5)], bench.now, at_once=False)
    ping = bench.sent_one()
    assert (ping.to, ping.request) == (endpoint(5), Ping())
    bench.pong(ping, 5)
    assert {sent.to for sent in answer_all(bench)} == {endpoint(1), endpoint(5)}
    assert contact(5) in bench.node.overlays.contacts()


def test_a_new_endpoint_is_tried_without_a_pause() -> None:
    bench = Bench()
    bench.node.start([endpoint(1)], bench.now)
    bench.advance(600.0)
    bench.sent()
    bench.node.start([endpoint(1)], bench.now, at_once=False)
    bench.advance(0.0)
    assert bench.sent() == []
    bench.node.start([endpoint(2)], bench.now, at_once=False)
    bench.advance(0.0)
    assert bench.sent_one().to == endpoint(2)


def test_a_probe_tries_a_short_list_whole() -> None:
    bench = joined(1)
    bench.node.start([endpoint(number) for number in (1, 5, 6)], bench.now)
    bench.advance(STALE)
    bench.sent()
    asked = live(bench, DEFAULT.probe_interval, 5, 6)
    assert {endpoint(5), endpoint(6)} <= {sent.to for sent in asked if isinstance(sent.request, Ping)}


@pytest.mark.slow
@pytest.mark.no_cover
def test_networks_merge_after_their_name_has_moved() -> None:
    net = Network(3)
    one, other = net.grow(6), [net.add()]
    other += [net.add(bootstrap=[other[0]]) for _ in range(5)]
    net.run_for(60)
    assert all(host.contact not in mate.node.overlays.contacts() for host in one for mate in other)
    for host in one:
        host.node.start([other[0].endpoint], net.now, at_once=False)  # its name resolves to this now
        net.flush(host)
    net.run_for(120)
    for number, host in enumerate((*one, *other)):
        key = NATIVE.digest(b"%d" % number)
        net.enter(host, key, 80)
        for mate in (*one, *other):
            assert net.lookup(mate, key).endpoints == (host.endpoint.with_port(80),)
