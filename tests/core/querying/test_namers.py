"""How much a search trusts a namer."""

from __future__ import annotations

from dhtd.core.policy import Policy
from tests.core.querying.small_search import ask, asks, make
from tests.core.small import contact, endpoint


def test_a_namer_of_failing_nodes_is_heard_last() -> None:
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


def test_late_answers_clear_their_namer() -> None:
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


def test_a_late_answer_counts_as_much_as_others() -> None:
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


def test_a_doubted_node_is_asked_if_no_other_is_left() -> None:
    search = make(100, policy=Policy(k=4, alpha=2))
    asks(search)
    search.learn(endpoint(100), [contact(id) for id in range(1, 5)])
    search.answered(contact(100))
    for id in (1, 2, 3):
        assert ask(search) == id
        search.failed(endpoint(id), timeout=True)
    assert ask(search) == 4
