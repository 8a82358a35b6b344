"""The facade: what goes in, what comes out, and what a node does by itself."""

from __future__ import annotations

import gc
from dataclasses import replace
from itertools import pairwise

import pytest

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.events import (
    Answered,
    Isolated,
    Joined,
    LookupDone,
    Published,
    Republished,
    Unanswered,
)
from dhtd.core.ids import Id
from dhtd.core.messages import (
    ERROR_METHOD,
    ERROR_PROTOCOL,
    Contact,
    Error,
    FindNode,
    FindValue,
    Ping,
    Store,
)
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.querying.lookup import Lookup
from dhtd.core.querying.search import Search
from dhtd.core.querying.traversal import Traversal
from dhtd.core.records import Peer
from dhtd.core.routing.standing import Standing
from dhtd.core.storage.held_record import HeldRecord
from tests.core.bench import QUIET, US, Bench, Sent
from tests.core.played import by_id, knowing
from tests.core.small import CODEC, contact, endpoint
from tests.records import KEPT, own_key

KEY = Id(77)
TIMEOUT = DEFAULT.query_timeout
STALE = 2 * TIMEOUT + 0.1


def answer_all(bench: Bench, *silent: int) -> list[Sent]:
    """Answer all queries of the node, each as the contact there; these are silent. Return the queries."""
    asked = []
    while sent := bench.sent():
        for query in sent:
            asked.append(query)
            known = bench.node.state.table.at(query.to)
            id = known.id if known is not None else query.to[2] << 8 | query.to[3]
            if id in silent:
                continue
            if isinstance(query.request, FindNode | FindValue):
                bench.found(query, id)
            else:
                bench.pong(query, id)
    return asked


def live(bench: Bench, seconds: float, *silent: int) -> list[Sent]:
    """Let time pass among peers that answer, except these; return the queries."""
    until = bench.now + seconds
    asked = answer_all(bench, *silent)
    while bench.now < until:
        bench.advance(min(0.5, until - bench.now))
        asked += answer_all(bench, *silent)
    return asked


def is_connected(bench: Bench) -> bool:
    return bench.node.overlays.first.is_connected


def joined(*ids: int, policy: Policy = QUIET) -> Bench:
    """Return a node that has joined through machine 1, its bootstrap endpoint."""
    bench = Bench(policy=policy)
    for id in ids:
        bench.node.overlays.restore(contact(id))
    bench.node.start([endpoint(1)], bench.now)
    bench.advance(0.0)
    answer_all(bench)
    assert bench.event(Joined) == Joined(len({1, *ids}), Family.IPV4)
    return bench


# Datagrams


@pytest.mark.parametrize("data", [b"", b"DHT\x01", b"DHT\x02\x90", b"DHS\x01" + bytes(60), b"d1:ad2:id20:"])
def test_garbage_and_other_versions_get_silence(data: bytes) -> None:
    bench = Bench()
    assert bench.deliver(data, endpoint(5)) is None
    assert bench.sent() == []
    assert bench.events() == []
    assert bench.node.counters.malformed == 1


@pytest.mark.parametrize(
    ("method", "args", "code", "text"),
    [
        ("frobnicate", [], ERROR_METHOD, "unknown method"),
        ("find_node", [], ERROR_PROTOCOL, "bad arguments"),
        ("ping", None, ERROR_PROTOCOL, "bad arguments"),
    ],
)
def test_a_query_with_wrong_content_gets_an_error(method: str, args: object, code: int, text: str) -> None:
    bench = Bench(own_id=5)
    answer = bench.deliver(CODEC._encode(0, b"12345678", Id(9), method, args), endpoint(9))
    assert answer is not None
    assert CODEC.decode(answer) == Error(b"12345678", Id(5), code, text)
    assert bench.node.counters.bad_queries == 1
    assert bench.sent() == []


