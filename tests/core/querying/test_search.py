"""The iterative lookup, against an oracle that knows the whole network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, Keyspace
from dhtd.core.messages import Contact
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.querying.search import Search
from dhtd.core.querying.steps import Ask, Explore, Finished, SearchStats, Wait, Widen
from tests.core.small import SEVEN, contact, endpoint
from tests.strategies import ids

US = Id(0)
NOBODY = Id(127)
TARGET = Id(0)
SMALL = Policy(k=3, alpha=2)


def make(*seeds: int, target: int = 0, own_id: int = 127, policy: Policy = SMALL, patient: bool = False) -> Search:
    search = Search(Id(target), Id(own_id), policy, patient=patient)
    search.seed(contact(id) for id in seeds)
    return search


def ask(search: Search) -> int:
    step = search.next()
    assert isinstance(step, Ask)
    return step.contact.id


def asks(search: Search) -> list[int]:
    """Ask until the search wants to wait or is over."""
    asked = []
    while isinstance(step := search.next(), Ask):
        asked.append(int(step.contact.id))
    return asked


def test_a_search_that_knows_nobody_is_over_at_once() -> None:
    search = make()
    assert search.next() == Finished()
    assert search.closest() == []
    assert search.stats() == SearchStats(hops=0, queries=0, responses=0, timeouts=0)


def test_alpha_of_the_nearest_are_asked_first() -> None:
    search = make(40, 10, 30, 20, 50)
    assert asks(search) == [10, 20]
    assert search.next() == Wait()


def test_nearness_is_to_the_target_and_not_to_ourselves() -> None:
    assert asks(make(1, 2, 100, 101, target=101, own_id=0)) == [101, 100]


# Where the nearest crowd


def crowded(*, in_vain: bool = False, room: int = 64, policy: Policy = SMALL) -> Search:
    """Return a search whose three nearest have answered, at distances of up to 24, and that is at its end."""
    search = make(8, 16, 24, policy=policy)
    search.room, search.in_vain = room, in_vain
    for id in (8, 16, 24):
        assert ask(search) == id
        search.answered(contact(id))
    return search


@pytest.mark.parametrize(("in_vain", "least"), [(False, 48), (True, 30)])
def test_the_nearest_crowd_if_they_have_too_little_room(in_vain: bool, least: int) -> None:
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


def test_a_search_that_widens_asks_its_own_contacts_in_the_region_and_explores_each_part() -> None:
    search, steps = widened(40, 90, 100, 126)
    assert steps == [Ask(contact(40)), Ask(contact(90))]
    assert search.wanted() == 3
    for id in (40, 90):
        search.answered(contact(id))
    explored = []
    while isinstance(step := search.next(), Explore):
        explored.append((int(step.contact.id), int(step.about)))
        search.explored(step.contact.endpoint, step.about, [])
    # A radius of 96 in parts of 16, and nobody of the crowd, who are at 24 and nearer.
    assert explored == [(40, 8), (40, 24), (40, 40), (40, 56), (90, 72), (90, 88)]
    assert search.next() == Finished()
    assert search.wanted() == 5


def test_in_the_region_as_many_places_are_asked_about_at_once_as_nodes_elsewhere() -> None:
    search, steps = widened(40)
    assert [type(step) for step in steps] == [Ask, Explore, Explore]
    assert isinstance(steps[1], Explore)
    search.explored_enough(steps[1].about)
    assert isinstance(search.next(), Explore)
    assert search.next() == Wait()


@pytest.mark.parametrize("patient", [False, True])
def test_in_the_region_only_a_search_that_has_found_nothing_waits_for_the_slow(patient: bool) -> None:
    search, steps = widened(40)
    search.patient = patient
    search.slow(endpoint(40))
    for step in steps:
        if isinstance(step, Explore):
            search.explored_enough(step.about)
    while isinstance(after := search.next(), Explore):
        search.explored_enough(after.about)
    assert after == (Wait() if patient else Finished())


def test_in_the_region_no_network_gets_a_second_place() -> None:
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


def test_a_search_that_may_ask_no_more_explores_no_region() -> None:
    search, steps = widened(40, 90, policy=Policy(k=3, alpha=2, search_queries=3))
    assert steps == []
    assert search.next() == Finished()


def test_each_answer_frees_a_slot_for_the_next_nearest() -> None:
    search = make(40, 10, 30, 20, 50)
    asks(search)
    search.answered(contact(10))
    assert asks(search) == [30]
    search.learn(endpoint(20), [contact(5)])
    search.answered(contact(20))
    assert asks(search) == [5]


def test_a_node_that_is_full_answers_and_does_not_count_among_the_nearest() -> None:
    search = make(10, 20, 30, 40, 50)
    asks(search)
    search.learn(endpoint(10), [contact(5)])
    search.answered(contact(10), is_full=True)
    assert asks(search) == [5]  # whom it names counts
    search.answered(contact(5))
    search.answered(contact(20))
    assert asks(search) == [30]
    search.answered(contact(30))
    assert search.next() == Finished()
    assert search.closest() == [contact(5), contact(10), contact(20), contact(30)]
    assert search.stats() == SearchStats(hops=2, queries=4, responses=4, timeouts=0)


def test_where_everybody_is_full_the_search_ends_when_all_have_said_so() -> None:
    search = make(10, 20)
    asks(search)
    search.answered(contact(10), is_full=True)
    assert search.next() == Wait()
    search.answered(contact(20), is_full=True)
    assert search.next() == Finished()


def test_however_near_the_next_ones_are_no_more_than_twice_alpha_are_in_flight() -> None:
    search = make(60, 61)
    assert asks(search) == [60, 61]
    for who, names, asked in (
        (60, [30, 31, 32], [30, 31]),
        (30, [10, 11, 12], [10, 11]),
        (10, [1, 2, 3], [1]),
    ):
        search.learn(endpoint(who), [contact(id) for id in names])
        search.answered(contact(who))
        assert asks(search) == asked
    assert search.next() == Wait()  # 61, 31, 11 and 1
    search.slow(endpoint(61))
    assert asks(search) == [2]


def test_it_ends_when_the_k_nearest_have_answered_and_asks_nobody_farther() -> None:
    search = make(10, 20, 30, 40, 50)
    for id in (10, 20):
        assert ask(search) == id
        search.answered(contact(id))
    assert ask(search) == 30
    assert search.next() == Wait()
    search.answered(contact(30))
    assert search.next() == Finished()
    assert [member.id for member in search.closest()] == [10, 20, 30]


def test_who_fails_is_replaced_by_the_next_nearest() -> None:
    search = make(10, 20, 30, 40, 50)
    assert asks(search) == [10, 20]
    search.failed(endpoint(10), timeout=True)
    search.failed(endpoint(20), timeout=False)
    assert asks(search) == [30, 40]
    for id in (30, 40):
        search.answered(contact(id))
    assert ask(search) == 50
    search.answered(contact(50))
    assert search.next() == Finished()
    assert [member.id for member in search.closest()] == [30, 40, 50]
    assert search.stats() == SearchStats(hops=1, queries=5, responses=3, timeouts=1)


def test_who_is_slow_frees_its_slot_and_is_waited_for_until_it_is_late() -> None:
    search = make(10, 20, 30, 40, 50)
    assert asks(search) == [10, 20]
    search.slow(endpoint(10))
    assert ask(search) == 30
    search.answered(contact(20))
    search.answered(contact(30))
    assert ask(search) == 40
    search.answered(contact(40))
    assert search.next() == Wait()
    search.late(endpoint(10))
    assert search.next() == Finished()


def test_who_is_slow_and_too_far_to_matter_is_not_waited_for() -> None:
    search = make(10, 20, 30)
    assert asks(search) == [10, 20]
    search.slow(endpoint(20))
    search.learn(endpoint(10), [contact(1), contact(2)])
    search.answered(contact(10))
    assert asks(search) == [1, 2]
    search.answered(contact(1))
    search.answered(contact(2))
    assert search.next() == Finished()


def test_a_late_answer_counts_if_it_comes_before_the_end() -> None:
    search = make(10, 20, 30, 40)
    asks(search)
    search.slow(endpoint(10))
    search.learn(endpoint(10), [contact(1)])
    search.answered(contact(10))
    assert asks(search) == [1]
    search.answered(contact(1))
    search.answered(contact(20))
    assert search.next() == Finished()
    assert [member.id for member in search.closest()] == [1, 10, 20]


def test_an_answered_contact_cannot_turn_slow() -> None:
    search = make(10, 20, 30)
    asks(search)
    search.answered(contact(10))
    search.slow(endpoint(10))
    assert [member.id for member in search.closest()] == [10]


def test_while_nobody_has_answered_the_slow_are_waited_for() -> None:
    search = make(10, 20)
    asks(search)
    search.slow(endpoint(10))
    search.slow(endpoint(20))
    assert search.next() == Wait()
    search.failed(endpoint(10), timeout=True)
    assert search.next() == Wait()
    search.failed(endpoint(20), timeout=True)
    assert search.next() == Finished()


@pytest.mark.parametrize(("patient", "then"), [(False, Finished()), (True, Wait())])
def test_with_too_few_answers_only_the_patient_wait_for_the_late(patient: bool, then: Wait | Finished) -> None:
    search = make(10, 20, patient=patient)
    asks(search)
    search.slow(endpoint(10))
    search.answered(contact(20))
    assert search.next() == Wait()
    search.late(endpoint(10))
    assert search.next() == then
    search.failed(endpoint(10), timeout=True)
    assert search.next() == Finished()


def test_the_patient_wait_for_nobody_once_k_have_answered() -> None:
    search = make(10, 20, 30, 40, patient=True)
    asks(search)
    search.slow(endpoint(10))
    search.late(endpoint(10))
    for id in (20, 30, 40):
        asks(search)
        search.answered(contact(id))
    assert search.next() == Finished()


def test_patience_may_end_in_the_middle() -> None:
    search = make(10, 20, patient=True)
    asks(search)
    search.slow(endpoint(10))
    search.late(endpoint(10))
    search.answered(contact(20))
    assert search.next() == Wait()
    search.patient = False
    assert search.next() == Finished()


def test_we_are_never_asked_ourselves() -> None:
    search = make(10, 127)
    ask(search)
    search.learn(endpoint(10), [contact(127)])
    search.answered(contact(10))
    assert search.next() == Finished()


def test_no_endpoint_is_asked_twice_however_often_and_under_however_many_ids_it_is_named() -> None:
    search = make(10)
    assert ask(search) == 10
    search.learn(endpoint(10), [contact(10), contact(1, machine=10), contact(20), contact(20)])
    search.learn(endpoint(10), [contact(21, machine=20)])
    search.answered(contact(10))
    assert asks(search) == [20]
    search.answered(contact(20))
    assert search.next() == Finished()


def test_a_false_endpoint_under_a_true_id_does_not_hide_the_true_one() -> None:
    search = make(10, 20)
    assert asks(search) == [10, 20]
    search.learn(endpoint(10), [contact(5, machine=99)])
    search.answered(contact(10))
    assert search.next() == Ask(contact(5, machine=99))
    search.learn(endpoint(20), [contact(5)])
    search.answered(contact(20))
    assert search.next() == Ask(contact(5))


def test_a_true_endpoint_under_a_false_id_does_not_hide_the_true_one() -> None:
    search = make(10, 20, 30, 40)
    assert asks(search) == [10, 20]
    search.learn(endpoint(10), [contact(126, machine=5)])
    search.answered(contact(10))
    search.learn(endpoint(20), [contact(5)])
    search.answered(contact(20))
    assert asks(search) == [5]  # and then enough are on their way


def test_another_node_than_expected_counts_under_its_own_id_and_is_not_asked_again() -> None:
    search = make(10, 20)
    assert asks(search) == [10, 20]
    search.learn(endpoint(10), [contact(11, machine=10), contact(3)])
    search.answered(contact(11, machine=10))
    assert search.next() == Ask(contact(3))
    search.answered(contact(3))
    search.answered(contact(20))
    assert search.next() == Finished()
    assert [member.id for member in search.closest()] == [3, 11, 20]
    assert search.stats() == SearchStats(hops=2, queries=3, responses=3, timeouts=0)


def test_who_claims_to_be_us_has_not_answered() -> None:
    search = make(10, 20)
    asks(search)
    search.answered(contact(127, machine=10))
    search.answered(contact(20))
    assert search.next() == Finished()
    assert search.closest() == [contact(20)]


def test_whose_nodes_keep_failing_is_heard_last() -> None:
    search = make(100, 101, 102, 103, 104, policy=Policy(k=4, alpha=2))
    assert asks(search) == [100, 101]
    search.learn(endpoint(100), [contact(id) for id in range(1, 9)])
    search.answered(contact(100))
    assert asks(search) == [1, 2]
    search.slow(endpoint(1))
    search.failed(endpoint(2), timeout=False)
    assert asks(search) == [102]  # 3 to 8 are in doubt; 101 is still being asked
    search.learn(endpoint(101), [contact(8)])
    search.answered(contact(101))
    assert asks(search) == [8]  # another vouches for it
    search.answered(contact(8))
    assert asks(search) == [3, 4]  # one that answered outweighs one that did not


def test_whose_nodes_are_late_but_answer_is_in_no_doubt() -> None:
    search = make(100, 101, 102, 103, 104, policy=Policy(k=4, alpha=2))
    asks(search)
    search.learn(endpoint(100), [contact(id) for id in range(1, 5)])
    search.answered(contact(100))
    search.failed(endpoint(101), timeout=True)
    assert asks(search) == [1, 2]
    search.slow(endpoint(1))
    search.slow(endpoint(2))
    assert asks(search) == [102, 103]
    search.answered(contact(1))
    search.answered(contact(102))
    assert asks(search) == [3, 4]


def test_a_late_answer_speaks_for_its_namer_as_much_as_one_in_time() -> None:
    search = make(100, 101, 102, 103, 104, policy=Policy(k=4, alpha=2))
    asks(search)
    search.learn(endpoint(100), [contact(id) for id in range(1, 9)])
    search.answered(contact(100))
    search.failed(endpoint(101), timeout=True)
    assert asks(search) == [1, 2]
    search.slow(endpoint(1))
    search.slow(endpoint(2))
    assert asks(search) == [102, 103]
    search.answered(contact(1))
    assert asks(search) == [3, 4]
    search.failed(endpoint(3), timeout=True)
    assert asks(search) == [5]  # one has answered and two have not, which is one too many: not yet alpha


def test_who_is_in_doubt_is_asked_where_nobody_else_is_left() -> None:
    search = make(100, policy=Policy(k=4, alpha=2))
    asks(search)
    search.learn(endpoint(100), [contact(id) for id in range(1, 5)])
    search.answered(contact(100))
    for id in (1, 2, 3):
        assert ask(search) == id
        search.failed(endpoint(id), timeout=True)
    assert ask(search) == 4


def half_done(policy: Policy = SMALL, *, thorough: bool = True) -> Search:
    """Return a search of which 8 and 11 have answered, 9 and 10 are slow, and 20 is being asked.

    8, 9, 10 and 11 are all that anybody has named, so live ones between 11 and 20 may have gone unnamed.
    """
    search = Search(TARGET, NOBODY, policy, thorough=thorough)
    search.seed(contact(id) for id in (8, 9, 20))
    assert asks(search) == [8, 9]
    search.learn(endpoint(8), [contact(id) for id in (9, 10, 11)])
    search.answered(contact(8))
    for id in (9, 10):
        asks(search)
        search.slow(endpoint(id))
        search.late(endpoint(id))
    asks(search)
    search.answered(contact(11))
    return search


def test_who_is_hidden_by_the_dead_is_asked_for_in_the_ranges_behind_them() -> None:
    search = half_done()
    assert search.next() == Explore(contact(8), Id(8))
    assert search.next() == Wait()
    search.explored(endpoint(8), Id(8), [contact(9), contact(10), contact(11)])
    assert search.next() == Explore(contact(8), Id(16))  # all up to 11 were known, so who is behind 15?
    search.explored(endpoint(8), Id(16), [contact(17), contact(20), contact(21)])
    assert asks(search) == [17]
    search.answered(contact(17))
    assert search.next() == Finished()  # nobody nearer than 21 is unnamed; 20 may answer or not
    assert [member.id for member in search.closest()] == [8, 11, 17]
    assert search.stats() == SearchStats(hops=2, queries=8, responses=3, timeouts=0)


def test_who_is_asked_about_a_place_is_the_nearest_to_it_of_those_that_have_answered() -> None:
    search = half_done()
    search.next()
    search.explored(endpoint(8), Id(8), [contact(12), contact(13), contact(14)])
    assert asks(search) == [12]
    search.learn(endpoint(12), [contact(id) for id in (8, 9, 10)])
    search.answered(contact(12))
    assert search.next() == Finished()


def test_a_range_with_fewer_than_k_nodes_was_named_whole() -> None:
    search = half_done()
    search.next()
    search.explored(endpoint(8), Id(8), [contact(9), contact(11), contact(3, machine=9)])
    search.failed(endpoint(20), timeout=True)
    search.seed([contact(15)])
    assert asks(search) == [15]
    search.answered(contact(15))
    assert search.next() == Finished()  # not to be explored: 15 is the last of the range


def test_who_names_nodes_before_the_place_that_it_was_asked_about_has_named_all_behind_it_in_the_range() -> None:
    search = half_done()
    assert search.next() == Explore(contact(8), Id(8))
    search.explored(endpoint(8), Id(8), [contact(1), contact(2), contact(3)])  # so there is nobody from 8 to 15
    assert asks(search) == [1, 2]
    search.learn(endpoint(1), [contact(id) for id in (2, 3, 4)])
    search.answered(contact(1))
    for id in (2, 3, 4):
        asks(search)
        search.failed(endpoint(id), timeout=True)
    assert search.next() == Finished()  # what is behind 4, the node at 8 has named
    assert [member.id for member in search.closest()] == [1, 8, 11]


def test_whoever_is_not_thorough_explores_nothing() -> None:
    search = half_done(thorough=False)
    search.answered(contact(20))
    assert search.next() == Finished()


@pytest.mark.parametrize(
    "policy", [Policy(k=3, alpha=2, search_explorations=0), Policy(k=3, alpha=2, search_queries=5)]
)
def test_explorations_keep_to_the_policy(policy: Policy) -> None:
    assert half_done(policy).next() == Wait()


def test_of_who_names_too_few_to_say_what_lies_behind_them_nothing_is_concluded() -> None:
    search = Search(TARGET, NOBODY, SMALL, thorough=True)
    search.seed(contact(id) for id in (8, 9, 20))
    asks(search)
    search.learn(endpoint(8), [contact(9), contact(11)])
    search.answered(contact(8))
    search.failed(endpoint(9), timeout=True)
    assert asks(search) == [11, 20]
    search.answered(contact(11))
    assert search.next() == Wait()


def test_a_place_is_asked_about_once() -> None:
    search = half_done(Policy(k=3, alpha=2, search_explorations=9))
    for about in (8, 16):
        assert search.next() == Explore(contact(8), Id(about))
        search.explored_enough(Id(about))
    assert search.next() == Wait()  # from 32 on everybody is farther than 20


def test_with_fewer_than_k_alive_it_explores_as_far_as_anybody_is_known() -> None:
    search = half_done()
    search.next()
    search.explored_enough(Id(8))
    search.failed(endpoint(20), timeout=True)
    assert search.next() == Explore(contact(8), Id(16))
    search.explored(endpoint(8), Id(16), [contact(21), contact(22), contact(23)])
    assert asks(search) == [21]


def test_one_name_said_often_is_no_endless_exploration() -> None:
    search = Search(TARGET, NOBODY, SMALL, thorough=True)
    search.seed(contact(id) for id in (8, 9, 20))
    asks(search)
    search.learn(endpoint(8), [contact(0)] * 3)
    search.answered(contact(8))
    assert asks(search) == [0]
    search.failed(endpoint(0), timeout=True)
    assert asks(search) == [20]
    search.answered(contact(20))
    assert search.next() == Explore(contact(8), Id(1))
    search.explored(endpoint(8), Id(1), [contact(0)] * 3)
    assert search.next() == Explore(contact(8), Id(2))
    search.explored_enough(Id(2))
    assert search.next() == Wait()
    search.answered(contact(9))
    assert search.next() == Finished()


def test_a_late_exploration_counts_and_ends_no_other() -> None:
    search = half_done()
    assert search.next() == Explore(contact(8), Id(8))
    search.explored_enough(Id(8))
    assert search.next() == Explore(contact(8), Id(16))
    search.explored(endpoint(8), Id(8), [contact(9), contact(11), contact(12)])
    assert asks(search) == [12]
    search.answered(contact(12))
    assert search.next() == Wait()  # for what lies behind 16
    search.explored_enough(Id(16))
    assert search.next() == Finished()


def test_an_answer_has_no_more_contacts_than_an_honest_one_could_have() -> None:
    search = make(100, policy=Policy(k=2))
    asks(search)
    search.learn(endpoint(100), [contact(id) for id in range(9, 0, -1)])
    search.answered(contact(100))
    assert [member.contact.id for member in search.candidates.order] == [1, 2, 3, 4, 100]


def test_hops_count_from_contacts_of_our_own_along_the_answers() -> None:
    search = make(64)
    for id in (64, 32, 16):
        assert ask(search) == id
        search.learn(endpoint(id), [contact(id // 2)])
        search.answered(contact(id))
    assert search.stats().hops == 3
    assert ask(search) == 8
    assert search.stats() == SearchStats(hops=3, queries=4, responses=3, timeouts=0)


def test_no_more_nodes_are_asked_than_the_policy_says_whatever_we_are_told() -> None:
    wide = Keyspace(32)
    policy = Policy(k=8, search_queries=50, search_candidates=100)
    search = Search(Id(0), Id(wide.size - 1), policy)
    search.seed([Contact(Id(2**31), endpoint(0))])
    asked = 0
    while isinstance(step := search.next(), Ask):
        asked += 1
        # A liar: each node names sixteen that are ever nearer.
        nearer = [Contact(Id(step.contact.id - 1 - place), endpoint(asked * 16 + place)) for place in range(16)]
        search.learn(step.contact.endpoint, nearer)
        search.answered(step.contact)
        assert len(search.candidates.order) <= 100
        assert set(search.candidates._by_contact) == {candidate.contact for candidate in search.candidates.order}
    assert asked == 50
    assert search.next() == Finished()
    assert search.stats().queries == 50


def test_queries_in_flight_are_waited_for_after_the_last_that_the_policy_allows() -> None:
    search = make(10, 20, 30, policy=Policy(k=3, alpha=2, search_queries=2))
    assert asks(search) == [10, 20]
    search.answered(contact(10))
    assert search.next() == Wait()
    search.answered(contact(20))
    assert search.next() == Finished()


def test_the_farthest_that_nobody_asked_give_way_and_may_come_back() -> None:
    search = make(40, policy=Policy(k=3, search_candidates=3))
    assert ask(search) == 40
    search.learn(endpoint(40), [contact(20), contact(30), contact(35), contact(10)])
    assert [candidate.contact.id for candidate in search.candidates.order] == [10, 20, 40]  # who was asked stays
    search.failed(endpoint(40), timeout=True)
    assert asks(search) == [10, 20]
    search.learn(endpoint(10), [contact(5)])  # all were asked: there is no room for anybody new
    assert [candidate.contact.id for candidate in search.candidates.order] == [10, 20, 40]
    search = make(10, 20, 30, 40, policy=Policy(k=3, search_candidates=3))
    assert [candidate.contact.id for candidate in search.candidates.order] == [10, 20, 30]
    assert ask(search) == 10
    search.learn(endpoint(10), [contact(5, machine=40)])  # the endpoint of one that gave way is free again
    assert [candidate.contact.id for candidate in search.candidates.order] == [5, 10, 20]


@dataclass
class Network:
    """Every node, whom it knows, and how it behaves; drives one search to its end."""

    known: dict[Contact, list[Contact]]
    dead: set[Contact]
    slow: set[Contact]
    asked: list[Contact] = field(default_factory=list)

    def run(self, search: Search, policy: Policy, rng: Random) -> None:
        in_flight: list[Contact] = []
        late: list[Contact] = []
        for _ in range(10_000):
            step = search.next()
            if isinstance(step, Ask):
                assert step.contact not in self.asked
                self.asked.append(step.contact)
                in_flight.append(step.contact)
                nearest = sorted(search.candidates._by_contact, key=lambda member: member.id ^ search.target)
                gone = {member for member in nearest if search.candidates[member].progress.name in ("FAILED", "SLOW")}
                among_nearest = [member for member in nearest if member not in gone][: policy.k]
                assert sum(member in among_nearest for member in in_flight) <= policy.alpha
                continue
            if isinstance(step, Finished):
                return
            assert in_flight or late, "the search waits for nobody"
            if in_flight and (not late or rng.random() < 0.8):
                member = in_flight.pop(rng.randrange(len(in_flight)))
                if member in self.slow:
                    search.slow(member.endpoint)
                    late.append(member)
                    continue
            else:
                member = late.pop(rng.randrange(len(late)))
            if member in self.dead:
                search.failed(member.endpoint, timeout=True)
            else:
                search.learn(member.endpoint, self.known[member])
                search.answered(member)
        raise AssertionError("the search does not end")


def nearest_known(members: list[Contact], from_id: Id, rng: Random) -> list[Contact]:
    """Return what a Kademlia node knows: K of each distance class, all of the nearest."""
    by_class: dict[int, list[Contact]] = {}
    for member in members:
        if member.id != from_id:
            by_class.setdefault((member.id ^ from_id).bit_length(), []).append(member)
    return [kept for one_class in by_class.values() for kept in rng.sample(one_class, min(8, len(one_class)))]


@pytest.mark.parametrize("seed", range(25))
def test_it_finds_the_true_k_closest_of_a_whole_network(seed: int) -> None:
    rng = Random(seed)
    wide = Keyspace(32)
    everyone = [Contact(wide.random(rng), endpoint(number)) for number in range(300)]
    known = {member: nearest_known(everyone, member.id, rng) for member in everyone}
    target = wide.random(rng)

    def answer(of: Contact) -> list[Contact]:
        return sorted(known[of], key=lambda member: member.id ^ target)[: DEFAULT.k]

    search = Search(target, wide.random(rng), DEFAULT)
    search.seed(rng.sample(everyone, 3))
    network = Network({member: answer(member) for member in known}, dead=set(), slow=set())
    network.run(search, DEFAULT, rng)
    truth = sorted(everyone, key=lambda member: member.id ^ target)[: DEFAULT.k]
    assert search.closest()[: DEFAULT.k] == truth
    assert len(network.asked) < 60
    assert search.stats().queries == len(network.asked)


@given(st.data(), st.booleans(), st.integers(1, 4), st.integers(1, 4), st.integers(0, 1000))
def test_it_ends_asks_nobody_twice_and_finds_the_closest_of_all_that_it_could_reach(
    data: st.DataObject, patient: bool, k: int, alpha: int, seed: int
) -> None:
    policy = Policy(k=k, alpha=alpha)
    everyone = [contact(id) for id in data.draw(st.lists(ids(SEVEN), unique=True, min_size=1, max_size=30))]
    target = data.draw(ids(SEVEN))
    rng = Random(seed)
    known = {member: [rng.choice(everyone) for _ in range(rng.randint(0, 6))] for member in everyone}
    dead = {member for member in everyone if rng.random() < 0.3}
    slow = {member for member in everyone if rng.random() < 0.2}
    seeds = rng.sample(everyone, min(len(everyone), 3))
    own_id = data.draw(ids(SEVEN))
    search = Search(target, own_id, policy, patient=patient)
    search.seed(seeds)
    network = Network(known, dead, slow)
    network.run(search, policy, rng)

    def by_nearness(members: Iterable[Contact]) -> list[Contact]:
        return sorted(members, key=lambda member: member.id ^ target)

    answered = search.closest()
    asked = set(network.asked)
    assert own_id not in {member.id for member in asked}
    assert answered == by_nearness(answered)
    assert set(answered) <= asked - dead
    stats = search.stats()
    assert stats.queries == len(network.asked) == len(asked)
    assert stats.responses == len(answered)
    assert stats.timeouts <= len(dead & asked)
    # Everyone who was named by somebody who answered and is nearer than the K-th answer was asked, too, unless
    # whoever named it has named too many that did not answer.
    taken = {
        member: {other for other in by_nearness(known[member])[: 2 * k] if other.id != own_id} for member in answered
    }
    credible = [names for names in taken.values() if len(names & (dead | slow)) < alpha]
    own = {member for member in seeds if member.id != own_id}
    bound = (answered[k - 1].id ^ target) if len(answered) >= k else SEVEN.size
    missed = {member for member in own.union(*credible) - asked if member.id ^ target < bound}
    assert not missed
    if patient and len(answered) < k:
        assert asked == own.union(*taken.values())
        assert set(answered) == asked - dead


def test_who_holds_a_slot_still_does_not_turn_late() -> None:
    search = make(10, 20)
    assert asks(search) == [10, 20]
    search.late(endpoint(10))  # the rest of its answer is, which a query of its own asks for
    search.answered(contact(20))
    assert search.next() == Wait()
    search.answered(contact(10))
    assert search.next() == Finished()
