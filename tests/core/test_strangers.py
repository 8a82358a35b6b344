"""Strangers: whose turn it is to be pinged, and what is kept for those that a token proves."""

from __future__ import annotations

from dataclasses import replace

from dhtd.core.caps import STRANGER_PINGS, STRANGER_RATE
from dhtd.core.endpoint import Endpoint
from dhtd.core.messages import FindNode, Ping
from dhtd.core.metric import Id
from dhtd.core.policy import DEFAULT
from dhtd.core.strangers import Share, Strangers
from tests.core.bench import QUIET, Bench
from tests.core.small import SEVEN, contact, endpoint

HALF = DEFAULT.stranger_pings // 2
KEY = Id(77)


def take(strangers: Strangers, at: Endpoint, *, is_proved: bool, now: float = 0.0) -> Share | str | None:
    """Take a turn, if there is one."""
    share = strangers.share_for(at, is_proved=is_proved, now=now)
    if isinstance(share, Share):
        share.count(now)
        share.ongoing.add(at)
    return share


def test_whoever_shows_no_token_has_half_of_the_pings() -> None:
    strangers = Strangers(DEFAULT)
    taken = [take(strangers, endpoint(number), is_proved=False) for number in range(1, 20)]
    assert taken == [strangers.anybody] * HALF + [STRANGER_PINGS] * (19 - HALF)
    assert len(strangers) == HALF


def test_a_token_finds_a_turn_while_all_others_are_taken() -> None:
    strangers = Strangers(DEFAULT)
    for number in range(1, 20):
        take(strangers, endpoint(number), is_proved=False)
    taken = [take(strangers, endpoint(number), is_proved=True) for number in range(20, 40)]
    assert taken == [strangers.proved] * HALF + [STRANGER_PINGS] * (20 - HALF)
    assert len(strangers) == 2 * HALF


def test_a_token_has_a_turn_in_either_half() -> None:
    strangers = Strangers(DEFAULT)
    taken = [take(strangers, endpoint(number), is_proved=True) for number in range(1, 20)]
    assert taken == [strangers.proved] * HALF + [strangers.anybody] * HALF + [STRANGER_PINGS] * (19 - 2 * HALF)


def test_one_address_has_one_ping_of_the_proved_half_at_a_time() -> None:
    strangers = Strangers(DEFAULT)
    at = endpoint(1)
    assert take(strangers, at, is_proved=True) is strangers.proved
    assert [take(strangers, at.with_port(port), is_proved=True) for port in (1, 2)] == [strangers.anybody] * 2
    assert take(strangers, endpoint(2), is_proved=True) is strangers.proved


def test_who_is_being_pinged_has_no_other_turn_unless_a_token_proves_it_now() -> None:
    strangers = Strangers(DEFAULT)
    at = endpoint(1)
    assert take(strangers, at, is_proved=False) is strangers.anybody
    assert take(strangers, at, is_proved=False) is None
    assert take(strangers, at, is_proved=True) is strangers.proved
    assert take(strangers, at, is_proved=True) is None


def test_each_half_has_half_of_the_rate() -> None:
    strangers = Strangers(replace(DEFAULT, stranger_pings=4, stranger_rate=2.0))

    def turns(now: float, *, is_proved: bool) -> int:
        count = 0
        while isinstance(share := strangers.share_for(endpoint(1), is_proved=is_proved, now=now), Share):
            share.count(now)
            count += 1
        assert share == STRANGER_RATE
        return count

    assert turns(0.0, is_proved=False) == 2
    assert turns(0.0, is_proved=True) == 2
    assert turns(2.0, is_proved=False) == 2
    assert turns(2.0, is_proved=True) == 2


def test_a_stranger_with_a_token_is_pinged_while_forged_ones_have_all_other_turns() -> None:
    bench = Bench(policy=QUIET)
    bench.node.limit_rate(0, 0)
    for number in range(20, 40):
        bench.query(FindNode(KEY), contact(number))
    assert len(bench.sent()) == HALF
    token = bench.node._responder._tokens.issue(endpoint(9).ip, SEVEN.to_bytes(KEY), bench.now)
    bench.query(FindNode(KEY, b"invalid!"), contact(9))
    assert bench.sent() == []
    bench.query(FindNode(KEY, token), contact(9))
    assert bench.sent_one().to == endpoint(9)
    assert bench.node.counters.caps_hit[STRANGER_PINGS] == 20 - HALF + 1


def test_a_ping_is_sent_to_a_stranger_only_where_it_fits_beside_the_answer() -> None:
    bench = Bench(policy=QUIET)
    bench.know(*map(contact, range(64, 72)))
    bare = bench.codec._encode(0, b"12345678", Id(9), "find_node", [bytes(31) + b"\x50", None])
    answer = bench.deliver(bare, endpoint(9))
    assert answer is not None
    (ping,) = bench.sent()
    assert ping.request == Ping()
    assert len(answer) + ping.size <= 3 * len(bare)
    for number in range(200):  # endpoints, which have the room first
        bench.node.store.put(KEY, Endpoint.of(f"10.1.1.{number}", 80), bench.now)
    full = bench.codec._encode(0, b"12345678", Id(10), "find_value", [bytes(31) + b"\x4d", None])
    answer = bench.deliver(full, endpoint(10))
    assert answer is not None
    assert 3 * len(full) - ping.size < len(answer) <= 3 * len(full)
    assert bench.sent() == []
