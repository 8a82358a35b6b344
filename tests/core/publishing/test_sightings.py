"""The remains of a withdrawal if our address has changed since the entry was stored."""

from __future__ import annotations

from random import Random

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import LeftBehind, Withdrawn
from dhtd.core.ids import Id
from dhtd.core.messages import FindNode, FindValue, Store, Withdraw
from dhtd.core.policy import DEFAULT
from dhtd.core.publishing.own_lease import OwnLease
from dhtd.core.publishing.own_records import OwnRecords
from dhtd.core.publishing.sightings import Sightings
from dhtd.sim.network import Network
from dhtd.wire.native import TRAITS
from tests.core.bench import QUIET, US, Bench
from tests.core.small import contact, endpoint
from tests.records import SESSION, own_key

KEY = Id(77)
OLD, NEW = Endpoint.of("10.9.9.9", 1_729), Endpoint.of("10.8.8.8", 1_729)
HOUR = DEFAULT.store_expiry


def left(sightings: Sightings, withdrawn_as: dict[Endpoint, bytes], now: float = 0.0) -> list[LeftBehind]:
    return list(sightings.left_behind(80, withdrawn_as, now))


def test_one_address_leaves_nothing_behind() -> None:
    sightings = Sightings()
    sightings.add(endpoint(1), OLD, HOUR)
    assert left(sightings, {endpoint(1): OLD.ip}) == []


def test_stores_from_another_address_are_left_behind() -> None:
    sightings = Sightings()
    sightings.add(endpoint(1), OLD, HOUR)
    sightings.add(endpoint(1), NEW, HOUR + 60)
    assert left(sightings, {endpoint(1): NEW.ip}) == [(OLD.with_port(80), HOUR)]
    assert left(sightings, {endpoint(1): NEW.ip}, HOUR) == []


def test_others_tell_for_a_silent_holder() -> None:
    sightings = Sightings()
    sightings.add(endpoint(1), OLD, HOUR)
    six = Endpoint.of("fd00::1", 1_729)
    assert left(sightings, {}) == left(sightings, {six: six.ip}) == []
    assert left(sightings, {endpoint(2): OLD.ip}) == []
    assert left(sightings, {endpoint(2): NEW.ip}) == [(OLD.with_port(80), HOUR)]


def test_a_few_addresses_of_a_holder_are_remembered() -> None:
    sightings = Sightings()
    for number in range(20):
        sightings.add(endpoint(1), endpoint(number), HOUR + number)
    assert [entry.endpoint for entry in left(sightings, {endpoint(1): NEW.ip})] == [
        endpoint(number).with_port(80) for number in range(16, 20)
    ]
    sightings.add(endpoint(2), OLD, HOUR)
    sightings.forget_expired(HOUR + 17)
    assert len(sightings) == 1
    assert len(left(sightings, {endpoint(1): NEW.ip})) == 2
    sightings.forget(endpoint(1))
    sightings.forget(endpoint(1))
    assert len(sightings) == 0


def answer(bench: Bench, observed: Endpoint) -> None:
    """Answer all queries of the node, as a peer that sees it there."""
    while sent := bench.sent():
        for query in sent:
            if isinstance(query.request, FindNode | FindValue):
                bench.found(query, query.to[3])
            elif isinstance(query.request, Store | Withdraw):
                bench.pong(query, query.to[3], observed)


def test_a_delete_tells_what_it_leaves_behind() -> None:
    bench = Bench(policy=QUIET)
    bench.know(contact(1), contact(2))
    bench.node.commands.enter(KEY, 80, bench.now)
    answer(bench, US)
    bench.advance(60.0)
    bench.events()
    op, _ = bench.node.commands.delete(KEY, None, bench.now)
    answer(bench, NEW)
    withdrawn = bench.event(Withdrawn)
    assert (withdrawn.op, withdrawn.nodes, withdrawn.silent) == (op, 2, 0)
    assert withdrawn.left_behind == ((US.with_port(80), HOUR),)


def test_a_delete_after_a_move_names_the_old_endpoint() -> None:
    net = Network(3)
    net.grow(12)
    net.run_for(60.0)
    owner, other = net.hosts[:2]
    net.enter(owner, KEY, 80)
    before = owner.endpoint
    net.move(owner)
    withdrawn = net.delete(owner, KEY)
    assert [entry.endpoint for entry in withdrawn.left_behind] == [before.with_port(80)]
    assert net.lookup(other, KEY).endpoints == (before.with_port(80),)
    net.run_for(withdrawn.left_behind[0].until - net.now)
    assert net.lookup(other, KEY).endpoints == ()


def test_after_a_restart_a_delete_says_the_same() -> None:
    before = Bench(policy=QUIET)
    before.know(contact(1), contact(2))
    before.node.commands.enter(KEY, 80, before.now)
    answer(before, US)
    holders = before.node.publisher.holders(own_key(KEY, 80), before.now)
    after = Bench(policy=QUIET)
    after.know(contact(1), contact(2))
    after.node.publisher.restore_own(own_key(KEY, 80), after.now)
    for holder, until in holders.items():
        seen = before.node.publisher.seen_by(own_key(KEY, 80), holder.endpoint)
        assert seen == ((US.ip, HOUR),)
        after.node.publisher.restore_holder(own_key(KEY, 80), holder, until, after.now, seen)
    after.node.commands.delete(KEY, None, after.now)
    answer(after, NEW)
    [left] = after.event(Withdrawn).left_behind
    assert (left.endpoint, HOUR <= left.until <= HOUR + QUIET.query_timeout) == (US.with_port(80), True)
    assert after.node.publisher.seen_by(own_key(KEY, 80), contact(1).endpoint) == ()


def test_a_new_seen_address_is_to_be_saved() -> None:
    records = OwnRecords(Random(1), DEFAULT, OwnLease(SESSION, TRAITS, DEFAULT))
    entry = records.add(own_key(KEY, 80))
    for observed, is_news in ((OLD, True), (OLD, False), (NEW, True), (NEW, False), (OLD, True)):
        records.seen_at(entry, observed, endpoint(1), HOUR)
        assert records.take_changed() == ({own_key(KEY, 80)} if is_news else set())


def test_the_latest_restored_address_lasts_longest() -> None:
    sightings = Sightings()
    seen = ((bytes(4), HOUR), *((endpoint(number).ip, 100.0 * number) for number in range(1, 4)), (OLD.ip, 5.0))
    sightings.restore(endpoint(1), seen, 250.0, 100.0)
    assert sightings.of(endpoint(1)) == ((endpoint(2).ip, 200.0), (endpoint(3).ip, 250.0), (OLD.ip, 250.0))
    sightings.restore(endpoint(2), ((OLD.ip, 200.0), (OLD.ip, 200.0)), 300.0, 100.0)
    assert sightings.of(endpoint(2)) == ((OLD.ip, 300.0),)
    sightings.restore(endpoint(3), (), 300.0, 100.0)
    assert (sightings.of(endpoint(3)), len(sightings)) == ((), 2)
