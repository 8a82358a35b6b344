"""The memberships of a node: what concerns one family goes to that one, and the rest to all."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dhtd.core.counters import VERIFICATIONS
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import Id
from dhtd.core.membership.facts import CutOff, Doubtful, Heard, NewContact
from dhtd.core.membership.memberships import Memberships
from dhtd.core.membership.waiting import Patience
from dhtd.core.messages import Contact, FindNode, Ping
from dhtd.core.querying.check import Check
from dhtd.core.querying.requester import Asked
from dhtd.core.routing.admission import RoutingState
from tests.core.bench import Bench, Sent
from tests.core.both import both
from tests.core.small import contact, endpoint, six

FOUR, SIX = Family.IPV4, Family.IPV6


def query_to(bench: Bench, endpoint: Endpoint, id: Id | None) -> Asked:
    """Send a ping to a node, and return the query."""
    query = bench.node.requester.ask(Check(bench.node.requester), Ping(), endpoint, id, bench.now)
    bench.sent_one()
    return query


def begin(memberships: Memberships, bench: Bench, *endpoints: Endpoint, names: bool = False, at_once: bool) -> None:
    memberships.start(iter(endpoints), (), bench.now, awaits_names=names, at_once=at_once)


def where(sent: Sequence[Sent]) -> set[Endpoint]:
    return {query.to for query in sent}


def test_each_family_has_one_membership() -> None:
    node = both().node
    memberships = node.memberships
    assert [membership.overlay for membership in memberships] == list(node.overlays)
    assert memberships.first is memberships[FOUR]
    assert memberships[SIX].overlay is node.overlays[SIX]


def test_all_families_verify_within_one_cap() -> None:
    bench = both(verifications=1)
    verifying = bench.node.memberships.verifying
    assert {membership._verifying for membership in bench.node.memberships} == {verifying}
    verifying.verify(contact(1), contact(2), bench.now)
    verifying.verify(six(3), six(4), bench.now)
    assert len(verifying) == 1
    assert bench.node.counters.caps_hit[VERIFICATIONS] == 1


# What the owner may want to know


def test_only_a_family_without_answers_is_asked() -> None:
    bench = both()
    bench.know(six(2))
    bench.advance(1.0)
    since = bench.now
    bench.advance(1.0)
    bench.know(contact(1))
    memberships = bench.node.memberships
    is_asking = [memberships.is_asking_around]
    memberships.ask_around(since, bench.now)
    is_asking.append(memberships.is_asking_around)
    ping = bench.sent_one()
    assert (ping.to, ping.request) == (six(2).endpoint, Ping())
    bench.pong(ping, 2)
    assert [*is_asking, memberships.is_asking_around] == [False, True, False]


def test_names_are_awaited_if_any_family_does() -> None:
    bench = both()
    memberships = bench.node.memberships
    awaits = [memberships.awaits_names]
    begin(memberships, bench, names=True, at_once=False)
    awaits.append(memberships.awaits_names)
    memberships[FOUR].join.awaits_names = False
    awaits.append(memberships.awaits_names)
    begin(memberships, bench, names=False, at_once=False)
    assert [*awaits, memberships.awaits_names] == [False, True, True, False]


def test_a_name_or_an_endpoint_is_somebody_to_join_by() -> None:
    bench = both()
    memberships = bench.node.memberships
    has_somebody = [memberships.has_somebody_to_join_by]
    begin(memberships, bench, names=True, at_once=False)
    has_somebody.append(memberships.has_somebody_to_join_by)
    begin(memberships, bench, endpoint(1), at_once=False)
    assert [*has_somebody, memberships.has_somebody_to_join_by] == [False, True, True]


def test_a_family_joins_by_its_own_endpoints() -> None:
    bench = both()
    memberships = bench.node.memberships
    begin(memberships, bench, six(2).endpoint, endpoint(1), endpoint(3), at_once=False)
    assert memberships[FOUR].join.bootstrap == (endpoint(1), endpoint(3))
    assert memberships[SIX].join.bootstrap == (six(2).endpoint,)
    assert memberships.endpoints_to_join_by() == [endpoint(1), endpoint(3), six(2).endpoint]


@pytest.mark.parametrize("at_once", [True, False])
def test_known_endpoints_are_tried_at_once_if_asked_to(at_once: bool) -> None:
    bench = both()
    endpoints = endpoint(1), six(2).endpoint
    begin(bench.node.memberships, bench, *endpoints, at_once=False)
    bench.advance(60.0)
    bench.sent()
    begin(bench.node.memberships, bench, *endpoints, at_once=at_once)
    bench.advance(0.0)
    assert where(bench.sent()) == (set(endpoints) if at_once else set())


# Waiting


def test_a_node_without_a_way_in_waits_if_patient() -> None:
    bench = both()
    waits = {patience: bench.node.memberships.must_wait(patience, bench.now) for patience in Patience}
    assert waits == {Patience.LITTLE: False, Patience.SOME: False, Patience.ENDLESS: True}


def test_one_family_that_is_joining_is_waited_for() -> None:
    bench = both()
    begin(bench.node.memberships, bench, six(2).endpoint, at_once=False)
    assert all(bench.node.memberships.must_wait(patience, bench.now) for patience in Patience)


def test_an_attempt_is_waited_for_while_it_is_eager() -> None:
    bench = both()
    bench.node.overlays.restore(contact(1))
    begin(bench.node.memberships, bench, six(2).endpoint, at_once=True)
    eager_until = bench.now + bench.node.policy.join_eager
    assert bench.node.memberships.must_wait(Patience.SOME, bench.now)
    assert not bench.node.memberships.must_wait(Patience.SOME, eager_until)


def test_a_connected_family_ends_all_waiting() -> None:
    bench = both()
    begin(bench.node.memberships, bench, endpoint(1), at_once=False)
    bench.know(six(2))
    assert [bench.node.memberships.must_wait(patience, bench.now) for patience in Patience] == [False, False, False]


# What happens to us


def test_other_networks_of_ours_concern_all_families(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = both()
    bench.know(contact(1), six(2))
    told: list[tuple[bytes, ...]] = []
    monkeypatch.setattr(RoutingState, "live_in", lambda state, own: told.append(own))
    ours = (endpoint(1).ip[:3],)
    bench.node.memberships.live_in(ours, bench.now)
    assert told == [ours, ours]
    sent = bench.sent()
    assert where(sent) == {contact(1).endpoint, six(2).endpoint}
    assert {query.request for query in sent} == {FindNode(bench.node.own_id)}


def test_a_move_concerns_all_families() -> None:
    bench = both()
    bench.know(contact(1), six(2))
    bench.advance(120.0)
    bench.sent()
    bench.node.memberships.moved(bench.now)
    assert [overlay.next_introduction() for overlay in bench.node.overlays] == [bench.now, bench.now]


@pytest.mark.parametrize(("lost", "asked"), [(contact(9), contact(1)), (six(9), six(2))])
def test_a_lost_node_is_looked_for_in_its_family(lost: Contact, asked: Contact) -> None:
    bench = both()
    bench.know(contact(1), six(2))
    bench.node.memberships.find_lost(lost, bench.now)
    query = bench.sent_one()
    assert (query.to, query.request) == (asked.endpoint, FindNode(lost.id))


# What the answers to queries say


@pytest.mark.parametrize("node", [contact(9), six(9)])
def test_an_answer_is_news_to_its_family(node: Contact) -> None:
    bench = both()
    query = query_to(bench, node.endpoint, node.id)
    facts = bench.node.memberships.heard(query, node, 0.1, bench.now)
    assert facts == [Heard(node, is_accepted=True), NewContact(node)]
    assert bench.node.overlays.contacts() == [node]


def test_an_answer_of_a_foreign_family_says_nothing() -> None:
    bench = Bench()
    query = query_to(bench, six(9).endpoint, Id(9))
    assert bench.node.memberships.heard(query, six(9), 0.1, bench.now) == []


def test_a_silent_contact_is_doubtful_to_its_family() -> None:
    bench = both()
    bench.know(contact(1), six(2))
    query = query_to(bench, six(2).endpoint, Id(2))
    bench.advance(0.1)
    bench.know(six(3))
    memberships = bench.node.memberships
    assert memberships.unanswered(query, bench.now - 0.05, bench.now) == [Doubtful(six(2))]


def test_the_time_of_a_query_tells_if_silence_counts() -> None:
    bench = both()
    bench.know(contact(1))
    query = query_to(bench, endpoint(1), Id(1))
    assert bench.node.memberships.unanswered(query, bench.now, bench.now) == []  # none has answered since


def test_silence_of_nobody_we_know_says_nothing() -> None:
    bench = Bench()
    bench.know(contact(1))
    memberships = bench.node.memberships
    for silent, id in ((six(1).endpoint, Id(1)), (endpoint(1), None)):
        query = query_to(bench, silent, id)
        assert memberships.unanswered(query, bench.now - 1.0, bench.now) == []


def test_facts_of_all_families_are_taken_once() -> None:
    bench = both()
    memberships = bench.node.memberships
    for membership in memberships:
        membership._is_down(None, bench.now)
    assert memberships.poll_facts() == [CutOff(FOUR), CutOff(SIX)]
    assert memberships.poll_facts() == []


def test_every_familys_timers_wake_the_node() -> None:
    memberships = both().node.memberships
    assert memberships.next_timeouts() == [*memberships[FOUR].next_timeouts(), *memberships[SIX].next_timeouts()]
