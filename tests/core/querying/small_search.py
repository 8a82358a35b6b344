"""Searches in the keyspace of seven bits, and the contacts that they ask."""

from __future__ import annotations

from dhtd.core.ids import Id
from dhtd.core.policy import Policy
from dhtd.core.querying.search import Search
from dhtd.core.querying.steps import Ask
from tests.core.small import contact

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