def test_queries_above_the_rate_get_silence() -> None:
    bench = Bench(policy=replace(QUIET, rate_limit=1.0, rate_burst=2.0))
    bad = CODEC._encode(0, b"12345678", Id(9), "frobnicate", [])
    assert bench.query(Ping(), contact(9)) is not None
    assert bench.deliver(bad, endpoint(9)) is not None
    assert bench.query(Ping(), contact(9)) is None
    assert bench.deliver(bad, endpoint(9)) is None
    assert bench.node.counters.rate_limited == 2
    bench.node.commands.ping(endpoint(9), bench.now)
    bench.pong(bench.sent()[-1], 9)
    assert isinstance(bench.events()[0], Answered)
    bench.node.gate.limit_rate(0)
    assert all(bench.query(Ping(), contact(8)) for _ in range(1_000))
    bench.node.gate.limit_rate(1.0)
    assert [bench.query(Ping(), contact(8)) is None for _ in range(4)] == [False, False, True, True]


# Strangers


def test_a_stranger_enters_after_its_pong() -> None:
    bench = Bench()
    assert bench.query(Ping(), contact(9)) is not None
    assert len(bench.node.state.table) == 0
    ping = bench.sent_one()
    assert (ping.request, ping.to) == (Ping(), endpoint(9))
    assert bench.query(Ping(), contact(9)) is not None
    assert bench.sent() == []  # one ping at a time
    bench.pong(ping, 9)
    assert list(bench.node.state.table) == [contact(9)]


def test_a_silent_stranger_may_be_pinged_again() -> None:
    bench = Bench()
    bench.query(FindNode(KEY), contact(9))
    bench.sent_one()
    bench.advance(TIMEOUT)
    assert bench.sent_one().to == endpoint(9)  # once more, since we know hardly anybody
    bench.advance(TIMEOUT)
    assert bench.sent() == []
    assert len(bench.node.state.table) == 0
    bench.query(Ping(), contact(9))
    assert bench.sent_one().to == endpoint(9)


def test_a_well_connected_node_pings_once() -> None:
    bench = knowing(*range(1, 9))
    bench.query(Ping(), contact(100))
    assert bench.sent_one().to == endpoint(100)
    bench.advance(TIMEOUT)
    assert bench.sent() == []


def test_a_stranger_enters_under_its_answers_id() -> None:
    bench = Bench()
    bench.query(Ping(), contact(9))
    bench.pong(bench.sent_one(), 10)
    assert list(bench.node.state.table) == [contact(10, machine=9)]


def test_stranger_pings_in_flight_are_limited() -> None:
    bench = Bench(policy=replace(QUIET, stranger_pings=6, stranger_rate=1_000.0))
    for id in range(1, 10):
        bench.query(Ping(), contact(id))
    assert len(bench.sent()) == 3
    bench.advance(1.0)  # the rate would allow more by now
    for id in range(1, 10):
        bench.query(Ping(), contact(id))
    assert bench.sent() == []
    bench.advance(TIMEOUT)
    for id in range(10, 20):
        bench.query(Ping(), contact(id))
    assert len(bench.sent()) == 3


@pytest.mark.no_cover
def test_stranger_pings_have_a_rate() -> None:
    bench = Bench()
    pinged = 0
    for _ in range(100):
        for id in range(1, 100):
            bench.query(Ping(), contact(id))
        for sent in bench.sent():
            pinged += 1
            bench.refuse(sent, 0)  # an error under our own ID: never enters
        bench.now += 0.1
    assert pinged <= DEFAULT.stranger_pings + 10 * DEFAULT.stranger_rate


def test_silent_strangers_are_no_outage() -> None:
    bench = joined(2, 3)
    for id in range(40, 50):
        bench.query(Ping(), contact(id))
    assert len(bench.sent()) == DEFAULT.stranger_pings // 2
    bench.advance(STALE)
    assert bench.events() == []
    assert bench.node.overlays.first.is_connected


# Joining, leaving, coming back


def test_a_node_with_nobody_to_ask_waits_quietly() -> None:
    bench = Bench()
    bench.node.start([], bench.now)
    bench.advance(3_600.0)
    assert bench.sent() == []
    assert bench.events() == []


def test_starting_pings_bootstraps_and_contacts() -> None:
    bench = Bench()
    assert bench.node.overlays.restore(contact(5))
    assert not bench.node.overlays.restore(contact(5))
    bench.node.start([endpoint(1), endpoint(5)], bench.now)
    bench.advance(0.0)
    pings = by_id(bench.sent())
    assert {id: sent.request for id, sent in pings.items()} == {1: Ping(), 5: Ping()}  # 5 once


