"""A traversal: the slots of its queries, explorations behind dead nodes, and its figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import LookupDone, LookupProgress, Published
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, FindNode
from dhtd.core.policy import Policy
from dhtd.core.querying.steps import SearchStats
from dhtd.core.querying.traversal import Traversal
from dhtd.core.traces import Purpose
from tests.core.bench import QUIET, Bench, Sent
from tests.core.both import both, id_at
from tests.core.played import KEY, LATE, SLOW, STALE, TIMEOUT, by_id, knowing
from tests.core.small import contact, endpoint, six

SERVER, OTHER_SERVER = Endpoint.of("10.7.7.7", 80), Endpoint.of("10.7.7.8", 81)


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


def make(bench: Bench) -> Traversal:
    return Traversal(
        bench.node.requester,
        bench.node.overlays,
        Id(5),
        Purpose.LOOKUP,
        finished=lambda now: None,
        gave_up=lambda now: None,
        patient=True,
        thorough=True,
    )


def test_before_the_start_all_figures_are_zero() -> None:
    traversal = make(Bench())
    assert traversal.stats() == SearchStats(hops=0, queries=0, responses=0, timeouts=0)
    assert traversal.closest() == ()
    assert not traversal.is_exhausted


def test_both_families_figures_are_added_but_hops() -> None:
    bench = both()
    bench.know(contact(1), six(2))
    traversal = make(bench)
    traversal.start(bench.now)
    of_ipv4, of_ipv6 = bench.sent()
    bench.found(of_ipv4, id_at(bench, of_ipv4.to), [contact(4)])
    bench.found(bench.sent_one(), 4)
    assert traversal.stats() == SearchStats(hops=2, queries=3, responses=2, timeouts=0)
    bench.found(of_ipv6, id_at(bench, of_ipv6.to))
    assert traversal.stats() == SearchStats(hops=2, queries=3, responses=3, timeouts=0)
    assert traversal.closest() == (contact(4), contact(1), six(2))
