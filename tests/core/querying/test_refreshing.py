"""A lookup for the sake of the contacts on the way: what it reports, and once."""

from __future__ import annotations

from dataclasses import replace

from dhtd.core.endpoint import Family
from dhtd.core.ids import Id
from dhtd.core.messages import FindNode, Ping
from dhtd.core.querying.refreshing import Refreshed, Refreshing
from tests.core.bench import QUIET, Bench
from tests.core.both import both
from tests.core.played import LATE, SLOW, by_id
from tests.core.small import contact, endpoint, six

TARGET = Id(5)


def begin(bench: Bench, family: Family = Family.IPV4) -> tuple[Refreshing, list[Refreshed]]:
    reports: list[Refreshed] = []
    refreshing = Refreshing(bench.node.requester, bench.node.overlays, reports.append, TARGET, family)
    refreshing.start(bench.now)
    return refreshing, reports


def test_answers_are_counted_and_the_nearest_named() -> None:
    bench = Bench()
    bench.know(contact(1), contact(4))
    _, reports = begin(bench)
    for query in bench.sent():
        assert query.request == FindNode(TARGET)
        assert reports == []
        bench.found(query, query.to[3], token=b"token%d" % query.to[3])
    tokens = {endpoint(1): b"token1", endpoint(4): b"token4"}
    assert reports == [Refreshed(TARGET, Family.IPV4, 2, [contact(4), contact(1)], tokens)]


def test_one_familys_network_is_asked_alone() -> None:
    bench = both()
    bench.know(contact(1), six(2))
    _, reports = begin(bench, Family.IPV6)
    query = bench.sent_one()
    assert query.to == six(2).endpoint
    bench.found(query, 2)
    assert reports == [Refreshed(TARGET, Family.IPV6, 1, [six(2)], {six(2).endpoint: b"token"})]


def test_without_contacts_nobody_has_answered() -> None:
    _, reports = begin(Bench())
    assert reports == [Refreshed(TARGET, Family.IPV4, 0, [], {})]


def test_one_given_up_has_no_answers_and_asks_no_more() -> None:
    bench = Bench()
    bench.know(contact(1))
    refreshing, reports = begin(bench)
    query = bench.sent_one()
    refreshing.give_up(bench.now)
    assert reports == [Refreshed(TARGET, Family.IPV4, 0, [], {})]
    bench.found(query, 1, [contact(4)])
    refreshing.give_up(bench.now)
    assert bench.sent() == []
    assert len(reports) == 1


def test_what_has_ended_cannot_be_given_up() -> None:
    bench = Bench()
    bench.know(contact(1))
    refreshing, reports = begin(bench)
    bench.found(bench.sent_one(), 1)
    refreshing.give_up(bench.now)
    assert [report.responses for report in reports] == [1]


def test_slow_nodes_are_not_waited_for() -> None:
    bench = Bench()
    bench.know(contact(1), contact(4))
    _, reports = begin(bench)
    first, _ = bench.sent()
    bench.found(first, first.to[3])
    bench.advance(bench.node.policy.late_initial)
    assert [report.responses for report in reports] == [1]


def test_nobody_is_asked_about_places_behind_the_dead() -> None:
    near, dead, other_dead, behind, far = (TARGET ^ distance for distance in (8, 9, 10, 11, 20))
    bench = Bench(policy=replace(QUIET, k=3, alpha=2))
    bench.know(*map(contact, (near, dead, far)))
    _, reports = begin(bench)
    queries = by_id(bench.sent())
    bench.found(queries[near], near, list(map(contact, (dead, other_dead, behind))))
    bench.sent()
    bench.advance(SLOW)
    for id, query in by_id(bench.sent()).items():
        bench.found(query, id)
    bench.advance(LATE)
    assert all(query.request in (FindNode(TARGET), Ping()) for query in bench.sent())
    assert [report.responses for report in reports] == [3]