def test_the_first_answer_starts_our_own_lookup() -> None:
    bench = Bench(own_id=3)
    bench.node.start([endpoint(1)], bench.now)
    bench.advance(0.0)
    bench.pong(bench.sent_one(), 1)
    assert bench.events() == []
    lookup = bench.sent_one()
    assert lookup.request == FindNode(Id(3))
    bench.found(lookup, 1, [contact(9)])
    bench.found(bench.sent_one(), 9)
    assert bench.events() == [Joined(2, Family.IPV4)]


def test_unanswered_joining_slows_down() -> None:
    bench = Bench()
    bench.node.start([endpoint(1)], bench.now)
    attempts = []
    while bench.now < 3_600.0:
        bench.advance(1.0)
        attempts += [bench.now for _ in bench.sent()]
    eager = [when for when in attempts if when <= DEFAULT.join_eager + 1]
    assert 9 <= len(eager) <= 14
    assert all(later - earlier <= 2.0 for earlier, later in pairwise(eager))
    assert 10 <= len(attempts) - len(eager) <= 20
    assert attempts[-1] - attempts[-2] > 200


def test_a_late_join_leaves_pauses_short() -> None:
    bench = Bench()
    bench.node.start([endpoint(1)], bench.now)
    bench.advance(1_000.0)
    bench.sent()
    while not is_connected(bench):
        live(bench, 1.0)
    assert isinstance(bench.events()[-1], Joined)
    while is_connected(bench):
        bench.node.commands.lookup(KEY, bench.now)
        bench.advance(0.5)
    lost_at = bench.now
    while bench.sent():
        bench.advance(0.1)
    while not bench.sent():
        bench.advance(0.1)
    assert bench.now - lost_at <= DEFAULT.rejoin_first + 1


def test_one_lost_answer_does_not_stop_joining() -> None:
    bench = Bench()
    bench.node.publisher.restore_own(own_key(KEY, 80), bench.now)
    bench.node.start([endpoint(1)], bench.now)
    bench.advance(0.0)
    bench.pong(bench.sent_one(), 1)
    assert bench.sent_one().request == FindNode(Id(0))  # and no answer comes
    bench.advance(4.0)
    live(bench, 6.0 + DEFAULT.startup_spread)
    events = bench.events()
    assert [event for event in events if isinstance(event, Joined)] == [Joined(1, Family.IPV4)]
    assert [event.replicas for event in events if isinstance(event, Published | Republished)] == [(contact(1),)]


def test_an_answer_under_our_own_id_joins_nothing() -> None:
    bench = Bench(own_id=5)
    bench.node.start([endpoint(1)], bench.now)
    bench.advance(0.0)
    bench.pong(bench.sent_one(), 5)
    assert bench.sent() == []
    assert not bench.node.overlays.first.is_connected


def test_our_own_echo_blames_nobody_in_an_outage() -> None:
    bench = Bench(own_id=5)
    bench.know(contact(1), contact(2))
    bench.node.memberships.first.join.bootstrap = (US,)  # as where all machines have the same configuration
    for _ in range(5):
        bench.node.commands.ping(US, bench.now)
        bench.node.commands.lookup(Id(9), bench.now)
        bench.advance(0.01)
        for sent in bench.sent():
            if sent.to == US:
                bench.pong(sent, 5)
        bench.advance(DEFAULT.query_timeout)
    assert not bench.node.overlays.first.is_connected
    assert [bench.node.state.standing(known, bench.now) for known in (contact(1), contact(2))] == [Standing.GOOD] * 2


def test_a_waiting_entry_deleted_is_never_stored() -> None:
    bench = Bench()
    bench.node.start([endpoint(1)], bench.now)
    bench.advance(0.0)
    ping = bench.sent_one()
    enter = bench.node.commands.enter(KEY, 80, bench.now)
    bench.node.commands.delete(KEY, 80, bench.now)
    assert bench.events() == [Published(enter, KEY, 80, (), 0, cancelled=True)]
    bench.pong(ping, 1)
    assert not [sent for sent in answer_all(bench) if isinstance(sent.request, Store)]


