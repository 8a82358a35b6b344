"""Values in whole networks: what is put is got, and outlasts its owner and the nodes that held it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Event, GetDone, ValuePut
from dhtd.core.ids import packed
from dhtd.core.messages import Get, Query
from dhtd.core.policy import DEFAULT
from dhtd.core.records import Immutable, Value
from dhtd.core.storage.held_values import HeldValue
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from dhtd.sim.plan import Plan
from dhtd.sim.report import Gets
from dhtd.sim.scenarios import SCENARIOS, Goal
from dhtd.sim.simulation import Simulation
from dhtd.wire.signatures import signed

HOUR = 3_600.0
SMALL = Plan(nodes=30, entries=2, lookups=5, duration=200.0, values=8, gets=60)
SEED = b"a seed of thirty-two bytes......"


def gets(plan: Plan) -> Gets:
    return Simulation(plan).run().gets


def put(net: Network, host: Host, value: Value, cas: int | None = None) -> ValuePut:
    op = host.node.commands.put(net.codec.key_of(value), value, host.clock(net.now), cas=cas)
    return net.finish(host, op, ValuePut)


def get(net: Network, host: Host, value: Value) -> GetDone:
    return net.finish(host, host.node.commands.get(net.codec.key_of(value), host.clock(net.now)), GetDone)


def holders(net: Network, value: Value) -> list[Host]:
    key = net.codec.key_of(value)
    return [host for host in net.live if host.node.values.held.get(key, host.clock(net.now)) is not None]


def test_what_is_put_is_got() -> None:
    found = gets(SMALL)
    assert (found.total, found.right, found.wrong, found.success_rate) == (60, 60, 0, 1.0)
    assert found.copies_mean is not None
    assert 1 <= found.copies_mean <= DEFAULT.k
    assert found.busiest_share is not None
    assert 0.1 < found.busiest_share <= 1.0


def test_a_network_without_values_has_no_figures() -> None:
    found = gets(replace(SMALL, values=0, gets=0))
    assert (found.total, found.right, found.success_rate, found.busiest_share) == (0, 0, None, None)


@pytest.mark.parametrize("data", [b"forged", b"value 0, 2 of 1 ".ljust(100, b".")])
def test_what_was_not_put_is_wrong(data: bytes) -> None:
    simulation = Simulation(replace(SMALL, values=1, gets=1))
    heard = simulation._values.heard

    def lie(host: Host, event: Event) -> None:
        heard(host, replace(event, value=Immutable(data)) if isinstance(event, GetDone) else event)

    simulation._values.heard = lie  # type: ignore[method-assign]
    found = simulation.run().gets
    assert (found.total, found.right, found.wrong) == (1, 0, 1)


def test_a_goal_for_gets_is_said_in_words() -> None:
    report = Simulation(replace(SMALL, gets=10)).run()
    scenario = replace(SCENARIOS["calm"], goal=Goal(1.0, got=1.1, busiest=0.0))
    assert [words.split()[0] for words in scenario.shortfalls(report)] == ["gets.success_rate", "busiest_share"]
    wrong = replace(report, gets=replace(report.gets, wrong=2))
    assert "gets.wrong is 2, and is to be 0" in scenario.shortfalls(wrong)


@pytest.mark.parametrize("uncached", [False, True])
def test_a_plan_decides_about_caches(uncached: bool) -> None:
    assert replace(SMALL, uncached=uncached).policy.caches == (0 if uncached else 1)


@pytest.mark.slow
def test_holders_keep_a_value_for_a_day_without_its_owner() -> None:
    net = Network(1)
    hosts = net.populate(12)
    net.run_for(30)
    value = Immutable(b"lasting")
    put(net, hosts[0], value)
    net.kill(hosts[0])
    net.run_for(23 * HOUR)
    assert get(net, hosts[1], value).value == value
    net.run_for(1.1 * HOUR)
    assert get(net, hosts[2], value).value is None
    assert holders(net, value) == []


def test_one_holder_in_an_hour_speaks_for_all() -> None:
    net, speakers = Network(1), set[Endpoint]()
    hosts = net.populate(12)
    net.run_for(30)
    value = Immutable(b"lasting")
    put(net, hosts[0], value)
    net.kill(hosts[0])

    def tap(source: Endpoint, destination: Endpoint, data: bytes) -> None:
        message = net.codec.decode(data)
        if isinstance(message, Query) and isinstance(message.request, Get):
            speakers.add(source)

    net.taps.append(tap)
    for _ in range(3):
        speakers.clear()
        net.run_for(1.2 * HOUR)
        assert len(holders(net, value)) >= DEFAULT.k
        assert 1 <= len(speakers) <= 2


def test_a_newcomer_near_a_key_is_given_its_value() -> None:
    net = Network(2)
    hosts = net.populate(30)
    net.run_for(30)
    value = signed(SEED, b"", 7, b"handed on")
    put(net, hosts[0], value)
    key = net.codec.key_of(value)
    newcomer = net.add(bootstrap=[hosts[3]], id=type(key)(key ^ 1))
    net.run_for(2.1 * DEFAULT.newcomer_stays + 30)
    assert newcomer in holders(net, value)


def test_two_parts_of_a_network_agree_once_it_is_whole() -> None:
    net = Network(3)
    hosts = net.populate(20)
    net.run_for(30)
    old, new = (signed(SEED, b"", seq, b"%d" % seq) for seq in (1, 2))
    put(net, hosts[0], old)
    net.partition([hosts[:10], hosts[10:]])
    net.run_for(60)
    put(net, hosts[0], new)
    assert get(net, hosts[15], old).value == old
    net.heal()
    net.run_for(HOUR)
    done = get(net, hosts[15], old)
    assert done.value == new
    assert done.conflicting == ()


def test_a_stale_holder_is_mended_by_a_get() -> None:
    net = Network(4)
    hosts = net.populate(20)
    net.run_for(30)
    old, new = (signed(SEED, b"", seq, b"%d" % seq) for seq in (1, 2))
    put(net, hosts[0], old)
    put(net, hosts[0], new)
    key, stale = net.codec.key_of(old), holders(net, new)[0]
    values, now = stale.node.values.held, stale.clock(net.now)
    values._drop(values.by_key[packed(key)])
    assert values.restore(HeldValue(key, old, bytes(4), now + HOUR), now)
    asker = next(host for host in net.live if host not in holders(net, new) and host is not hosts[0])
    first = get(net, asker, new)
    assert first.value == new
    assert [copy.value for copy in first.stale] == [old]
    net.run_for(1)
    assert get(net, asker, new).stale == ()


@pytest.mark.parametrize("seq", [0, 1, 3])
def test_a_cas_that_does_not_fit_changes_nothing(seq: int) -> None:
    net = Network(5)
    hosts = net.populate(12)
    net.run_for(30)
    put(net, hosts[0], signed(SEED, b"", 2, b"held"))
    done = put(net, hosts[1], signed(SEED, b"", 9, b"next"), cas=seq)
    assert done.replicas == ()
    assert {error.code for error in done.refusals} == {301}
    assert put(net, hosts[1], signed(SEED, b"", 9, b"next"), cas=2).replicas != ()
