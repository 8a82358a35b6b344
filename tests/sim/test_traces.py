"""Traces of lookups in whole networks with faults: each tells a possible course, and agrees with the figures."""

from __future__ import annotations

from collections import Counter

import pytest

from dhtd.core.events import LookupDone, LookupStep
from dhtd.core.ids import NATIVE
from dhtd.core.querying.observations import SearchBegun, SearchEnded, SearchStep
from dhtd.core.traces import QueryAnswered, QueryAsked, QueryRefused, QuerySilent, QuerySlow, QueryStep
from dhtd.sim.host import Host
from dhtd.sim.links import LinkModels
from dhtd.sim.network import Network

ENDS = (QuerySilent, QueryRefused)


def check_course(steps: list[QueryStep]) -> None:
    """Hold the steps of a search to the order in which things can happen."""
    asked: dict[int, QueryAsked] = {}
    answered: set[int] = set()
    slow: set[int] = set()
    over: set[int] = set()
    named = {}
    for step in steps:
        if isinstance(step, QueryAsked):
            assert step.query == len(asked) + 1
            asked[step.query] = step
            assert step.hops == 1 or step.namers
            assert all(namer in named for namer in step.namers)
            continue
        assert step.query in asked
        assert step.at >= asked[step.query].at
        match step:
            case QueryAnswered():
                assert step.late == (step.query in slow)
                assert step.rtt is None or 0 <= step.rtt < 2.1
                assert step.gained >= 0
                named[step.contact.endpoint] = step.named
                answered.add(step.query)
            case QuerySlow():
                assert step.query not in slow
                slow.add(step.query)
            case QuerySilent() | QueryRefused():
                assert step.query not in over
                over.add(step.query)


def faulty(seed: int) -> tuple[Network, list[Host]]:
    """Return a network with losses, in which a third of the nodes are dead."""
    net = Network(seed, links=LinkModels(loss=0.05, sigma=1.0))
    hosts = net.populate(90)
    net.run_for(5)
    for host in hosts[60:]:
        net.kill(host)
    return net, hosts[:60]


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
def test_a_traced_lookup_tells_a_possible_course(seed: int) -> None:
    net, hosts = faulty(seed)
    kinds: Counter[str] = Counter()
    for number in range(20):
        host = net.rng.choice(hosts)
        op = host.node.commands.lookup(NATIVE.digest(b"%d" % number), host.clock(net.now), traced=True)
        net.flush(host)
        done = net.finish(host, op, LookupDone)
        steps = [event.step for _, event in host.events if isinstance(event, LookupStep) and event.op == op]
        check_course(steps)
        kinds.update(type(step).__name__ for step in steps)
        assert sum(isinstance(step, QueryAsked) for step in steps) == done.stats.queries
        assert sum(isinstance(step, QuerySilent) for step in steps) >= done.stats.timeouts
        heard = {step.contact for step in steps if isinstance(step, QueryAnswered)}
        assert len(heard) >= done.stats.responses
    assert {"QueryAsked", "QueryAnswered", "QuerySlow", "QuerySilent"} <= kinds.keys()


def test_an_observed_search_is_told_from_begin_to_end() -> None:
    net, hosts = faulty(4)
    told: dict[tuple[Host, int], list[object]] = {}
    for host in hosts:
        host.node.observe()
    for number in range(25):
        asker, owner, key = net.rng.choice(hosts), net.rng.choice(hosts), NATIVE.digest(b"%d" % number)
        asker.node.commands.lookup(key, asker.clock(net.now))
        owner.node.commands.enter(key, 80, owner.clock(net.now))
        for host in (asker, owner):
            net.flush(host)
        net.run_for(1.0)
        for host in hosts:
            while (observation := host.node.poll_observation()) is not None:
                if isinstance(observation, SearchBegun | SearchStep | SearchEnded):
                    told.setdefault((host, observation.op), []).append(observation)
    ended = [each for each in told.values() if isinstance(each[-1], SearchEnded)]
    assert len(ended) > 40
    assert len(told) - len(ended) < 20  # some may be under way
    for begun, *between in told.values():
        assert isinstance(begun, SearchBegun)
        assert not any(isinstance(each, SearchEnded | SearchBegun) for each in between[:-1])
        check_course([each.step for each in between if isinstance(each, SearchStep)])
