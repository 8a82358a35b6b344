"""Queries to one public address go out at a pace that other clients put up with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.messages import Ping, Query
from dhtd.core.policy import DEFAULT, MAINLINE
from dhtd.core.querying.check import Check
from dhtd.core.querying.pace import Pace
from tests.core.mainline import CODEC, POLICY, make, packed

HERE, THERE = Endpoint.parse("198.51.100.7:6881"), Endpoint.parse("198.51.100.8:6881")


def turns(pace: Pace, count: int, now: float = 0.0, endpoint: Endpoint = HERE) -> list[float]:
    return [pace.take_turn(endpoint, now) for _ in range(count)]


def test_a_burst_goes_out_at_once_and_then_two_a_second() -> None:
    pace = Pace(MAINLINE)
    assert turns(pace, 14) == [0.0] * 10 + [0.5, 1.0, 1.5, 2.0]
    assert turns(pace, 2, 2.0) == [2.5, 3.0]
    assert turns(pace, 11, 100.0) == [100.0] * 10 + [100.5]


def test_ports_of_an_address_share_its_pace() -> None:
    pace = Pace(MAINLINE)
    turns(pace, 10)
    assert turns(pace, 1, endpoint=HERE.with_port(9)) == [0.5]
    assert turns(pace, 1, endpoint=THERE) == [0.0]


@pytest.mark.parametrize("text", ["127.0.0.1:1", "10.0.0.1:1", "[::1]:1", "[fe80::1]:1", "100.64.0.1:1"])
def test_private_addresses_set_no_pace(text: str) -> None:
    assert turns(Pace(MAINLINE), 50, endpoint=Endpoint.parse(text)) == [0.0] * 50


def test_without_a_rate_there_is_no_pace() -> None:
    assert turns(Pace(DEFAULT), 50) == [0.0] * 50


def test_addresses_that_owe_nothing_are_forgotten() -> None:
    pace = Pace(MAINLINE)
    for number in range(5_000):
        endpoint = Endpoint.of(f"203.0.{number // 250}.{number % 250}", 1)
        assert pace.take_turn(endpoint, float(number)) == number
    assert len(pace._due) <= 256
    turns(pace, 12, 6_000.0)
    for number in range(600):
        pace.take_turn(Endpoint.of(f"203.1.{number // 250}.{number % 250}", 1), 6_000.0)
    assert turns(pace, 1, 6_000.0) == [6_001.5]


def pings(count: int = 12, attempts: int = 1) -> tuple[list[float], list[float]]:
    """Ping a node that never answers; return when each ping goes out, and when it has failed."""
    node = make(replace(POLICY, ping_attempts=attempts))
    for _ in range(count):
        node.commands.ping(HERE, 0.0)
    sent, failed, now = [], [], 0.0
    while now < 30:
        while (transmit := node.poll_transmit()) is not None:
            query = CODEC.decode(transmit.data)
            assert isinstance(query, Query)
            assert query.request == Ping()
            sent.append(now)
        while node.poll_event() is not None:
            failed.append(now)
        when = node.poll_timeout()
        assert when is not None
        now = max(now, when)
        node.handle_timeout(now)
    return sent, failed


def test_a_query_above_the_pace_waits_and_has_its_whole_time() -> None:
    sent, failed = pings()
    assert sent == [0.0] * 10 + [0.5, 1.0]
    assert failed == [when + POLICY.query_timeout for when in sent]


def test_what_is_sent_again_waits_for_its_turn() -> None:
    sent, failed = pings(attempts=2)
    assert sent == [0.0] * 10 + [0.5, 1.0] + [5.0] * 8 + [5.5, 6.0, 6.5, 7.0]
    assert failed == [when + POLICY.query_timeout for when in sent[12:]]


def test_an_insistent_query_keeps_the_pace_too() -> None:
    node, now = make(), 0.0
    for _ in range(10):
        node.requester.ask(Check(node.requester), Ping(), HERE, None, now, insistent=True)
    sent: list[float] = []
    while (when := node.requester.transactions.next_timeout()) is not None:
        while node.poll_transmit() is not None:
            sent.append(now)
        now = max(now, min(when, node.requester.next_timeout() or when))
        node.handle_timeout(now)
    assert len(sent) > 10
    assert all(len([each for each in sent if each <= at]) <= 10 + 2 * at for at in sent)
    assert now == POLICY.query_timeout


def test_a_stranger_above_the_pace_is_not_pinged() -> None:
    """Else a lookup would wait behind the pings that somebody has us send by forged queries."""
    node = make(replace(POLICY, rate_limit=0.0))
    for number in range(80):
        now = number / 4
        node.handle_timeout(now)
        node.handle_datagram(packed(b"ping", {}), HERE.with_port(1_000 + number), now)
        while (transmit := node.poll_transmit()) is not None:
            query = CODEC.decode(transmit.data)
            node.handle_datagram(CODEC.encode_error(query.tid, node.own_id, 202, "busy"), transmit.endpoint, now)
    assert len(node.requester.transactions) == 0
    node.commands.ping(HERE, 20.0)
    due = node.requester.next_timeout() or 20.0
    assert due <= 20.5
    assert node.requester.may_ask(THERE, due)
    assert not node.requester.may_ask(HERE, due)
    assert node.requester.may_ask(HERE, due + 0.5)


def test_a_query_that_is_over_does_not_go_out() -> None:
    node = make()
    requester = node.requester
    for _ in range(11):
        node.commands.ping(HERE, 0.0)
    assert len(requester.transmits) == 10
    waiting = list(requester.transactions)[-1]
    requester.transactions.conclude(waiting, 0.1)
    requester.send_due(0.5)
    assert len(requester.transmits) == 10
