"""Second opinions: which contacts of our own a settled search asks as well, and how many."""

from __future__ import annotations

from dataclasses import replace

from dhtd.core.ids import Id
from dhtd.core.policy import DEFAULT
from dhtd.core.querying.candidate import Candidate, Change
from dhtd.core.querying.candidates import Candidates
from dhtd.core.querying.opinions import Opinions
from tests.core.small import contact, endpoint

POLICY = replace(DEFAULT, search_opinions=2)


def make(*own: int, named: tuple[int, ...] = ()) -> tuple[Opinions, Candidates]:
    """Return the opinions of a search for 0 that began with our own contacts, and heard of others."""
    candidates = Candidates(Id(0), Id(127), POLICY)
    for id in own:
        candidates.add(contact(id), None, 0)
    for id in named:
        candidates.add(contact(id), endpoint(100), 1)
    return Opinions(POLICY, candidates), candidates


def asked(opinions: Opinions, *refused: int) -> list[int]:
    """Ask all that may be asked; return who that is."""
    found: list[int] = []
    while (candidate := opinions.next(lambda candidate: candidate.contact.id not in refused)) is not None:
        candidate.take(Change.ASKED)
        opinions.ask(candidate)
        found.append(candidate.contact.id)
    return found


def test_our_nearest_contacts_are_asked() -> None:
    opinions, _ = make(30, 10, 20)
    assert asked(opinions) == [10, 20]


def test_fewer_are_asked_where_there_are_fewer() -> None:
    opinions, _ = make(30)
    assert asked(opinions) == [30]


def test_contacts_that_others_named_are_not_our_own() -> None:
    opinions, _ = make(30, named=(10, 30))
    assert asked(opinions) == [30]


def test_contacts_that_were_asked_are_passed_over() -> None:
    opinions, candidates = make(10, 20, 30)
    candidates[contact(10)].take(Change.ASKED)
    assert asked(opinions) == [20, 30]


def test_forbidden_contacts_are_passed_over() -> None:
    opinions, _ = make(10, 20, 30)
    assert asked(opinions, 10, 30) == [20]


def test_an_opinion_is_awaited_until_it_has_come() -> None:
    opinions, candidates = make(10, 20)
    chosen: list[Candidate] = [candidates[contact(id)] for id in (10, 20)]
    awaited = [opinions.is_awaited]
    for candidate in chosen:
        candidate.take(Change.ASKED)
        opinions.ask(candidate)
    awaited.append(opinions.is_awaited)
    chosen[0].take(Change.ANSWERED)
    awaited.append(opinions.is_awaited)
    chosen[1].take(Change.OVERDUE)
    assert [*awaited, opinions.is_awaited] == [False, True, True, False]
