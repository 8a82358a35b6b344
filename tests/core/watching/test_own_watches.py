"""The watches of this node: the search for holders, and the first update."""

from __future__ import annotations

from dataclasses import replace

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import WatchUpdate
from dhtd.core.ids import Id
from dhtd.core.messages import (
    ERROR_PROTOCOL,
    ERROR_SERVER,
    FindNode,
    Renew,
    Request,
    Watch,
)
from dhtd.core.policy import DEFAULT
from tests.core.bench import US, Bench
from tests.core.played import KEY
from tests.core.small import contact
from tests.core.watched import (
    LEASE,
    POLICY,
    A,
    B,
    C,
    asked,
    change,
    find,
    find_three,
    knowing,
    tell,
    updates,
)
from tests.records import SESSION, hold_peer, let_go


def test_the_first_update_tells_what_there_is() -> None:
    bench = knowing(1, 2)
    op = bench.node.commands.watch(KEY, bench.now)
    queries = find(bench)
    tell(bench, queries[1], [A])
    assert updates(bench) == []
    tell(bench, queries[2], [A, B])
    assert bench.event(WatchUpdate) == WatchUpdate(op, KEY, (A, B), (A, B), (), 2)


def test_nothing_there_is_told_as_well() -> None:
    bench = knowing(1)
    op = bench.node.commands.watch(KEY, bench.now)
    tell(bench, find(bench)[1])
    assert bench.event(WatchUpdate) == WatchUpdate(op, KEY, (), (), (), 1)


def test_a_slow_node_is_not_waited_for() -> None:
    bench = knowing(1, 2)
    bench.node.commands.watch(KEY, bench.now)
    queries = find(bench)
    tell(bench, queries[1], [A])
    bench.advance(DEFAULT.late_floor + 0.1)
    assert updates(bench) == [({A}, set())]
    tell(bench, queries[2], [B])
    assert updates(bench) == [({B}, set())]


def test_without_a_network_there_is_an_update_too() -> None:
    bench = Bench(policy=POLICY)
    op = bench.node.commands.watch(KEY, bench.now)
    assert bench.event(WatchUpdate) == WatchUpdate(op, KEY, (), (), (), 0)
    bench.node.commands.ping(contact(1).endpoint, bench.now)
    tell(bench, find(bench)[1])
    assert bench.event(WatchUpdate) == WatchUpdate(op, KEY, (), (), (), 1)  # somebody tells of changes now


def test_the_search_for_holders_goes_on_ever_more_rarely() -> None:
    bench = Bench(policy=replace(POLICY, watch_retry=10.0, watch_retry_max=40.0))
    bench.node.commands.watch(KEY, bench.now)
    own = bench.node.watching.own
    pauses = []
    for _ in range(4):
        due = own.next_timeout()
        assert due is not None
        pauses.append(due - bench.now)
        bench.advance(due - bench.now)
    for pause, most in zip(pauses, (10, 20, 40, 40), strict=True):
        assert 0.9 * most <= pause <= most


def test_what_this_node_knows_itself_counts() -> None:
    bench = knowing(1)
    hold_peer(bench.node.store, KEY, A, bench.now)
    bench.node.commands.watch(KEY, bench.now)
    tell(bench, find(bench)[1], [B])
    assert updates(bench) == [({A, B}, set())]
    hold_peer(bench.node.store, KEY, C, bench.now)
    bench.advance(0)
    assert updates(bench) == [({C}, set())]
    let_go(bench.node.store, KEY, A)
    bench.advance(0)
    assert updates(bench) == [(set(), {A})]


def test_the_farthest_replaces_one_that_refuses() -> None:
    bench = knowing(1, 2, policy=replace(POLICY, k=2))
    bench.node.commands.watch(KEY, bench.now)
    queries = find_three(bench)
    assert len(queries) == 2
    (other,) = {1, 2, 79} - set(queries)
    first = next(iter(queries))
    bench.refuse(queries.pop(first), first, ERROR_SERVER, "too many watches")
    queries |= asked(bench)
    assert other in queries
    for sent in queries.values():
        tell(bench, sent, [A])
    assert bench.event(WatchUpdate).holders == 2


def test_full_nodes_are_watched_beside_the_nearest() -> None:
    """What has no room there is on the next nodes."""
    bench = knowing(1, 2, policy=replace(POLICY, k=2))
    bench.node.commands.watch(KEY, bench.now)
    asked_now: dict[int, Request] = {}
    while sent := bench.sent():
        for each in sent:
            id = each.to[3]
            if isinstance(each.request, FindNode):
                bench.found(each, id, [contact(79)], token=b"" if id == 79 else b"token")
            else:
                asked_now[id] = each.request
    assert asked_now == {
        79: Renew(SESSION, LEASE, b""),
        1: Watch(KEY, b"token", LEASE, SESSION),
        2: Watch(KEY, b"token", LEASE, SESSION),
    }


def test_a_node_that_is_silent_is_replaced() -> None:
    bench = knowing(1, 2, policy=replace(POLICY, k=2))
    bench.node.commands.watch(KEY, bench.now)
    queries = find_three(bench)
    first, second = queries
    tell(bench, queries[second], [A])
    bench.advance(DEFAULT.late_floor + 0.1)
    (other,) = {1, 2, 79} - set(queries)
    tell(bench, asked(bench)[other], [B])
    assert updates(bench) == [({A, B}, set())]
    tell(bench, queries[first], [C])  # it was only slow
    assert updates(bench) == [({C}, set())]


def test_a_bad_token_is_renewed_once() -> None:
    bench = knowing(1)
    bench.node.commands.watch(KEY, bench.now)
    (sent,) = find(bench).values()
    bench.refuse(sent, 1, ERROR_PROTOCOL, "bad token")
    renewal = bench.sent_one()
    assert renewal.request == Renew(SESSION, LEASE, b"")
    bench.deliver(bench.codec.encode_renewed(renewal.query.tid, Id(1), US, b"fresh", None), renewal.to)
    again = bench.sent_one()
    assert again.request == Watch(KEY, b"fresh", LEASE, SESSION)
    bench.refuse(again, 1, ERROR_PROTOCOL, "bad token")
    assert bench.sent() == []
    assert bench.event(WatchUpdate).holders == 0


def test_a_node_that_gives_no_token_is_asked_for_one() -> None:
    bench = knowing(1)
    bench.node.commands.watch(KEY, bench.now)
    (renewal,) = find(bench, token=b"").values()
    assert renewal.request == Renew(SESSION, LEASE, b"")
    bench.deliver(bench.codec.encode_renewed(renewal.query.tid, Id(1), US, b"fresh", None), renewal.to)
    tell(bench, bench.sent_one(), [A])
    assert updates(bench) == [({A}, set())]


def test_another_node_at_the_place_is_no_holder() -> None:
    bench = knowing(1)
    bench.node.commands.watch(KEY, bench.now)
    tell(bench, find(bench)[1], [A], id=9)
    assert bench.event(WatchUpdate).endpoints == ()


def test_endpoints_that_mean_nothing_here_are_left_out() -> None:
    bench = knowing(1)
    bench.node.commands.watch(KEY, bench.now)
    loopback = Endpoint.of("127.0.0.1", 80)
    tell(bench, find(bench)[1], [A, loopback])
    assert bench.event(WatchUpdate).endpoints == (A,)
    change(bench, 1, [loopback, B])
    assert updates(bench) == [({B}, set())]
