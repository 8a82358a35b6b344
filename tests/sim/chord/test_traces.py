"""Traces of lookups in Chord rings: each tells the path, and who was silent; and a trace changes nothing."""

from __future__ import annotations

from dhtd.core.events import LookupDone, LookupStep
from dhtd.core.ids import NATIVE, Id
from dhtd.core.traces import QueryAnswered, QueryAsked, QuerySilent, QueryStep
from dhtd.sim.chord.lookups import ChordLookupDone
from dhtd.sim.host import Host
from dhtd.sim.links import LinkModels
from dhtd.sim.network import Network
from tests.sim.chord.truth import network

KEYS = [NATIVE.digest(b"%d" % number) for number in range(20)]


def ring_with_dead() -> Network:
    net = network(5, NATIVE, LinkModels())
    net.grow(40, every=0.5)
    net.run_for(30)
    for key in KEYS:
        net.enter(net.rng.choice(net.live), key, 3000)
    for host in net.rng.sample(net.live, 10):
        net.kill(host)
    return net


def traced(net: Network, host: Host, key: Id) -> tuple[list[QueryStep], ChordLookupDone]:
    op = host.member.commands.lookup(key, net.now, traced=True)
    done = net.finish(host, op, LookupDone)
    assert isinstance(done, ChordLookupDone)
    return [event.step for _, event in host.events if isinstance(event, LookupStep) and event.op == op], done


def test_a_trace_agrees_with_path_and_figures() -> None:
    net = ring_with_dead()
    silent = 0
    for key in KEYS:
        asker = net.rng.choice(net.live)
        steps, done = traced(net, asker, key)
        asked = [step for step in steps if isinstance(step, QueryAsked)]
        answers = [step for step in steps if isinstance(step, QueryAnswered)]
        timeouts = [step for step in steps if isinstance(step, QuerySilent)]
        assert [step.query for step in asked] == list(range(1, len(asked) + 1))
        assert [step.contact for step in answers] == [each for each in done.path if each.id != asker.id]
        assert (len(asked), len(answers), len(timeouts)) == (
            done.stats.queries,
            done.stats.responses,
            done.stats.timeouts,
        )
        assert max((step.hops for step in asked), default=0) >= done.stats.hops
        named: set[bytes] = set()
        for step in steps:
            match step:
                case QueryAsked():
                    assert set(step.namers) <= named
                    assert step.hops == 1 or step.namers
                    assert 0 <= step.bits <= NATIVE.bits
                case QueryAnswered():
                    named.add(step.contact.endpoint)
                    assert step.gained >= 0
                    assert step.rtt is not None
                    assert step.rtt > 0
                case _:
                    assert net.at(asked[step.query - 1].contact.endpoint) not in net.live
        silent += len(timeouts)
    assert silent


def test_a_trace_changes_nothing() -> None:
    events = []
    for is_traced in (False, True):
        net = ring_with_dead()
        for key in KEYS:
            host = net.rng.choice(net.live)
            net.finish(host, host.member.commands.lookup(key, net.now, traced=is_traced), LookupDone)
        events.append((net.schedule.events, net.now, net.datagrams))
    assert events[0] == events[1]


def test_a_lookup_that_waits_is_traced_later() -> None:
    net = network(6, NATIVE, LinkModels())
    hosts = net.grow(10, every=0.5)
    net.run_for(30)
    newcomer = net.add(bootstrap=hosts[:1])
    steps, done = traced(net, newcomer, KEYS[0])
    assert len(steps) >= done.stats.queries > 0
    for host in hosts:
        net.kill(host)
    lonely = net.add(bootstrap=hosts[:1])
    steps, done = traced(net, lonely, KEYS[0])
    assert done.stats.responses == 0
