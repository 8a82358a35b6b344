"""A node of both address families: two networks, two tables, and the ways from one to the other."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from dhtd.core.address.external_address import ExternalAddress
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.events import Isolated, Joined, LookupDone, Published, Unanswered, Withdrawn
from dhtd.core.ids import Id
from dhtd.core.membership.joining import JoiningClock
from dhtd.core.messages import Contact, FindNode, FindValue, Found, Ping, Reply, Store, Withdraw
from dhtd.core.policy import DEFAULT
from dhtd.core.querying.search import Search
from dhtd.core.querying.steps import Ask
from dhtd.core.routing.overlay import Overlay
from dhtd.wire.native import NativeCodec
from tests.core.bench import QUIET, Bench, Sent
from tests.core.publishing.tracker import Tracker
from tests.core.small import CODEC, contact, endpoint
from tests.records import own_key

K = DEFAULT.k
KEY = Id(5)
MAPPED = Endpoint(bytes(10) + b"\xff\xff" + bytes((192, 0, 2, 9)) + b"\0P")


def six(id: int, machine: int | None = None) -> Contact:
    """Return the contact with this ID, on an IPv6 machine of the same number unless another is given."""
    return Contact(Id(id), Endpoint.of(f"2001:db8:{id if machine is None else machine:x}::1", 1729))


def both(**policy: object) -> Bench:
    return Bench(families=(Family.IPV4, Family.IPV6), policy=replace(QUIET, **policy))  # type: ignore[arg-type]


def tables(bench: Bench) -> list[set[Contact]]:
    return [set(overlay.state.table) for overlay in bench.node.overlays]


def to(sent: list[Sent], family: Family) -> list[Sent]:
    return [query for query in sent if query.to.family is family]


def id_at(bench: Bench, endpoint: Endpoint) -> int:
    (known,) = [known for known in bench.node.overlays.contacts() if known.endpoint == endpoint]
    return known.id


def answer_all(bench: Bench, family: Family | None = None) -> list[Sent]:
    """Answer every query to known nodes, or to those of one family, until there are no more; return them all."""
    seen = []
    while sent := bench.sent():
        seen += sent
        for query in sent:
            if family not in (None, query.to.family):
                continue
            match query.request:
                case FindNode() | FindValue():
                    bench.found(query, id_at(bench, query.to))
                case _:
                    bench.pong(query, id_at(bench, query.to))
    return seen


# Tables


def test_each_family_has_a_table_of_its_own() -> None:
    bench = both()
    bench.know(contact(9), six(9), six(10))
    assert tables(bench) == [{contact(9)}, {six(9), six(10)}]
    assert bench.node.overlays.contacts() == [contact(9), six(9), six(10)]


@pytest.mark.parametrize("asker", [contact(77), six(77)], ids=["IPv4", "IPv6"])
def test_an_answer_has_the_nearest_of_both_tables(asker: Contact) -> None:
    bench = both()
    bench.know(*map(contact, range(1, 5)), *map(six, range(10, 14)))
    codec = type(CODEC)(dual_stack=True)
    data = codec.encode_query(bytes(8), asker.id, FindNode(KEY))
    reply = CODEC.decode(bench.deliver(data, asker.endpoint) or b"")
    assert isinstance(reply, Reply)
    found = CODEC.decode_result(FindNode(KEY), reply.body)
    assert isinstance(found, Found)
    assert set(found.contacts) == {*map(contact, range(1, 5)), *map(six, range(10, 14))}


def test_an_asker_enters_the_table_of_its_family() -> None:
    bench = both()
    for stranger in (contact(9), six(9)):
        bench.query(Ping(), stranger)
        sent = bench.sent_one()
        assert sent.to == stranger.endpoint
        bench.pong(sent, 9)
        answer_all(bench)
    assert tables(bench) == [{contact(9)}, {six(9)}]


def test_a_single_family_node_ignores_the_other() -> None:
    bench = Bench()
    bench.know(contact(1))
    reply = bench.query(FindNode(KEY), six(9))
    assert isinstance(reply, Reply)
    assert bench.sent() == []
    bench.node.commands.ping(six(9).endpoint, bench.now)
    bench.pong(bench.sent_one(), 9)
    assert bench.node.overlays.contacts() == [contact(1)]
    bench.node.commands.ping(six(9).endpoint, bench.now)
    bench.advance(10.0)
    assert isinstance(bench.events()[-1], Unanswered)


def test_strangers_leave_both_families_a_reserve() -> None:
    bench = both(rate_limit_total=10.0)
    bench.know(contact(1), six(2))
    for machine in range(100):
        bench.query(Ping(), contact(9, machine=1_000 + machine))
        bench.query(Ping(), six(9, machine=1_000 + machine))
    assert bench.query(Ping(), contact(9, machine=2_000)) is None
    assert bench.query(Ping(), six(9, machine=2_000)) is None
    assert isinstance(bench.query(Ping(), contact(1)), Reply)
    assert isinstance(bench.query(Ping(), six(2)), Reply)


def test_only_reachable_contacts_are_restored() -> None:
    assert both().node.overlays.restore(six(9))
    assert not Bench().node.overlays.restore(six(9))
    assert not both().node.overlays.restore(Contact(Id(9), MAPPED))


# Joining


def test_either_family_connects_us() -> None:
    bench = both()
    bench.node.start([contact(1).endpoint, six(2).endpoint], bench.now)
    bench.advance(0.0)
    of_ipv4, of_ipv6 = bench.sent()
    assert (of_ipv4.to, of_ipv6.to) == (contact(1).endpoint, six(2).endpoint)
    connected = [bench.node.overlays.is_connected]
    bench.pong(of_ipv6, 2)
    assert [*connected, bench.node.overlays.is_connected] == [False, True]
    answer_all(bench)
    assert bench.events() == [Joined(1, Family.IPV6)]
    bench.pong(of_ipv4, 1)
    answer_all(bench)
    assert bench.events() == [Joined(1, Family.IPV4)]


def test_an_outage_is_told_of_one_family() -> None:
    bench = both()
    bench.know(contact(1), *map(six, range(10, 14)))
    for _ in range(3):
        bench.node.commands.lookup(KEY, bench.now)
        answer_all(bench, Family.IPV4)
        bench.advance(3.0)
        bench.sent()
    assert [event for event in bench.events() if isinstance(event, Isolated)] == [Isolated(Family.IPV6)]
    assert bench.node.overlays.is_connected
    assert tables(bench)[1] == set(map(six, range(10, 14)))


def make(k: int = K) -> tuple[Overlay, JoiningClock]:
    policy = replace(DEFAULT, k=k)
    overlay = Overlay(Family.IPV6, Id(0), CODEC, Random(1), policy, 0.0)
    return overlay, JoiningClock(overlay, Random(1), policy)


def test_the_first_rumour_is_followed_at_once() -> None:
    overlay, join = make()
    join.attempt_now(0.0)
    assert join.is_attempt_due(0.0)
    assert not join.is_attempt_due(0.0)
    overlay.hear_of([], 0.5)
    assert not join.is_attempt_due(0.5)
    overlay.hear_of([six(9)], 0.5)
    assert join.is_attempt_due(0.5)
    for number in range(100):
        overlay.hear_of([six(10 + number % 20)], 0.6)
        assert not join.is_attempt_due(0.6)


def test_the_latest_k_rumours_are_kept() -> None:
    overlay, _ = make(k=3)
    overlay.hear_of(map(six, (1, 2, 3)), 0.0)
    overlay.hear_of(map(six, (1, 4)), 0.0)
    assert overlay.rumours() == [six(3), six(1), six(4)]
    overlay.state.answered(six(1), 0.1, 0.0)
    assert overlay.rumours() == [six(3), six(4)]


def test_one_rumour_a_network_is_kept() -> None:
    """Each attempt to join sends a datagram to each rumour, and liars would name one victim on many ports."""
    (overlay, _), victim = make(), six(9)
    overlay.hear_of([six(1)], 0.0)
    overlay.hear_of([Contact(Id(number), victim.endpoint.with_port(number)) for number in range(20, 28)], 0.0)
    assert overlay.rumours() == [six(1), Contact(Id(27), victim.endpoint.with_port(27))]
    loopback = [Contact(Id(number), Endpoint.of("::1", number)) for number in range(30, 33)]
    overlay.hear_of(loopback, 0.0)  # a whole swarm may be there
    assert overlay.rumours()[2:] == loopback


def test_a_victim_on_many_ports_gets_one_datagram() -> None:
    bench = both()
    bench.node.start([endpoint(1)], bench.now)
    bench.advance(0.0)
    (ping,) = bench.sent()
    bench.pong(ping, 1)
    names = [Contact(Id(number), six(9).endpoint.with_port(number)) for number in range(20, 28)]
    for query in bench.sent():
        bench.found(query, 1, names)
    bench.advance(0.0)
    assert sum(sent.to.ip == six(9).endpoint.ip for sent in bench.sent()) == 1


def test_rumours_are_for_the_short_of_contacts() -> None:
    overlay, join = make(k=2)
    join.answered(0.0)
    overlay.state.answered(six(1), 0.1, 0.0)
    overlay.hear_of([six(5)], 0.0)
    assert overlay.rumours() == [six(5)]
    overlay.state.answered(six(2), 0.1, 0.0)
    overlay.hear_of([six(6)], 0.0)
    assert overlay.rumours() == [six(5)]
    join.lost(0.0)
    overlay.hear_of([six(6)], 0.0)
    assert overlay.rumours() == [six(5), six(6)]


def test_an_ipv4_node_joins_ipv6_by_rumours() -> None:
    bench = both()
    bench.node.start([contact(1).endpoint], bench.now)
    bench.advance(0.0)
    bench.pong(bench.sent_one(), 1)
    ours = bench.sent_one()
    bench.found(ours, 1, [contact(2), six(3), six(4, machine=5)])
    bench.advance(0.0)
    asked = to(bench.sent(), Family.IPV6)
    assert {query.to for query in asked} == {six(3).endpoint, six(4, machine=5).endpoint}
    assert {type(query.request) for query in asked} == {Ping}
    bench.pong(asked[0], 3)
    assert bench.sent_one().request == FindNode(Id(0))
    assert bench.node.overlays[Family.IPV6].is_connected


def test_a_rumour_is_probed_along_with_the_rest() -> None:
    bench = both(probe_interval=100.0)
    bench.know(contact(1), six(2))
    bench.node.overlays[Family.IPV6].hear_of([six(3)], bench.now)
    bench.advance(101.0)
    assert six(3).endpoint in {query.to for query in bench.sent()}


# Lookups, publications, withdrawals


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


def test_an_entry_is_stored_in_both_families() -> None:
    bench = both(k=2)
    bench.know(*map(contact, (4, 7, 64)), *map(six, (1, 4, 64)))
    bench.node.commands.enter(KEY, 80, bench.now)
    stores = [query.to for query in answer_all(bench) if isinstance(query.request, Store)]
    nearest = {contact(4), contact(7), six(4), six(1)}
    assert sorted(stores) == sorted(member.endpoint for member in nearest)
    published = bench.event(Published)
    assert set(published.replicas) == nearest
    assert published.asked == 4
    bench.node.commands.delete(KEY, None, bench.now)
    withdrawn = [query.to for query in answer_all(bench) if isinstance(query.request, Withdraw)]
    assert set(withdrawn) >= {member.endpoint for member in nearest}
    assert bench.event(Withdrawn).nodes == len(nearest)  # others are told to be sure, and not counted


def test_one_family_publishes_before_the_other() -> None:
    bench = both(k=1)
    bench.know(contact(4), six(1))
    bench.node.commands.enter(KEY, 80, bench.now)
    of_ipv4, of_ipv6 = bench.sent()
    bench.found(of_ipv4, 4)
    store = bench.sent_one()
    assert (type(store.request), store.to) == (Store, contact(4).endpoint)
    bench.pong(store, 4)
    assert bench.events() == []
    bench.found(of_ipv6, 1)
    bench.pong(bench.sent_one(), 1)
    assert set(bench.event(Published).replicas) == {contact(4), six(1)}


def test_a_cancelled_publication_asks_no_family() -> None:
    bench = both()
    bench.know(contact(4), six(1))
    bench.node.commands.enter(KEY, 80, bench.now)
    of_ipv4, of_ipv6 = bench.sent()
    bench.node.commands.delete(KEY, 80, bench.now)
    bench.sent()
    bench.found(of_ipv4, 4, [contact(7), six(7)])
    bench.found(of_ipv6, 1, [contact(6), six(6)])
    assert bench.sent() == []
    assert bench.event(Published).cancelled


# The parts


def test_a_search_is_silent_when_slots_are_late() -> None:
    search = Search(Id(0), Id(127), replace(DEFAULT, alpha=2))
    search.seed(map(six, range(1, 5)))
    assert search.is_silent(), "nobody was asked, and so nobody is waited for"
    for step in (search.next(), search.next()):
        assert isinstance(step, Ask)
    search.slow(six(1).endpoint)
    search.late(six(1).endpoint)
    assert not search.is_silent()
    search.failed(six(2).endpoint, timeout=True)
    assert search.is_silent()
    search.answered(six(1))
    assert not search.is_silent()


def test_the_other_familys_names_are_limited_too() -> None:
    search = Search(Id(0), Id(127), replace(DEFAULT, k=2))
    search.hear(contact(9).endpoint, map(six, range(20, 1, -1)), 3)
    assert [candidate.contact for candidate in search.candidates.order] == [six(2), six(3), six(4), six(5)]
    assert {candidate.hops for candidate in search.candidates.order} == {3}


def test_a_mapped_ipv4_address_is_nobodys_own() -> None:
    external = ExternalAddress(DEFAULT)
    external.vote(six(1).endpoint, MAPPED, 0.0)
    assert external.seen() == []


def entered(tracker: Tracker, now: float) -> None:
    entry = tracker.add(own_key(KEY, 80))
    tracker.began(entry, 0.0)
    tracker.published(own_key(KEY, 80), [contact(1)], now)


def test_a_reached_family_gets_missing_entries() -> None:
    tracker = Tracker(Random(1), DEFAULT)
    entered(tracker, 0.0)
    tracker.upheavals.joined(Family.IPV4, 5.0)
    assert (tracker.next_timeout() or 0) > 60.0
    tracker.upheavals.joined(Family.IPV6, 5.0)
    assert (tracker.next_timeout() or 0) <= 5.0 + DEFAULT.startup_spread


def test_a_family_reached_meanwhile_is_served_next() -> None:
    for family, wait in ((Family.IPV6, DEFAULT.startup_spread), (Family.IPV4, 2 * DEFAULT.republish)):
        tracker = Tracker(Random(1), DEFAULT)
        entry = tracker.add(own_key(KEY, 80))
        tracker.began(entry, 0.0)
        tracker.upheavals.joined(family, 1.0)
        tracker.published(own_key(KEY, 80), [contact(1)], 2.0)
        due = tracker.due_in(entry, 2.0)
        assert 0 < due <= wait
        assert (due > 60.0) is (family is Family.IPV4)


def test_a_contact_competes_within_its_family() -> None:
    policy = replace(DEFAULT, k=1)
    tracker = Tracker(Random(1), policy)
    entry = tracker.add(own_key(KEY, 80))
    tracker.began(entry, 0.0)
    tracker.published(own_key(KEY, 80), [contact(KEY ^ 1), six(KEY ^ 64)], 0.0)
    tracker.hurrying.contact_stayed(contact(KEY ^ 8), 1.0, 1.0)
    assert tracker.due_in(entry, 1.0) > policy.newcomer_gap * 2
    tracker.hurrying.contact_stayed(six(KEY ^ 8), 1.0, 1.0)
    assert tracker.due_in(entry, 1.0) < policy.newcomer_gap * 2


def test_one_familys_growth_is_its_own() -> None:
    tracker = Tracker(Random(1), DEFAULT)
    tracker.hurrying.network_has(100, Family.IPV4, 0.0)
    tracker.hurrying.network_has(10, Family.IPV6, 0.0)
    entered(tracker, 0.0)
    entry = tracker.add(own_key(KEY, 80))
    for _ in range(3):  # neither has changed
        tracker.hurrying.network_has(100, Family.IPV4, 1.0)
        tracker.hurrying.network_has(10, Family.IPV6, 1.0)
    assert tracker.due_in(entry, 1.0) > 2 * DEFAULT.republish_gap
    tracker.hurrying.network_has(20, Family.IPV6, 1.0)
    assert tracker.due_in(entry, 1.0) < 2 * DEFAULT.republish_gap


def test_our_neighbours_show_the_size_of_a_network() -> None:
    rng = Random(1)
    codec = NativeCodec()
    for size in (2, 5, 9, 50, 1000):
        own_id = codec.traits.keyspace.random(rng)
        overlay = Overlay(Family.IPV4, own_id, codec, rng, DEFAULT, 0.0)
        for number in range(size - 1):
            overlay.state.answered(Contact(codec.traits.keyspace.random(rng), endpoint(number)), None, 0.0)
        estimate = overlay.size_by_neighbours()
        assert estimate == size or (size > 8 and size / 3 < estimate < 3 * size)
