"""Withdrawals: deleted entries, their holders and the nodes near them, with every peer played."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.events import (
    Published,
    Republished,
    Withdrawn,
)
from dhtd.core.ids import Id
from dhtd.core.messages import (
    FindNode,
    FindValue,
    Store,
    Withdraw,
)
from dhtd.core.policy import DEFAULT
from tests.core.bench import QUIET, Bench
from tests.core.played import KEY, SLOW, by_id, entered, knowing, of_kind
from tests.core.small import contact
from tests.records import own_key, to_withdraw


def test_deleting_withdraws_with_new_tokens() -> None:
    bench = knowing(1, 2)
    entered(bench, 1, 2)
    op, ports = bench.node.commands.delete(KEY, None, bench.now)
    assert ports == [80]
    assert len(bench.node.own_records) == 0
    sent = bench.sent()
    asked, search = of_kind(sent, FindValue), of_kind(sent, FindNode)
    assert set(asked) == set(search) == {1, 2}
    for id in (1, 2):
        bench.found(asked[id], id, token=b"fresh%d" % id)
    withdrawals = by_id(bench.sent())  # before the search has ended
    for id, query in withdrawals.items():
        assert query.request == to_withdraw(KEY, 80, b"fresh%d" % id)
    bench.pong(withdrawals[1], 1)
    bench.refuse(withdrawals[2], 2)
    assert bench.events() == []
    for id in (1, 2):
        bench.found(search[id], id)
    assert bench.sent() == []  # both were told
    assert bench.event(Withdrawn) == Withdrawn(op, KEY, (80,), nodes=1, silent=1)


def test_no_token_means_nothing_to_withdraw() -> None:
    bench = knowing(1, 2)
    entered(bench, 1, 2)
    op, _ = bench.node.commands.delete(KEY, None, bench.now)
    sent = bench.sent()
    for query in sent:
        bench.found(query, query.to[3], token=b"")
    assert bench.sent() == []
    assert bench.event(Withdrawn) == Withdrawn(op, KEY, (80,), nodes=0)


def test_deleting_one_port_leaves_the_other() -> None:
    bench = Bench()
    for port in (80, 81):
        bench.node.commands.enter(KEY, port, bench.now)
    bench.events()
    op, ports = bench.node.commands.delete(KEY, 81, bench.now)
    assert ports == [81]
    assert bench.event(Withdrawn) == Withdrawn(op, KEY, (81,), nodes=0)
    assert bench.node.own_records.ports(KEY) == [80]


def test_deleting_all_ports_counts_a_node_once() -> None:
    bench = knowing(1)
    for port in (80, 81):
        bench.node.own_records.add(own_key(KEY, port))
    op, ports = bench.node.commands.delete(KEY, None, bench.now)
    assert ports == [80, 81]
    bench.found(bench.sent_one(), 1)
    first, second = bench.sent()
    assert [first.request, second.request] == [to_withdraw(KEY, 80, b"token"), to_withdraw(KEY, 81, b"token")]
    for sent in (first, second):
        bench.pong(sent, 1)
    assert bench.event(Withdrawn) == Withdrawn(op, KEY, (80, 81), nodes=1)


@pytest.mark.parametrize("port", [None, 81])
def test_deleting_an_unknown_entry_does_nothing(port: int | None) -> None:
    bench = knowing(1)
    if port is not None:
        bench.node.own_records.add(own_key(KEY, 80))
    _, ports = bench.node.commands.delete(KEY, port, bench.now)
    assert ports == []
    bench.advance(1.0)
    assert bench.sent() == []
    assert bench.events() == []


def test_a_holder_that_answers_late_is_still_told() -> None:
    bench = knowing(1, 2)
    entered(bench, 1, 2)
    op, _ = bench.node.commands.delete(KEY, 80, bench.now)
    sent = bench.sent()
    asked, search = of_kind(sent, FindValue), of_kind(sent, FindNode)
    bench.found(asked[1], 1)
    bench.pong(bench.sent_one(), 1)
    bench.found(search[1], 1)
    bench.refuse(search[2], 2)
    bench.advance(1.0)  # slow is no matter
    assert set(by_id(bench.sent()[:1])) == {2}  # but it is asked again
    assert bench.events() == []
    bench.found(asked[2], 2, token=b"two")
    last = bench.sent_one()
    assert last.request == to_withdraw(KEY, 80, b"two")
    bench.pong(last, 2)
    assert bench.event(Withdrawn) == Withdrawn(op, KEY, (80,), nodes=2)


def test_a_silent_holder_may_still_hold_it() -> None:
    bench = knowing(1)
    entered(bench, 1)
    op, _ = bench.node.commands.delete(KEY, 80, bench.now)
    bench.advance(DEFAULT.withdraw_attempts * DEFAULT.query_timeout + 0.1)
    assert bench.event(Withdrawn) == Withdrawn(op, KEY, (80,), nodes=0, silent=1)


def test_a_slow_contact_frees_a_withdrawals_slot() -> None:
    bench = knowing(65, 66, 67, 68, 69)
    bench.node.own_records.add(own_key(Id(64), 80))
    bench.node.commands.delete(Id(64), 80, bench.now)
    assert set(by_id(bench.sent())) == {65, 66, 67, 68}
    bench.advance(SLOW)
    assert 69 in {sent.to[3] for sent in bench.sent()}


def test_deleting_tells_twice_k_and_counts_k() -> None:
    bench = knowing(80, 81, 32, 33, policy=replace(QUIET, k=2))
    bench.node.own_records.add(own_key(Id(64), 80))
    bench.node.commands.delete(Id(64), 80, bench.now)
    told: set[int] = set()
    while sent := bench.sent():
        told |= set(of_kind([each for each in sent if isinstance(each.request, Withdraw)], Withdraw))
        for each in sent:
            if isinstance(each.request, FindNode):
                bench.found(each, each.to[3], [contact(65), contact(66)])
            else:
                bench.pong(each, each.to[3])
    assert told == {65, 66, 80, 81}
    assert bench.event(Withdrawn).nodes == 2


@pytest.mark.parametrize("stored", [False, True])
def test_deleting_ends_a_publication(stored: bool) -> None:
    bench = knowing(1)
    op = bench.node.commands.enter(KEY, 80, bench.now)
    search = bench.sent_one()
    store = None
    if stored:
        bench.found(search, 1)
        store = bench.sent_one()
    withdrawal, _ = bench.node.commands.delete(KEY, 80, bench.now)
    published = bench.event(Published)
    assert published == Published(op, KEY, 80, (), asked=int(stored), cancelled=True)
    if store is None:
        bench.found(search, 1)
    else:
        bench.pong(store, 1)
    sent = bench.sent()
    assert set(of_kind(sent, FindValue)) == ({1} if stored else set())
    assert set(of_kind(sent, FindNode)) == {1}
    assert set(of_kind(sent, Store)) == set()
    for query in sent:
        bench.found(query, 1, token=b"fresh")
    query = bench.sent_one()
    assert query.request == to_withdraw(KEY, 80, b"fresh")
    bench.pong(query, 1)
    assert bench.events() == [Withdrawn(withdrawal, KEY, (80,), nodes=1)]
    bench.advance(60.0)
    assert not of_kind(bench.sent(), Store)


def test_entering_after_a_delete_publishes_anew() -> None:
    bench = knowing(1)
    bench.node.commands.enter(KEY, 80, bench.now)
    old = bench.sent_one()
    bench.node.commands.delete(KEY, 80, bench.now)
    search = bench.sent_one()
    op = bench.node.commands.enter(KEY, 80, bench.now)
    bench.events()
    bench.found(old, 1)
    bench.found(search, 1)
    withdraw = bench.sent_one()
    assert isinstance(withdraw.request, Withdraw)
    bench.pong(withdraw, 1)
    assert bench.event(Withdrawn).nodes == 1
    bench.found(bench.sent_one(), 1)  # not before the withdrawal is over, which would undo it
    store = bench.sent_one()
    bench.pong(store, 1)
    assert bench.event(Published) == Published(op, KEY, 80, (contact(1),), asked=1)


def test_a_publication_waits_for_all_withdrawals() -> None:
    bench = knowing(1)
    searches = []
    for _ in range(2):
        bench.node.commands.enter(KEY, 80, bench.now)
        bench.sent()
        bench.node.commands.delete(KEY, 80, bench.now)
        searches.append(bench.sent_one())
    bench.node.commands.enter(KEY, 80, bench.now)
    for search in searches:
        assert bench.sent() == []
        bench.found(search, 1)
        withdraw = bench.sent_one()
        assert isinstance(withdraw.request, Withdraw)
        bench.pong(withdraw, 1)
    assert isinstance(bench.sent_one().request, FindNode)


def test_an_entry_deleted_again_is_not_published() -> None:
    bench = knowing(1)
    entered(bench, 1)
    bench.node.commands.delete(KEY, 80, bench.now)
    op = bench.node.commands.enter(KEY, 80, bench.now)
    bench.node.commands.delete(KEY, 80, bench.now)
    assert [event for event in bench.events() if isinstance(event, Published | Republished)] == [
        Published(op, KEY, 80, (), asked=0, cancelled=True)
    ]
    bench.advance(60.0)
    assert sum(isinstance(event, Withdrawn) for event in bench.events()) == 2
    assert not any(isinstance(sent.request, Store) for sent in bench.sent())
    assert not bench.node.publisher.withdrawing.under_way
    assert not bench.node.publisher._held_back


def test_a_store_in_flight_ends_with_a_deletion() -> None:
    bench = knowing(1)
    bench.node.commands.enter(KEY, 80, bench.now)
    bench.found(bench.sent_one(), 1)
    assert isinstance(bench.sent_one().request, Store)
    bench.node.commands.delete(KEY, 80, bench.now)
    bench.advance(DEFAULT.query_timeout + 0.1)
    assert not of_kind(bench.sent(), Store)
