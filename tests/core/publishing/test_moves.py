"""A machine with changing addresses: what is counted anew, published again, and asked."""

from __future__ import annotations

from random import Random

import pytest

from dhtd.core.address.external_address import ExternalAddress, Verdict
from dhtd.core.address_groups import network_of
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, Ping, Store
from dhtd.core.policy import DEFAULT
from dhtd.core.routing.admission import RoutingState
from dhtd.core.routing.outcomes import Crowded, Inserted
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from tests.core.bench import US, Bench
from tests.core.publishing.hurried import HurriedRecords
from tests.core.small import CODEC, contact, endpoint
from tests.core.test_node import KEY, answer_all, joined, live
from tests.records import own_key

GAP, SPREAD = DEFAULT.move_gap, DEFAULT.startup_spread
LAN = "203.0.113.{}"
OURS = (network_of(Endpoint.of(LAN.format(1), 1)),)
THERE = Endpoint.of("10.9.9.8", 1729)
REPLICAS = [contact(number) for number in range(1, 9)]


# Own entries


def tracked(ports: int = 1) -> HurriedRecords:
    """Return own records that were all published at 0."""
    records = HurriedRecords(Random(1), DEFAULT)
    for port in range(1, ports + 1):
        entry = records.add(own_key(KEY, port))
        records.began(entry, 0.0)
        records.published(own_key(KEY, port), REPLICAS, 0.0)
    return records


def due(records: HurriedRecords, now: float) -> list[float]:
    return sorted(records.due_in(entry, now) for entry in records)


def test_a_move_has_all_entries_published_again() -> None:
    records = tracked(50)
    records.upheavals.moved(100.0)
    waits = due(records, 100.0)
    assert 0 <= waits[0] < 1
    assert SPREAD - 1 < waits[-1] <= SPREAD


def test_moves_within_the_gap_are_one() -> None:
    records = tracked()
    records.upheavals.moved(100.0)
    [entry] = records.pop_due(100.0 + SPREAD)
    records.began(entry, 0.0)
    records.published(own_key(KEY, 1), REPLICAS, 100.0 + SPREAD)
    for now in (111.0, 112.0, 200.0):
        records.upheavals.moved(now)
        [wait] = due(records, now)
        assert 100.0 + GAP <= now + wait <= 100.0 + GAP + SPREAD


def test_a_move_repeats_a_publication_under_way() -> None:
    records = tracked()
    [entry] = records
    records.began(entry, 0.0)
    records.upheavals.moved(100.0)
    assert records.next_timeout() is None
    records.published(own_key(KEY, 1), REPLICAS, 130.0)
    assert due(records, 130.0) == [0.0]
    [entry] = records.pop_due(130.0)
    records.began(entry, 0.0)
    records.published(own_key(KEY, 1), REPLICAS, 131.0)
    assert due(records, 131.0) > [DEFAULT.republish_first / 2]


# The word of others


def voting(voters: int = 4, observed: Endpoint = US) -> ExternalAddress:
    external = ExternalAddress(DEFAULT)
    for number in range(voters):
        external.vote(endpoint(number + 1), observed, 0.0)
    return external


def test_most_say_a_move_one_gives_cause_to_ask() -> None:
    external = voting(4)
    verdicts = [external.vote(endpoint(number + 1), THERE, 1.0) for number in range(4)]
    assert verdicts == [Verdict.CONTRADICTED, Verdict.CONTRADICTED, Verdict.MOVED, Verdict.NOTHING]
    assert external.vote(endpoint(9), THERE, 2.0) is Verdict.NOTHING


def test_a_first_belief_or_another_port_is_no_move() -> None:
    external = ExternalAddress(DEFAULT)
    assert external.vote(endpoint(1), US, 0.0) is Verdict.NOTHING
    for number in range(1, 5):
        assert external.vote(endpoint(number), US.with_port(9), 0.0) is Verdict.NOTHING
    assert external.vote(endpoint(1), Endpoint.of("203.0.113.1", 9), 0.0) is Verdict.NOTHING
    assert external.vote(endpoint(1), Endpoint.of("::1", 9), 0.0) is Verdict.NOTHING


def test_a_public_address_moves_only_by_a_quorum() -> None:
    here, there = Endpoint.of("198.51.100.1", 1), Endpoint.of("198.51.100.2", 1)
    external = ExternalAddress(DEFAULT)
    voters = [Endpoint.of(f"{number}.1.1.1", 1729) for number in range(20, 30)]
    for voter in voters[:3]:
        external.vote(voter, here, 0.0)
    liars = [external.vote(voter, there, 0.0) for voter in voters[3:7]]
    assert liars == [Verdict.CONTRADICTED] * 3 + [Verdict.MOVED]  # four networks against three


def test_a_contradiction_makes_the_node_ask_seldom() -> None:
    bench = joined(1, 2, 3)
    for _ in range(3):
        bench.node.commands.ping(endpoint(1), bench.now)
        bench.pong(bench.sent_one(), 1, observed=THERE)
        asked = bench.sent()
        if _ == 0:
            assert {sent.to for sent in asked} == {endpoint(number) for number in (1, 2, 3)}
            assert {sent.request for sent in asked} == {Ping()}
            for sent in asked:
                bench.pong(sent, sent.to[3])
        else:
            assert asked == []


