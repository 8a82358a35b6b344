"""Facts and outcomes reach the parts that they concern, in order, until nothing is new."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import pytest

from dhtd.core.endpoint import Family
from dhtd.core.events import Isolated, Joined, Renamed, Silence, Unreached
from dhtd.core.ids import Id
from dhtd.core.membership.facts import CutOff, Doubtful, Fact, GivenUp, Heard, Measured, NewContact, Reached
from dhtd.core.news import News
from dhtd.core.querying.observations import ContactGained, ContactLost, Observations
from dhtd.core.querying.operations import Operations
from dhtd.core.querying.requester import Asked
from tests.core.part import Part
from tests.core.small import contact, endpoint

NOW = 7.0
PEER = contact(1)
VOTER, SEEN = endpoint(1), endpoint(9)
QUERY = cast("Asked", object())
UNREACHED = Unreached(Family.IPV6, (endpoint(2),), Silence.STILL)


class FakePublisher(Part):
    """Has parts of its own."""

    def __init__(self, calls: list[tuple[Any, ...]]) -> None:
        super().__init__("publisher", calls)
        self.withdrawals, self.newcomers = Part("withdrawals", calls), Part("newcomers", calls)
        self.patrol, self.hurrying = Part("patrol", calls), Part("hurrying", calls)


class FakeMemberships(Part):
    """Has these facts at the next poll, and at the ones after it; and others at each answer and each silence."""

    def __init__(self, calls: list[tuple[Any, ...]]) -> None:
        super().__init__("memberships", calls)
        self.polls: list[list[Fact]] = []
        self.known: list[Fact] = []
        self.polled: Callable[[], None] = lambda: None

    def __getitem__(self, family: Family) -> Part:
        return Part(f"membership {family}", self._calls)

    def poll_facts(self) -> list[Fact]:
        self._calls.append(("memberships.poll_facts",))
        self.polled()
        return self.polls.pop(0) if self.polls else []

    def heard(self, *arguments: object) -> list[Fact]:
        self._calls.append(("memberships.heard", *arguments))
        return self.known

    def unanswered(self, *arguments: object) -> list[Fact]:
        self._calls.append(("memberships.unanswered", *arguments))
        return self.known


class FakeWhereabouts(Part):
    """Says whether a vote shows a move."""

    def __init__(self, calls: list[tuple[Any, ...]]) -> None:
        super().__init__("whereabouts", calls)
        self.moves = False

    def observed(self, *arguments: object) -> bool:
        self._calls.append(("whereabouts.observed", *arguments))
        return self.moves


class FakeNaming:
    """Has these families in which we are renamed, one at each vote."""

    def __init__(self) -> None:
        self.renamed: list[Family] = []

    def observed(self, *_: object) -> Family | None:
        return self.renamed.pop() if self.renamed else None


class FakeOverlay:
    """Has an ID."""

    own_id = Id(77)


class House:
    """News with all its neighbours."""

    def __init__(self, *polls: Iterable[Fact]) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.memberships = FakeMemberships(self.calls)
        self.memberships.polls = [list(facts) for facts in polls]
        self.whereabouts = FakeWhereabouts(self.calls)
        self.operations = Operations()
        self.told: list[object] = []
        self.observations = Observations()
        memberships: Any = self.memberships
        whereabouts: Any = self.whereabouts
        publisher: Any = FakePublisher(self.calls)
        watching: Any = Part("watching", self.calls)
        waiting: Any = Part("waiting", self.calls)
        values: Any = Part("values", self.calls)
        self.naming = naming = cast("Any", FakeNaming())
        overlays: Any = {Family.IPV4: FakeOverlay()}
        responder: Any = Part("responder", self.calls)
        self.news = News(
            overlays,
            memberships,
            whereabouts,
            naming,
            responder,
            publisher,
            watching,
            values,
            waiting,
            self.operations,
            self.told.append,
            self.observations,
        )


# Settling

ROUND = [("waiting.settle", NOW), ("memberships.poll_facts",)]


def test_a_round_without_news_is_the_only_one() -> None:
    house = House()
    house.news.settle(NOW)
    assert house.calls == ROUND
    assert house.told == []


def test_a_fact_is_followed_by_another_round() -> None:
    house = House([GivenUp(PEER)])
    house.news.settle(NOW)
    assert house.calls == [*ROUND, ("patrol.lost", PEER, NOW), *ROUND]


def test_an_observer_sees_contacts_come_and_go() -> None:
    house = House([NewContact(PEER), GivenUp(PEER)])
    house.observations.turn(on=True)
    house.news.settle(NOW)
    assert [house.observations.poll() for _ in range(3)] == [ContactGained(PEER), ContactLost(PEER), None]


def test_listeners_are_told_before_facts_are_polled() -> None:
    house = House()

    def ended(outcome: str, now: float) -> None:
        house.calls.append((outcome, now))
        house.memberships.polls.append([NewContact(PEER)])

    house.operations.report_to(ended)("ended")
    house.news.settle(NOW)
    waiting, polled = ROUND
    assert house.calls == [waiting, ("ended", NOW), polled, *MET, *ROUND]


def test_an_outcome_at_the_end_is_followed_too() -> None:
    house = House()

    def polled() -> None:
        house.memberships.polled = lambda: None
        house.operations.report_to(lambda outcome, now: house.calls.append((outcome, now)))("ended")

    house.memberships.polled = polled
    house.news.settle(NOW)
    waiting, poll = ROUND
    assert house.calls == [waiting, poll, waiting, ("ended", NOW), poll]


# Facts

MET = [("newcomers.joined", PEER, NOW), ("watching.met", PEER, NOW), ("values.met", PEER, NOW)]
CONCERNED: list[tuple[Fact, *tuple[tuple[Any, ...], ...]]] = [
    (Heard(PEER, is_accepted=True), ("withdrawals.heard", PEER, NOW, ("is_accepted", True))),
    (Heard(PEER, is_accepted=False), ("withdrawals.heard", PEER, NOW, ("is_accepted", False))),
    (NewContact(PEER), *MET),
    (Doubtful(PEER), ("publisher.doubtful", PEER, NOW)),
    (GivenUp(PEER), ("patrol.lost", PEER, NOW)),
    (Measured(Family.IPV6, 20), ("hurrying.network_has", 20, Family.IPV6, NOW)),
    (
        Reached(Family.IPV6, 3),
        ("publisher.reached", Family.IPV6, NOW),
        ("watching.reached", NOW),
        ("values.reached", NOW),
    ),
    (CutOff(Family.IPV4), ("watching.cut_off", Family.IPV4, NOW)),
]


def name(value: object) -> str:
    return type(value).__name__


@pytest.mark.parametrize("concerned", CONCERNED, ids=lambda concerned: name(concerned[0]))
def test_a_fact_goes_to_the_part_that_it_concerns(concerned: tuple[Fact, *tuple[tuple[Any, ...], ...]]) -> None:
    fact, *calls = concerned
    house = House([fact])
    house.news.settle(NOW)
    assert house.calls == [*ROUND, *calls, *ROUND]


@pytest.mark.parametrize(
    ("fact", "event"),
    [
        (Reached(Family.IPV6, 3), Joined(3, Family.IPV6)),
        (CutOff(Family.IPV4), Isolated(Family.IPV4)),
        (UNREACHED, UNREACHED),
    ],
    ids=name,
)
def test_the_owner_is_told_of_the_network(fact: Fact, event: object) -> None:
    house = House([fact])
    house.news.settle(NOW)
    assert house.told == [event]


@pytest.mark.parametrize("fact", [fact for fact, *_ in CONCERNED if not isinstance(fact, Reached | CutOff)], ids=name)
def test_the_owner_is_told_of_no_contact(fact: Fact) -> None:
    house = House([fact])
    house.news.settle(NOW)
    assert house.told == []


def test_facts_are_handed_on_in_order() -> None:
    house = House([GivenUp(PEER), NewContact(contact(2))], [Doubtful(contact(3))])
    house.news.settle(NOW)
    assert [call for call in house.calls if call not in ROUND] == [
        ("patrol.lost", PEER, NOW),
        ("newcomers.joined", contact(2), NOW),
        ("watching.met", contact(2), NOW),
        ("values.met", contact(2), NOW),
        ("publisher.doubtful", contact(3), NOW),
    ]


# Answers


def test_what_an_answer_shows_is_learnt_at_once() -> None:
    house = House()
    house.memberships.known = [Heard(PEER, is_accepted=True), NewContact(PEER)]
    house.news.heard(QUERY, PEER, 0.1, NOW)
    assert house.calls == [
        ("memberships.heard", QUERY, PEER, 0.1, NOW),
        ("withdrawals.heard", PEER, NOW, ("is_accepted", True)),
        *MET,
    ]


def test_what_silence_shows_is_learnt_at_once() -> None:
    house = House()
    house.memberships.known = [GivenUp(PEER)]
    house.news.unanswered(QUERY, 5.0, NOW)
    assert house.calls == [("memberships.unanswered", QUERY, 5.0, NOW), ("patrol.lost", PEER, NOW)]


# Our address

MOVED = [
    ("publisher.moved", NOW),
    ("watching.moved",),
    ("whereabouts.ask", NOW),
    ("memberships.moved", NOW),
]


def test_a_move_concerns_three_parts() -> None:
    house = House()
    house.news.moved(NOW)
    assert house.calls == MOVED


@pytest.mark.parametrize("moves", [True, False])
def test_a_vote_counts_if_it_shows_a_move(moves: bool) -> None:
    house = House()
    house.whereabouts.moves = moves
    house.news.observed(VOTER, SEEN, NOW)
    assert house.calls == [("whereabouts.observed", VOTER, SEEN, NOW), *(MOVED if moves else [])]


def test_another_id_is_told_to_all_that_name_it() -> None:
    house = House()
    house.naming.renamed = [Family.IPV4]
    house.news.observed(VOTER, SEEN, NOW)
    [_, answers, *others] = house.calls
    assert answers[0] == "responder.renamed"
    assert others == [("values.renamed",), ("membership IPv4.renamed", NOW)]
    assert house.told == [Renamed(Family.IPV4, Id(77))]
