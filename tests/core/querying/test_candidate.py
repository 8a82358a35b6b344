"""How far a search comes with a candidate: the table, and every walk through it."""

from __future__ import annotations

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy
from dhtd.core.querying.candidate import FRESH, TRANSITIONS, Candidate, Change, Progress
from dhtd.core.querying.search import Search
from dhtd.core.querying.steps import Ask
from tests.core.small import contact


def test_each_progress_is_reached_by_the_table() -> None:
    assert {FRESH, *TRANSITIONS.values()} == set(Progress)
    assert {change for _, change in TRANSITIONS} == set(Change)


@pytest.mark.parametrize("before", Progress)
@pytest.mark.parametrize("change", Change)
def test_changes_outside_the_table_do_nothing(before: Progress, change: Change) -> None:
    candidate = Candidate(contact(1), 1, None)
    candidate.progress = before
    candidate.take(change)
    assert candidate.progress is TRANSITIONS.get((before, change), before)


# Three nodes in one network that has two places, and a fourth that answers in the stead of the first.
KIN = [Contact(Id(id), Endpoint.of(f"203.0.113.{id}", 1)) for id in (1, 2, 3)]
OTHER = Contact(Id(4), KIN[0].endpoint)
STEPS = [
    "ask",
    *(f"{what} {which}" for which in range(3) for what in ("slow", "late", "answered", "full", "failed")),
    "another",
    "another is full",
]


def step(search: Search, name: str) -> None:
    """Do one step, where it is possible: a query that is over has no outcome any more."""
    if name == "ask":
        search.next()
        return
    what, _, which = name.partition(" ")
    one = KIN[int(which)] if which.isdigit() else KIN[0]
    named = search.candidates[one].progress
    if named not in (Progress.WAITING, Progress.SLOW, Progress.LATE):
        return
    match what:
        case "slow":
            search.slow(one.endpoint)
        case "late":
            search.late(one.endpoint)
        case "answered" | "full":
            search.answered(one, is_full=what == "full")
        case "failed":
            search.failed(one.endpoint, timeout=True)
        case _:
            search.answered(OTHER, is_full=which == "is full")


@pytest.mark.no_cover
def test_every_transition_happens_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: set[tuple[Progress, Change, Progress]] = set()
    take = Candidate.take

    def record(candidate: Candidate, change: Change) -> None:
        before = candidate.progress
        take(candidate, change)
        happened.add((before, change, candidate.progress))

    monkeypatch.setattr(Candidate, "take", record)
    policy = Policy(k=3, alpha=3, lookup_per_network=2, lookup_per_ip=2, exempt_networks=())
    seen: set[tuple[Progress, ...]] = set()
    paths: list[list[str]] = [[]]
    while paths:
        path = paths.pop()
        for name in STEPS:
            search = Search(Id(0), Id(127), policy)
            search.seed(KIN)
            for each in [*path, name]:
                step(search, each)
            place = tuple(candidate.progress for candidate in search.candidates.order)
            if place not in seen:
                seen.add(place)
                paths.append([*path, name])
    stays = {(before, change, after) for before, change, after in happened if before is after}
    assert happened - stays == {(before, change, after) for (before, change), after in TRANSITIONS.items()}
    assert stays == {(Progress.WAITING, Change.LATE, Progress.WAITING), (Progress.LATE, Change.LATE, Progress.LATE)}


def test_only_a_search_asks() -> None:
    search = Search(Id(0), Id(127), Policy())
    search.seed(KIN[:1])
    assert search.candidates[KIN[0]].progress is FRESH
    assert search.next() == Ask(KIN[0])
    assert search.candidates[KIN[0]].progress is Progress.WAITING
