"""Which answers count, and what they tell."""

from __future__ import annotations

from dhtd.core.events import (
    Answered,
    LookupDone,
)
from dhtd.core.ids import Id
from tests.core.bench import US, Bench
from tests.core.played import knowing
from tests.core.small import CODEC, endpoint
from tests.core.test_node import KEY


def test_a_reply_needs_the_tid_and_source_of_a_query() -> None:
    bench = Bench()
    bench.node.commands.ping(endpoint(5), bench.now)
    sent = bench.sent_one()
    for tid, source in [
        (b"\0" * 8, endpoint(5)),
        (sent.query.tid, endpoint(6)),
        (sent.query.tid, endpoint(5).with_port(9)),
    ]:
        bench.deliver(CODEC.encode_acknowledged(tid, Id(5), US), source)
        bench.deliver(CODEC.encode_error(tid, Id(5), 202, "busy"), source)
    assert bench.node.counters.unmatched == 6
    assert bench.events() == []
    assert len(bench.node.state.table) == 0
    assert bench.node.external.endpoints() == []
    bench.pong(sent, 5)
    assert isinstance(bench.events()[0], Answered)
    bench.pong(sent, 5)  # a duplicate
    assert bench.events() == []
    assert bench.node.counters.unmatched == 7


def test_a_reply_with_a_malformed_result_is_ignored() -> None:
    bench = knowing(1)
    bench.node.commands.lookup(KEY, bench.now)
    sent = bench.sent_one()
    bench.deliver(CODEC._encode(1, sent.query.tid, Id(1), bytes(US), [b"token"]), sent.to)
    assert bench.node.counters.malformed == 1
    assert bench.events() == []
    bench.found(sent, 1)  # the right one is still waited for
    assert isinstance(bench.events()[-1], LookupDone)


def test_an_answer_tells_us_our_address() -> None:
    bench = Bench()
    bench.node.commands.ping(endpoint(5), bench.now)
    bench.pong(bench.sent_one(), 5, observed=US)
    assert bench.node.external.endpoints() == [US]


def test_replies_and_errors_are_counted() -> None:
    bench = Bench()
    for _ in range(2):
        bench.node.commands.ping(endpoint(5), bench.now)
    first, second = bench.sent()
    bench.pong(first, 5)
    bench.refuse(second, 5)
    counters = bench.node.counters
    assert (counters.queries_sent, counters.replies_received, counters.errors_received) == (3, 1, 1)
