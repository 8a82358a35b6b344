"""A lookup in the networks of both address families."""

from __future__ import annotations

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.events import LookupDone
from dhtd.core.policy import DEFAULT
from tests.core.both import KEY, both, id_at
from tests.core.small import MAPPED, contact, six


def test_a_lookup_ends_when_both_families_ended() -> None:
    bench = both()
    bench.know(contact(1), six(2))
    bench.node.commands.lookup(KEY, bench.now)
    first, second = bench.sent()
    assert {first.to, second.to} == {contact(1).endpoint, six(2).endpoint}
    bench.found(first, id_at(bench, first.to), endpoints=[Endpoint.of("192.0.2.7", 80)])
    assert not any(isinstance(event, LookupDone) for event in bench.events())
    bench.found(second, id_at(bench, second.to), endpoints=[Endpoint.of("2001:db8::7", 80), MAPPED])
    done = bench.event(LookupDone)
    assert set(done.endpoints) == {Endpoint.of("192.0.2.7", 80), Endpoint.of("2001:db8::7", 80)}
    assert (done.stats.queries, done.stats.responses, done.stats.hops) == (2, 2, 1)
    assert set(done.closest) == {contact(1), six(2)}


def test_one_unanswered_family_leaves_it_partial() -> None:
    bench = both()
    bench.know(contact(1), six(2))
    bench.node.commands.lookup(KEY, bench.now)
    of_ipv4, of_ipv6 = bench.sent()
    bench.found(of_ipv4, 1)
    bench.refuse(of_ipv6, 2)
    assert not bench.event(LookupDone).complete


def test_a_silent_family_is_not_asked() -> None:
    bench = both()
    bench.know(contact(1), six(2))
    bench.node.memberships[Family.IPV6].join.lost(bench.now)
    bench.node.commands.lookup(KEY, bench.now)
    bench.found(bench.sent_one(), 1)
    assert not bench.event(LookupDone).complete


def test_an_unknown_family_costs_a_lookup_nothing() -> None:
    bench = both()
    bench.know(contact(1))
    bench.node.commands.lookup(KEY, bench.now)
    bench.found(bench.sent_one(), 1)
    assert bench.event(LookupDone).complete


def test_one_family_leads_the_search_of_the_other() -> None:
    bench = both()
    bench.know(contact(1), six(2))
    bench.node.commands.lookup(KEY, bench.now)
    of_ipv4, of_ipv6 = bench.sent()
    bench.found(of_ipv4, 1, [six(5)])
    asked = bench.sent_one()
    assert asked.to == six(5).endpoint
    bench.found(of_ipv6, 2)
    bench.found(asked, 5)
    done = bench.event(LookupDone)
    assert done.stats.hops == 2
    assert done.closest == (contact(1), six(5), six(2))


def test_the_other_family_revives_a_search() -> None:
    bench = both()
    bench.know(contact(1), six(2))
    bench.node.commands.lookup(KEY, bench.now)
    of_ipv4, of_ipv6 = bench.sent()
    bench.refuse(of_ipv6, 2)
    assert bench.events() == []
    bench.found(of_ipv4, 1, [six(5)])
    bench.found(bench.sent_one(), 5, endpoints=[Endpoint.of("2001:db8::7", 80)])
    assert bench.event(LookupDone).endpoints == (Endpoint.of("2001:db8::7", 80),)


def test_a_search_without_answers_in_either_ends() -> None:
    bench = both()
    bench.know(contact(1), six(2))
    bench.node.commands.lookup(KEY, bench.now)
    for query in bench.sent():
        bench.refuse(query, id_at(bench, query.to))
    assert bench.event(LookupDone).stats.responses == 0


def test_silence_in_one_family_delays_no_end() -> None:
    bench = both()
    bench.know(contact(1), six(2))
    bench.node.commands.lookup(KEY, bench.now)
    of_ipv4, _ = bench.sent()
    bench.found(of_ipv4, 1)
    begin = bench.now
    while not any(isinstance(event, LookupDone) for event in bench.events()):
        bench.advance(0.05)
        assert bench.now < begin + DEFAULT.query_timeout
