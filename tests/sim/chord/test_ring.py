"""Rings of Chord nodes: they form, heal, become one again, and lose no record."""

from __future__ import annotations

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import LookupDone, Published, Withdrawn
from dhtd.core.ids import NATIVE, Id
from dhtd.sim.chord.lookups import ChordLookupDone
from dhtd.sim.chord.own_entry import EntryState
from dhtd.sim.chord.standing import TRANSITIONS, Standing
from dhtd.sim.host import Host
from dhtd.sim.links import LinkModels
from dhtd.sim.network import Network
from tests.sim.chord.truth import heals, network, node, ring, successors, wrongs


def grown(seed: int, size: int, links: LinkModels | None = None) -> Network:
    net = network(seed, NATIVE, links or LinkModels())
    net.grow(size, every=0.5)
    net.run_for(30)
    return net


def entered(net: Network, count: int) -> list[tuple[Id, Endpoint]]:
    """Enter so many keys, and return their records."""
    records = []
    for number in range(count):
        owner, key = net.rng.choice(net.live), NATIVE.digest(b"%d" % number)
        assert net.enter(owner, key, 3000).replicas or len(net.live) == 1
        records.append((key, owner.endpoint.with_port(3000)))
    return records


def finds_all(net: Network, records: list[tuple[Id, Endpoint]]) -> None:
    hosts = ring(net)
    for key, endpoint in records:
        asker = net.rng.choice(hosts)
        done = net.lookup(asker, key)
        assert done.endpoints == (endpoint,)
        assert [contact.id for contact in done.closest] == [successors(hosts, key, 1)[0].id]


@pytest.mark.parametrize("size", [1, 2, 3, 8, 9, 30])
def test_a_ring_forms_and_finds_everything(size: int) -> None:
    net = grown(size, size)
    records = entered(net, 10)
    heals(net, records)
    finds_all(net, records)


def test_a_ring_forms_over_bad_links() -> None:
    net = grown(3, 12, LinkModels(loss=0.1, duplicate=0.1, reorder=0.1))
    net.run_for(60)
    records = entered(net, 5)
    net.run_for(150)
    net.weather.links = LinkModels()
    heals(net, records)
    finds_all(net, records)


def test_seven_neighbours_die_at_once_and_no_key_is_lost() -> None:
    net = grown(4, 30)
    records = entered(net, 30)
    heals(net, records)
    hosts = ring(net)
    for host in hosts[5:12]:
        net.kill(host)
    heals(net, records)
    finds_all(net, records)


def test_graceful_leaves_lose_no_key() -> None:
    net = grown(5, 12)
    records = entered(net, 20)
    heals(net, records)
    for host in net.rng.sample(net.live, 11):
        leave(net, host)
        net.run_for(2)
    assert len(net.live) == 1
    heals(net, records)
    finds_all(net, records)


def leave(net: Network, host: Host) -> None:
    """Let a host go with a word to its neighbours."""
    node(host).leave(net.now)
    net.flush(host)
    net.run_until(lambda: node(host).standing is Standing.LEFT, 30)
    net.kill(host)


@pytest.mark.parametrize("by_memory", [False, True])
def test_two_rings_become_one(*, by_memory: bool) -> None:
    net = grown(6, 14)
    if by_memory:  # no node has anybody to ask but those that it has known
        for host in net.live:
            node(host).start((), net.now)
    records = entered(net, 10)
    heals(net, records)
    hosts = list(net.live)
    net.partition([hosts[::2], hosts[1::2]])
    net.run_for(120)
    sides = ring(net)
    assert any(node(host).ring.head not in [other.contact for other in sides] or wrongs(net) for host in hosts)
    net.heal()
    heals(net, records)
    finds_all(net, records)


def test_nodes_that_know_but_each_other_form_a_ring() -> None:
    net = network(1, NATIVE)
    gone = net.add()
    net.kill(gone)
    first = net.add(bootstrap=[gone])
    net.run_for(5)
    net.add(bootstrap=[first])
    heals(net, entered(net, 1))


def test_a_lone_node_known_to_one_of_a_ring_joins() -> None:
    net = network(1)
    gone = net.add(id=Id(1))
    net.kill(gone)
    lone = net.add(id=Id(25), bootstrap=[gone])
    other = net.add(id=Id(20))
    net.add(id=Id(10), bootstrap=[other, lone])  # to this one, 20 is nearer than the lone node
    heals(net)


def test_an_outage_of_everything_is_survived() -> None:
    net = grown(7, 12)
    records = entered(net, 5)
    heals(net, records)
    net.outage()
    net.run_for(600)
    assert {node(host).standing for host in net.live} == {Standing.SEEKING}
    net.heal()
    heals(net, records)
    finds_all(net, records)


def test_all_restart_from_their_state_files() -> None:
    net = grown(8, 12)
    records = entered(net, 5)
    heals(net, records)
    hosts = list(net.live)
    for host, saved in [(host, net.kill(host)) for host in hosts]:
        net.restart(host, saved)
    heals(net, records)
    finds_all(net, records)


