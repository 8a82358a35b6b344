"""Watchers of this node are told of changes: each once it is due, and until they know."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.counters import WATCHES_PER_KEY, WATCHES_PER_SOURCE
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import (
    CHANGED_MAX,
    ERROR_PROTOCOL,
    ERROR_SERVER,
    Changed,
    Contact,
    Error,
    FindNode,
    Found,
    Ping,
    Renew,
    Renewed,
    Reply,
    Watch,
    Watched,
)
from dhtd.core.policy import DEFAULT, Policy
from tests.core.bench import QUIET, US, Bench, Sent
from tests.core.small import contact
from tests.records import SESSION, hold_peer, let_go

KEY = Id(77)
WATCHER = contact(5)
POLICY = replace(QUIET, bucket_refresh=1e9, good_for=1e9, probe_interval=1e9)
AT = [Endpoint.of(f"10.1.{number // 256}.{number % 256}", 80) for number in range(400)]


def token_for(bench: Bench, key: Id = KEY, who: Contact = WATCHER) -> bytes:
    reply = bench.query(FindNode(key), who)
    assert isinstance(reply, Reply)
    result = bench.codec.decode_result(FindNode(key), reply.body)
    assert isinstance(result, Found)
    assert result.token
    return result.token


def watch(
    bench: Bench, key: Id = KEY, who: Contact = WATCHER, *, lease: int = 60, token: bytes | None = None
) -> Watched:
    request = Watch(key, token_for(bench, key, who) if token is None else token, lease, SESSION)
    reply = bench.query(request, who)
    assert isinstance(reply, Reply)
    result = bench.codec.decode_result(request, reply.body)
    assert isinstance(result, Watched)
    return result


def watched(*, policy: Policy = POLICY, holding: int = 0) -> tuple[Bench, Watched]:
    """Return a node with so many endpoints under the key, and a watcher; and what the watcher was told."""
    bench = Bench(policy=policy)
    bench.know(WATCHER)
    for at in AT[:holding]:
        hold_peer(bench.node.store, KEY, at, bench.now)
    result = watch(bench)
    bench.advance(0)
    bench.sent()
    return bench, result


def notices(bench: Bench) -> list[Sent]:
    """Let the node do what is due now, and return the notices that it sends, each once."""
    bench.advance(0)
    return list({sent.query.tid: sent for sent in bench.sent() if isinstance(sent.request, Changed)}.values())


def notice(bench: Bench) -> tuple[Sent, Changed]:
    (sent,) = notices(bench)
    assert isinstance(sent.request, Changed)
    return sent, sent.request


def enter(bench: Bench, at: Endpoint, key: Id = KEY) -> None:
    hold_peer(bench.node.store, key, at, bench.now)


# What a watch is answered


def test_a_watch_is_told_what_there_is() -> None:
    bench, told = watched(holding=3)
    assert (set(told.endpoints), told.more) == (set(AT[:3]), False)
    assert notices(bench) == []


def test_a_watch_without_a_good_token_is_refused() -> None:
    bench = Bench(policy=POLICY)
    for token in (b"x", token_for(bench, Id(78)), token_for(bench, who=contact(6))):
        answer = bench.query(Watch(KEY, token, 60, SESSION), WATCHER)
        assert isinstance(answer, Error)
        assert (answer.code, answer.text) == (ERROR_PROTOCOL, "bad token")
    assert len(bench.node.watching.held) == 0


def test_the_token_of_a_watch_is_good_for_its_session() -> None:
    bench, told = watched()
    renewal = Renew(SESSION, 60, told.token)
    reply = bench.query(renewal, WATCHER)
    assert isinstance(reply, Reply)
    renewed = bench.codec.decode_result(renewal, reply.body)
    assert isinstance(renewed, Renewed)
    assert renewed.held == 1
    assert watch(bench, Id(3), token=told.token).endpoints == ()
    other = bench.query(Watch(KEY, told.token, 60, b"another session!"), WATCHER)
    assert isinstance(other, Error)
    assert other.code == ERROR_PROTOCOL


def test_entries_and_watches_are_counted_together() -> None:
    bench, told = watched()
    hold_peer(bench.node.store, Id(4), WATCHER.endpoint.with_port(80), bench.now, lease=60)
    renewal = Renew(SESSION, 60, told.token)
    reply = bench.query(renewal, WATCHER)
    assert isinstance(reply, Reply)
    assert bench.codec.decode_result(renewal, reply.body) == Renewed(reply.body[0], 2)  # type: ignore[index]


def test_a_lease_of_nothing_ends_the_watch() -> None:
    bench, told = watched(holding=1)
    ended = watch(bench, lease=0, token=told.token)
    assert (ended.endpoints, len(bench.node.watching.held)) == ((), 0)
    enter(bench, AT[5])
    assert notices(bench) == []
    watch(bench, lease=0, token=told.token)  # there is none any more
    assert len(bench.node.watching.held) == 0


@pytest.mark.parametrize(
    ("policy", "cap", "text"),
    [
        (replace(POLICY, watches_per_key=1), WATCHES_PER_KEY, "too many watches of this key"),
        (replace(POLICY, watches_per_source=0), WATCHES_PER_SOURCE, "too many watches from this address"),
    ],
)
def test_a_watch_too_many_is_refused(policy: Policy, cap: str, text: str) -> None:
    bench = Bench(policy=policy)
    if policy.watches_per_source:
        watch(bench, who=contact(6))
    answer = bench.query(Watch(KEY, token_for(bench), 60, SESSION), WATCHER)
    assert isinstance(answer, Error)
    assert (answer.code, answer.text) == (ERROR_SERVER, text)
    assert bench.node.counters.caps_hit[cap] == 1


# What it is told later


def test_a_new_endpoint_is_told_at_once() -> None:
    bench, told = watched()
    enter(bench, AT[0])
    sent, changed = notice(bench)
    assert (sent.to, changed) == (WATCHER.endpoint, Changed(KEY, told.version + 1, (AT[0],), ()))
    bench.pong(sent, 5)
    assert notices(bench) == []


def test_a_removal_is_told_at_once() -> None:
    bench, told = watched(holding=2)
    let_go(bench.node.store, KEY, AT[0])
    _, changed = notice(bench)
    assert changed == Changed(KEY, told.version + 1, (), (AT[0],))


def test_an_expired_endpoint_is_told_within_a_second() -> None:
    bench, told = watched()
    hold_peer(bench.node.store, KEY, AT[0], bench.now, lease=30)
    sent, _ = notice(bench)
    bench.pong(sent, 5)
    bench.advance(29.9)
    assert notices(bench) == []
    bench.advance(1.1)
    _, changed = notice(bench)
    assert changed == Changed(KEY, told.version + 2, (), (AT[0],))


def test_own_entries_are_told_as_they_come_and_go() -> None:
    bench, told = watched()
    bench.node.commands.enter(KEY, 80, bench.now)
    own = US.with_port(80)
    (sent,) = notices(bench)
    assert sent.request == Changed(KEY, told.version + 1, (own,), ())
    bench.pong(sent, 5)
    bench.node.commands.delete(KEY, None, bench.now)
    (sent,) = notices(bench)
    assert sent.request == Changed(KEY, told.version + 2, (), (own,))


def test_tracked_entries_are_told() -> None:
    from tests.records import own_key  # noqa: PLC0415

    bench, told = watched()
    bench.node.commands.track([own_key(KEY, 80)], bench.now)
    _, changed = notice(bench)
    assert changed == Changed(KEY, told.version + 1, (US.with_port(80),), ())


def test_our_new_address_is_told() -> None:
    bench, told = watched()
    bench.node.commands.enter(KEY, 80, bench.now)
    (sent,) = notices(bench)
    bench.pong(sent, 5, observed=Endpoint.of("10.9.9.10", 1729))
    bench.advance(0)
    later = [each.request for each in bench.sent() if isinstance(each.request, Changed)]
    moved = Endpoint.of("10.9.9.10", 80)
    assert later == [Changed(KEY, told.version + 2, (moved,), (US.with_port(80),))]


def test_our_new_address_brings_a_turn_by_itself() -> None:
    bench, told = watched()
    bench.node.commands.enter(KEY, 80, bench.now)
    (sent,) = notices(bench)
    bench.pong(sent, 5)
    bench.advance(0)
    bench.node.commands.ping(WATCHER.endpoint, bench.now)
    (ping,) = [sent for sent in bench.sent() if isinstance(sent.request, Ping)]
    bench.pong(ping, 5, observed=Endpoint.of("10.9.9.10", 1729))
    moved = Endpoint.of("10.9.9.10", 80)
    assert notice(bench)[1] == Changed(KEY, told.version + 2, (moved,), (US.with_port(80),))


def test_an_entry_of_ours_that_is_held_is_told_once() -> None:
    bench, told = watched()
    enter(bench, US.with_port(80))
    bench.node.commands.enter(KEY, 80, bench.now)
    assert notice(bench)[1] == Changed(KEY, told.version + 1, (US.with_port(80),), ())
    assert bench.node.watching.known.for_us(KEY, bench.now) == [US.with_port(80)]


def test_one_notice_is_under_way_and_the_rest_waits() -> None:
    bench, told = watched()
    enter(bench, AT[0])
    sent, _ = notice(bench)
    enter(bench, AT[1])
    let_go(bench.node.store, KEY, AT[0])
    enter(bench, AT[2])
    let_go(bench.node.store, KEY, AT[2])
    assert notices(bench) == []
    bench.pong(sent, 5)
    _, changed = notice(bench)
    assert changed == Changed(KEY, told.version + 2, (AT[1],), (AT[0],))


def test_many_changes_take_several_notices() -> None:
    bench, told = watched(holding=5)
    for at in AT[5:20]:
        enter(bench, at)
    let_go(bench.node.store, KEY, AT[0])
    knows = set(told.endpoints)
    for number in (1, 2):
        sent, changed = notice(bench)
        assert changed.version == told.version + number
        assert len(changed.added) + len(changed.removed) <= CHANGED_MAX
        knows = (knows - set(changed.removed)) | set(changed.added)
        bench.pong(sent, 5)
    assert notices(bench) == []
    assert knows == set(AT[1:20])


def test_what_had_no_room_follows() -> None:
    bench = Bench(policy=POLICY)
    bench.know(WATCHER)
    for at in AT[:160]:
        enter(bench, at)
    told = watch(bench)
    assert told.more
    knows, version = set(told.endpoints), told.version
    while sent := notices(bench):
        (each,) = sent
        assert isinstance(each.request, Changed)
        assert (each.request.version, each.request.removed) == (version + 1, ())
        knows |= set(each.request.added)
        version += 1
        bench.pong(each, 5)
    assert knows == set(AT[:160])


def test_a_watcher_is_told_of_so_many_at_most() -> None:
    bench, told = watched(policy=replace(POLICY, watch_endpoints=4), holding=6)
    assert (len(told.endpoints), told.more) == (4, False)
    unknown = [at for at in AT[:6] if at not in told.endpoints]
    enter(bench, AT[6])
    let_go(bench.node.store, KEY, unknown[0])
    assert notices(bench) == []
    let_go(bench.node.store, KEY, told.endpoints[0])
    _, changed = notice(bench)
    assert changed.removed == (told.endpoints[0],)
    assert set(changed.added) <= {unknown[1], AT[6]}
    assert len(changed.added) == 1


def test_many_watches_take_turns() -> None:
    bench = Bench(policy=replace(POLICY, watches_per_source=1_000, watches_per_key=1_000))
    for number in range(70):
        who = contact(1, 1_000 + number)
        bench.node.watching.notices.begin(Watch(KEY, b"", 60, number.to_bytes(16, "big")), who, bench.now)
    enter(bench, AT[0])
    bench.node.handle_timeout(bench.now)
    assert len(bench.sent()) == 64
    assert bench.node.watching.notices.next_timeout() == bench.now + 0.01
    bench.node.handle_timeout(bench.now)
    assert bench.sent() == []
    bench.advance(0.01)
    assert len(bench.sent()) == 6


def test_turns_in_a_crowd_are_few() -> None:
    """64 turns look at 640 endpoints each. A stranger brings them about with one datagram, as often as it can."""
    bench = Bench(policy=replace(POLICY, store_entries_per_source=1_000))
    for number in range(640):
        enter(bench, AT[0].with_port(number + 2))
    for number in range(64):
        bench.node.watching.notices.begin(
            Watch(KEY, b"", 60, number.to_bytes(16, "big")), contact(1, 1_000 + number), bench.now
        )
    enter(bench, AT[0].with_port(1))
    told = []
    for _ in range(3):
        bench.node.handle_timeout(bench.now)
        told.append(len(bench.sent()))
        due = bench.node.watching.notices.next_timeout()
        assert due == bench.now + 0.01
        bench.now = due
    assert told == [6, 6, 6]


# Silence


def test_a_notice_is_sent_again_until_it_is_acknowledged() -> None:
    bench, _ = watched()
    enter(bench, AT[0])
    sent, _ = notice(bench)
    bench.advance(2 * DEFAULT.query_timeout + 0.5)
    again = [each for each in bench.sent() if isinstance(each.request, Changed)]
    assert {each.query.tid for each in again} == {sent.query.tid}
    assert len(again) >= 2
    bench.pong(again[-1], 5)
    bench.advance(3 * DEFAULT.query_timeout)
    assert not [each for each in bench.sent() if isinstance(each.request, Changed)]
    assert len(bench.node.watching.held) == 1


def test_a_notice_does_not_wait_for_its_timeout() -> None:
    """One lost datagram must not make a watcher late."""
    bench, _ = watched()
    enter(bench, AT[0])
    notice(bench)
    bench.advance(DEFAULT.query_timeout - 0.1)
    assert len([each for each in bench.sent() if isinstance(each.request, Changed)]) == 2


def test_a_watch_ends_with_its_lease_by_itself() -> None:
    bench, _ = watched()
    bench.advance(59.9)
    assert len(bench.node.watching.held) == 1
    bench.advance(0.1)
    assert len(bench.node.watching.held) == 0


def test_three_silences_end_a_watch() -> None:
    bench, _ = watched()
    enter(bench, AT[0])
    notice(bench)
    bench.advance(3 * DEFAULT.query_timeout - 0.1)
    assert len(bench.node.watching.held) == 1
    bench.advance(0.2)
    assert len(bench.node.watching.held) == 0


def test_a_refused_notice_ends_the_watch() -> None:
    bench, _ = watched()
    enter(bench, AT[0])
    sent, _ = notice(bench)
    bench.refuse(sent, 5, ERROR_PROTOCOL, "not watched")
    assert len(bench.node.watching.held) == 0


def test_another_node_at_the_place_is_told_no_more() -> None:
    bench, _ = watched()
    enter(bench, AT[0])
    sent, _ = notice(bench)
    bench.pong(sent, 6)
    assert len(bench.node.watching.held) == 0


@pytest.mark.parametrize("answers", ["acknowledges", "refuses", "is silent"])
def test_a_notice_of_an_ended_watch_changes_nothing(answers: str) -> None:
    bench, told = watched()
    enter(bench, AT[0])
    sent, _ = notice(bench)
    watch(bench, lease=0, token=told.token)
    fresh = watch(bench, token=told.token)
    if answers == "acknowledges":
        bench.pong(sent, 5)
    elif answers == "refuses":
        bench.refuse(sent, 5)
    else:
        bench.advance(3 * DEFAULT.query_timeout + 0.1)
        bench.sent()
    assert fresh.endpoints == (AT[0],)
    enter(bench, AT[1])
    _, changed = notice(bench)
    assert changed == Changed(KEY, fresh.version + 1, (AT[1],), ())


def test_watching_again_calls_a_notice_off() -> None:
    bench, told = watched()
    enter(bench, AT[0])
    sent, changed = notice(bench)
    again = watch(bench, token=told.token)
    assert again.endpoints == (AT[0],)
    assert again.version > changed.version
    (after,) = notices(bench)  # the first one is not sent again
    bench.pong(after, 5)
    bench.advance(3 * DEFAULT.query_timeout)
    assert notices(bench) == []
    assert len(bench.node.watching.held) == 1
    bench.pong(sent, 5)
    enter(bench, AT[1])
    _, changed = notice(bench)
    assert changed == Changed(KEY, again.version + 2, (AT[1],), ())


@pytest.mark.parametrize("is_sent", [True, False])
def test_news_in_a_further_answer_bring_a_notice(is_sent: bool) -> None:
    """The query may be an old datagram that came once more. Nobody waits for its answer."""
    bench, told = watched()
    enter(bench, AT[0])
    if is_sent:
        notice(bench)  # it is lost
    again = watch(bench, token=told.token)
    sent, changed = notice(bench)
    assert changed == Changed(KEY, again.version + 1, (), ())
    bench.pong(sent, 5)
    assert watch(bench, token=told.token).endpoints == (AT[0],)
    assert notices(bench) == []  # that was no news


def test_a_late_acknowledgement_brings_no_turn() -> None:
    bench, told = watched()
    enter(bench, AT[0])
    sent, _ = notice(bench)
    again = watch(bench, token=told.token)
    (after,) = notices(bench)
    bench.pong(sent, 5)
    assert bench.node.watching.notices.next_timeout() is None
    bench.pong(after, 5)
    enter(bench, AT[1])
    assert notice(bench)[1].version == again.version + 2


def test_a_watch_ended_before_its_turn_is_told_nothing() -> None:
    bench, told = watched()
    again = watch(bench, token=told.token)  # this has a turn to come
    watch(bench, lease=0, token=again.token)
    watch(bench, Id(78))  # somebody watches something
    enter(bench, AT[0])
    assert notices(bench) == []


@pytest.mark.parametrize("answers", ["acknowledges", "refuses"])
def test_an_ended_watch_has_no_turn_after_its_notice(answers: str) -> None:
    bench, told = watched()
    enter(bench, AT[0])
    sent, _ = notice(bench)
    watch(bench, lease=0, token=told.token)
    if answers == "acknowledges":
        bench.pong(sent, 5)
    else:
        bench.refuse(sent, 5)
    enter(bench, AT[1])
    assert notices(bench) == []


def test_a_defect_in_a_notice_ends_the_watch() -> None:
    bench, _ = watched()
    enter(bench, AT[0])
    notice(bench)
    for query in list(bench.node.requester.transactions):
        query.owner.give_up(bench.now)
    assert len(bench.node.watching.held) == 0


def test_first_versions_cannot_be_guessed() -> None:
    versions = {watch(Bench(policy=POLICY, seed=seed)).version for seed in range(20)}
    assert len(versions) == 20
    assert max(versions) > 2**60
