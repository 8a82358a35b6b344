"""A pause of the machine that the node's clock does not count: everything known is older than it seems."""

from __future__ import annotations

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import FindNode
from dhtd.core.policy import DEFAULT
from dhtd.core.routing.standing import Standing
from tests.core.bench import Bench
from tests.core.small import contact
from tests.core.test_node import joined
from tests.records import own_key


def test_contacts_and_buckets_age_by_the_pause() -> None:
    bench = joined(1)
    assert bench.node.state.standing(contact(1), bench.now) is Standing.GOOD
    bench.node.overlays.restore(contact(3))  # which was never heard
    bench.node.machine.slept(DEFAULT.good_for, bench.now)
    assert bench.node.state.standing(contact(1), bench.now) is Standing.QUESTIONABLE
    bench.sent()
    bench.node.handle_timeout(bench.now)
    assert any(isinstance(sent.request, FindNode) for sent in bench.sent())


def test_held_entries_keep_their_time() -> None:
    bench = Bench()
    bench.node.store.put(Id(5), Endpoint.of("192.0.2.1", 80), bench.now)
    bench.node.machine.slept(10 * DEFAULT.store_expiry, bench.now)
    assert bench.node.store.get(Id(5), bench.now) == [Endpoint.of("192.0.2.1", 80)]


def test_tokens_from_before_the_pause_are_invalid() -> None:
    bench = Bench()
    tokens = bench.node.responder._tokens
    token = tokens.issue(b"ip", b"key", bench.now)
    assert tokens.is_valid(token, b"ip", b"key", bench.now)
    bench.node.machine.slept(2 * DEFAULT.token_rotation, bench.now)
    assert not tokens.is_valid(token, b"ip", b"key", bench.now)


def test_a_late_restored_entry_is_published_soon() -> None:
    bench = joined(1)
    bench.node.publisher.restore_own(own_key(Id(5), 80), bench.now)
    entry = bench.node.own_records.get(own_key(Id(5), 80))
    bench.node.publisher.restore_own(own_key(Id(6), 80), bench.now)
    bench.node.publisher.restore_own(own_key(Id(5), 80), bench.now)  # again
    late = bench.node.own_records.get(own_key(Id(6), 80))
    assert bench.node.own_records.get(own_key(Id(5), 80)) is entry
    assert entry is not None
    assert late is not None
    assert late.joined == {len(contact(1).endpoint)}


def test_late_restored_holders_are_asked_soon() -> None:
    bench = joined(1)
    bench.node.publisher.restore_holder(own_key(Id(5), 80), contact(2), bench.now + 100, bench.now)
    assert bench.node.withdrawals.next_timeout() is None
    bench.node.publisher.restored(bench.now)
    assert bench.node.withdrawals.next_timeout() is not None


def test_before_joining_nobody_is_asked_to_let_go() -> None:
    bench = Bench()
    bench.node.publisher.restore_holder(own_key(Id(5), 80), contact(2), bench.now + 100, bench.now)
    bench.node.publisher.restored(bench.now)
    assert bench.node.withdrawals.next_timeout() is None
