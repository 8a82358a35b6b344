"""Strangers that query us: which are pinged, how often, and how much goes to an address that is not proved."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.counters import STRANGER_PINGS, STRANGER_RATE
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import FindNode, Ping, Query, Request
from dhtd.core.policy import DEFAULT
from tests.core.bench import QUIET, Bench, Sent
from tests.core.small import SEVEN, contact, endpoint, six
from tests.records import hold_peer

HALF = DEFAULT.stranger_pings // 2
KEY = Id(77)
STRANGER = contact(9)
ENOUGH = 1_000  # bytes of a query that may bring any number of pings


def consider(bench: Bench, *, size: int = ENOUGH, sent: int = 0, request: Request = Ping()) -> list[Sent]:  # noqa: B008 - frozen
    """Have a node consider a stranger; return what it is sent in the time of two attempts."""
    query = Query(b"12345678", STRANGER.id, request)
    bench.node.strangers.consider(query, STRANGER.endpoint, size, sent, bench.now)
    pings = bench.sent()
    bench.advance(DEFAULT.query_timeout + 0.1)
    return pings + [ping for ping in bench.sent() if ping.to == STRANGER.endpoint]


def crowd(bench: Bench) -> None:
    """Have a node know enough contacts, so that it is not lonely."""
    bench.know(*map(contact, range(64, 64 + DEFAULT.k)))


def test_a_lonely_node_pings_a_stranger_twice() -> None:
    pings = consider(Bench())
    assert [(ping.to, ping.request) for ping in pings] == [(STRANGER.endpoint, Ping())] * DEFAULT.ping_attempts


def test_a_node_with_enough_contacts_pings_once() -> None:
    bench = Bench()
    crowd(bench)
    assert len(consider(bench)) == 1


@pytest.mark.parametrize(("spare", "pings"), [(-1_000, 0), (-1, 0), (0, 1), (1, 1)])
def test_pings_count_as_a_part_of_the_answer(spare: int, pings: int) -> None:
    bench = Bench()
    sent = DEFAULT.amplification * ENOUGH - bench.node.responder.rooms.ping_size - spare
    assert len(consider(bench, sent=sent)) == pings


def test_a_proved_address_has_no_bound() -> None:
    bench = Bench()
    token = bench.node.responder._tokens.issue(STRANGER.endpoint.ip, SEVEN.to_bytes(KEY), bench.now)
    assert len(consider(bench, sent=3 * ENOUGH, request=FindNode(KEY, token))) == DEFAULT.ping_attempts


def test_a_good_contact_is_no_stranger() -> None:
    bench = Bench()
    bench.know(STRANGER)
    assert consider(bench) == []


def test_a_stranger_is_pinged_once_at_a_time() -> None:
    bench = Bench()
    query = Query(b"12345678", STRANGER.id, Ping())
    for _ in range(2):
        bench.node.strangers.consider(query, STRANGER.endpoint, ENOUGH, 0, bench.now)
    bench.pong(bench.sent_one(), STRANGER.id)
    assert len(bench.node.strangers.pings) == 0


def test_a_foreign_family_gets_no_ping() -> None:
    bench = Bench()
    query = Query(b"12345678", Id(9), Ping())
    bench.node.strangers.consider(query, six(9).endpoint, ENOUGH, 0, bench.now)
    assert bench.sent() == []


@pytest.mark.parametrize("request_", [FindNode(KEY), Ping(), FindNode(KEY, b"invalid!")])
def test_a_cap_is_counted_for_each_stranger(request_: Request) -> None:
    bench = Bench()
    query = Query(b"12345678", STRANGER.id, request_)
    for number in range(10, 12 + HALF):
        bench.node.strangers.consider(query, endpoint(number), ENOUGH, 0, bench.now)
    assert len(bench.sent()) == HALF
    assert bench.node.counters.caps_hit[STRANGER_PINGS] == 2


def test_each_ping_counts_for_the_rate() -> None:
    bench = Bench(policy=replace(QUIET, stranger_pings=4, stranger_rate=2.0))  # half of each for anybody
    for id in (9, 10, 11):
        bench.node.strangers.consider(Query(b"12345678", Id(id), Ping()), endpoint(id), ENOUGH, 0, bench.now)
        for query in bench.sent():
            if query.request == Ping():
                bench.pong(query, id)
    assert bench.node.counters.caps_hit[STRANGER_RATE] == 1


def test_a_proved_stranger_is_pinged_in_a_flood() -> None:
    bench = Bench(policy=QUIET)
    bench.node.gate.limit_rate(0, 0)
    for number in range(20, 40):
        bench.query(FindNode(KEY), contact(number))
    assert len(bench.sent()) == HALF
    token = bench.node.responder._tokens.issue(endpoint(9).ip, SEVEN.to_bytes(KEY), bench.now)
    bench.query(FindNode(KEY, b"invalid!"), contact(9))
    assert bench.sent() == []
    bench.query(FindNode(KEY, token), contact(9))
    assert bench.sent_one().to == endpoint(9)
    assert bench.node.counters.caps_hit[STRANGER_PINGS] == 20 - HALF + 1


def test_a_ping_goes_out_only_within_the_bound() -> None:
    bench = Bench(policy=QUIET)
    bench.know(*map(contact, range(64, 72)))
    bare = bench.codec._encode(0, b"12345678", Id(9), "find_node", [bytes(31) + b"\x50", None])
    answer = bench.deliver(bare, endpoint(9))
    assert answer is not None
    (ping,) = bench.sent()
    assert ping.request == Ping()
    assert len(answer) + ping.size <= 3 * len(bare)
    for number in range(200):  # endpoints, which have the room first
        hold_peer(bench.node.store, KEY, Endpoint.of(f"10.1.1.{number}", 80), bench.now)
    full = bench.codec._encode(0, b"12345678", Id(10), "find_value", [bytes(31) + b"\x4d", None])
    answer = bench.deliver(full, endpoint(10))
    assert answer is not None
    assert 3 * len(full) - ping.size < len(answer) <= 3 * len(full)
    assert bench.sent() == []