def test_a_lookup_goes_round_the_dead() -> None:
    net = grown(9, 40)
    records = entered(net, 20)
    heals(net, records)
    for host in net.rng.sample(ring(net), 10):
        net.kill(host)
    for key, endpoint in records:
        assert net.lookup(net.rng.choice(net.live), key).endpoints == (endpoint,)


def test_a_lookup_has_its_path() -> None:
    net = grown(10, 30)
    records = entered(net, 10)
    heals(net, records)
    for key, _ in records:
        asker = net.rng.choice(net.live)
        done: LookupDone = net.lookup(asker, key)
        assert isinstance(done, ChordLookupDone)
        ways = [(contact.id - asker.id) % NATIVE.size for contact in done.path]
        assert ways == sorted(ways)  # each node of the path is nearer to the key
        assert done.stats.hops == len([contact for contact in done.path if contact.id != asker.id])


def test_a_join_moves_the_keys_of_the_newcomer() -> None:
    net = grown(11, 30)
    records = entered(net, 60)
    heals(net, records)
    newcomer = net.add(bootstrap=[net.rng.choice(net.live)])
    heals(net, records)
    theirs = [key for key, _ in records if successors(ring(net), key, 1)[0] is newcomer]
    assert node(newcomer).replicator.taken_over == len(theirs) > 0


def test_a_ring_of_one_leaves_without_a_word() -> None:
    net = network(12)
    host = net.add()
    node(host).leave(net.now)
    assert node(host).standing is Standing.LEFT
    assert node(host).poll_timeout() is None


def test_every_state_is_in_the_table() -> None:
    assert TRANSITIONS.keys() == set(Standing)


def test_a_withdrawn_entry_is_found_no_more() -> None:
    net = grown(15, 20)
    owner, key = net.live[3], NATIVE.digest(b"withdrawn")
    net.enter(owner, key, 3000)
    net.enter(owner, key, 3001)
    net.run_for(5)
    done = net.delete(owner, key, 3000)
    assert (done.ports, done.nodes, done.silent) == ((3000,), 1, 0)
    net.run_for(5)
    assert net.lookup(net.live[7], key).endpoints == (owner.endpoint.with_port(3001),)
    assert holders(net, key, owner.endpoint.with_port(3000)) == []
    done = net.delete(owner, key)
    assert (done.ports, done.nodes) == ((3001,), 1)
    assert node(owner).delete(key, None, net.now)[1] == []
    net.run_for(5)
    assert net.lookup(net.live[7], key).endpoints == ()


def test_a_late_copy_does_not_bring_a_withdrawn_entry_back() -> None:
    net = grown(16, 20)
    owner, key = net.live[3], NATIVE.digest(b"late")
    net.enter(owner, key, 3000)
    net.run_for(5)
    away = next(host for host in successors(ring(net), key, 8) if host is not owner)
    copies = node(away).shelf.within(node(away).ring.circle, Id(0), Id(0), net.now)
    net.delete(owner, key)
    net.restart(away, net.kill(away))
    for copy in copies:  # as if it had kept them
        node(away).server.keep(copy, net.now)
    assert away in holders(net, key, owner.endpoint.with_port(3000))
    net.run_for(60)
    assert holders(net, key, owner.endpoint.with_port(3000)) == []


def test_an_entry_is_entered_again_after_its_withdrawal() -> None:
    net = grown(17, 12)
    owner, key = net.live[3], NATIVE.digest(b"again")
    net.enter(owner, key, 3000)
    withdrawal, ports = node(owner).delete(key, None, net.now)
    assert ports == [3000]
    assert net.enter(owner, key, 3000).replicas
    assert net.finish(owner, withdrawal, Withdrawn).silent == 1  # it was overtaken
    heals(net, [(key, owner.endpoint.with_port(3000))])


def test_a_withdrawal_overtakes_a_publication() -> None:
    net = grown(18, 12)
    owner, key = net.live[3], NATIVE.digest(b"overtaken")
    published = node(owner).enter(key, 3000, net.now)
    net.flush(owner)
    net.run_until(lambda: any(entry.state is EntryState.OFFERED for entry in node(owner).publisher.entries.values()))
    net.delete(owner, key)
    assert net.finish(owner, published, Published).replicas == ()
    net.run_for(5)
    assert holders(net, key, owner.endpoint.with_port(3000)) == []
    assert not node(owner).publisher.entries


def test_a_node_that_leaves_withdraws_and_hands_over() -> None:
    net = grown(19, 20)
    records = entered(net, 20)
    heals(net, records)
    host = next(host for host in net.live if host.endpoint.with_port(3000) in dict(records).values())
    own = [record for record in records if record[1] == host.endpoint.with_port(3000)]
    net.overlay.say_goodbye(host.member, net.now)
    net.flush(host)
    net.run_until(lambda: net.overlay.has_gone(host.member), 30)
    net.kill(host)
    heals(net, [record for record in records if record not in own])
    assert [holders(net, key, endpoint) for key, endpoint in own] == [[]] * len(own)


def holders(net: Network, key: Id, endpoint: Endpoint) -> list[Host]:
    """Return the live hosts that hold a record."""
    return [host for host in net.live if endpoint in node(host).shelf.under(key, net.now)]
