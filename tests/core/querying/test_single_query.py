"""Single queries of the user, with every peer played by the test."""

from __future__ import annotations

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Answered, Unanswered
from dhtd.core.ids import Id
from dhtd.core.messages import Acknowledged, Error, FindNode, FindValue, Found
from tests.core.bench import Bench
from tests.core.played import KEY, SLOW, STALE, TIMEOUT, knowing
from tests.core.small import contact, endpoint
from tests.records import to_store

SERVER, OTHER_SERVER = Endpoint.of("10.7.7.7", 80), Endpoint.of("10.7.7.8", 81)


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