def test_restored_entries_are_published_later() -> None:
    bench = Bench()
    bench.node.publisher.restore_own(own_key(KEY, 80), bench.now)
    bench.advance(60.0)
    assert bench.sent() == []
    bench.node.start([endpoint(1)], bench.now)
    bench.advance(0.0)
    answer_all(bench)
    bench.events()
    live(bench, DEFAULT.startup_spread)
    published = bench.event(Republished)
    assert (published.key, published.port, published.replicas) == (KEY, 80, (contact(1),))


def test_held_entries_are_restored_for_one_lease() -> None:
    bench = Bench(now=100.0)
    entry = HeldRecord(KEY, Peer(endpoint(7)), 0.0, 60, KEPT)
    bench.node.store.restore(entry, bench.now)
    assert list(bench.node.store) == [replace(entry, expires_at=160.0)]


def test_an_outage_evicts_nobody() -> None:
    bench = joined(2, 3, 4)
    members = set(bench.node.state.table)
    bench.node.commands.lookup(KEY, bench.now)
    bench.sent()
    bench.advance(30.0)
    assert bench.event(LookupDone).stats.responses == 0
    assert set(bench.node.state.table) == members
    assert all(bench.node.state.standing(member, bench.now) is Standing.GOOD for member in members)
    assert not bench.node.overlays.first.is_connected
    bench.sent()
    bench.advance(60.0)
    attempt = bench.sent()
    assert {sent.to for sent in attempt} == {member.endpoint for member in members}
    bench.advance(600.0)
    bench.sent()
    while not (attempt := bench.sent()):
        bench.advance(1.0)
    for sent in attempt:
        bench.pong(sent, sent.to[3])
    answer_all(bench)
    assert bench.events()[-1] == Joined(4, Family.IPV4)


def test_an_outage_is_told_once() -> None:
    bench = joined(2, 3, 4)
    for _ in range(3):
        bench.node.commands.lookup(KEY, bench.now)
    bench.advance(60.0)
    assert [event for event in bench.events() if isinstance(event, Isolated)] == [Isolated(Family.IPV4)]


def test_pinging_dead_machines_is_no_outage() -> None:
    bench = joined(2)
    for id in range(40, 45):
        bench.node.commands.ping(endpoint(id), bench.now)
    bench.advance(STALE)
    assert {type(event) for event in bench.events()} == {Unanswered}
    assert bench.node.overlays.first.is_connected


def test_lost_contacts_and_bootstraps_are_retried() -> None:
    bench = joined(2, policy=replace(QUIET, bucket_refresh=1e9))
    bench.advance(1.0)
    meta = bench.node.state.meta
    for _ in range(2):
        meta.timed_out(Id(2))
    assert bench.node.state.standing(contact(2), bench.now) is Standing.BAD
    asked = live(bench, DEFAULT.probe_interval)
    assert {sent.to for sent in asked if isinstance(sent.request, Ping)} == {endpoint(1), endpoint(2)}
    assert FindNode(Id(0)) in [sent.request for sent in asked]  # through the bootstrap endpoint, which leads to it
    assert bench.node.state.standing(contact(2), bench.now) is Standing.GOOD
    assert bench.events() == []  # on our own account: nobody is told


def test_a_silent_lost_contact_is_pinged_once() -> None:
    bench = joined(2, policy=replace(QUIET, bucket_refresh=1e9))
    for _ in range(2):
        bench.node.state.meta.timed_out(Id(2))
    asked = live(bench, DEFAULT.probe_interval + STALE, 2)
    assert [sent.to for sent in asked if isinstance(sent.request, Ping)].count(endpoint(2)) == 1


def test_nothing_lost_means_nothing_to_retry() -> None:
    bench = knowing(1, policy=replace(QUIET, bucket_refresh=1e9))
    bench.advance(2 * DEFAULT.probe_interval)
    assert bench.sent() == []


# Full buckets


