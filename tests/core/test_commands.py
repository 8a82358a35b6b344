"""The commands of the owner: when they wait, and what is left of them when they end or are cancelled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dhtd.core.events import (
    Answered,
    Bootstrapped,
    Handle,
    LookupDone,
    LookupProgress,
    Published,
    Withdrawn,
)
from dhtd.core.ids import Id
from dhtd.core.messages import (
    FindNode,
    FindValue,
    Ping,
    Store,
)
from dhtd.core.node import Node
from dhtd.core.policy import DEFAULT
from tests.core.bench import QUIET, US, Bench
from tests.core.played import knowing
from tests.core.small import contact, endpoint
from tests.core.test_node import KEY, TIMEOUT, answer_all
from tests.records import own_key


def test_commands_wait_while_we_join() -> None:
    bench = Bench()
    bench.node.publisher.restore_own(own_key(Id(9), 1), bench.now)
    bench.node.start([endpoint(1)], bench.now)
    bench.advance(0.0)
    ping = bench.sent_one()
    lookup = bench.node.commands.lookup(KEY, bench.now)
    enter = bench.node.commands.enter(KEY, 80, bench.now)
    delete, ports = bench.node.commands.delete(Id(9), 1, bench.now)
    assert (bench.sent(), bench.events(), ports) == ([], [], [1])
    bench.pong(ping, 1)
    answer_all(bench)
    events = bench.events()
    assert [event.op for event in events if isinstance(event, LookupDone)] == [lookup]
    assert [event.op for event in events if isinstance(event, Withdrawn)] == [delete]
    assert [(event.op, event.replicas) for event in events if isinstance(event, Published)] == [(enter, (contact(1),))]


def test_commands_wait_for_a_restored_contact() -> None:
    bench = Bench()
    bench.node.overlays.restore(contact(9))
    bench.node.start([endpoint(1)], bench.now)
    bench.advance(0.0)
    pings = {sent.to: sent for sent in bench.sent()}
    bench.node.commands.lookup(KEY, bench.now)
    assert bench.sent() == []
    bench.pong(pings[endpoint(9)], 9)
    assert FindValue(KEY) in {sent.request for sent in bench.sent()}


def test_commands_do_not_wait_for_a_silent_network() -> None:
    bench = Bench()
    bench.node.start([endpoint(1)], bench.now)
    bench.advance(0.0)
    bench.sent()
    op = bench.node.commands.lookup(KEY, bench.now)
    bench.advance(DEFAULT.join_eager + 2 * TIMEOUT)
    done = bench.event(LookupDone)
    assert (done.op, done.endpoints) == (op, ())
    assert DEFAULT.join_eager <= done.stats.elapsed <= DEFAULT.join_eager + 2 * TIMEOUT


def test_a_cancelled_operation_reports_nothing() -> None:
    bench = knowing(1)
    op = bench.node.commands.lookup(KEY, bench.now)
    bench.node.commands.cancel(op)
    bench.found(bench.sent_one(), 1, [contact(9)], [US])
    assert bench.sent() == []
    assert bench.events() == []
    other = bench.node.commands.lookup(KEY, bench.now)
    answer_all(bench)
    assert {event.op for event in bench.events() if isinstance(event, LookupDone | LookupProgress)} == {other}


def test_cancelling_what_ended_is_harmless() -> None:
    bench = Bench()
    op = bench.node.commands.lookup(KEY, bench.now)
    assert isinstance(bench.events()[0], LookupDone)
    bench.node.commands.cancel(op)
    assert bench.node.handles.open == set()


def test_ended_operations_are_forgotten() -> None:
    bench = knowing(1)
    bench.node.commands.lookup(KEY, bench.now)
    bench.node.commands.enter(KEY, 80, bench.now)
    answer_all(bench)
    bench.node.commands.delete(KEY, None, bench.now)
    answer_all(bench)
    bench.node.commands.delete(KEY, None, bench.now)
    bench.node.commands.ping(endpoint(1), bench.now)
    bench.node.commands.bootstrap([endpoint(1)], bench.now)
    answer_all(bench)
    assert bench.node.handles.open == set()


def test_handles_differ() -> None:
    bench = knowing(1)
    now = bench.now
    node = bench.node
    ops = [
        node.commands.ping(endpoint(1), now),
        node.commands.lookup(KEY, now),
        node.commands.enter(KEY, 80, now),
        node.commands.delete(KEY, 80, now)[0],
        node.commands.bootstrap([endpoint(1)], now),
    ]
    assert len(set(ops)) == len(ops)
    answer_all(bench)
    assert {type(event) for event in bench.events()} == {
        Answered,
        LookupProgress,
        LookupDone,
        Published,
        Withdrawn,
        Bootstrapped,
    }


def test_lookups_cancelled_while_joining_send_nothing() -> None:
    bench = Bench(policy=replace(QUIET, operations=4))
    bench.node.start([endpoint(9)], bench.now)
    entered = bench.node.commands.enter(KEY, 80, bench.now)
    for number in range(200):
        bench.node.commands.cancel(bench.node.commands.lookup(Id(number % 128), bench.now))
    bench.node.commands.cancel(entered)
    assert bench.node.handles.running == {entered}
    bench.advance(0.1)
    bench.pong(bench.sent_one(), 9)
    asked = answer_all(bench)
    assert {sent.request.target for sent in asked if isinstance(sent.request, FindNode)} == {Id(0), KEY}
    assert [sent.request for sent in asked if isinstance(sent.request, Store)]
    assert not any(isinstance(sent.request, FindValue) for sent in asked)


@pytest.mark.parametrize("after", range(12))
def test_a_cancelled_lookup_sends_nothing_more(after: int) -> None:
    bench = knowing(*range(1, 9))
    known = [contact(number) for number in range(1, 20)]
    op, answers = bench.node.commands.lookup(KEY, bench.now), 0
    waiting = bench.sent()
    while waiting and answers < after:
        asked = waiting.pop(0)
        (id,) = [each.id for each in known if each.endpoint == asked.to]
        bench.found(asked, id, known[answers : answers + 8], more=answers == 3)
        answers += 1
        waiting += bench.sent()
    bench.node.commands.cancel(op)
    bench.events()
    for asked in waiting[::2]:
        bench.found(asked, 99, known, [US], more=True)
    bench.refuse(waiting[1], 98)
    bench.advance(2 * DEFAULT.query_timeout)
    assert all(isinstance(sent.request, Ping) for sent in bench.sent())  # of contacts that are silent
    assert not any(isinstance(event, LookupDone | LookupProgress) for event in bench.events())
    assert not bench.node.handles.running
    assert not bench.node.commands._asking


COMMANDS: dict[str, Callable[[Node, float], Handle]] = {
    "ping": lambda node, now: node.commands.ping(endpoint(99), now),
    "find-node": lambda node, now: node.commands.find_node(endpoint(99), KEY, now),
    "find-value": lambda node, now: node.commands.find_value(endpoint(99), KEY, now),
    "store": lambda node, now: node.commands.store_at(endpoint(99), KEY, 80, b"token", now),
    "bootstrap": lambda node, now: node.commands.bootstrap([endpoint(99), endpoint(98)], now),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_query_of_a_gone_client_is_sent_again(name: str) -> None:
    bench = knowing(1)
    op = COMMANDS[name](bench.node, bench.now)
    asked = bench.sent()
    bench.node.commands.cancel(op)
    assert not bench.node.handles.running
    bench.advance(10.0)
    assert [sent for sent in bench.sent() if sent.to in {first.to for first in asked}] == []
    assert bench.events() == []


def test_an_answer_to_a_gone_client_leads_nowhere() -> None:
    bench = knowing(1)
    gone = [
        bench.node.commands.find_value(endpoint(99), KEY, bench.now),
        bench.node.commands.bootstrap([endpoint(98)], bench.now),
    ]
    find, ping = bench.sent()
    for op in gone:
        bench.node.commands.cancel(op)
    bench.found(find, 99, more=True)
    bench.pong(ping, 98)
    assert bench.sent() == []
    assert bench.events() == []


def test_a_cancelled_lonely_lookup_is_not_sent_again() -> None:
    bench = knowing(1)
    op = bench.node.commands.lookup(KEY, bench.now)
    [asked] = bench.sent()
    bench.node.commands.cancel(op)
    bench.advance(DEFAULT.query_timeout - 0.1)
    assert not [sent for sent in bench.sent() if sent.query.tid == asked.query.tid]
