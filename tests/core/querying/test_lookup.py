"""Lookups: what they find, and whether that is all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import LookupDone, LookupProgress
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, FindValue
from tests.core.bench import QUIET, Bench
from tests.core.played import KEY, TIMEOUT, by_id, knowing
from tests.core.small import contact, endpoint
from tests.records import hold_peer

SERVER, OTHER_SERVER = Endpoint.of("10.7.7.7", 80), Endpoint.of("10.7.7.8", 81)


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


def test_the_first_answer_with_an_endpoint_is_timed() -> None:
    bench = knowing(1)
    hold_peer(bench.node.store, KEY, OTHER_SERVER, bench.now)  # nobody else has named it
    bench.node.commands.lookup(KEY, bench.now)
    bench.now += 0.1
    bench.found(bench.sent_one(), 1, [contact(76), contact(64)], [])
    assert bench.event(LookupProgress).stats.first is None
    queries = by_id(bench.sent())
    for id in (76, 64):
        bench.now += 0.1
        bench.found(queries[id], id, [], [SERVER])
    done = bench.events()[-1]
    assert isinstance(done, LookupDone)
    assert done.stats.first == pytest.approx(0.2)


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