def test_a_silent_contact_is_replaced() -> None:
    bench = knowing(1, 2, 4, 64, 80, 96, policy=replace(QUIET, k=3, bucket_refresh=1e9))
    bench.advance(DEFAULT.good_for)
    assert bench.sent() == []
    bench.node.commands.ping(endpoint(112), bench.now)
    bench.pong(bench.sent_one(), 112)
    pings = by_id(bench.sent())
    assert set(pings) == {64, 112}  # the newcomer is the witness that the network is up
    bench.advance(0.01)
    bench.pong(pings[112], 112)
    bench.advance(TIMEOUT)
    again = by_id(bench.sent())
    assert set(again) == {64, 112}
    assert bench.node.state.table.get(Id(112)) is None
    bench.advance(0.01)
    bench.pong(again[112], 112)
    bench.advance(TIMEOUT)
    assert bench.node.state.table.get(Id(64)) is None
    assert bench.node.state.table.get(Id(112)) == contact(112)


def test_a_contact_that_answers_stays() -> None:
    bench = knowing(1, 2, 4, 64, 80, 96, policy=replace(QUIET, k=3, bucket_refresh=1e9))
    bench.advance(DEFAULT.good_for)
    assert bench.sent() == []
    bench.node.commands.ping(endpoint(112), bench.now)
    bench.pong(bench.sent_one(), 112)
    answer_all(bench)
    bench.advance(STALE)
    assert bench.node.state.table.get(Id(64)) == contact(64)
    assert bench.node.state.table.get(Id(112)) is None


def test_a_contact_is_verified_once_at_a_time() -> None:
    bench = knowing(1, 2, 4, 64, 80, 96, policy=replace(QUIET, k=3, bucket_refresh=1e9, verifications=1))
    bench.advance(DEFAULT.good_for)
    assert bench.sent() == []
    for id in (112, 113):
        bench.node.commands.ping(endpoint(id), bench.now)
        bench.pong(bench.sent_one(), id)
        assert len(bench.sent()) == (2 if id == 112 else 0)
    bench.node.state.answered(contact(64), 0.1, bench.now)  # so that another would be next
    bench.node.commands.ping(endpoint(114), bench.now)
    bench.pong(bench.sent_one(), 114)
    assert bench.sent() == []


def test_a_bucket_of_good_contacts_checks_none() -> None:
    bench = knowing(1, 2, 4, 64, 80, 96, policy=replace(QUIET, k=3))
    bench.node.commands.ping(endpoint(112), bench.now)
    bench.pong(bench.sent_one(), 112)
    assert bench.sent() == []


# Refreshing


def test_stale_buckets_are_looked_up_one_by_one() -> None:
    bench = joined(2)
    bench.advance(DEFAULT.bucket_refresh + 1)
    asked = answer_all(bench)
    assert [sent for sent in asked if isinstance(sent.request, FindNode)]
    assert bench.events() == []


def test_one_wake_up_serves_all_buckets() -> None:
    bench = knowing(1, 2, 3, 4, 5, 64, 65, 66, 67, policy=DEFAULT)
    assert len(bench.node.state.table.buckets) >= 2
    for member in bench.node.state.table:
        for _ in range(DEFAULT.bad_after + 1):
            bench.node.state.meta.timed_out(member.id)
    bench.now += 2 * DEFAULT.bucket_refresh
    bench.node.handle_timeout(bench.now)
    wakes_at = bench.node.poll_timeout()
    assert wakes_at is not None
    assert wakes_at > bench.now


def test_one_wake_up_serves_all_entries() -> None:
    bench = Bench(policy=Policy(publishing=1))
    records = bench.node.own_records
    for port in (80, 443, 8080):
        records.due_at(records.add(own_key(KEY, port)), 10.0)
    bench.now = 10.0
    bench.node.handle_timeout(10.0)
    assert [entry.published_at for entry in records] == [10.0] * 3
    wakes_at = bench.node.poll_timeout()
    assert wakes_at is not None
    assert wakes_at > 10.0


def test_joining_asks_about_farther_buckets() -> None:
    bench = joined(1, 2, 3, 4, 5, 64, 65, 66, policy=replace(QUIET, k=4))
    assert len(bench.node.state.table.buckets) >= 2
    bench.advance(1.0)
    targets = {sent.request.target for sent in answer_all(bench) if isinstance(sent.request, FindNode)}
    assert targets
    assert all(target >= 4 for target in targets)


# Entries and their contacts


