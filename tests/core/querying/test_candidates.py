"""The candidates of a search, by nearness."""

from __future__ import annotations

from dhtd.core.policy import Policy
from dhtd.core.querying.steps import Finished
from tests.core.querying.small_search import ask, asks, make
from tests.core.small import contact, endpoint


def test_the_farthest_give_way_and_may_come_back() -> None:
    search = make(40, policy=Policy(k=3, search_candidates=3))
    assert ask(search) == 40
    search.learn(endpoint(40), [contact(20), contact(30), contact(35), contact(10)])
    assert [candidate.contact.id for candidate in search.candidates.order] == [10, 20, 40]  # an asked candidate stays
    search.failed(endpoint(40), timeout=True)
    assert asks(search) == [10, 20]
    search.learn(endpoint(10), [contact(5)])  # all were asked: there is no room for anybody new
    assert [candidate.contact.id for candidate in search.candidates.order] == [10, 20, 40]
    search = make(10, 20, 30, 40, policy=Policy(k=3, search_candidates=3))
    assert [candidate.contact.id for candidate in search.candidates.order] == [10, 20, 30]
    assert ask(search) == 10
    search.learn(endpoint(10), [contact(5, machine=40)])  # the endpoint of one that gave way is free again
    assert [candidate.contact.id for candidate in search.candidates.order] == [5, 10, 20]


def test_we_are_no_candidate_ourselves() -> None:
    search = make(10, 127)
    ask(search)
    search.learn(endpoint(10), [contact(127)])
    search.answered(contact(10))
    assert search.next() == Finished()
