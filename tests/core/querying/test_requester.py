"""The asking side: queries go out for operations."""

from __future__ import annotations

from random import Random

import pytest

from dhtd.core.address.reachability import Reachability
from dhtd.core.counters import Counters
from dhtd.core.endpoint import Family
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, FindNode, Ping, Query
from dhtd.core.policy import DEFAULT
from dhtd.core.querying.check import Check
from dhtd.core.querying.operations import Operations
from dhtd.core.querying.requester import Requester
from dhtd.core.routing.overlay import Overlay
from dhtd.core.routing.overlays import Overlays
from tests.core.small import CODEC, contact, endpoint


def make(*known: Contact) -> Requester:
    rng = Random(1)
    overlay = Overlay(Family.IPV4, Id(0), CODEC, rng, DEFAULT, now=0.0)
    for other in known:
        overlay.state.answered(other, 0.2, 0.0)
    return Requester(Overlays([overlay]), CODEC, rng, DEFAULT, Counters(), Reachability(DEFAULT, 0.0))


def test_a_query_goes_out_under_our_id() -> None:
    requester = make()
    owner = Check(requester)
    requester.ask(owner, FindNode(Id(9)), endpoint(5), Id(5), 10.0, attempts=2)
    (transmit,) = requester.transmits
    query = CODEC.decode(transmit.data)
    assert isinstance(query, Query)
    assert (query.sender, query.request, transmit.endpoint) == (Id(0), FindNode(Id(9)), endpoint(5))
    in_flight = requester.transactions.match(query.tid, endpoint(5))
    assert in_flight is not None
    assert (in_flight.owner, in_flight.id, in_flight.datagram) == (owner, Id(5), transmit.data)
    assert (in_flight.sent_at, in_flight.attempts_left) == (10.0, 2)
    assert requester._counters.queries_sent == 1


def test_a_measured_contact_has_its_own_patience() -> None:
    requester = make(contact(5))
    requester.ask(Check(requester), Ping(), endpoint(5), Id(5), 10.0)
    assert requester.transactions.next_timeout() == pytest.approx(10.0 + 0.2 + DEFAULT.slow_deviations * 0.1)
    requester = make(contact(5))
    requester.ask(Check(requester), Ping(), endpoint(5), None, 10.0)
    assert requester.transactions.next_timeout() == 10.0 + DEFAULT.slow_initial


def test_listeners_are_told_in_order() -> None:
    operations = Operations()
    told: list[tuple[int, float]] = []

    def listen(outcome: int, now: float) -> None:
        told.append((outcome, now))
        if outcome == 1:
            report(3)

    report = operations.report_to(listen)
    report(1)
    report(2)
    assert (told, len(operations)) == ([], 2)
    operations.settle(5.0)
    assert told == [(1, 5.0), (2, 5.0), (3, 5.0)]
    assert len(operations) == 0
