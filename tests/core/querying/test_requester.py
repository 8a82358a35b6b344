"""The asking side: queries go out for operations."""

from __future__ import annotations

from random import Random

import pytest

from dhtd.core.endpoint import Family
from dhtd.core.events import INTERNAL, Refreshed
from dhtd.core.ids import Id
from dhtd.core.messages import FindNode, Ping, Query
from dhtd.core.policy import DEFAULT
from dhtd.core.querying.operations import Check
from dhtd.core.querying.requester import Requester
from dhtd.core.routing.overlay import Overlay
from tests.core.small import CODEC, contact, endpoint


def make() -> Requester:
    rng = Random(1)
    return Requester(Id(0), CODEC, rng, DEFAULT, [Overlay(Family.IPV4, Id(0), CODEC, rng, DEFAULT, now=0.0)], now=0.0)


def test_a_query_goes_out_under_our_id_and_is_in_flight() -> None:
    requester = make()
    owner = Check(requester, set())
    requester.ask(owner, FindNode(Id(9)), endpoint(5), Id(5), 10.0, attempts=2)
    (transmit,) = requester.transmits
    query = CODEC.decode(transmit.data)
    assert isinstance(query, Query)
    assert (query.sender, query.request, transmit.endpoint) == (Id(0), FindNode(Id(9)), endpoint(5))
    in_flight = requester.transactions.match(query.tid, endpoint(5))
    assert in_flight is not None
    assert (in_flight.owner, in_flight.id, in_flight.datagram) == (owner, Id(5), transmit.data)
    assert (in_flight.sent_at, in_flight.attempts_left) == (10.0, 2)
    assert requester.counters.queries_sent == 1


def test_a_contact_that_was_measured_is_given_the_time_that_it_needs() -> None:
    requester = make()
    requester.overlays[Family.IPV4].state.answered(contact(5), 0.2, 0.0)
    requester.ask(Check(requester, set()), Ping(), endpoint(5), Id(5), 10.0)
    assert requester.transactions.next_timeout() == pytest.approx(10.0 + 0.2 + DEFAULT.slow_deviations * 0.1)
    requester = make()
    requester.overlays[Family.IPV4].state.answered(contact(5), 0.2, 0.0)
    requester.ask(Check(requester, set()), Ping(), endpoint(5), None, 10.0)
    assert requester.transactions.next_timeout() == 10.0 + DEFAULT.slow_initial


def test_outcomes_wait_in_order() -> None:
    requester = make()
    outcomes = [Refreshed(INTERNAL, Id(number), 0, Family.IPV4) for number in range(3)]
    for outcome in outcomes:
        requester.tell(outcome)
    assert list(requester.outcomes) == outcomes
