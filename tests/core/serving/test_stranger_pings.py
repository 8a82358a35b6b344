"""Strangers: whose turn for a ping it is, and the turns that are kept for proved ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dhtd.core.counters import STRANGER_PINGS, STRANGER_RATE
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.serving.stranger_pings import Share, StrangerPings
from tests.core.small import endpoint

HALF = DEFAULT.stranger_pings // 2
KEY = Id(77)


def take(strangers: StrangerPings, at: Endpoint, *, is_proved: bool, now: float = 0.0) -> Share | str | None:
    """Take a turn, if there is one."""
    share = strangers.share_for(at, is_proved=is_proved, now=now)
    if isinstance(share, Share):
        strangers.count(share, at, now)
        share.ongoing.add(at)
    return share


def test_half_of_the_pings_need_no_token() -> None:
    strangers = StrangerPings(DEFAULT)
    taken = [take(strangers, endpoint(number), is_proved=False) for number in range(1, 20)]
    assert taken == [strangers.anybody] * HALF + [STRANGER_PINGS] * (19 - HALF)
    assert len(strangers) == HALF


def test_a_token_still_finds_a_turn() -> None:
    strangers = StrangerPings(DEFAULT)
    for number in range(1, 20):
        take(strangers, endpoint(number), is_proved=False)
    taken = [take(strangers, endpoint(number), is_proved=True) for number in range(20, 40)]
    assert taken == [strangers.proved] * HALF + [STRANGER_PINGS] * (20 - HALF)
    assert len(strangers) == 2 * HALF


def test_a_token_has_a_turn_in_either_half() -> None:
    strangers = StrangerPings(DEFAULT)
    taken = [take(strangers, endpoint(number), is_proved=True) for number in range(1, 20)]
    assert taken == [strangers.proved] * HALF + [strangers.anybody] * HALF + [STRANGER_PINGS] * (19 - 2 * HALF)


def test_an_address_has_one_proved_ping_at_a_time() -> None:
    strangers = StrangerPings(DEFAULT)
    at = endpoint(1)
    assert take(strangers, at, is_proved=True) is strangers.proved
    assert [take(strangers, at.with_port(port), is_proved=True) for port in (1, 2)] == [strangers.anybody] * 2
    assert take(strangers, endpoint(2), is_proved=True) is strangers.proved


def turns(hosts: Iterable[str], policy: Policy = DEFAULT) -> int:
    """Return how many of these have a turn in the proved half, all at the same time."""
    strangers = StrangerPings(policy)
    shares = [take(strangers, Endpoint.of(host, 1), is_proved=True) for host in hosts]
    return sum(share is strangers.proved for share in shares)


def test_a_network_has_one_proved_turn() -> None:
    assert turns(f"2001:db8::{machine:x}" for machine in range(1, 9)) == 1  # a /64
    assert turns(f"2001:db8:0:{network:x}::1" for network in range(8)) == 1  # a /48
    assert turns(f"203.0.113.{machine}" for machine in range(1, 9)) == 1  # a /24
    assert turns(f"2001:db8:{site:x}::1" for site in range(8)) == HALF
    assert turns(f"203.0.{network}.1" for network in range(8)) == HALF
    assert turns(f"10.0.0.{machine}" for machine in range(1, 9)) == HALF  # a LAN: each address is a machine


def test_each_neighbour_has_its_own_turn() -> None:
    policy = replace(DEFAULT, own_networks=(bytes.fromhex("20010db800000000"),))
    assert turns((f"2001:db8::{machine:x}" for machine in range(1, 9)), policy) == HALF
    strangers = StrangerPings(DEFAULT)
    strangers.live_in(policy.own_networks)
    assert take(strangers, Endpoint.of("2001:db8::1", 1), is_proved=True) is strangers.proved
    assert take(strangers, Endpoint.of("2001:db8::2", 1), is_proved=True) is strangers.proved


def test_a_quick_answer_pauses_its_proved_turns() -> None:
    strangers, at = StrangerPings(DEFAULT), endpoint(1)
    assert take(strangers, at, is_proved=True) is strangers.proved
    strangers.proved.ongoing.clear()
    again = DEFAULT.query_timeout
    assert take(strangers, at.with_port(2), is_proved=True, now=again - 0.1) is strangers.anybody
    assert take(strangers, at.with_port(3), is_proved=True, now=again) is strangers.proved


def test_a_pinged_node_gets_a_turn_only_by_token() -> None:
    strangers = StrangerPings(DEFAULT)
    at = endpoint(1)
    assert take(strangers, at, is_proved=False) is strangers.anybody
    assert take(strangers, at, is_proved=False) is None
    assert take(strangers, at, is_proved=True) is strangers.proved
    assert take(strangers, at, is_proved=True) is None


def test_each_half_has_half_of_the_rate() -> None:
    strangers = StrangerPings(replace(DEFAULT, stranger_pings=4, stranger_rate=2.0))

    def turns(now: float, *, is_proved: bool) -> int:
        count = 0
        while isinstance(share := strangers.share_for(endpoint(count), is_proved=is_proved, now=now), Share):
            strangers.count(share, endpoint(count), now)
            count += 1
        assert share == STRANGER_RATE
        return count

    assert turns(0.0, is_proved=False) == 2
    assert turns(0.0, is_proved=True) == 2
    assert turns(2.0, is_proved=False) == 2
    assert turns(2.0, is_proved=True) == 2
