"""Queries that liars can aim at one address in a lookup: one for each liar that names it, and few in all."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.policy import DEFAULT
from dhtd.core.querying.search import Search
from dhtd.core.querying.steps import Ask
from tests.core.small import contact


def asked_in_vain(named: Iterable[tuple[Contact, list[Contact]]], own: Iterable[Contact] = ()) -> list[Endpoint]:
    """Let namers answer and name these; return the contacts that the search then asks, if nobody ever answers."""
    search = Search(Id(0), Id(2**255), DEFAULT, patient=True)
    namers = list(named)
    search.seed([namer for namer, _ in namers])
    while isinstance(step := search.next(), Ask):
        search.answered(step.contact)
    for namer, contacts in namers:
        search.learn(namer.endpoint, contacts)
    search.seed(own)
    victims = []
    while isinstance(step := search.next(), Ask):
        victims.append(step.contact.endpoint)
        search.slow(step.contact.endpoint)
        search.late(step.contact.endpoint)
    return victims


def liars(count: int, hosts: Iterable[str]) -> list[tuple[Contact, list[Contact]]]:
    """Return liars near us; each names these hosts on its own port every time."""
    found, port = [], 1_000
    for number in range(count):
        named = []
        for host in hosts:
            port += 1
            named.append(Contact(Id(port), Endpoint.of(host, port)))
        found.append((contact(2**20 + number, machine=number), named))
    return found


def test_a_liar_sends_one_query_to_an_address() -> None:
    assert len(asked_in_vain(liars(1, ["203.0.113.9"] * 16))) == 1


def test_all_liars_send_few_queries_to_an_address() -> None:
    assert len(asked_in_vain(liars(8, ["203.0.113.9"] * 16))) == DEFAULT.lookup_silent_per_ip


@pytest.mark.parametrize("hosts", ["203.0.113.{}", "2001:db8:1:2::{}", "2001:db8:1:{}::1"])
def test_all_liars_send_few_queries_to_a_network(hosts: str) -> None:
    named = [hosts.format(number) for number in range(1, 17)]
    assert len(asked_in_vain(liars(8, named))) <= DEFAULT.lookup_silent_per_network


def test_a_private_swarm_may_be_mostly_dead() -> None:
    swarm = [Contact(Id(number), Endpoint.of("127.0.0.1", number)) for number in range(1, 100)]
    assert len(asked_in_vain([], own=swarm)) == DEFAULT.lookup_silent_exempt
    search = Search(Id(0), Id(2**255), DEFAULT, patient=True)
    search.seed(swarm)
    asked = 0
    while isinstance(step := search.next(), Ask):
        asked += 1
        if step.contact.id % 4:
            search.slow(step.contact.endpoint)
            search.late(step.contact.endpoint)
        else:
            search.answered(step.contact)
    assert asked >= 32


def test_a_late_answer_is_no_silence() -> None:
    search = Search(Id(0), Id(2**255), DEFAULT)
    search.seed([Contact(Id(number), Endpoint.of("203.0.113.9", number)) for number in range(1, 9)])
    asked = []
    while isinstance(step := search.next(), Ask):
        search.slow(step.contact.endpoint)
        asked.append(step.contact)
    assert len(asked) == DEFAULT.lookup_silent_per_ip
    search.answered(asked[-1])
    assert search.stats().responses == 1
    search.failed(Endpoint.of("203.0.113.9", 1), timeout=True)
    assert not isinstance(search.next(), Ask)  # the one that answered has the only place
