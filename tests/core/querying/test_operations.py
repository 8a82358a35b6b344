"""Single queries, lookups and bootstrapping, step by step, with every peer played by the test."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import (
    Answered,
    Bootstrapped,
    LookupDone,
    LookupProgress,
    Published,
    Unanswered,
)
from dhtd.core.ids import Id
from dhtd.core.messages import (
    Acknowledged,
    Contact,
    Error,
    FindNode,
    FindValue,
    Found,
    Ping,
)
from dhtd.core.policy import Policy
from tests.core.bench import QUIET, US, Bench, Sent
from tests.core.played import KEY, LATE, SLOW, STALE, TIMEOUT, by_id, knowing
from tests.core.small import contact, endpoint
from tests.records import hold_peer, to_store

SERVER, OTHER_SERVER = Endpoint.of("10.7.7.7", 80), Endpoint.of("10.7.7.8", 81)


# Single queries


def test_a_ping_reports_id_and_round_trip() -> None:
    bench = Bench()
    op = bench.node.commands.ping(endpoint(5), bench.now)
    bench.now = 0.25
    bench.pong(bench.sent_one(), 5)
    assert bench.event(Answered) == Answered(op, contact(5), Acknowledged(), 0.25)


def test_single_queries_carry_their_arguments() -> None:
    bench = Bench()
    bench.node.commands.find_node(endpoint(5), KEY, bench.now)
    bench.node.commands.find_value(endpoint(5), KEY, bench.now)
    bench.node.commands.store_at(endpoint(5), KEY, 80, b"token", bench.now)
    assert [sent.request for sent in bench.sent()] == [FindNode(KEY), FindValue(KEY), to_store(KEY, 80, b"token")]


def test_a_single_query_reports_the_result() -> None:
    bench = Bench()
    op = bench.node.commands.find_value(endpoint(5), KEY, bench.now)
    bench.found(bench.sent_one(), 5, [contact(9)], [SERVER])
    answered = bench.event(Answered)
    assert answered == Answered(op, contact(5), Found(b"token", (contact(9),), (SERVER,)), 0.0)


def test_a_single_query_fetches_a_cut_rest_once() -> None:
    bench = knowing(5)
    op = bench.node.commands.find_node(endpoint(5), KEY, bench.now)
    bench.found(bench.sent_one(), 5, token=b"proof", more=True)
    assert bench.events() == []
    bench.advance(SLOW)
    again = bench.sent_one()
    assert (again.to, again.request) == (endpoint(5), FindNode(KEY, b"proof"))
    bench.found(again, 5, [contact(9)], token=b"", more=True)
    assert bench.sent() == []
    assert bench.event(Answered) == Answered(op, contact(5), Found(b"", (contact(9),)), SLOW)


@pytest.mark.parametrize("refused", [True, False])
def test_a_missing_rest_leaves_the_first_part(refused: bool) -> None:
    bench = knowing(5)
    op = bench.node.commands.find_value(endpoint(5), KEY, bench.now)
    bench.found(bench.sent_one(), 5, [], [SERVER], more=True)
    again = bench.sent_one()
    if refused:
        bench.refuse(again, 5)
    else:
        bench.advance(STALE)
        assert bench.sent().count(again) == 1  # once more, as the query before it would have been
    assert bench.event(Answered) == Answered(op, contact(5), Found(b"token", (), (SERVER,), True), 0.0)


def test_a_single_query_is_sent_twice() -> None:
    bench = Bench()
    op = bench.node.commands.ping(endpoint(5), bench.now)
    first = bench.sent_one()
    bench.advance(TIMEOUT - 0.1)
    assert bench.sent() == []
    bench.advance(0.1)
    assert bench.sent_one() == first
    assert bench.events() == []
    bench.advance(TIMEOUT)
    assert bench.sent() == []
    assert bench.event(Unanswered) == Unanswered(op, endpoint(5), None)
    assert (bench.node.counters.retries, bench.node.counters.timeouts) == (1, 1)


def test_a_single_query_reports_a_refusal() -> None:
    bench = Bench()
    op = bench.node.commands.store_at(endpoint(5), KEY, 80, b"token", bench.now)
    sent = bench.sent_one()
    bench.refuse(sent, 5, 203, "bad token")
    error = Error(sent.query.tid, Id(5), 203, "bad token")
    assert bench.event(Unanswered) == Unanswered(op, endpoint(5), error)
    bench.advance(STALE)
    assert bench.events() == []


# Lookups


def test_a_lone_lookup_ends_with_its_own_entries() -> None:
    bench = Bench()
    hold_peer(bench.node.store, KEY, SERVER, bench.now)
    op = bench.node.commands.lookup(KEY, bench.now)
    done = bench.event(LookupDone)
    assert (done.op, done.key, done.endpoints) == (op, KEY, (SERVER,))
    assert (done.stats.queries, done.stats.responses) == (0, 0)


def test_a_lookup_merges_all_answers() -> None:
    bench = knowing(1)
    op = bench.node.commands.lookup(KEY, bench.now)
    first = bench.sent_one()
    assert first.request == FindValue(KEY)
    bench.now += 0.1
    bench.found(first, 1, [contact(76), contact(64)], [SERVER])
    heard = bench.event(LookupProgress)
    assert (heard.op, heard.endpoints, heard.stats.responses) == (op, (SERVER,), 1)
    queries = by_id(bench.sent())
    assert set(queries) == {76, 64}  # a value does not end it
    bench.now += 0.1
    bench.found(queries[76], 76, [], [OTHER_SERVER, SERVER])
    assert bench.event(LookupProgress).endpoints == (OTHER_SERVER,)
    bench.found(queries[64], 64, [], [SERVER])
    progress, done = bench.events()
    assert isinstance(progress, LookupProgress)
    assert progress.endpoints == ()
    assert isinstance(done, LookupDone)
    assert done.endpoints == (SERVER, OTHER_SERVER)
    assert done.stats.elapsed == pytest.approx(0.2)
    assert (done.stats.hops, done.stats.queries, done.stats.responses, done.stats.timeouts) == (2, 3, 3, 0)


def test_own_entries_never_replace_asking() -> None:
    bench = knowing(1)
    hold_peer(bench.node.store, KEY, SERVER, bench.now)
    bench.node.commands.lookup(KEY, bench.now)
    bench.found(bench.sent_one(), 1, [], [OTHER_SERVER, SERVER])
    progress, done = bench.events()
    assert isinstance(progress, LookupProgress)
    assert isinstance(done, LookupDone)
    assert progress.endpoints == done.endpoints == (SERVER, OTHER_SERVER)


def test_impossible_endpoints_are_left_out() -> None:
    bench = knowing(1)
    bench.node.commands.lookup(KEY, bench.now)
    inside = Endpoint.of("64:ff9b::c0a8:101", 80)
    bench.found(bench.sent_one(), 1, [], [SERVER.with_port(0), inside, SERVER])
    assert [event.endpoints for event in bench.events() if isinstance(event, LookupDone)] == [(SERVER,)]


def test_unreachable_contacts_are_not_asked() -> None:
    bench = knowing(1)
    bench.node.commands.lookup(KEY, bench.now)
    nowhere = [
        Contact(Id(70), Endpoint.of("127.0.0.1", 80)),
        Contact(Id(71), endpoint(71).with_port(0)),
        Contact(Id(72), Endpoint.of("224.0.0.1", 80)),
        Contact(Id(0), endpoint(73)),  # our own ID
    ]
    bench.found(bench.sent_one(), 1, [*nowhere, contact(74)])
    assert [sent.to for sent in bench.sent()] == [endpoint(74)]


def test_a_cut_answer_is_fetched_once() -> None:
    bench = knowing(1)
    bench.node.commands.lookup(KEY, bench.now)
    bench.found(bench.sent_one(), 1, [contact(64)], [SERVER], token=b"proof", more=True)
    assert [event for event in bench.events() if isinstance(event, LookupDone)] == []
    queries = by_id(bench.sent())
    assert queries[1].request == FindValue(KEY, b"proof")
    assert queries[64].request == FindValue(KEY)  # no waiting for the rest before the next is asked
    bench.found(queries[64], 64)
    bench.found(queries[1], 1, [], [SERVER, OTHER_SERVER], more=True)
    assert bench.sent() == []
    done = bench.events()[-1]
    assert isinstance(done, LookupDone)
    assert done.endpoints == (SERVER, OTHER_SERVER)
    assert not done.complete  # the rest is cut as well
    assert (done.stats.queries, done.stats.responses) == (2, 2)


def test_a_lookup_with_all_rests_is_complete() -> None:
    bench = knowing(1)
    bench.node.commands.lookup(KEY, bench.now)
    bench.found(bench.sent_one(), 1, [], [SERVER], more=True)
    bench.found(bench.sent_one(), 1, [], [SERVER, OTHER_SERVER])
    assert bench.event(LookupDone).complete


def test_a_full_node_may_have_refused_others() -> None:
    bench = knowing(1)
    bench.node.commands.lookup(KEY, bench.now)
    bench.found(bench.sent_one(), 1, [], [SERVER], token=b"")
    assert not bench.event(LookupDone).complete


def test_a_lookup_with_a_cut_answer_is_incomplete() -> None:
    bench = knowing(1, policy=replace(QUIET, lookup_endpoints=1))
    bench.node.commands.lookup(KEY, bench.now)
    bench.found(bench.sent_one(), 1, [], [SERVER, OTHER_SERVER])
    assert not bench.event(LookupDone).complete


def test_an_unanswered_lookup_is_incomplete() -> None:
    bench = knowing(1)
    bench.node.commands.lookup(KEY, bench.now)
    bench.advance(TIMEOUT)
    assert not bench.event(LookupDone).complete


def test_a_lookup_out_of_queries_is_incomplete() -> None:
    bench = knowing(1, policy=replace(QUIET, search_queries=1))
    bench.node.commands.lookup(KEY, bench.now)
    bench.found(bench.sent_one(), 1, [contact(64)], [SERVER])
    assert not bench.event(LookupDone).complete


def test_a_lone_lookup_is_incomplete() -> None:
    bench = Bench()
    bench.node.commands.enter(KEY, 80, bench.now)
    bench.node.commands.lookup(KEY, bench.now)
    assert not bench.event(LookupDone).complete


@pytest.mark.parametrize("refused", [True, False])
def test_a_part_counts_without_its_rest(refused: bool) -> None:
    bench = knowing(1)
    bench.node.commands.lookup(KEY, bench.now)
    bench.found(bench.sent_one(), 1, [], [SERVER], more=True)
    again = bench.sent_one()
    if refused:
        bench.refuse(again, 1)
    else:
        bench.advance(TIMEOUT)
    done = bench.event(LookupDone)
    assert done.endpoints == (SERVER,)
    assert not done.complete
    assert (done.stats.responses, done.stats.timeouts) == (1, 0)


def sampled(bench: Bench, distance: int) -> None:
    """Have a node find in four places that the K-th nearest node is at this distance."""
    for target in (0, 32, 64, 96):
        bench.node.overlays.first.size.measured(Id(target), [contact(target ^ near) for near in (1, 2, distance)])


def looked_up(bench: Bench, endpoints: list[Endpoint], distance: int) -> bool:
    """Have a node look up a key with three nodes near to it, and sample meanwhile. Return whether that is all."""
    bench.node.commands.lookup(Id(64), bench.now)
    sampled(bench, distance)
    for query in bench.sent():
        bench.found(query, query.to[3], [], endpoints)
    return any(isinstance(event, LookupDone) for event in bench.events())


@pytest.mark.parametrize(("endpoints", "crowding"), [([], 3), ([SERVER], 6)])
def test_finding_nothing_tightens_the_crowd_limit(endpoints: list[Endpoint], crowding: int) -> None:
    for distance in (crowding - 1, crowding):
        bench = knowing(65, 66, 67, policy=replace(QUIET, k=3, region=1.5))
        assert looked_up(bench, endpoints, distance) == (distance < crowding)


def test_refusals_and_silence_are_skipped() -> None:
    bench = knowing(1, 2)
    bench.node.commands.lookup(KEY, bench.now)
    queries = by_id(bench.sent())
    bench.refuse(queries[1], 1)
    bench.advance(TIMEOUT)
    done = bench.event(LookupDone)
    assert done.endpoints == ()
    assert (done.stats.queries, done.stats.responses, done.stats.timeouts) == (2, 0, 1)


def test_a_slow_contact_frees_its_slot() -> None:
    bench = knowing(65, 66, 67, 68, 69, policy=Policy(k=5, region=0.0))
    bench.node.commands.lookup(Id(64), bench.now)
    queries = by_id(bench.sent())
    assert set(queries) == {65, 66, 67, 68}
    bench.advance(SLOW)
    more = by_id(bench.sent())
    assert set(more) == {69}
    for id in (66, 67, 68):
        bench.found(queries[id], id, [], [SERVER])
    bench.found(queries[65], 65, [], [OTHER_SERVER])  # late
    bench.found(more[69], 69)
    done = bench.events()[-1]
    assert isinstance(done, LookupDone)
    assert done.endpoints == (SERVER, OTHER_SERVER)
    assert done.stats.responses == 5


def test_a_lookup_with_a_find_ignores_the_late() -> None:
    bench = knowing(1, 2)
    bench.node.commands.lookup(KEY, bench.now)
    queries = by_id(bench.sent())
    bench.found(queries[1], 1, [], [SERVER])
    assert not [event for event in bench.events() if isinstance(event, LookupDone)]
    bench.advance(LATE)
    assert bench.event(LookupDone).endpoints == (SERVER,)
    bench.sent()  # the same again, since so few are known
    bench.found(queries[2], 2, [contact(9)], [OTHER_SERVER])
    assert bench.events() == []
    assert bench.sent() == []


def test_an_empty_lookup_waits_for_the_slow() -> None:
    bench = knowing(1, 2)
    bench.node.commands.lookup(KEY, bench.now)
    queries = by_id(bench.sent())
    bench.found(queries[1], 1)
    bench.advance(1.9)
    bench.found(queries[2], 2, [], [SERVER])
    done = bench.events()[-1]
    assert isinstance(done, LookupDone)
    assert done.endpoints == (SERVER,)


def test_a_finished_search_hears_no_more_answers() -> None:
    bench = knowing(65, 66, 67)
    bench.node.commands.lookup(Id(64), bench.now)
    queries = by_id(bench.sent())
    bench.found(queries[65], 65, [], [SERVER])
    bench.advance(LATE)
    assert bench.event(LookupDone).endpoints == (SERVER,)
    bench.refuse(queries[66], 66)
    bench.advance(STALE)
    assert bench.events() == []


def test_a_query_slow_after_the_end_asks_nobody() -> None:
    bench = knowing(1, 2)
    fast = bench.node.state.meta.get(Id(1)).round_trips
    for _ in range(40):
        fast.add(0.001)
    bench.node.state.meta.get(Id(2)).round_trips.add(0.3)
    op = bench.node.commands.enter(KEY, 80, bench.now)
    assert set(by_id(bench.sent())) == {1, 2}
    bench.node.commands.delete(KEY, 80, bench.now)
    assert bench.event(Published).op == op
    withdrawal = bench.sent()
    bench.advance(1.5)
    assert {sent.to for sent in withdrawal} == {endpoint(1), endpoint(2)}
    again = [sent for sent in bench.sent() if isinstance(sent.request, FindNode)]  # insistent, since so few are known
    assert {sent.to for sent in again} <= {endpoint(1), endpoint(2)}


def test_another_node_counts_under_its_own_id() -> None:
    bench = knowing(1)
    bench.node.commands.lookup(KEY, bench.now)
    bench.found(bench.sent_one(), 2, [contact(9)], [SERVER])
    assert bench.node.state.table.get(Id(1)) is None
    assert bench.node.state.table.get(Id(2)) == contact(2, machine=1)
    asked = bench.sent_one()
    assert asked.to == endpoint(9)  # and nobody is asked again
    bench.found(asked, 9, [])
    done = bench.event(LookupDone)
    assert done.endpoints == (SERVER,)
    assert done.stats.responses == 2


def exploring() -> tuple[Bench, Sent]:
    """Return a bench with a lookup that explores, and its exploring query.

    One of the named nodes has answered, and nobody has named the nodes between it and the farthest contact.
    """
    near, dead, other_dead, behind, far = (KEY ^ distance for distance in (8, 9, 10, 11, 20))
    bench = knowing(near, dead, far, policy=replace(QUIET, k=3, alpha=2))
    bench.node.commands.lookup(KEY, bench.now)
    queries = by_id(bench.sent())
    assert set(queries) == {near, dead}
    bench.found(queries[near], near, [contact(dead), contact(other_dead), contact(behind)], [SERVER])
    bench.sent()
    bench.advance(SLOW)
    queries = by_id(bench.sent())
    assert set(queries) == {behind, far}
    bench.found(queries[behind], behind)
    exploration = bench.sent_one()
    bench.found(queries[far], far)
    bench.events()
    return bench, exploration


HIDDEN = KEY ^ 12  # a live node that has gone unnamed, since dead ones took its place in an answer


def test_a_lookup_explores_behind_the_dead() -> None:
    bench, sent = exploring()
    assert (sent.to, sent.request) == (endpoint(KEY ^ 8), FindNode(Id(KEY ^ 8)))
    nobody_there = Contact(Id(KEY ^ 13), Endpoint.of("127.0.0.1", 1))
    bench.found(sent, KEY ^ 8, [contact(HIDDEN), contact(KEY ^ 9), nobody_there])
    asked = by_id(bench.sent())
    assert set(asked) == {HIDDEN}
    bench.found(asked[HIDDEN], HIDDEN, [], [OTHER_SERVER])
    assert bench.event(LookupProgress).endpoints == (OTHER_SERVER,)


def test_a_substitute_has_explored_nothing() -> None:
    bench, sent = exploring()
    bench.found(sent, 99, [contact(HIDDEN)])
    assert bench.sent_one().request == FindNode(Id(KEY ^ 16))


def test_a_refused_exploration_is_skipped() -> None:
    bench, sent = exploring()
    bench.refuse(sent, KEY ^ 8)
    assert bench.sent_one().request == FindNode(Id(KEY ^ 16))


@pytest.mark.parametrize("named", [[], [contact(HIDDEN)]])
def test_a_slow_exploration_delays_nothing(named: list[Contact]) -> None:
    bench, sent = exploring()
    bench.advance(SLOW)
    assert FindNode(Id(KEY ^ 16)) in [other.request for other in bench.sent()]
    bench.found(sent, KEY ^ 8, named)
    assert [other.to for other in bench.sent()] == [one.endpoint for one in named]


def test_a_rest_is_retried_like_its_part() -> None:
    bench = knowing(1)  # so few that one lost datagram must not matter
    bench.node.commands.lookup(KEY, bench.now)
    bench.found(bench.sent_one(), 1, [], [SERVER], more=True)
    again = bench.sent_one()
    bench.advance(LATE)
    assert bench.sent() == [again, again]


def test_a_part_settles_the_answering_id() -> None:
    bench = knowing(1)
    bench.node.commands.lookup(KEY, bench.now)
    bench.found(bench.sent_one(), 2, [], [SERVER], more=True)
    bench.refuse(bench.sent_one(), 2)
    done = bench.event(LookupDone)
    assert done.closest == (Contact(Id(2), endpoint(1)),)
    assert done.endpoints == (SERVER,)


def test_a_cut_exploration_is_fetched_and_awaited() -> None:
    bench, sent = exploring()
    bench.found(sent, KEY ^ 8, token=b"proof", more=True)
    again = bench.sent_one()
    assert (again.to, again.request) == (endpoint(KEY ^ 8), FindNode(Id(KEY ^ 8), b"proof"))
    bench.found(again, KEY ^ 8, [contact(HIDDEN)], more=True)
    assert [other.to for other in bench.sent()] == [endpoint(HIDDEN)]


def test_an_exploration_without_rest_is_skipped() -> None:
    bench, sent = exploring()
    bench.found(sent, KEY ^ 8, more=True)
    bench.refuse(bench.sent_one(), KEY ^ 8)
    assert bench.sent_one().request == FindNode(Id(KEY ^ 16))


def test_an_exploration_after_its_lookup_is_void() -> None:
    bench, sent = exploring()
    bench.advance(TIMEOUT - 3 * SLOW)
    bench.event(LookupDone)
    bench.sent()
    bench.found(sent, KEY ^ 8, [contact(HIDDEN)], more=True)
    assert bench.sent() == []
    bench, sent = exploring()
    bench.advance(STALE)
    bench.event(LookupDone)


# Bootstrapping


def test_bootstrapping_pings_once_and_looks_us_up() -> None:
    bench = Bench()
    op = bench.node.commands.bootstrap([endpoint(1), endpoint(2), endpoint(1)], bench.now)
    pings = by_id(bench.sent())
    assert {id: sent.request for id, sent in pings.items()} == {1: Ping(), 2: Ping()}
    bench.pong(pings[1], 1)
    lookups = bench.sent()
    assert {sent.request for sent in lookups} == {FindNode(Id(0))}
    for sent in lookups:
        bench.found(sent, 1)
    assert not [event for event in bench.events() if isinstance(event, Bootstrapped)]
    bench.advance(STALE)
    assert bench.event(Bootstrapped) == Bootstrapped(op, contacted=1, failed=1, silent=(endpoint(2),))


def test_bootstrapping_ends_with_its_lookup() -> None:
    bench = Bench()
    op = bench.node.commands.bootstrap([endpoint(1), endpoint(2)], bench.now)
    pings = by_id(bench.sent())
    bench.pong(pings[1], 1)
    bench.pong(pings[2], 2)
    assert not [event for event in bench.events() if isinstance(event, Bootstrapped)]
    for sent in bench.sent():
        bench.found(sent, 1)
    for sent in bench.sent():
        bench.found(sent, 2)
    assert bench.event(Bootstrapped) == Bootstrapped(op, contacted=2, failed=0)


def test_an_unanswered_bootstrap_says_so_once() -> None:
    bench = Bench()
    op = bench.node.commands.bootstrap([endpoint(1), endpoint(2)], bench.now)
    for sent in bench.sent():
        if sent.to == endpoint(1):
            bench.refuse(sent, 1)
    assert bench.events() == []
    bench.advance(STALE)
    assert bench.event(Bootstrapped) == Bootstrapped(op, contacted=0, failed=2, silent=(endpoint(1), endpoint(2)))


def test_a_slow_pong_is_waited_for() -> None:
    bench = Bench()
    op = bench.node.commands.bootstrap([endpoint(1)], bench.now)
    sent = bench.sent_one()
    bench.advance(1.9)
    bench.pong(sent, 1)
    for lookup in bench.sent():
        bench.found(lookup, 1)
    assert bench.event(Bootstrapped) == Bootstrapped(op, contacted=1, failed=0)


def test_bootstrapping_from_ourselves_ends_once() -> None:
    bench = Bench(own_id=5)
    op = bench.node.commands.bootstrap([US], bench.now)
    bench.pong(bench.sent_one(), 5)  # it is as good as no answer
    bench.advance(STALE)
    assert bench.event(Bootstrapped) == Bootstrapped(op, contacted=0, failed=1, silent=(US,))
    bench.advance(STALE)
    assert bench.events() == []
    assert len(bench.node.state.table) == 0


def test_bootstrapping_from_nowhere_ends_at_once() -> None:
    bench = Bench()
    op = bench.node.commands.bootstrap([], bench.now)
    assert bench.event(Bootstrapped) == Bootstrapped(op, contacted=0, failed=0)


def test_slow_neighbours_delay_no_bootstrap() -> None:
    bench = Bench()
    op = bench.node.commands.bootstrap([endpoint(1)], bench.now)
    bench.pong(bench.sent_one(), 1)
    for sent in bench.sent():
        bench.found(sent, 1, [contact(9)])
    bench.advance(STALE)
    assert bench.event(Bootstrapped) == Bootstrapped(op, contacted=1, failed=0)
