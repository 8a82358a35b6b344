"""New contacts become news once they have stayed: they are asked only if they matter, and count only if they answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.ids import Id
from dhtd.core.messages import Contact, Ping
from dhtd.core.policy import Policy
from dhtd.core.publishing import newcomers
from dhtd.core.publishing.own_entry import OwnEntry
from tests.core.bench import QUIET, Bench
from tests.core.small import contact, endpoint
from tests.records import own_key

STAYS = 120.0
POLICY = replace(QUIET, newcomer_stays=STAYS, republish_first=1e6, good_for=1e6, bucket_refresh=1e6)
KEY = Id(64)
HOLDERS = [contact(KEY ^ number) for number in range(8, 16)]
NEWCOMER = contact(KEY ^ 1)


def owner(policy: Policy = POLICY) -> tuple[Bench, OwnEntry]:
    """Return a node with an entry that K nodes hold."""
    bench = Bench(own_id=0, policy=policy)
    bench.now = 1.0
    records = bench.node.own_records
    entry = records.add(own_key(KEY, 80))
    records.began(entry, bench.now)
    records.published(own_key(KEY, 80), HOLDERS, bench.now)
    bench.now = 10.0
    return bench, entry


def comes(bench: Bench, who: Contact) -> None:
    """Put a contact into the table, as one that has just answered."""
    bench.node.state.answered(who, None, bench.now)
    bench.node.publisher.newcomers.joined(who, bench.now)


def test_a_contact_that_stayed_hurries_its_entry() -> None:
    bench, entry = owner()
    comes(bench, NEWCOMER)
    assert not entry.hurried
    bench.advance(STAYS - 1)
    assert not bench.sent()
    bench.advance(1)
    ping = bench.sent_one()
    assert ping.request == Ping()
    bench.pong(ping, NEWCOMER.id)
    assert entry.hurried


def test_a_contact_with_a_new_id_is_no_news() -> None:
    bench, entry = owner()
    comes(bench, NEWCOMER)
    bench.advance(STAYS)
    bench.pong(bench.sent_one(), KEY ^ 2)
    assert not entry.hurried


def test_a_contact_that_is_silent_is_no_news() -> None:
    bench, entry = owner()
    comes(bench, NEWCOMER)
    bench.advance(STAYS)
    assert bench.sent_one().to == NEWCOMER.endpoint
    bench.advance(bench.node.policy.query_timeout)
    assert not entry.hurried
    assert bench.node.publisher.newcomers._under_way == {}


def test_an_answer_from_before_a_defect_is_no_news() -> None:
    bench, entry = owner()
    comes(bench, NEWCOMER)
    bench.advance(STAYS)
    bench.node.publisher.newcomers.give_up(bench.now)
    bench.pong(bench.sent_one(), NEWCOMER.id)
    assert not entry.hurried


@pytest.mark.parametrize("who", [contact(KEY ^ 32), HOLDERS[0]], ids=["far", "a holder"])
def test_a_contact_without_entries_is_not_asked(who: Contact) -> None:
    bench, _ = owner()
    comes(bench, who)
    bench.advance(2 * STAYS)
    assert not bench.sent()


def test_an_entry_published_since_needs_no_hurry() -> None:
    bench, entry = owner()
    comes(bench, NEWCOMER)
    bench.advance(1)
    bench.node.own_records.began(entry, bench.now)
    bench.node.own_records.published(own_key(KEY, 80), HOLDERS, bench.now)
    bench.advance(2 * STAYS)
    assert not bench.sent()
    assert not entry.hurried


def test_a_contact_that_left_the_table_is_not_asked() -> None:
    bench, _ = owner()
    comes(bench, NEWCOMER)
    bench.node.state.moved(NEWCOMER.id, NEWCOMER.endpoint)
    bench.advance(2 * STAYS)
    assert not bench.sent()


def test_an_entry_that_too_few_hold_does_not_wait() -> None:
    bench, entry = owner()
    bench.node.own_records.began(entry, bench.now)
    bench.node.own_records.published(own_key(KEY, 80), HOLDERS[:7], bench.now)
    comes(bench, NEWCOMER)
    assert entry.hurried


def test_passing_neighbours_make_no_network_larger() -> None:
    bench = Bench(own_id=0, policy=replace(POLICY, size_samples=5))
    overlay = bench.node.overlays.first
    overlay.refresher.joined(2)
    for number in range(1, 9):
        comes(bench, contact(number))
    assert overlay.refresher._due_samples == 0
    bench.advance(STAYS)
    pings = bench.sent()
    assert {type(sent.request) for sent in pings} == {Ping}
    bench.pong(pings[0], pings[0].to[3])
    assert overlay.refresher._due_samples == 5


def test_newcomers_are_asked_a_few_at_a_time() -> None:
    bench, _ = owner(replace(POLICY, verifications=2))
    for number in range(1, 4):
        comes(bench, contact(KEY ^ number))
    bench.advance(STAYS)
    pings = bench.sent()
    assert [sent.to for sent in pings] == [endpoint(KEY ^ 1), endpoint(KEY ^ 2)]
    assert bench.node.publisher.newcomers.next_timeout() is None
    bench.pong(pings[0], KEY ^ 1)
    bench.node.handle_timeout(bench.now)
    assert endpoint(KEY ^ 3) in [sent.to for sent in bench.sent()]


def test_the_oldest_of_too_many_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newcomers, "_MOST", 2)
    bench, _ = owner()
    for number in (1, 2, 3):
        comes(bench, contact(KEY ^ number))
    bench.advance(STAYS)
    assert [sent.to for sent in bench.sent()] == [endpoint(KEY ^ 2), endpoint(KEY ^ 3)]
