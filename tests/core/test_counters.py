"""The traffic of a node: each thing is counted each time that it comes."""

from __future__ import annotations

from dhtd.core.ids import Id
from dhtd.core.messages import Ping, Query
from dhtd.core.policy import Policy
from tests.core.bench import US, Bench, Sent
from tests.core.small import CODEC, contact, endpoint


def test_what_comes_again_is_counted_again() -> None:
    bench = Bench(policy=Policy(rate_limit=1.0, rate_burst=2.0))
    for _ in range(3):
        bench.deliver(b"garbage", endpoint(5))
        bench.pong(Sent(Query(b"12345678", Id(0), Ping()), endpoint(5), 0), 5)
        bench.deliver(CODEC._encode(0, b"12345678", Id(5), "frobnicate", []), endpoint(5))
        bench.query(Ping(), contact(6))
    for _ in range(3):
        bench.node.commands.ping(endpoint(7), bench.now)
        bench.refuse(bench.sent()[-1], 7)
        bench.node.commands.find_node(endpoint(7), Id(1), bench.now)
        bench.deliver(CODEC._encode(1, bench.sent()[-1].query.tid, Id(7), bytes(US), []), endpoint(7))
    counters = bench.node.counters
    assert (counters.malformed, counters.unmatched, counters.errors_received) == (6, 3, 3)
    assert (counters.bad_queries, bench.received(), counters.rate_limited) == (2, {"ping": 2}, 2)
