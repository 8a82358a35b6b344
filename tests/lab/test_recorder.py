"""The recorder: looking changes nothing, and what it tells is what the nodes did."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from typing import Any

import pytest

from dhtd.lab.recorder import SHOWN, Recorder
from dhtd.sim import warm
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from dhtd.sim.plan import Plan
from dhtd.sim.simulation import Simulation

FAULTS = Plan(
    nodes=30,
    entries=10,
    lookups=60,
    duration=60.0,
    seed=7,
    loss=0.05,
    reorder=0.1,
    nat=0.1,
    liars=0.1,
    churn=30.0,
    returning=0.5,
    jumps=0.3,
)
CHORD = Plan(nodes=30, entries=10, lookups=60, duration=60.0, seed=7, loss=0.05, churn=30.0, overlay="chord", warm=True)
CALM = Plan(nodes=30, entries=10, lookups=50, duration=60.0, warm=True)


def seen(plan: Plan, *, real: float = 0.0) -> tuple[Simulation, Recorder]:
    """Return a simulation with its recorder. Each lookup comes in a real second of its own."""
    clock = iter(range(10**9))
    recorder = Recorder(lambda: next(clock) + real)
    simulation = Simulation(plan, recorder)
    recorder.attach(simulation.net)
    return simulation, recorder


@cache
def ran(plan: Plan) -> tuple[Simulation, Recorder]:
    """Return a simulation that has ended, and its recorder. Tests that only look share it."""
    simulation, recorder = seen(plan)
    simulation.run()
    return simulation, recorder


def happened(recorder: Recorder, *kinds: str) -> list[dict[str, Any]]:
    events = [json.loads(text) for text in recorder.log.between(0.0, 10**9).texts]
    return [event for event in events if not kinds or event["kind"] in kinds]


@pytest.mark.parametrize("plan", [FAULTS, CHORD], ids=["kademlia", "chord"])
def test_a_seed_gives_the_same_run_looked_at_or_not(plan: Plan) -> None:
    alone = Simulation(plan)
    until = alone.ends_at - 1.0
    while alone.go_on(10_000, until):
        pass
    simulation, recorder = seen(plan)
    simulation.ask_on()
    while simulation.go_on(7, until):
        pass
    ours, theirs = simulation.net, alone.net
    assert (ours.schedule.events, ours.datagrams, ours.bytes) == (
        theirs.schedule.events,
        theirs.datagrams,
        theirs.bytes,
    )
    assert ours.rng.getstate() == theirs.rng.getstate()
    assert simulation.tally.outcomes == alone.tally.outcomes
    assert simulation.report() == alone.report()
    assert len(happened(recorder, "lookup-begun")) >= simulation.tally.asked > 50


@pytest.mark.parametrize("plan", [FAULTS, CHORD], ids=["kademlia", "chord"])
def test_what_is_told_is_a_possible_course(plan: Plan) -> None:
    simulation, recorder = ran(plan)
    up: dict[int, str] = {}
    under_way: dict[int, dict[str, Any]] = {}
    asked: set[tuple[int, int]] = set()
    ended = Counter[object]()
    last = 0.0
    for serial, event in enumerate(happened(recorder), 1):
        assert event["serial"] == serial
        assert event["at"] >= last
        last = event["at"]
        match event["kind"]:
            case "node-up":
                assert event["n"] not in up
                up[event["n"]] = event["id"]
            case "node-down":
                assert up.pop(event["n"]) == event["id"]
                assert event["how"] in {"stops for a while", "stops for good"}
            case "lookup-begun":
                assert up[event["n"]] == event["node_id"]
                under_way[event["op"]] = event
            case "lookup-step":
                assert event["n"] == under_way[event["op"]]["n"]
                assert event["n"] in up, "the dead ask nobody"
                if event["step"] == "asked":
                    asked.add((event["op"], event["query"]))
                assert (event["op"], event["query"]) in asked
                if event["step"] == "answered" and event["to"] in up:
                    assert event["rtt_ms"] is None or event["rtt_ms"] >= 0
            case "lookup-ended":
                assert under_way.pop(event["op"])["n"] == event["n"]
                ended[event["cancelled"] or event["found"]] += 1
            case other:
                raise AssertionError(other)
    assert not under_way
    assert ended[True] > 30
    outcomes = simulation.tally.outcomes
    assert sum(recorder.figures.hops.values()) >= len(outcomes)


def test_the_truth_of_a_lookup_is_that_of_the_tally() -> None:
    simulation, recorder = ran(FAULTS)
    ended = [event for event in happened(recorder, "lookup-ended") if not event["cancelled"]]
    assert [event["found"] for event in ended] == [outcome.is_found for outcome in simulation.tally.outcomes]
    assert [event["hops"] for event in ended] == [outcome.hops for outcome in simulation.tally.outcomes]


def test_lookups_above_the_allowance_are_counted() -> None:
    recorder = Recorder(lambda: 0.0)
    simulation = Simulation(Plan(nodes=30, entries=10, lookups=SHOWN + 20, duration=60.0, warm=True), recorder)
    recorder.attach(simulation.net)
    simulation.run()
    assert len(happened(recorder, "lookup-begun")) == SHOWN
    recorder.tell_counted()
    recorder.tell_counted()
    assert [event["counts"] for event in happened(recorder, "counted")] == [{"lookup": 20}]


def test_all_that_restart_are_told_of() -> None:
    simulation, recorder = seen(Plan(nodes=5, entries=2, lookups=5, duration=60.0, warm=True, restart=5.0))
    simulation.run()
    assert [event["how"] for event in happened(recorder, "node-down")] == ["restarts"] * 5
    assert [event["n"] for event in happened(recorder, "node-up")] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]


def test_hands_are_laid_on_a_run() -> None:
    simulation, recorder = seen(CALM)
    simulation.ask_on()
    simulation.go_on(10**9, simulation.asks_at)
    hand = simulation.hand
    entry = hand.draw_entry()
    assert entry is not None
    victim = next(host for host in recorder.roll.hosts.values() if host is not entry.owner)
    asker = hand.draw_host()
    before = simulation.tally.asked
    with simulation.located():
        hand.look_up(asker, entry.key)
        hand.look_up(asker, simulation.net.keyspace.digest(b"nothing"))
        hand.kill(victim)
        newcomer = hand.add()
    assert simulation.tally.asked == before + 1  # nobody knows what the other one should find
    simulation.go_on(10**9, simulation.asks_at + 10.0)
    kinds = [event["kind"] for event in happened(recorder) if event["at"] >= simulation.asks_at]
    assert kinds.count("node-up") == kinds.count("node-down") == 1
    (down,) = happened(recorder, "node-down")
    assert down["how"] == "is killed by hand"
    assert recorder.roll.hosts[30] is newcomer
    ended = happened(recorder, "lookup-ended")
    assert {True, None} <= {event["found"] for event in ended}
    # The run goes on: behind the end of the plan lookups come as often as before it.
    simulation.go_on(10**9, simulation.ends_at + 60.0)
    further = [event for event in happened(recorder, "lookup-begun") if event["at"] > simulation.ends_at]
    every = (simulation.ends_at - simulation.asks_at) / CALM.lookups
    assert len(further) == pytest.approx(60.0 / every, abs=2)


def test_a_machine_that_says_goodbye_may_be_killed() -> None:
    simulation, recorder = seen(
        Plan(nodes=10, entries=10, lookups=5, duration=60.0, warm=True, churn=20.0, goodbyes=1.0)
    )
    simulation.go_on(10**9, 15.0)
    for is_killed in (True, False):
        leaving = None
        while leaving is None:
            simulation.go_on(1, 300.0)
            leaving = next((host for host in recorder.roll.hosts.values() if host not in simulation._population), None)
        entry = simulation.hand.draw_entry()
        assert entry is not None
        simulation.hand.look_up(leaving, entry.key)  # of which nothing is expected once the machine is gone
        if is_killed:
            simulation.hand.kill(leaving)
        simulation.go_on(10**9, simulation.net.now + 61.0)
    ways = {event["how"] for event in happened(recorder, "node-down")}
    assert ways == {"is killed by hand", "has said goodbye"}


def test_nothing_of_an_abandoned_lookup_is_kept() -> None:
    simulation, recorder = seen(Plan(nodes=20, entries=5, lookups=20, duration=60.0, warm=True, loss=0.2))
    while not simulation.tally._firsts:
        simulation.go_on(1, 60.0)
    ((member, _),) = simulation.tally._firsts
    asked = simulation.tally.asked
    simulation.hand.kill(next(host for host in recorder.roll.hosts.values() if host.member is member))
    assert not simulation.tally._firsts
    assert simulation.tally.asked == asked - 1


def test_a_killed_node_leaves_no_lookup_that_is_told() -> None:
    simulation, recorder = seen(Plan(nodes=20, entries=5, lookups=20, duration=60.0, warm=True, loss=0.2))
    while not recorder._shown:
        simulation.go_on(1, 60.0)
    ((member, _),) = recorder._shown
    simulation.hand.kill(next(host for host in recorder.roll.hosts.values() if host.member is member))
    assert not recorder._shown
    assert [event["kind"] for event in happened(recorder)[-2:]] == ["lookup-ended", "node-down"]


def test_a_plan_without_lookups_asks_nothing_later() -> None:
    simulation, recorder = seen(Plan(nodes=5, entries=1, lookups=0, duration=10.0, warm=True))
    simulation.ask_on()
    simulation.go_on(10**9, 60.0)
    assert happened(recorder, "lookup-begun") == []


def test_the_last_node_that_others_need_must_live() -> None:
    simulation, recorder = seen(Plan(nodes=3, entries=1, lookups=0, duration=10.0, warm=True))
    simulation.go_on(10**9, 5.0)
    one, two, three = recorder.roll.hosts.values()
    assert len(simulation.hand.victims(0.01)) == 1
    assert len(simulation.hand.victims(1.0)) == 3
    simulation.hand.kill(one)
    simulation.hand.kill(two)
    assert not simulation.hand.can_kill(three)


def test_an_attacker_is_killed_as_others_are() -> None:
    simulation, recorder = seen(Plan(nodes=50, entries=2, lookups=5, duration=60.0, warm=True, eclipse=2))
    simulation.go_on(10**9, 55.0)
    attackers = [host for host in recorder.roll.hosts.values() if host not in simulation._population]
    assert attackers
    live = len(recorder.roll.hosts)
    entry = simulation.hand.draw_entry()
    assert entry is not None
    simulation.hand.look_up(attackers[0], entry.key)
    simulation.hand.kill(attackers[0])
    assert len(recorder.roll.hosts) == live - 1
    simulation.go_on(10**9, simulation.net.now + 61.0)


def test_a_warm_start_takes_hands_into_account() -> None:
    simulation, recorder = seen(CALM)
    started: list[Host] = []
    acquaint = warm.acquaint

    def noted(net: Network, hosts: list[Host]) -> None:
        started.extend(hosts)
        acquaint(net, hosts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warm, "acquaint", noted)
        simulation.go_on(5, 0.0)
        newcomers = [simulation.hand.add() for _ in range(8)]
        simulation.go_on(4, 0.0)
        victims = simulation.hand.victims(0.3)
        for victim in victims:
            simulation.hand.kill(victim)
        simulation.go_on(10**9, 30.0)
    assert len(set(started)) == len(started)
    assert not set(started) & set(newcomers)
    assert set(started) >= set(recorder.roll.hosts.values()) - set(newcomers)
