"""Attacks on a node's contacts and on its lookups: by many IDs, by accomplices, by forged answers, by false claims.

Hosts are all over the internet here, each in its own /24; attackers have many IDs and few networks, or are many.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from dhtd.core.codec import Room
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import Contact, FindNode, Found, Ping, Query, Reply, Request
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.routing.standing import Standing
from dhtd.sim import warm
from dhtd.sim.host import Host
from dhtd.sim.liars import Conspirator, Misleader
from dhtd.sim.network import Network
from dhtd.sim.places import scattered
from tests.bench.load import resident
from tests.core.whole import snapshot
from tests.records import own_key

MIB = 2**20
KEY = NATIVE.digest(b"the key")
UNLIMITED = replace(DEFAULT, exempt_networks=("0.0.0.0/0", "::/0"), region=0.0)


def settled(seed: int, size: int, policy: Policy = DEFAULT) -> Network:
    """Return a network of public hosts that know each other as after a long time."""
    net = Network(seed, policy=policy, address=scattered)
    warm.acquaint(net, [net.add(start=False) for _ in range(size)])
    net.run_for(1)
    return net


# A key is eclipsed


def eclipsed(seed: int, policy: Policy, networks: int, ids: int = 32, size: int = 120) -> tuple[Network, Host]:
    """Return a network in which the nodes nearest to KEY are all accomplices, and a host that has entered it since.

    They have so many addresses in each of so many /24s, join as anybody does, and then wait to be known.
    """
    net = settled(seed, size, policy)
    owner, *others = net.hosts
    gang: list[Host] = []
    for number in range(ids):
        endpoint = Endpoint.of(f"203.0.{number % networks}.{number // networks + 1}", 1729)
        near = Id(KEY ^ net.rng.getrandbits(200))
        gang.append(net.add(id=near, endpoint=endpoint, bootstrap=net.rng.sample(others, 3), lie=Conspirator(gang)))
    net.run_for(300)
    assert all(host.lie is not None for host in net.closest(KEY, ids))
    net.enter(owner, KEY, 3000)
    return net, owner


def found(net: Network, owner: Host, lookups: int = 25) -> float:
    """Return the share of honest lookups that find the entry at its holders: its owner is gone."""
    net.kill(owner)
    askers = net.rng.sample([host for host in net.hosts if host.alive and host.lie is None], lookups)
    return sum(owner.endpoint.with_port(3000) in net.lookup(host, KEY).endpoints for host in askers) / lookups


@pytest.mark.parametrize("networks", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_few_networks_cannot_eclipse_a_key(networks: int, figure: Callable[[str, object], None]) -> None:
    net, owner = eclipsed(1, DEFAULT, networks)
    entry = owner.node.own_records.get(own_key(KEY, 3000))
    assert entry is not None
    assert sum(replica.endpoint[0] != 203 for replica in entry.replicas) >= 8 - 2 * networks
    assert owner.node.counters.caps_hit["lookup_per_network"] > 0
    part = found(net, owner)
    figure("honest lookups that found the entry", f"{part:.0%}")
    assert part == 1.0


@pytest.mark.parametrize("networks", [pytest.param(4, marks=pytest.mark.slow), pytest.param(8, marks=pytest.mark.slow)])
def test_near_networks_cannot_eclipse_a_key(networks: int, figure: Callable[[str, object], None]) -> None:
    assert networks * DEFAULT.lookup_per_network >= DEFAULT.k
    part = found(*eclipsed(1, DEFAULT, networks))
    figure("honest lookups that found the entry", f"{part:.0%}")
    assert part == 1.0


@pytest.mark.slow
def test_without_the_limits_it_would_be(figure: Callable[[str, object], None]) -> None:
    part = found(*eclipsed(1, UNLIMITED, networks=1))
    figure("honest lookups that found the entry", f"{part:.0%}")
    assert part < 0.1


def test_an_eclipsed_key_keeps_the_network_limits(
    figure: Callable[[str, object], None],
) -> None:
    net, _ = eclipsed(5, DEFAULT, networks=1)
    tables = [host.node.state.table for host in net.hosts if host.lie is None]
    in_bucket = max(
        sum(contact.endpoint[0] == 203 for contact in bucket.contacts) for table in tables for bucket in table.buckets
    )
    in_table = max(sum(contact.endpoint[0] == 203 for contact in table) for table in tables)
    figure("attackers in a bucket and in a table, at most", f"{in_bucket}, {in_table}")
    assert 0 < in_bucket <= 2
    assert in_table <= 10


# Accomplices all over the internet: they answer at once, name only each other, and deny


def found_among_accomplices(seed: int, policy: Policy, part: float, size: int, keys: int) -> tuple[int, int]:
    """Return how many lookups find their entry, and of how many."""
    net = settled(seed, size, policy)
    gang = net.rng.sample(net.hosts, round(part * size))
    for host in gang:
        host.lie = Conspirator(gang)
    honest = [host for host in net.hosts if host.lie is None]
    good = total = 0
    for number in range(keys):
        key = NATIVE.digest(b"%d" % number)
        owner, *askers = net.rng.sample(honest, 6)
        net.enter(owner, key, 3000)
        for asker in askers:
            done = net.lookup(asker, key)
            good += owner.endpoint.with_port(3000) in done.endpoints
            total += 1
            assert done.stats.elapsed < 4.0
            assert done.stats.queries < 64
    return good, total


@pytest.mark.slow
def test_a_fifth_in_league_hides_no_entry(figure: Callable[[str, object], None]) -> None:
    good, total = found_among_accomplices(1, DEFAULT, 0.2, 300, 40)
    figure("honest lookups that found their entry", f"{good} of {total}")
    assert good == total == 200


@pytest.mark.slow
def test_others_opinions_beat_the_accomplices(
    figure: Callable[[str, object], None],
) -> None:
    deaf = replace(DEFAULT, search_opinions=0)
    with_others, total = found_among_accomplices(2, DEFAULT, 0.35, 300, 40)
    without, _ = found_among_accomplices(2, deaf, 0.35, 300, 40)
    figure("honest lookups that found their entry", f"{with_others} of {total}; {without} if they ask no others")
    assert with_others > without
    assert with_others >= 0.95 * total


# The table is to be poisoned by answers that nobody asked for


def at_work(seed: int) -> tuple[Network, Host]:
    """Return a network, and a host with contacts, entries, queries in flight, and nodes that wait for a place."""
    net = settled(seed, 200)
    victim = net.hosts[0]
    net.enter(victim, KEY, 3000)
    for host in net.hosts[1:40]:
        net.enter(host, NATIVE.digest(b"%d" % host.endpoint[2]), 80)
    victim.node.commands.lookup(NATIVE.digest(b"another"), net.now)
    return net, victim


def test_unrelated_answers_change_nothing(figure: Callable[[str, object], None]) -> None:
    """Right transaction IDs from wrong endpoints, wrong ones from right endpoints, and neither; replies and errors."""
    net, victim = at_work(1)
    rng = Random(1)
    node, codec = victim.node, net.codec
    in_flight = list(node.requester.transactions._queries.values())
    assert len(in_flight) >= 4
    contacts = list(node.state.table)
    assert contacts
    before, unmatched = snapshot(node), node.counters.unmatched
    memory = memory_used()
    asked_of = {query.endpoint for query in in_flight}
    for number in range(6_000):
        query = rng.choice(in_flight)
        sender = rng.choice([NATIVE.random(rng), rng.choice(contacts).id, node.own_id, query.id or KEY])
        tid, source = query.tid, rng.choice([anybody(rng), rng.choice(contacts).endpoint])
        if number % 3 == 0:
            tid, source = rng.randbytes(8), rng.choice([query.endpoint, source])
        elif source == query.endpoint or source in asked_of:
            source = query.endpoint.with_port(query.endpoint.port ^ 1)
        data = _answer(codec, tid, sender, query.request, rng)
        assert node.handle_datagram(data, source, net.now) is None
        if number % 1_000 == 999:
            assert snapshot(node) == before, f"one of the thousand up to {number}"
    assert node.counters.unmatched == unmatched + 6_000
    assert node.poll_event() is None
    grown_by = memory_used() - memory
    figure("forged answers that were counted and changed nothing", node.counters.unmatched - unmatched)
    figure("memory grown by", f"{grown_by / MIB:.2f} MiB")
    assert grown_by < 8 * MIB
    figure("honest lookups that found the entry afterwards", all_find(net, victim))


def memory_used() -> int:
    """Return the bytes of memory that this process holds; 0 if the system does not tell."""
    return resident(os.getpid()) if sys.platform == "linux" else 0


def all_find(net: Network, owner: Host) -> str:
    """Have twenty hosts, the owner included, look up KEY; return how many found it."""
    net.flush(owner)
    net.run_for(5)
    askers = [owner, *net.rng.sample([host for host in net.hosts if host is not owner], 19)]
    good = sum(owner.endpoint.with_port(3000) in net.lookup(host, KEY).endpoints for host in askers)
    assert good == len(askers)
    return f"{good} of {len(askers)}"


def anybody(rng: Random) -> Endpoint:
    """Return an endpoint anywhere on the internet."""
    return scattered(Family.IPV4, rng.randrange(1 << 20))


def _answer(codec: Any, tid: bytes, sender: Id, request: Request, rng: Random) -> bytes:
    """Return a credible answer: a pong, an error, or accomplices by the dozen."""
    observed = anybody(rng)
    match rng.randrange(3):
        case 0:
            return bytes(codec.encode_acknowledged(tid, sender, observed))
        case 1:
            return bytes(codec.encode_error(tid, sender, rng.choice([201, 202, 203, 204]), "no"))
        case _:
            gang = [Contact(NATIVE.random(rng), anybody(rng)) for _ in range(8)]
            query = Query(tid, sender, request)
            packed = codec.pack_contacts(gang)
            return bytes(codec.encode_found(query, sender, observed, b"a token!", packed, Room(1_200, proved=True)))


def test_the_same_answers_count_when_asked_for() -> None:
    """So the answers of the test before this one are not harmless by themselves."""
    net, victim = at_work(1)
    rng = Random(1)
    node = victim.node
    before = snapshot(node)
    for query in list(node.requester.transactions._queries.values()):
        assert query.id is not None
        node.handle_datagram(_answer(net.codec, query.tid, query.id, query.request, rng), query.endpoint, net.now)
    assert snapshot(node) != before


@pytest.mark.slow
def test_forged_queries_change_no_state(
    figure: Callable[[str, object], None],
) -> None:
    net, victim = at_work(2)
    rng = Random(2)
    node = victim.node
    net.flush(victim)
    net.run_for(10)
    state = node.state
    parts = [list(state.table), state.meta, state._line._newcomers, state._claims._claimants, state._diversity]
    parts += [node.store, list(node.own_records), node.external]
    contacts = list(node.state.table)
    before = snapshot(parts)
    standing = {contact: node.state.standing(contact, net.now) for contact in contacts}
    pings, memory = 0, memory_used()
    for _ in range(6_000):
        who = rng.choice(contacts)
        sender, source = rng.choice(
            [
                (who.id, who.endpoint),
                (who.id, anybody(rng)),  # a contact has moved
                (NATIVE.random(rng), who.endpoint),  # it has another ID
                (NATIVE.random(rng), anybody(rng)),
                (node.own_id, anybody(rng)),
            ]
        )
        request: Request = Ping() if rng.random() < 0.5 else FindNode(NATIVE.random(rng))
        node.handle_datagram(net.codec.encode_query(rng.randbytes(8), sender, request), source, net.now)
        while (transmit := node.poll_transmit()) is not None:  # strangers are pinged, and a forged one never answers
            query = net.codec.decode(transmit.data)
            assert isinstance(query, Query)
            assert isinstance(query.request, Ping)
            pings += 1
    assert snapshot(parts) == before
    assert {contact: node.state.standing(contact, net.now) for contact in contacts} == standing
    assert 0 < pings <= DEFAULT.stranger_pings
    node.handle_timeout(net.now + 2.1)  # and that nobody answers is nobody's fault
    assert {contact: node.state.standing(contact, net.now) for contact in contacts} == standing
    grown_by = memory_used() - memory
    figure("pings sent for 6,000 forged queries", pings)
    figure("memory grown by", f"{grown_by / MIB:.2f} MiB")
    assert grown_by < 8 * MIB
    figure("honest lookups that found the entry afterwards", all_find(net, victim))


# IDs collide


@pytest.mark.slow
def test_nobody_replaces_a_living_contact(figure: Callable[[str, object], None]) -> None:
    net = settled(3, 100)
    victim, asker = net.hosts[:2]
    knowing = [host for host in net.hosts if host.node.state.table.get(victim.id) == victim.contact]
    assert len(knowing) > 10
    net.run_for(120)  # so that many have not heard it for a while, and would have it checked
    thief = net.add(id=victim.id, bootstrap=[asker])
    checked = _pings_of(net, victim)
    for _ in range(20):
        for host in knowing:
            thief.node.commands.ping(host.endpoint, net.now)
            host.node.commands.ping(thief.endpoint, net.now)
            net.flush(host)
        net.flush(thief)
        net.run_for(30)
    for host in knowing:
        assert host.node.state.table.get(victim.id) == victim.contact
        assert host.node.state.standing(victim.contact, net.now) is Standing.GOOD
    figure("hosts that know the victim still, and pings it had in ten minutes", f"{len(knowing)}, {len(checked)}")
    # Each claim prompts a check, but each node that knows the contact checks it once a minute at most.
    assert 0 < len(checked) <= len(knowing) * 20 / 2 + len(knowing)


def _pings_of(net: Network, host: Host) -> list[float]:
    seen: list[float] = []

    def tap(source: Endpoint, destination: Endpoint, data: bytes) -> None:
        message = net.codec.decode(data)
        of_thief = source != host.endpoint and message.sender == host.id
        if destination == host.endpoint and isinstance(message, Query) and not of_thief:
            seen.extend([net.now] if isinstance(message.request, Ping) else [])

    net.taps.append(tap)
    return seen


def test_a_moved_node_is_known_within_seconds(
    figure: Callable[[str, object], None],
) -> None:
    net = settled(4, 60)
    mover, friend = net.hosts[:2]
    knowing = [host for host in net.hosts if host.node.state.table.get(mover.id) == mover.contact]
    net.run_for(120)
    saved = net.kill(mover)
    moved = net.add(id=saved.id, bootstrap=[friend])
    for host in knowing:
        moved.node.commands.ping(host.endpoint, net.now)
    net.flush(moved)
    net.run_for(10)
    adopted = sum(host.node.state.table.get(moved.id) == moved.contact for host in knowing)
    figure("hosts that know it at its new address in ten seconds", f"{adopted} of {len(knowing)}")
    assert adopted >= 0.8 * len(knowing)  # the others have heard it at its old address within the minute


def test_an_answer_under_our_id_is_counted_only() -> None:
    net = settled(5, 30)
    victim, liar = net.hosts[:2]
    node = victim.node
    node.commands.ping(liar.endpoint, net.now)
    transmit = node.poll_transmit()
    assert transmit is not None
    query = net.codec.decode(transmit.data)
    assert isinstance(query, Query)
    before, claimed = snapshot(node), node.counters.own_id_claimed
    elsewhere = Endpoint.of("198.51.100.1", 9)
    node.handle_datagram(net.codec.encode_acknowledged(query.tid, node.own_id, elsewhere), liar.endpoint, net.now)
    node.handle_datagram(net.codec.encode_error(query.tid, node.own_id, 202, "no"), liar.endpoint, net.now)
    assert snapshot(node) == before
    assert node.counters.own_id_claimed == claimed + 2
    node.handle_datagram(net.codec.encode_acknowledged(query.tid, liar.id, victim.endpoint), liar.endpoint, net.now)
    assert snapshot(node) != before  # the true answer still counts


def test_our_id_named_elsewhere_is_counted_only() -> None:
    net = settled(6, 30)
    victim, liar = net.hosts[:2]
    net.lookup(victim, KEY)
    elsewhere = Contact(victim.id, Endpoint.of("198.51.100.1", 9))
    sent: list[Endpoint] = []
    net.taps.append(lambda source, destination, data: sent.append(destination))
    claimed = victim.node.counters.own_id_claimed
    op = victim.node.commands.find_node(liar.endpoint, victim.id, net.now)
    transmit = victim.node.poll_transmit()
    assert transmit is not None
    query = net.codec.decode(transmit.data)
    assert isinstance(query, Query)
    packed = net.codec.pack_contacts([victim.contact, elsewhere])
    answer = net.codec.encode_found(query, liar.id, victim.endpoint, b"a token!", packed, Room(1_200, proved=True))
    reply = net.codec.decode(answer)
    assert isinstance(reply, Reply)
    assert isinstance(net.codec.decode_result(query.request, reply.body), Found)
    victim.node.handle_datagram(answer, liar.endpoint, net.now)
    net.flush(victim)
    assert op in victim.done
    assert victim.node.counters.own_id_claimed == claimed + 1  # and we are, where we are
    net.lookup(victim, victim.id)
    assert elsewhere.endpoint not in sent


# We are told a wrong address


def test_a_fifth_cannot_move_anybodys_address(
    figure: Callable[[str, object], None],
) -> None:
    net = settled(7, 80)
    elsewhere = Endpoint.of("198.51.100.66", 666)
    for host in net.rng.sample(net.hosts, 16):
        host.lie = Misleader(elsewhere)
    honest = [host for host in net.hosts if host.lie is None]
    for number, host in enumerate(honest):
        net.lookup(host, NATIVE.digest(b"%d" % number))
    heard = sum(not host.node.external.is_elsewhere(elsewhere) for host in honest)
    right = sum(host.node.external.endpoints() == [host.endpoint] for host in honest)
    figure("hosts that know their address, and those of them that were lied to", f"{right} of {len(honest)}, {heard}")
    assert right == len(honest)
    assert heard > len(honest) / 2


@pytest.mark.slow
def test_one_network_of_liars_is_one_voice(figure: Callable[[str, object], None]) -> None:
    """They are in two hundred /24s of one /16."""
    net = settled(8, 30)
    victim = net.hosts[0]
    net.lookup(victim, KEY)
    assert victim.node.external.endpoints() == [victim.endpoint]
    elsewhere = Endpoint.of("198.51.100.66", 666)
    for number in range(200):
        liar = net.add(endpoint=Endpoint.of(f"203.0.{number}.1", 1729), start=False, lie=Misleader(elsewhere))
        victim.node.commands.ping(liar.endpoint, net.now)
    net.flush(victim)
    net.run_for(5)
    assert victim.node.external.endpoints() == [victim.endpoint]
    assert victim.node.external.is_elsewhere(elsewhere) is False  # though it was heard
    votes = list(victim.node.external._votes.values())
    figure("voices that said so, and others", f"{votes.count(elsewhere)}, {len(votes) - votes.count(elsewhere)}")


# Ten thousand IDs


@pytest.mark.parametrize(("machines", "at_most"), [(254, 10), (1, 1)])
@pytest.mark.slow
def test_ten_thousand_ids_get_one_share(machines: int, at_most: int, figure: Callable[[str, object], None]) -> None:
    """Of the 60 to 70 contacts of a node among 300 they get 10 with a whole /24, and 1 with one address."""
    net = settled(9, 300)
    victim = net.hosts[0]
    node, codec, rng = victim.node, net.codec, net.rng
    honest = set(node.state.table)
    now = net.now
    by_endpoint: dict[Endpoint, Id] = {}
    answered = 0
    for number in range(10_000):
        sender = NATIVE.random(rng)
        source = Endpoint.of(f"203.0.113.{1 + number % machines}", 1_024 + number)
        by_endpoint[source] = sender
        node.handle_datagram(codec.encode_query(b"12345678", sender, Ping()), source, now)
        answered += _answer_pings(net, victim, by_endpoint, now)
        now += 0.02
    attackers = [contact for contact in node.state.table if contact.endpoint[:3] == bytes((203, 0, 113))]
    figure("attackers and others in the table", f"{len(attackers)}, {len(node.state.table) - len(attackers)}")
    assert answered > 0
    assert len(attackers) <= at_most
    assert honest <= set(node.state.table)
    assert len(honest) > 50


def _answer_pings(net: Network, victim: Host, by_endpoint: dict[Endpoint, Id], now: float) -> int:
    answered = 0
    while (transmit := victim.node.poll_transmit()) is not None:
        query = net.codec.decode(transmit.data)
        assert isinstance(query, Query)
        if transmit.endpoint in by_endpoint:
            pong = net.codec.encode_acknowledged(query.tid, by_endpoint[transmit.endpoint], victim.endpoint)
            victim.node.handle_datagram(pong, transmit.endpoint, now)
            answered += 1
    return answered


@pytest.mark.long
@pytest.mark.parametrize("networks", [1, 2, 3])
def test_a_key_is_not_eclipsed_on_many_seeds(networks: int) -> None:
    for seed in range(10, 20):
        assert found(*eclipsed(seed, DEFAULT, networks, ids=64, size=400)) == 1.0, f"seed {seed}"


@pytest.mark.long
def test_leagues_hide_nothing_on_many_seeds() -> None:
    outcomes = [found_among_accomplices(seed, DEFAULT, 0.2, 500, 60) for seed in range(10, 15)]
    assert sum(good for good, _ in outcomes) >= 0.999 * sum(total for _, total in outcomes)
