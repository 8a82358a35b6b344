"""Which candidates a search may ask."""

from __future__ import annotations

from dhtd.core.ids import Id, Keyspace
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy
from dhtd.core.querying.search import Search
from dhtd.core.querying.steps import Ask, Finished, Wait
from tests.core.querying.small_search import ask, asks, make
from tests.core.small import contact, endpoint


def test_no_endpoint_is_asked_twice() -> None:
    search = make(10)
    assert ask(search) == 10
    search.learn(endpoint(10), [contact(10), contact(1, machine=10), contact(20), contact(20)])
    search.learn(endpoint(10), [contact(21, machine=20)])
    search.answered(contact(10))
    assert asks(search) == [20]
    search.answered(contact(20))
    assert search.next() == Finished()


def test_liars_cause_no_more_queries_than_allowed() -> None:
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
        contacts = [candidate.contact for candidate in search.candidates.order]
        assert len(set(contacts)) == len(contacts)
        assert all(search.candidates[contact].contact == contact for contact in contacts)
    assert asked == 50
    assert search.next() == Finished()
    assert search.stats().queries == 50


def test_the_last_allowed_queries_are_waited_for() -> None:
    search = make(10, 20, 30, policy=Policy(k=3, alpha=2, search_queries=2))
    assert asks(search) == [10, 20]
    search.answered(contact(10))
    assert search.next() == Wait()
    search.answered(contact(20))
    assert search.next() == Finished()