def test_a_seen_move_has_entries_published_again() -> None:
    bench = joined(1, 2, 3)
    bench.node.commands.enter(KEY, 80, bench.now)
    answer_all(bench)
    bench.advance(DEFAULT.republish_gap)
    for id in (1, 2, 3):
        bench.node.commands.ping(endpoint(id), bench.now)
        for sent in bench.sent():
            bench.pong(sent, sent.to[3], observed=THERE)
    stores = [sent for sent in live(bench, SPREAD + 1) if isinstance(sent.request, Store)]
    assert {sent.to for sent in stores} == {endpoint(number) for number in (1, 2, 3)}


def test_a_machine_with_a_new_network_joins_at_once() -> None:
    bench = Bench()
    bench.node.start([endpoint(1)], bench.now)
    bench.advance(1_000.0)
    bench.sent()
    bench.node.machine.moved(bench.now)
    bench.advance(0.0)
    assert bench.sent_one().to == endpoint(1)


# Own networks


def state_of(many: int, own: tuple[bytes, ...] = ()) -> RoutingState:
    state = RoutingState(Id(0), CODEC, DEFAULT, 0.0)
    state.live_in(own)
    for number in range(1, many + 1):
        state.answered(at(number), 0.1, float(number))
    return state


def at(number: int) -> Contact:
    return Contact(Id(number), Endpoint.of(LAN.format(number), 1729))


def test_neighbours_of_our_own_network_come_in() -> None:
    state = state_of(20)
    assert len(state.table) < 8
    assert isinstance(state.answered(at(3), 0.1, 30.0), Crowded)
    state.live_in(OURS)
    assert isinstance(state.answered(at(3), 0.1, 31.0), Inserted)


def test_contacts_beyond_a_cap_leave_with_our_network() -> None:
    state = state_of(20, OURS)
    before = set(state.table)
    newest = max(before, key=lambda each: state.meta.get(each.id).heard_at or 0)
    assert len(before) > 8
    state.live_in(())
    kept = set(state.table)
    assert kept < before
    assert newest in kept
    strict = state_of(20)
    assert len(kept) <= max(len(strict.table), 10)
    for number in range(30, 127):
        state.answered(at(number), 0.1, 100.0 + number)  # nothing is miscounted
    assert len(state.table) <= 10


def test_new_networks_make_a_node_look_itself_up() -> None:
    bench = joined(1)
    bench.node.machine.live_in(OURS, bench.now)
    assert bench.node.policy.own_networks == OURS
    assert bench.node.requester.policy.own_networks == OURS
    assert {sent.to for sent in bench.sent()} == {endpoint(1)}
    alone = Bench(families=list(Family))
    alone.node.machine.live_in(OURS, alone.now)
    assert alone.sent() == []


# Whole networks


@pytest.mark.no_cover
def test_machines_of_a_late_public_lan_become_a_swarm() -> None:
    net = Network(1)
    for number in range(12):
        via = net.rng.sample(net.hosts, min(2, len(net.hosts)))
        net.add(endpoint=Endpoint.of(LAN.format(number + 1), 1729), bootstrap=via)
        net.run_for(2)
    net.run_for(300)
    owner = net.hosts[3]
    assert len(net.enter(owner, KEY, 80).replicas) == DEFAULT.lookup_per_network
    for host in net.hosts:
        host.node.machine.live_in(OURS, net.now)
        net.flush(host)
    net.run_for(2 * DEFAULT.republish_gap)
    entry = owner.node.own_records.get(own_key(KEY, 80))
    assert entry is not None
    assert len(entry.replicas) == DEFAULT.k


def found_after_a_move(host: Host, net: Network, within: float) -> bool:
    """Whether all others find a host's entry at its new address."""
    net.run_for(within)
    there = host.endpoint.with_port(80)
    return all(there in net.lookup(other, KEY).endpoints for other in net.hosts if other is not host)


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_a_moved_machine_is_found_within_a_minute(seed: int) -> None:
    net = Network(seed)
    host = net.grow(25)[7]
    net.run_for(600)
    net.enter(host, KEY, 80)
    net.run_for(60)
    net.move(host)
    host.node.machine.moved(net.now)  # the daemon sees that its addresses are others
    net.flush(host)
    assert found_after_a_move(host, net, 60.0)


@pytest.mark.no_cover
def test_one_answer_tells_of_a_router_that_moved() -> None:
    net = Network(5)
    host, other, *_ = net.grow(25)
    net.run_for(600)
    net.enter(host, KEY, 80)
    net.run_for(60)
    net.move(host)
    host.node.commands.ping(other.endpoint, net.now)
    net.flush(host)
    assert found_after_a_move(host, net, 60.0)


@pytest.mark.no_cover
def test_a_liar_about_our_address_costs_little() -> None:
    net = Network(6)
    host, liar = net.grow(2)
    net.run_for(600)
    net.enter(host, KEY, 80)
    began, stores = net.now, liar.node.counters.queries_received["store"]
    while net.now < began + 3_600:
        host.node.external.vote(liar.endpoint, Endpoint.of(f"10.1.1.{net.rng.randrange(1, 250)}", 1), net.now)
        host.node.machine.moved(net.now)
        net.flush(host)
        net.run_for(10)
    assert liar.node.counters.queries_received["store"] - stores <= 3_600 / GAP + 6
