"""The region of a target: each part has its share, and within a part a lot decides."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.ids import Id, packed
from dhtd.core.querying.candidate import ANSWERED, FAILED, WAITING, Candidate
from dhtd.core.querying.region import Region
from tests.core.small import contact, endpoint

TARGET = Id(0)


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
def test_there_are_four_to_eight_parts_each_with_a_place_to_ask_about(radius: int, nodes: int) -> None:
    region = Region(Id(5), radius, nodes, lot=0, crowd=0)
    distances = [place ^ 5 for place in region.places()]
    assert distances == sorted(set(distances))
    assert len(distances) <= 8
    assert radius < 8 or len(distances) >= 4


def test_all_are_chosen_where_there_is_room() -> None:
    assert chosen(region(63, 32, lot=0), candidates(0, 1, 20, 40, 63)) == {0, 1, 20, 40, 63}


def test_who_crowds_one_part_takes_nothing_from_the_others() -> None:
    eight = region(63, 16, lot=0)  # eight parts, two of each
    assert len(chosen(eight, candidates(*range(8)))) == 2
    assert chosen(eight, candidates(*range(8), 9, 20, 30, 40, 41)) >= {9, 20, 30, 40, 41}


def test_which_of_too_many_are_chosen_is_a_matter_of_the_lot() -> None:
    rng = Random(1)
    drawn = [chosen(region(63, 8, rng.getrandbits(7)), candidates(*range(8))) for _ in range(100)]
    assert set().union(*drawn) == set(range(8))


def test_own_contacts_come_first() -> None:
    inside = candidates(*range(8))
    inside[5].namers = (endpoint(1), None)
    for lot in range(8):
        assert chosen(region(63, 8, lot), inside) == {5}


def test_who_holds_a_place_keeps_it_and_who_failed_has_none() -> None:
    inside = candidates(*range(8))
    inside[0].progress, inside[1].progress, inside[2].progress = ANSWERED, WAITING, FAILED
    assert chosen(region(63, 8, lot=0), inside) == {0, 1}
    assert chosen(region(63, 32, lot=2), inside) >= {0, 1}
    assert 2 not in chosen(region(63, 32, lot=2), inside)


def test_who_may_not_be_asked_is_passed_over() -> None:
    eight = region(63, 8, lot=0)
    assert [each.contact.id for each in eight.choose(candidates(3, 4), lambda one: one.contact.id != 3)] == [4]


def surveys(region: Region, *answered: int) -> list[tuple[int, int]]:
    """Return whom the region has asked about which places, if these have answered."""
    contacts = [contact(id) for id in answered]
    asked = []
    while (survey := region.survey(contacts, ())) is not None:
        guide, about = survey
        asked.append((int(guide.id), int(about)))
    return asked


def test_whoever_is_nearest_to_a_part_is_asked_about_it_and_not_the_crowd() -> None:
    parts = region(64, 32, crowd=3)  # of 16 each
    assert surveys(parts, 0, 1, 3, 20, 50) == [(20, 8), (20, 24), (50, 40), (50, 56)]


def test_the_crowd_is_asked_where_nobody_else_has_answered() -> None:
    assert {guide for guide, _ in surveys(region(64, 32, crowd=3), 0, 1, 3)} <= {0, 1, 3}


def test_a_part_is_asked_about_again_once_a_node_of_its_own_has_answered() -> None:
    parts = region(64, 32, crowd=3)
    assert [about for _, about in surveys(parts, 3, 70)] == [8, 24, 40, 56]
    assert surveys(parts, 3, 70, 41) == [(41, 40)]
    assert surveys(parts, 3, 70, 41, 42) == []


def test_a_place_that_is_being_asked_about_is_not_asked_about_again() -> None:
    parts = region(64, 32, crowd=3)
    assert parts.survey([contact(70)], {packed(Id(8))}) == (contact(70), 24)
