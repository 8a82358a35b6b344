"""What a traced lookup tells of each of its queries, and what an observed node tells of all it does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.events import Isolated, LookupDone, LookupStep, Published
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, Ping
from dhtd.core.policy import Policy
from dhtd.core.querying.observations import (
    ContactGained,
    Observation,
    Observations,
    QueryEnded,
    SearchBegun,
    SearchEnded,
    SearchStep,
)
from dhtd.core.traces import (
    Purpose,
    QueryAnswered,
    QueryAsked,
    QueryRefused,
    QuerySilent,
    QuerySlow,
    QueryStep,
)
from tests.core.bench import QUIET, Bench, Sent
from tests.core.both import both, to
from tests.core.played import KEY, SLOW, TIMEOUT, by_id, entered, knowing
from tests.core.small import contact, six

SERVER = Endpoint.of("10.7.7.7", 80)


def steps(bench: Bench) -> list[QueryStep]:
    return [event.step for event in bench.events() if isinstance(event, LookupStep)]


def observed(bench: Bench) -> list[Observation]:
    found = []
    while (observation := bench.node.poll_observation()) is not None:
        found.append(observation)
    return found


def trace(bench: Bench, key: Id = KEY) -> None:
    bench.node.commands.lookup(key, bench.now, traced=True)


def test_a_trace_tells_who_was_asked_and_why() -> None:
    bench = knowing(1)
    trace(bench)  # KEY is 77: 1001101; 1 is 0000001 and shares nothing with it
    assert steps(bench) == [QueryAsked(1, bench.now, contact(1), 1, 0, (), None)]
    first = bench.sent_one()
    bench.now += 0.1
    bench.found(first, 1, [contact(76), contact(64)], [SERVER])
    named = (contact(76), contact(64))
    answered, *asked = steps(bench)
    assert isinstance(answered, QueryAnswered)
    assert answered == QueryAnswered(1, bench.now, contact(1), answered.rtt, named, (SERVER,), 6, late=False)
    assert answered.rtt == pytest.approx(0.1)
    namer = (contact(1).endpoint,)
    assert asked == [
        QueryAsked(2, bench.now, contact(76), 2, 6, namer, None),
        QueryAsked(3, bench.now, contact(64), 2, 3, namer, None),
    ]


def test_an_answer_without_news_gains_nothing() -> None:
    bench = knowing(76)
    trace(bench)
    bench.found(bench.sent_one(), 76, [contact(64), contact(1)])
    _, answered, *_ = steps(bench)
    assert isinstance(answered, QueryAnswered)
    assert answered.gained == 0


def test_a_lookup_that_nobody_traces_tells_no_steps() -> None:
    bench = knowing(1)
    bench.node.commands.lookup(KEY, bench.now)
    bench.found(bench.sent_one(), 1)
    assert steps(bench) == []
    assert observed(bench) == []


def test_slow_late_silent_and_refused_are_told() -> None:
    bench = knowing(65, 66, 67, policy=Policy(k=5, region=0.0, alpha=3))
    trace(bench, Id(64))
    queries = by_id(bench.sent())
    begun = bench.now
    bench.events()
    bench.refuse(queries[66], 66, 203)
    [refused] = steps(bench)
    assert isinstance(refused, QueryRefused)
    assert (refused.code, refused.at) == (203, begun)
    bench.advance(SLOW)
    numbers = {65: 1, 66: 2, 67: 3}
    assert [(type(step), step.query) for step in steps(bench)] == [(QuerySlow, numbers[65]), (QuerySlow, numbers[67])]
    bench.found(queries[65], 65)
    [late] = [step for step in steps(bench) if step.query == numbers[65]]
    assert isinstance(late, QueryAnswered)
    assert late.late
    bench.advance(TIMEOUT)
    told = [step for step in steps(bench) if step.query == numbers[67]]
    assert [type(step) for step in told] == [QuerySilent]


def test_an_answer_that_was_cut_is_told_in_parts() -> None:
    bench = knowing(1)
    trace(bench)
    bench.found(bench.sent_one(), 1, [], [SERVER], more=True)
    bench.found(bench.sent_one(), 1, [], [SERVER])
    answers = [step for step in steps(bench) if isinstance(step, QueryAnswered)]
    assert [step.query for step in answers] == [1, 1]


def test_a_query_that_was_sent_again_has_no_round_trip() -> None:
    bench = knowing(1)
    trace(bench)
    first = bench.sent_one()
    bench.advance(SLOW)
    bench.sent()  # the same again, since so few are known
    bench.found(first, 1)
    [answered] = [step for step in steps(bench) if isinstance(step, QueryAnswered)]
    assert answered.rtt is None


def test_each_family_gains_bits_of_its_own() -> None:
    bench = both(region=0.0)
    bench.know(contact(1), six(2))
    trace(bench)
    [four] = to(bench.sent(), Family.IPV4)
    bench.found(four, 1, [contact(64), six(76)])
    [answered] = [step for step in steps(bench) if isinstance(step, QueryAnswered)]
    assert answered.gained == 3


def test_ourselves_are_no_gain() -> None:
    bench = Bench(own_id=77, policy=QUIET)
    bench.know(contact(1))
    trace(bench)
    bench.found(bench.sent_one(), 1, [Contact(KEY, contact(5).endpoint)])
    [answered] = [step for step in steps(bench) if isinstance(step, QueryAnswered)]
    assert answered.gained == 0


def exploration(bench: Bench) -> tuple[QueryAsked, Sent]:
    """Trace a lookup until it asks about another place, and return that step with its query: see `exploring`."""
    near, dead, other_dead, behind, far = (KEY ^ distance for distance in (8, 9, 10, 11, 20))
    trace(bench)
    queries = by_id(bench.sent())
    bench.found(queries[near], near, [contact(dead), contact(other_dead), contact(behind)], [SERVER])
    bench.sent()
    bench.advance(SLOW)
    queries = by_id(bench.sent())
    bench.found(queries[behind], behind)
    sent = bench.sent_one()
    bench.found(queries[far], far)
    [asked] = [step for step in steps(bench) if isinstance(step, QueryAsked) and step.about is not None]
    return asked, sent


def near_dead_nodes() -> Bench:
    return knowing(*(KEY ^ distance for distance in (8, 9, 20)), policy=replace(QUIET, k=3, alpha=2))


@pytest.mark.parametrize("node", [KEY ^ 8, 3])
def test_an_exploration_tells_its_place_and_its_answer(node: int) -> None:
    bench = near_dead_nodes()
    asked, sent = exploration(bench)
    assert (asked.about, asked.contact.id) == (KEY ^ 8, KEY ^ 8)
    bench.found(sent, node, [contact(KEY ^ 12)])
    [answered] = [step for step in steps(bench) if isinstance(step, QueryAnswered)]
    assert (answered.query, answered.contact.id, answered.named) == (asked.query, node, (contact(KEY ^ 12),))


def test_an_exploration_is_slow_late_silent_or_refused() -> None:
    bench = near_dead_nodes()
    asked, sent = exploration(bench)
    bench.refuse(sent, KEY ^ 8)
    assert [type(step) for step in steps(bench) if step.query == asked.query] == [QueryRefused]
    bench = near_dead_nodes()
    asked, _ = exploration(bench)
    bench.advance(SLOW)
    assert [type(step) for step in steps(bench) if step.query == asked.query] == [QuerySlow]


def test_a_cancelled_trace_asks_and_tells_no_more() -> None:
    bench = knowing(1)
    op = bench.node.commands.lookup(KEY, bench.now, traced=True)
    query = bench.sent_one()
    bench.node.commands.cancel(op)
    bench.events()
    bench.found(query, 1, [contact(76)])
    bench.advance(TIMEOUT)
    assert bench.sent() == []
    assert bench.events() == []


# Observing the whole node


def test_an_observed_search_has_a_number_and_an_end() -> None:
    bench = knowing(1)
    bench.node.observe()
    bench.node.commands.lookup(KEY, bench.now)
    bench.found(bench.sent_one(), 1)
    begun, asked, answered, ended, outcome = observed(bench)
    assert begun == SearchBegun(1, Purpose.LOOKUP, KEY)
    assert isinstance(asked, SearchStep)
    assert isinstance(answered, SearchStep)
    assert isinstance(ended, SearchEnded)
    assert isinstance(outcome, LookupDone)


def test_what_was_not_asked_for_is_observed_too() -> None:
    bench = knowing(1)
    bench.node.observe()
    entered(bench, 1)
    found = observed(bench)
    assert [each.purpose for each in found if isinstance(each, SearchBegun)] == [Purpose.PUBLISH]
    [store] = [each for each in found if isinstance(each, QueryEnded)]
    assert (store.endpoint, store.id, store.outcome) == (contact(1).endpoint, 1, "answered")
    assert any(isinstance(each, Published) for each in found)


def test_single_queries_are_observed_by_their_outcome() -> None:
    bench = knowing(1)
    bench.node.observe()
    silent, refused, answered = contact(20), contact(21), contact(22)
    for each in (silent, refused, answered):
        bench.node.commands.ping(each.endpoint, bench.now)
    queries = by_id(bench.sent())
    bench.refuse(queries[21], 21, 203)
    bench.pong(queries[22], 22)
    found = observed(bench)
    assert QueryEnded(Ping(), refused.endpoint, Id(21), 0.0, "refused", 203) in found
    assert QueryEnded(Ping(), answered.endpoint, Id(22), 0.0, "answered") in found
    assert ContactGained(answered) in found
    bench.advance(3 * TIMEOUT)
    assert QueryEnded(Ping(), silent.endpoint, None, None, "silent") in observed(bench)


def test_a_query_of_a_told_search_is_told_once() -> None:
    bench = knowing(1)
    bench.node.observe()
    bench.node.commands.lookup(KEY, bench.now)
    bench.found(bench.sent_one(), 1, [], [SERVER], more=True)
    bench.found(bench.sent_one(), 1, [], [SERVER])
    assert not [each for each in observed(bench) if isinstance(each, QueryEnded)]


def test_many_searches_are_told_in_part_and_counted() -> None:
    bench = knowing(1)
    bench.node.observe()
    for key in range(10):
        bench.node.commands.lookup(Id(key), bench.now)
    begun = [each for each in observed(bench) if isinstance(each, SearchBegun)]
    assert [each.op for each in begun] == [1, 2, 3, 4]
    assert bench.node.requester.observations.untold == {"search": 6}
    bench.now += 1.0
    bench.node.commands.lookup(KEY, bench.now)
    assert [each.op for each in observed(bench) if isinstance(each, SearchBegun)] == [5]


def test_a_stopped_search_ends_as_cancelled() -> None:
    bench = knowing(1)
    bench.node.observe()
    op = bench.node.commands.lookup(KEY, bench.now)
    bench.node.commands.cancel(op)
    [ended] = [each for each in observed(bench) if isinstance(each, SearchEnded)]
    assert ended.cancelled
    assert ended.stats.queries == 1


def test_no_observations_are_kept_unpolled_for_ever() -> None:
    observations = Observations()
    observations.note(Isolated(Family.IPV4))
    assert len(observations) == 0
    observations.turn(on=True)
    for _ in range(5_000):
        observations.note(Isolated(Family.IPV4))
    assert len(observations) == 4_096
    assert observations.untold == {"observation": 904}
    observations.turn(on=False)
    assert (len(observations), observations.untold) == (0, {})


def test_a_clock_that_went_back_stops_no_search_being_told() -> None:
    observations = Observations()
    observations.turn(on=True)
    told = [observations.begin(Purpose.LOOKUP, KEY, now) for now in (9.0, 9.0, 9.0, 9.0, 9.0, 3.0)]
    assert told == [1, 2, 3, 4, None, 5]


def test_a_node_observed_does_the_same() -> None:
    sent = []
    for on in (False, True):
        bench = knowing(1, 2, 3, policy=replace(QUIET, region=0.0))
        bench.node.observe(on=on)
        bench.node.commands.lookup(KEY, bench.now, traced=on)
        asked = []
        while queries := bench.sent():
            for query in queries:
                asked.append((query.to, query.request))
                bench.found(query, query.to[2] << 8 | query.to[3], [contact(76)])
        sent.append(asked)
    assert sent[0] == sent[1]
