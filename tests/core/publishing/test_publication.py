"""Publications: the nodes that are asked to hold an entry, and what becomes of it, with every peer played."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.events import (
    Published,
    Republished,
)
from dhtd.core.ids import Id
from dhtd.core.messages import (
    FindNode,
    Store,
)
from dhtd.core.policy import DEFAULT
from tests.core.bench import QUIET, Bench
from tests.core.played import KEY, LATE, SLOW, TIMEOUT, by_id, knowing, publish
from tests.core.small import contact, endpoint
from tests.records import own_key


def test_entering_stores_and_names_the_holders() -> None:
    bench = knowing(1, 2, 3)
    op, stores = publish(bench, (1, 2, 3))
    bench.pong(stores[1], 1)
    bench.refuse(stores[2], 2)
    assert bench.events() == []
    bench.pong(stores[3], 3)
    assert bench.event(Published) == Published(op, KEY, 80, (contact(1), contact(3)), asked=3)  # type: ignore[arg-type]
    entry = bench.node.own_records.get(own_key(KEY, 80))
    assert entry is not None
    assert entry.replicas == (contact(1), contact(3))


def test_entering_without_nodes_reports_at_once() -> None:
    bench = Bench()
    op = bench.node.commands.enter(KEY, 80, bench.now)
    assert bench.event(Published) == Published(op, KEY, 80, (), asked=0)


def test_at_most_k_hold_an_entry_without_refusals() -> None:
    bench = knowing(80, policy=replace(QUIET, k=2))
    bench.node.commands.enter(Id(64), 80, bench.now)
    bench.found(bench.sent_one(), 80, [contact(65), contact(66)])
    for id, sent in by_id(bench.sent()).items():
        bench.found(sent, id)
    stores = by_id(bench.sent())
    assert set(stores) == {65, 66}
    bench.pong(stores[65], 65)
    assert bench.sent() == []
    bench.refuse(stores[66], 66)
    last = bench.sent_one()
    assert (last.to, type(last.request)) == (endpoint(80), Store)
    bench.pong(last, 80)
    assert bench.event(Published).replicas == (contact(65), contact(80))


def test_refusals_move_stores_to_farther_nodes() -> None:
    bench = knowing(80)
    bench.node.commands.enter(Id(64), 80, bench.now)
    bench.found(bench.sent_one(), 80, [contact(id) for id in range(65, 73)])  # eight that are nearer
    refused = set()
    while 80 not in (queries := by_id(bench.sent())):
        assert queries
        for id, sent in queries.items():
            if isinstance(sent.request, FindNode):
                bench.found(sent, id)
            else:
                bench.refuse(sent, id)
                refused.add(id)
    assert refused <= set(range(65, 73))
    assert isinstance(queries[80].request, Store)
    for id, sent in queries.items():
        bench.pong(sent, id)
    published = bench.event(Published)
    assert contact(80) in published.replicas
    assert published.asked == 9


def test_a_node_without_token_yields_to_the_next() -> None:
    bench = knowing(80, policy=replace(QUIET, k=2))
    op = bench.node.commands.enter(Id(64), 80, bench.now)
    bench.found(bench.sent_one(), 80, [contact(65), contact(66)])
    for id, sent in by_id(bench.sent()).items():
        bench.found(sent, id, token=b"" if id == 65 else b"token", more=id == 65)
    stores = by_id(bench.sent())  # and nobody is asked for more with a token that is none
    assert set(stores) == {66, 80}
    for id, sent in stores.items():
        bench.pong(sent, id)
    assert bench.event(Published) == Published(op, Id(64), 80, (contact(66), contact(80)), asked=2)


@pytest.mark.parametrize("cut", [False, True])
def test_the_next_nearest_replaces_a_node(cut: bool) -> None:
    bench = knowing(80, policy=replace(QUIET, k=2))
    bench.node.commands.enter(Id(64), 80, bench.now)
    bench.found(bench.sent_one(), 80, [contact(65), contact(66), contact(70)])
    queries = by_id(bench.sent())
    assert set(queries) == {65, 66}
    bench.found(queries[66], 66)
    if cut:
        bench.found(queries[65], 65, token=b"proof", more=True)
        queries[65] = bench.sent_one()
    bench.found(queries[65], 65, token=b"")
    assert 70 in by_id(bench.sent())


def test_the_token_of_a_cut_answer_proves_no_room() -> None:
    bench = knowing(1)
    op = bench.node.commands.enter(KEY, 80, bench.now)
    bench.found(bench.sent_one(), 1, token=b"proof", more=True)
    again = bench.sent_one()
    assert again.request == FindNode(KEY, b"proof")
    bench.found(again, 1, token=b"")
    assert bench.sent() == []
    assert bench.event(Published) == Published(op, KEY, 80, (), asked=0, refused=True)


def test_without_tokens_nothing_is_stored() -> None:
    bench = knowing(1)
    op = bench.node.commands.enter(KEY, 80, bench.now)
    bench.found(bench.sent_one(), 1, token=b"")
    assert bench.sent() == []
    assert bench.event(Published) == Published(op, KEY, 80, (), asked=0, refused=True)


def test_a_store_is_sent_three_times_and_awaited() -> None:
    bench = knowing(1)
    _, stores = publish(bench, (1,))
    bench.advance(SLOW)
    assert bench.sent_one() == stores[1]
    bench.advance(LATE - SLOW)
    assert bench.sent_one() == stores[1]
    bench.advance(TIMEOUT - LATE - 0.1)
    assert bench.sent() == []
    bench.pong(stores[1], 1)
    assert bench.event(Published).replicas == (contact(1),)


def test_a_publication_waits_for_the_slow() -> None:
    bench = knowing(1, 2)
    bench.node.commands.enter(KEY, 80, bench.now)
    queries = by_id(bench.sent())
    bench.found(queries[1], 1)
    bench.advance(1.9)
    assert {sent.query.tid for sent in bench.sent()} == {queries[2].query.tid}  # again, since so few are known
    bench.found(queries[2], 2)
    assert set(by_id(bench.sent())) == {1, 2}


def test_a_slow_contact_frees_a_publications_slot() -> None:
    bench = knowing(65, 66, 67, 68, 69)
    bench.node.commands.enter(Id(64), 80, bench.now)
    assert set(by_id(bench.sent())) == {65, 66, 67, 68}
    bench.advance(DEFAULT.slow_initial)
    assert endpoint(69) in {sent.to for sent in bench.sent()}


def test_a_partly_failed_search_still_publishes() -> None:
    bench = knowing(1, 2)
    bench.node.commands.enter(KEY, 80, bench.now)
    queries = by_id(bench.sent())
    bench.found(queries[1], 1)
    bench.refuse(queries[2], 2)
    assert set(by_id(bench.sent())) == {1}


def test_entering_joins_a_running_publication() -> None:
    bench = knowing(1)
    first, stores = publish(bench, (1,))
    second = bench.node.commands.enter(KEY, 80, bench.now)
    assert second != first
    assert bench.sent() == []
    bench.pong(stores[1], 1)
    published = [event for event in bench.events() if isinstance(event, Published)]
    assert [event.op for event in published] == [first, second]
    assert len(bench.node.own_records) == 1


def test_an_entry_is_published_again_and_told() -> None:
    bench = knowing(1)
    _, stores = publish(bench, (1,))
    bench.pong(stores[1], 1)
    bench.events()
    bench.node.gate.limit_rate(0)
    seen: list[Published | Republished] = []
    for _ in range(int(DEFAULT.republish_first * 1.2)):
        bench.advance(1.0)
        for sent in bench.sent():
            if isinstance(sent.request, FindNode):
                bench.found(sent, 1)
            else:
                bench.pong(sent, 1)
        seen += [event for event in bench.events() if isinstance(event, Published | Republished)]
    assert len(seen) == 1
    assert seen[0].replicas == (contact(1),)


def test_nodes_behind_the_full_are_asked_once() -> None:
    bench = knowing(64, 65, 32, 33, 16, 17, 8, 9, 4, 5, policy=replace(QUIET, k=2))
    bench.node.commands.enter(Id(64), 80, bench.now)
    asked: list[int] = []
    while sent := bench.sent():
        for query in sent:
            asked.append(query.to[3])
            bench.found(query, query.to[3], token=b"")
    assert sorted(asked) == [4, 5, 8, 9, 16, 17, 64, 65]
    assert bench.event(Published).refused
