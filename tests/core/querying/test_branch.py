"""How far a search as a whole comes: the table, and every walk through it."""

from __future__ import annotations

from random import Random

import pytest

from dhtd.core.endpoint import Family
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy
from dhtd.core.querying.branch import TRANSITIONS, Branch, Course, Turn
from dhtd.core.querying.search import Search
from dhtd.core.routing.overlay import Overlay
from tests.core.small import CODEC, contact

POLICY = Policy(k=2, alpha=2)


class Walk:
    """One branch, and what was asked for it."""

    def __init__(self) -> None:
        self.in_flight: list[Contact] = []
        overlay = Overlay(Family.IPV4, Id(127), CODEC, Random(1), POLICY, 0.0)
        search = Search(Id(0), Id(127), POLICY)
        self.branch = Branch(search, overlay, POLICY, regional=False)
        self.branch.start([contact(1), contact(2)], 0.0)
        self.named = 2
        self.turns: set[tuple[Course, Turn, Course]] = set()

    def find(self, contact: Contact, now: float, *, insistent: bool) -> None:
        self.in_flight.append(contact)

    def explore(self, contact: Contact, about: Id, now: float) -> None:
        raise AssertionError("it is not thorough")

    def step(self, name: str) -> None:
        branch, search, before = self.branch, self.branch.search, self.branch.course
        turn = None
        match name:
            case "answer" | "fail" if self.in_flight and not branch.is_over:
                asked = self.in_flight.pop()
                if name == "answer":
                    search.answered(asked)
                else:
                    search.failed(asked.endpoint, timeout=True)
            case "go on" if not branch.is_over:
                branch.go_on(self, 0.0, in_vain=False)
                if branch.course is not before:
                    turn = Turn.CONVERGED if search.closest() else Turn.UNANSWERED
            case "name":
                self.named += 1
                search.seed([contact(self.named)])
                branch.named()
                turn = Turn.NAMED
            case "end":
                branch.end()
                turn = Turn.ENDED
            case _:
                return
        if turn is None:
            assert branch.course is before
        elif branch.course is not before:
            self.turns.add((before, turn, branch.course))


def test_each_course_is_reached_by_the_table() -> None:
    assert {Course.SEARCHING, *TRANSITIONS.values()} == set(Course)
    assert {turn for _, turn in TRANSITIONS} == set(Turn)


@pytest.mark.parametrize("before", Course)
@pytest.mark.parametrize("turn", Turn)
def test_turns_outside_the_table_do_nothing(before: Course, turn: Turn) -> None:
    branch = Walk().branch
    branch.course = before
    branch._take(turn)
    assert branch.course is TRANSITIONS.get((before, turn), before)


@pytest.mark.no_cover
def test_every_transition_happens_and_no_other() -> None:
    happened: set[tuple[Course, Turn, Course]] = set()
    paths: list[list[str]] = [[]]
    for path in paths:
        for name in ("answer", "fail", "go on", "name", "end"):
            walk = Walk()
            for each in [*path, name]:
                walk.step(each)
            happened |= walk.turns
            if len(path) < 4:
                paths.append([*path, name])
    assert happened == {(before, turn, after) for (before, turn), after in TRANSITIONS.items()}