def test_a_new_near_contact_is_given_an_entry() -> None:
    bench = joined(2)
    bench.node.commands.enter(KEY, 80, bench.now)
    answer_all(bench)
    bench.events()
    bench.node.commands.ping(endpoint(76), bench.now)
    bench.pong(bench.sent_one(), 76)
    asked = live(bench, DEFAULT.republish_gap * 1.1)
    assert endpoint(76) in {sent.to for sent in asked if isinstance(sent.request, Store)}


# Events and their owners


@pytest.mark.no_cover
@pytest.mark.parametrize("ends", ["finished", "cancelled"])
def test_an_ended_lookup_needs_no_garbage_collection(ends: str) -> None:
    bench = joined(2, 3, 4)
    gc.collect()
    gc.disable()
    try:
        op = bench.node.commands.lookup(KEY, bench.now)
        if ends == "finished":
            answer_all(bench)
        else:
            bench.node.commands.cancel(op)
            bench.sent()
            bench.advance(STALE)
        bench.events()
        assert not [each for each in gc.get_objects() if isinstance(each, Lookup | Traversal | Search)]
    finally:
        gc.enable()


def test_spurious_timeouts_do_nothing() -> None:
    bench = joined(2, 3)
    bench.node.commands.lookup(KEY, bench.now)
    bench.sent()
    before = bench.node.poll_timeout()
    for _ in range(3):
        bench.node.handle_timeout(bench.now)
    assert bench.node.poll_timeout() == before
    assert bench.sent() == []
    assert bench.events() == []


def test_a_late_wake_up_does_all_that_was_due() -> None:
    bench = joined(2, 3)
    bench.node.commands.enter(KEY, 80, bench.now)
    answer_all(bench)
    bench.events()
    bench.now += 100_000.0
    bench.node.handle_timeout(bench.now)
    after = bench.node.poll_timeout()
    assert after is not None
    assert after > bench.now
    assert {sent.request for sent in bench.sent()} > {FindNode(KEY)}  # the publication, and a refresh


def test_a_quiet_contacts_id_is_pinged_on_a_query() -> None:
    bench = Bench(policy=replace(QUIET, good_for=1_000.0))
    bench.know(contact(5))
    moved = Contact(Id(5), endpoint(9))
    assert bench.query(Ping(), moved) is not None
    assert bench.sent() == []
    bench.advance(bench.node.policy.claim_after)
    assert bench.query(Ping(), contact(5)) is not None
    assert bench.sent() == []  # it is a good contact still, and there is nothing to learn of it
    assert bench.query(Ping(), moved) is not None
    assert [query.to for query in bench.sent()] == [moved.endpoint]


def test_a_query_under_our_own_id_is_ignored() -> None:
    """The query is our own, sent back, or comes from a node that claims our ID."""
    bench = Bench(own_id=5, policy=Policy(rate_limit=1.0, rate_burst=1.0))
    for source in (US, endpoint(9)):
        assert bench.query(Ping(), Contact(Id(5), source)) is None
        assert bench.query(FindNode(KEY), Contact(Id(5), source)) is None
        assert bench.deliver(CODEC._encode(0, b"12345678", Id(5), "frobnicate", []), source) is None
    assert bench.sent() == []
    assert len(bench.node.state.table) == 0
    counters = bench.node.counters
    assert (counters.own_id_claimed, bench.received(), counters.bad_queries) == (6, {}, 0)
    assert counters.rate_limited == 0
    assert bench.query(Ping(), contact(9)) is not None  # it does not use up the rate of its apparent sender either


# Cancelled, and our own


@pytest.mark.parametrize("source", ["10.0.0.5", "192.0.2.5"])
def test_our_own_query_coming_back_is_ignored(source: str) -> None:
    bench = Bench(own_id=5)
    bench.node.start([endpoint(5), endpoint(9)], bench.now)
    bench.advance(0.1)
    for transmit in iter(bench.node.poll_transmit, None):
        assert bench.deliver(transmit.data, Endpoint.of(source, 1_729)) is None
    assert bench.node.counters.own_id_claimed == 0
    bench.query(Ping(), Contact(Id(5), endpoint(5)))  # a copy of ours has other transactions
    assert bench.node.counters.own_id_claimed == 1
