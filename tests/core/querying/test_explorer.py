"""Nodes hidden by dead ones, and how a search finds them."""

from __future__ import annotations

import pytest

from dhtd.core.ids import Id
from dhtd.core.policy import Policy
from dhtd.core.querying.search import Search
from dhtd.core.querying.steps import Explore, Finished, SearchStats, Wait
from tests.core.querying.small_search import NOBODY, SMALL, TARGET, asks
from tests.core.small import contact, endpoint


def half_done(policy: Policy = SMALL, *, thorough: bool = True) -> Search:
    """Return a search in which 8 and 11 have answered, 9 and 10 are slow, and 20 is being asked.

    Only 8, 9, 10 and 11 were named, so live nodes between 11 and 20 may have gone unnamed.
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


def test_nodes_hidden_by_dead_ones_are_explored() -> None:
    search = half_done()
    assert search.next() == Explore(contact(8), Id(8))
    assert search.next() == Wait()
    search.explored(endpoint(8), Id(8), [contact(9), contact(10), contact(11)])
    assert search.next() == Explore(contact(8), Id(16))  # all up to 11 were known; now it asks for nodes behind 15
    search.explored(endpoint(8), Id(16), [contact(17), contact(20), contact(21)])
    assert asks(search) == [17]
    search.answered(contact(17))
    assert search.next() == Finished()  # nobody nearer than 21 is unnamed; 20 may answer or not
    assert [member.id for member in search.closest()] == [8, 11, 17]
    assert search.stats() == SearchStats(hops=2, queries=8, responses=3, timeouts=0)


def test_the_node_nearest_to_a_place_is_asked_about_it() -> None:
    search = half_done()
    search.next()
    search.explored(endpoint(8), Id(8), [contact(12), contact(13), contact(14)])
    assert asks(search) == [12]
    search.learn(endpoint(12), [contact(id) for id in (8, 9, 10)])
    search.answered(contact(12))
    assert search.next() == Finished()


def test_fewer_than_k_names_are_a_whole_range() -> None:
    search = half_done()
    search.next()
    search.explored(endpoint(8), Id(8), [contact(9), contact(11), contact(3, machine=9)])
    search.failed(endpoint(20), timeout=True)
    search.seed([contact(15)])
    assert asks(search) == [15]
    search.answered(contact(15))
    assert search.next() == Finished()  # not to be explored: 15 is the last of the range


def test_names_before_the_place_mean_none_behind() -> None:
    search = half_done()
    assert search.next() == Explore(contact(8), Id(8))
    search.explored(endpoint(8), Id(8), [contact(1), contact(2), contact(3)])  # so there is nobody from 8 to 15
    assert asks(search) == [1, 2]
    search.learn(endpoint(1), [contact(id) for id in (2, 3, 4)])
    search.answered(contact(1))
    for id in (2, 3, 4):
        asks(search)
        search.failed(endpoint(id), timeout=True)
    assert search.next() == Finished()  # the node at 8 has named all nodes behind 4
    assert [member.id for member in search.closest()] == [1, 8, 11]


def test_only_a_thorough_search_explores() -> None:
    search = half_done(thorough=False)
    search.answered(contact(20))
    assert search.next() == Finished()


@pytest.mark.parametrize(
    "policy", [Policy(k=3, alpha=2, search_explorations=0), Policy(k=3, alpha=2, search_queries=5)]
)
def test_explorations_keep_to_the_policy(policy: Policy) -> None:
    assert half_done(policy).next() == Wait()


def test_too_few_names_prove_nothing() -> None:
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


def test_with_few_alive_it_explores_to_the_farthest() -> None:
    search = half_done()
    search.next()
    search.explored_enough(Id(8))
    search.failed(endpoint(20), timeout=True)
    assert search.next() == Explore(contact(8), Id(16))
    search.explored(endpoint(8), Id(16), [contact(21), contact(22), contact(23)])
    assert asks(search) == [21]


def test_a_repeated_name_ends_exploration() -> None:
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


def test_a_late_exploration_ends_no_other() -> None:
    search = half_done()
    assert search.next() == Explore(contact(8), Id(8))
    search.explored_enough(Id(8))
    assert search.next() == Explore(contact(8), Id(16))
    search.explored(endpoint(8), Id(8), [contact(9), contact(11), contact(12)])
    assert asks(search) == [12]
    search.answered(contact(12))
    assert search.next() == Wait()  # for nodes behind 16
    search.explored_enough(Id(16))
    assert search.next() == Finished()
