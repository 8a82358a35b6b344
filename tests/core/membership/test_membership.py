"""A membership: what it concludes from answers and from silence."""

from __future__ import annotations

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.membership.facts import Doubtful, Fact, GivenUp, Heard, NewContact
from dhtd.core.messages import Contact, FindNode, Ping
from dhtd.core.policy import DEFAULT
from dhtd.core.querying.check import Check
from dhtd.core.querying.requester import Asked
from tests.core.bench import Bench
from tests.core.small import contact, endpoint


def query_to(bench: Bench, endpoint: Endpoint, id: Id | None) -> Asked:
    """Send a ping to a node, and return the query."""
    query = bench.node.requester.ask(Check(bench.node.requester), Ping(), endpoint, id, bench.now)
    bench.sent_one()
    return query


def heard(bench: Bench, answering: Contact, *, expected: Id | None) -> list[Fact]:
    """Have a node answer that was asked as another one, perhaps; return what is learnt."""
    query = query_to(bench, answering.endpoint, expected)
    return bench.node.memberships.first.heard(query, answering, 0.1, bench.now)


def knowing(*ids: int) -> Bench:
    bench = Bench()
    bench.know(*map(contact, ids))
    return bench


# Answers


def test_our_first_lookup_shows_the_networks_size() -> None:
    bench = Bench()
    bench.node.start([endpoint(1)], bench.now)
    bench.advance(0.0)
    bench.pong(bench.sent_one(), 1)
    size = bench.node.overlays.first.size
    query = bench.sent_one()
    assert query.request == FindNode(bench.node.own_id)
    assert size.estimate is None
    bench.found(query, 1, [contact(2)])
    bench.found(bench.sent_one(), 2)
    assert size.estimate == 3  # two others, and this node


def test_a_new_contact_is_two_facts() -> None:
    bench = knowing(1)
    assert heard(bench, contact(2), expected=Id(2)) == [Heard(contact(2), is_accepted=True), NewContact(contact(2))]
    assert bench.sent() == []  # we are connected, and look ourselves up no more


def test_a_known_contact_is_accepted_and_not_new() -> None:
    assert heard(knowing(1), contact(1), expected=Id(1)) == [Heard(contact(1), is_accepted=True)]


def test_a_contact_gives_way_to_the_node_in_its_place() -> None:
    bench = knowing(1, 2)
    ours = Contact(bench.node.own_id, endpoint(1))
    assert heard(bench, ours, expected=Id(1)) == [Heard(ours, is_accepted=False)]
    assert bench.node.overlays.contacts() == [contact(2)]


def test_a_wrongly_named_node_is_remembered_as_it_is() -> None:
    bench = knowing(1)
    changers = bench.node.overlays.first.state.changers
    heard(bench, contact(3), expected=None)
    heard(bench, contact(4), expected=Id(4))
    assert len(changers) == 0
    heard(bench, contact(5), expected=Id(6))
    assert len(changers) == 1
    assert changers.believes(contact(5), bench.now)


def test_a_claimed_contact_is_verified_with_a_witness() -> None:
    bench = knowing(1)
    bench.advance(DEFAULT.claim_after + 1.0)
    bench.sent()
    claimant = contact(1, machine=9)
    assert heard(bench, claimant, expected=None) == [Heard(claimant, is_accepted=False)]
    pings = bench.sent()
    assert [(ping.to, ping.request) for ping in pings] == [(endpoint(1), Ping()), (endpoint(9), Ping())]


# Silence


def test_a_contact_is_doubtful_and_then_given_up() -> None:
    bench = knowing(1, 2)
    membership = bench.node.memberships.first
    facts = [membership.unanswered(contact(1), bench.now - 1.0, bench.now) for _ in range(3)]
    assert facts == [[Doubtful(contact(1))], [GivenUp(contact(1))], []]
    assert bench.sent() == []
    assert not membership.is_in_doubt


def test_a_strangers_silence_says_nothing() -> None:
    bench = knowing(1)
    membership = bench.node.memberships.first
    for stranger in (contact(2), contact(1, machine=2)):
        assert membership.unanswered(stranger, bench.now - 1.0, bench.now) == []
        assert membership.unanswered(stranger, bench.now, bench.now) == []
    assert not membership.is_in_doubt


def test_silence_since_the_last_answer_raises_a_doubt() -> None:
    bench = knowing(1)
    membership = bench.node.memberships.first
    assert membership.unanswered(contact(1), bench.now, bench.now) == []
    assert membership.is_in_doubt
    assert bench.sent_one().to == endpoint(1)
