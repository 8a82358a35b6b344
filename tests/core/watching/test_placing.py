"""The search for holders, and its ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.messages import Contact
from dhtd.core.policy import DEFAULT
from dhtd.core.watching.own_watch import OwnWatch
from dhtd.core.watching.placing import Placed, Placing
from tests.core.bench import QUIET, Bench
from tests.core.played import KEY
from tests.core.small import contact


class Asked:
    """Takes what is asked, and asks nobody."""

    def __init__(self) -> None:
        self.contacts: list[Contact] = []

    def ask(self, watch: OwnWatch, contact: Contact, token: bytes, placing: Placing | None, now: float) -> None:
        self.contacts.append(contact)


def placing() -> tuple[Placing, Asked, list[Placed]]:
    """Return a search that has found two nodes, and asks them."""
    bench, asks, told = Bench(), Asked(), list[Placed]()
    bench.know(contact(1), contact(2))
    placing = Placing(bench.node.requester, bench.node.overlays, told.append, asks, OwnWatch(KEY, 15.0))
    placing.start(bench.now)
    for sent in bench.sent():
        bench.found(sent, sent.to[3])
    assert set(asks.contacts) == {contact(1), contact(2)}
    assert told == []
    return placing, asks, told


def test_a_full_region_does_not_have_all_nodes_asked() -> None:
    """As many full nodes as are wanted do not count, and no more."""
    bench, asks = Bench(policy=replace(QUIET, k=2)), Asked()
    bench.know(contact(1), contact(2))
    full = list(map(contact, (77, 76, 79, 78, 73, 72)))  # the nearest first
    search = Placing(bench.node.requester, bench.node.overlays, lambda _: None, asks, OwnWatch(KEY, 15.0))
    search.start(bench.now)
    while sent := bench.sent():
        for each in sent:
            bench.found(each, each.to[3], full, token=b"")
    assert asks.contacts == full[:4]


def test_it_ends_with_the_last_answer() -> None:
    search, _, told = placing()
    search.taken(contact(1), 1.0)
    assert told == []
    search.not_taken(contact(2), 1.0)
    assert told == [Placed(frozenset({contact(1)}), frozenset({6}))]
    search.taken(contact(2), 2.0)  # it had been slow
    assert len(told) == 1


def test_a_slow_node_is_near_all_the_same() -> None:
    search, _, told = placing()
    search.taken(contact(1), 1.0)
    for _ in range(2):
        search.overdue(contact(2), 1.0)
    assert told == [Placed(frozenset({contact(1), contact(2)}), frozenset({6}))]


def test_a_search_does_not_wait_for_a_slow_node() -> None:
    bench, asks, told = Bench(), Asked(), list[Placed]()
    bench.know(contact(1), contact(2))
    search = Placing(bench.node.requester, bench.node.overlays, told.append, asks, OwnWatch(KEY, 15.0))
    search.start(bench.now)
    [sent, _] = bench.sent()
    bench.found(sent, sent.to[3])
    bench.advance(DEFAULT.late_floor + 0.1)
    assert len(asks.contacts) == 1
    search.taken(asks.contacts[0], bench.now)
    assert told == [Placed(frozenset(asks.contacts), frozenset({6}))]


def test_given_up_it_ends_once() -> None:
    search, _, told = placing()
    search.give_up(1.0)
    search.give_up(1.0)
    assert told == [Placed(frozenset({contact(1), contact(2)}), frozenset({6}))]


def test_given_up_in_its_search_it_ends_as_well() -> None:
    bench, told = Bench(), list[Placed]()
    bench.know(contact(1), contact(2))
    search = Placing(bench.node.requester, bench.node.overlays, told.append, Asked(), OwnWatch(KEY, 15.0))
    search.start(bench.now)
    search.give_up(1.0)
    assert told == [Placed(frozenset(), frozenset())]


@pytest.mark.parametrize("what", ["overdue", "not_taken", "refused"])
def test_one_node_is_asked_in_place_of_another(what: str) -> None:
    bench, asks = Bench(policy=replace(QUIET, k=2)), Asked()
    bench.know(contact(1), contact(2))
    near = list(map(contact, (77, 76, 79, 78)))
    search = Placing(bench.node.requester, bench.node.overlays, lambda _: None, asks, OwnWatch(KEY, 15.0))
    search.start(bench.now)
    while sent := bench.sent():
        for each in sent:
            bench.found(each, each.to[3], near)
    assert asks.contacts == near[:2]
    getattr(search, what)(near[0], bench.now)
    assert len(asks.contacts) == 3


def test_cancelled_it_tells_nothing() -> None:
    search, _, told = placing()
    search.cancel()
    search.taken(contact(1), 1.0)
    search.taken(contact(2), 1.0)
    search.give_up(1.0)
    assert told == []
