"""Holders that are in doubt are asked, and the entries of those that are lost are published again soon."""

from __future__ import annotations

from dataclasses import replace

from dhtd.core.events import Unheld
from dhtd.core.messages import FindNode, Ping, Store
from dhtd.core.metric import Id
from dhtd.core.policy import DEFAULT, Policy
from tests.core.bench import QUIET, Bench, Sent
from tests.core.small import contact

KEY = Id(64)
HOLDERS = (64, 65, 66, 67)
POLICY = replace(QUIET, k=4, bucket_refresh=1e9, good_for=1e9, probe_interval=1e9)
TIMEOUT = DEFAULT.query_timeout


def publishing(*others: int, policy: Policy = POLICY) -> Bench:
    """Return a node whose only entry is held by HOLDERS, and that knows others beside them."""
    bench = Bench(policy=policy)
    bench.know(*map(contact, (*HOLDERS, *others)))
    bench.node.enter(KEY, 80, bench.now)
    while sent := bench.sent():
        for query in sent:
            answer(bench, query)
    entry = bench.node.tracker.get(KEY, 80)
    assert entry is not None
    assert {replica.id for replica in entry.replicas} == set(HOLDERS)
    return bench


def answer(bench: Bench, query: Sent) -> None:
    number = query.to[3]
    if isinstance(query.request, Ping | Store):
        bench.pong(query, number)
    else:
        bench.found(query, number)


def pinged(sent: list[Sent]) -> list[int]:
    return sorted(query.to[3] for query in sent if isinstance(query.request, Ping))


def suspect(bench: Bench, *numbers: int) -> None:
    bench.node._patrol.suspect([contact(number) for number in numbers], bench.now)


def lose(bench: Bench, *numbers: int) -> None:
    """Have these miss the pings of the patrol, while others answer."""
    bench.node.state.heard_at = bench.now + 0.5
    for _ in range(POLICY.ping_attempts):
        bench.advance(TIMEOUT)
        bench.node.state.heard_at = bench.now + 0.5


def test_a_holder_that_is_in_doubt_is_pinged_and_stays_if_it_answers() -> None:
    bench = publishing()
    suspect(bench, 65)
    answer(bench, bench.sent_one())
    assert bench.node.tracker.holds(contact(65))
    assert bench.sent() == []


def test_where_an_entry_has_lost_two_holders_the_others_are_asked_and_it_is_published_soon() -> None:
    bench = publishing()
    entry = bench.node.tracker.get(KEY, 80)
    assert entry is not None
    bench.advance(100.0)
    bench.sent()
    bench.node._patrol.lost(contact(64), bench.now)
    assert bench.sent() == []
    bench.node._patrol.lost(contact(65), bench.now)
    assert pinged(bench.sent()) == [66, 67]
    assert bench.node.tracker.due_in(entry, bench.now) <= POLICY.startup_spread


def test_who_is_silent_twice_while_others_answer_is_lost() -> None:
    bench = publishing()
    entry = bench.node.tracker.get(KEY, 80)
    assert entry is not None
    suspect(bench, 65)
    lose(bench, 65)
    assert entry.lost == (contact(65),)


def test_while_nobody_answers_nobody_is_lost() -> None:
    bench = publishing()
    entry = bench.node.tracker.get(KEY, 80)
    assert entry is not None
    suspect(bench, 65)
    bench.node.state.heard_at = None
    bench.advance(2 * TIMEOUT)
    assert entry.lost == ()


def test_where_another_node_answers_the_holder_is_lost() -> None:
    bench = publishing()
    entry = bench.node.tracker.get(KEY, 80)
    assert entry is not None
    suspect(bench, 65)
    bench.pong(bench.sent_one(), 99)
    assert entry.lost == (contact(65),)


def test_a_refusal_is_an_answer() -> None:
    bench = publishing()
    entry = bench.node.tracker.get(KEY, 80)
    assert entry is not None
    suspect(bench, 65)
    bench.refuse(bench.sent_one(), 65)
    assert entry.lost == ()


def test_few_are_asked_at_once_and_none_twice() -> None:
    bench = publishing(policy=replace(POLICY, verifications=2))
    suspect(bench, 64, 65, 66, 67, 64)
    first = bench.sent()
    assert pinged(first) == [64, 65]
    for query in first:
        answer(bench, query)
    suspect(bench, 66)
    assert pinged(bench.sent()) == [66, 67]


def test_while_many_are_lost_contacts_and_holders_of_further_entries_are_asked() -> None:
    bench = publishing(1, 2, 16)
    for number in (100, 101):
        bench.node._patrol.lost(contact(number), bench.now)
    assert bench.sent() == []
    bench.node._patrol.lost(contact(102), bench.now)
    asked = pinged(bench.sent())
    assert {64, 65, 66, 67} <= set(asked)
    assert len(asked) <= DEFAULT.verifications


def test_a_holder_that_misses_a_query_is_asked_at_once() -> None:
    bench = publishing()
    bench.node.lookup(Id(65), bench.now)
    bench.sent()
    bench.node.state.heard_at = bench.now + 1.0
    bench.advance(TIMEOUT)
    assert set(pinged(bench.sent())) <= set(HOLDERS)


def test_the_owner_is_told_of_entries_that_all_nodes_refuse_and_not_too_often() -> None:
    bench = Bench(policy=POLICY)
    bench.know(contact(64), contact(65))
    told = []
    for port in (80, 81):
        bench.node.enter(KEY, port, bench.now)
        while sent := bench.sent():
            for query in sent:
                if isinstance(query.request, FindNode):
                    bench.found(query, query.to[3], token=b"")
                else:
                    answer(bench, query)
        told += [event for event in bench.events() if isinstance(event, Unheld)]
    assert told == [Unheld(1, 1)]
    assert bench.node.tracker.unheld == 2
    assert bench.node.tracker.is_notice_due(bench.now + DEFAULT.unheld_notice)
