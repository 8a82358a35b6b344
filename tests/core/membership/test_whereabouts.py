"""Votes for our address: a move is told, a contradiction makes us ask, and seldom."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from dhtd.core.address.external_address import ExternalAddress
from dhtd.core.address.reachability import Reachability
from dhtd.core.counters import Counters
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import Id
from dhtd.core.membership.whereabouts import Whereabouts
from dhtd.core.messages import Contact, Ping, Query
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.querying.requester import Requester
from dhtd.core.routing.overlay import Overlay
from dhtd.core.routing.overlays import Overlays
from tests.core.small import CODEC, contact, endpoint, six

HERE, THERE = Endpoint.of("10.9.9.9", 1729), Endpoint.of("10.9.9.8", 1729)
GAP = DEFAULT.move_gap


class Place:
    """Whereabouts of a node that knows contacts; they have answered a second after each other, in this order."""

    def __init__(self, *known: Contact, policy: Policy = DEFAULT) -> None:
        rng = Random(1)
        overlays = Overlays(Overlay(family, Id(0), CODEC, rng, policy, 0.0) for family in Family)
        for when, other in enumerate(known):
            overlay = overlays.of(other.endpoint)
            assert overlay is not None
            overlay.state.answered(other, 0.1, float(when))
        self.requester = Requester(overlays, CODEC, rng, policy, Counters(), Reachability(policy, 0.0))
        self.whereabouts = Whereabouts(self.requester, overlays, ExternalAddress(policy), policy)

    def asked(self) -> list[Contact]:
        """Return the contacts that were pinged since the last call."""
        found = []
        while (transmit := self.requester.poll()) is not None:
            query = CODEC.decode(transmit.data)
            assert isinstance(query, Query)
            assert query.request == Ping()
            assert transmit.recipient is not None
            found.append(Contact(transmit.recipient, transmit.endpoint))
        return found

    def ask(self, now: float) -> bool:
        """Ask; return whether anybody was asked."""
        self.whereabouts.ask(now)
        return bool(self.asked())


def test_votes_that_agree_are_no_news() -> None:
    place = Place(contact(1))
    votes = [place.whereabouts.observed(endpoint(number), HERE, 0.0) for number in (1, 2, 2)]
    assert votes == [False, False, False]
    assert place.asked() == []


def test_a_contradiction_is_no_move_but_raises_doubts() -> None:
    place = Place(contact(1))
    place.whereabouts.observed(endpoint(1), HERE, 0.0)
    assert place.whereabouts.observed(endpoint(2), THERE, 0.0) is False
    assert place.asked() == [contact(1)]


def test_a_move_is_told_and_asks_nobody_itself() -> None:
    place = Place(contact(1))
    place.whereabouts.observed(endpoint(1), HERE, 0.0)
    assert place.whereabouts.observed(endpoint(1), THERE, GAP) is True
    assert place.asked() == []


def test_contacts_of_each_family_are_asked_once() -> None:
    place = Place(contact(1), six(2))
    place.whereabouts.ask(9.0)
    assert place.asked() == [contact(1), six(2)]
    assert [query.attempts_left for query in place.requester.transactions] == [1, 1]


def test_contacts_that_answered_last_are_asked() -> None:
    policy = replace(DEFAULT, external_votes=2)
    place = Place(contact(1), contact(2), contact(3), six(4), six(5), six(6), policy=policy)
    place.whereabouts.ask(9.0)
    assert place.asked() == [contact(3), contact(2), six(6), six(5)]


def test_questions_have_a_gap() -> None:
    place = Place(contact(1))
    assert place.ask(10.0)
    assert not place.ask(10.0)
    assert not place.ask(10.0 + GAP - 1.0)
    assert place.ask(10.0 + GAP)
    assert not place.ask(10.0 + GAP + 1.0)


def test_contradictions_have_the_same_gap() -> None:
    place = Place(contact(1))
    place.whereabouts.observed(endpoint(1), HERE, 0.0)
    assert place.ask(1.0)
    place.whereabouts.observed(endpoint(2), THERE, 2.0)
    assert place.asked() == []
