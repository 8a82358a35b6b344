"""The region of a target: each part has its share, and chance decides within a part."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, packed
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy
from dhtd.core.querying.candidate import ANSWERED, FAILED, WAITING, Candidate
from dhtd.core.querying.region import Region
from dhtd.core.querying.search import Search
from dhtd.core.querying.steps import Ask, Explore, Finished, Wait, Widen
from tests.core.querying.small_search import SMALL, TARGET, ask, make
from tests.core.small import contact, endpoint


def region(radius: int, nodes: int, lot: int = 0, crowd: int = 0) -> Region:
    return Region(TARGET, radius, nodes, lot, crowd)


def candidates(*ids: int) -> list[Candidate]:
    found = []
    for id in sorted(ids):
        candidate = Candidate(contact(id), hops=1, party=None)
        candidate.namers = (endpoint(1),)
        found.append(candidate)
    return found


def chosen(region: Region, inside: list[Candidate]) -> set[int]:
    return {int(each.contact.id) for each in region.choose(inside, lambda candidate: True)}


@given(st.integers(1, 126), st.integers(1, 40))
def test_a_region_has_four_to_eight_parts(radius: int, nodes: int) -> None:
    region = Region(Id(5), radius, nodes, lot=0, crowd=0)
    distances = [place ^ 5 for place in region.places()]
    assert distances == sorted(set(distances))
    assert len(distances) <= 8
    assert radius < 8 or len(distances) >= 4


def test_all_are_chosen_where_there_is_room() -> None:
    assert chosen(region(63, 32, lot=0), candidates(0, 1, 20, 40, 63)) == {0, 1, 20, 40, 63}


def test_a_crowded_part_takes_nothing_from_others() -> None:
    eight = region(63, 16, lot=0)  # eight parts, two of each
    assert len(chosen(eight, candidates(*range(8)))) == 2
    assert chosen(eight, candidates(*range(8), 9, 20, 30, 40, 41)) >= {9, 20, 30, 40, 41}


def test_lots_decide_among_too_many() -> None:
    rng = Random(1)
    drawn = [chosen(region(63, 8, rng.getrandbits(7)), candidates(*range(8))) for _ in range(100)]
    assert set().union(*drawn) == set(range(8))


def test_own_contacts_come_first() -> None:
    inside = candidates(*range(8))
    inside[5].namers = (endpoint(1), None)
    for lot in range(8):
        assert chosen(region(63, 8, lot), inside) == {5}


def test_a_placed_node_stays_unless_it_failed() -> None:
    inside = candidates(*range(8))
    inside[0].progress, inside[1].progress, inside[2].progress = ANSWERED, WAITING, FAILED
    assert chosen(region(63, 8, lot=0), inside) == {0, 1}
    assert chosen(region(63, 32, lot=2), inside) >= {0, 1}
    assert 2 not in chosen(region(63, 32, lot=2), inside)


def test_an_excluded_contact_is_passed_over() -> None:
    eight = region(63, 8, lot=0)
    assert [each.contact.id for each in eight.choose(candidates(3, 4), lambda one: one.contact.id != 3)] == [4]


def surveys(region: Region, *answered: int) -> list[tuple[int, int]]:
    """Return the contacts that the region has asked, and about which places, if these have answered."""
    contacts = [contact(id) for id in answered]
    asked = []
    while (survey := region.survey(contacts, ())) is not None:
        guide, about = survey
        asked.append((int(guide.id), int(about)))
    return asked


def test_the_nearest_to_a_part_is_asked_about_it() -> None:
    parts = region(64, 32, crowd=3)  # of 16 each
    assert surveys(parts, 0, 1, 3, 20, 50) == [(20, 8), (20, 24), (50, 40), (50, 56)]


def test_the_crowd_is_asked_as_a_last_resort() -> None:
    assert {guide for guide, _ in surveys(region(64, 32, crowd=3), 0, 1, 3)} <= {0, 1, 3}


def test_an_own_node_prompts_another_question() -> None:
    parts = region(64, 32, crowd=3)
    assert [about for _, about in surveys(parts, 3, 70)] == [8, 24, 40, 56]
    assert surveys(parts, 3, 70, 41) == [(41, 40)]
    assert surveys(parts, 3, 70, 41, 42) == []


def test_a_place_in_question_is_not_asked_again() -> None:
    parts = region(64, 32, crowd=3)
    assert parts.survey([contact(70)], {packed(Id(8))}) == (contact(70), 24)


# A search that widens


def crowded(*, in_vain: bool = False, room: int = 64, policy: Policy = SMALL) -> Search:
    """Return a search at its end: its three nearest have answered, at distances of up to 24."""
    search = make(8, 16, 24, policy=policy)
    search.room, search.in_vain = room, in_vain
    for id in (8, 16, 24):
        assert ask(search) == id
        search.answered(contact(id))
    return search


@pytest.mark.parametrize(("in_vain", "least"), [(False, 48), (True, 30)])
def test_the_nearest_crowd_if_they_have_little_room(in_vain: bool, least: int) -> None:
    assert crowded(in_vain=in_vain, room=least + 1).next() == Widen()
    assert crowded(in_vain=in_vain, room=least).next() == Finished()
    assert crowded(in_vain=in_vain, room=0).next() == Finished()


def test_fewer_than_k_do_not_crowd() -> None:
    search = make(1)
    search.room = 64
    assert ask(search) == 1
    search.answered(contact(1))
    assert search.next() == Finished()


def widened(*own: int, policy: Policy = SMALL) -> tuple[Search, list[Explore | Ask]]:
    """Return a search that asks all over its region, and its first steps."""
    search = crowded(policy=policy)
    assert search.next() == Widen()
    search.widen(96, [contact(id) for id in own], lot=0)
    steps: list[Explore | Ask] = []
    while isinstance(step := search.next(), Explore | Ask):
        steps.append(step)
    return search, steps


def test_a_wide_search_explores_each_part() -> None:
    search, steps = widened(40, 90, 100, 126)
    assert steps == [Ask(contact(40)), Ask(contact(90))]
    assert search.wanted() == 3
    for id in (40, 90):
        search.answered(contact(id))
    explored = []
    while isinstance(step := search.next(), Explore):
        explored.append((int(step.contact.id), int(step.about)))
        search.explored(step.contact.endpoint, step.about, [])
    # A radius of 96 in parts of 16, without the crowd at 24 and nearer.
    assert explored == [(40, 8), (40, 24), (40, 40), (40, 56), (90, 72), (90, 88)]
    assert search.next() == Finished()
    assert search.wanted() == 5


def test_alpha_parts_are_explored_at_once() -> None:
    search, steps = widened(40)
    assert [type(step) for step in steps] == [Ask, Explore, Explore]
    assert isinstance(steps[1], Explore)
    search.explored_enough(steps[1].about)
    assert isinstance(search.next(), Explore)
    assert search.next() == Wait()


@pytest.mark.parametrize("patient", [False, True])
def test_a_wide_search_waits_for_slow_ones_if_patient(patient: bool) -> None:
    search, steps = widened(40)
    search.patient = patient
    search.slow(endpoint(40))
    for step in steps:
        if isinstance(step, Explore):
            search.explored_enough(step.about)
    while isinstance(after := search.next(), Explore):
        search.explored_enough(after.about)
    assert after == (Wait() if patient else Finished())


def test_no_network_gets_a_second_place_in_it() -> None:
    search = Search(Id(0), Id(127), SMALL)
    at = [Contact(Id(id), Endpoint.of(f"203.0.113.{id}", 1)) for id in (1, 40)]
    others = [Contact(Id(id), Endpoint.of(f"203.0.{id}.1", 1)) for id in (2, 3)]
    search.seed([at[0], *others])
    search.room = 64
    for one in (at[0], *others):
        assert search.next() == Ask(one)
        search.answered(one)
    assert search.next() == Widen()
    search.widen(96, [at[1]], lot=0)
    assert isinstance(search.next(), Explore)


def test_an_exhausted_search_explores_no_region() -> None:
    search, steps = widened(40, 90, policy=Policy(k=3, alpha=2, search_queries=3))
    assert steps == []
    assert search.next() == Finished()
