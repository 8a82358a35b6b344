"""The watches of this node: it finds holders, follows what they tell, and doubts what is silent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from dhtd.core.counters import OWN_WATCHES
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.events import Handle, WatchUpdate
from dhtd.core.ids import Id
from dhtd.core.messages import (
    ERROR_PROTOCOL,
    ERROR_SERVER,
    Changed,
    Error,
    FindNode,
    FindValue,
    Ping,
    Renew,
    Reply,
    Request,
    Store,
    Watch,
)
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.watching.own_watch import OwnWatch
from dhtd.errors import TooManyWatches
from tests.core.bench import QUIET, US, Bench, Sent
from tests.core.played import KEY, TIMEOUT, by_id
from tests.core.small import contact, six
from tests.records import SESSION, hold_peer, let_go

POLICY = replace(QUIET, heartbeat=20.0, bucket_refresh=1e9, good_for=1e9, probe_interval=1e9)
LEASE, PERIOD, MOMENT, BETWEEN = 60, 20.0, 0.15, 0.05
A, B, C = (Endpoint.of(f"10.1.0.{number}", 80) for number in (1, 2, 3))
VERSION = 1_000


def knowing(*ids: int, policy: Policy = POLICY) -> Bench:
    bench = Bench(policy=policy)
    bench.know(*map(contact, ids))
    return bench


def tell(
    bench: Bench,
    sent: Sent,
    endpoints: Iterable[Endpoint] = (),
    *,
    version: int = VERSION,
    id: int | None = None,
    token: bytes = b"session",
) -> None:
    """Answer a watch, as the node that it was sent to or as another one there."""
    assert isinstance(sent.request, Watch)
    own, bench_room = Id(sent.to[3] if id is None else id), bench.node.responder._whole
    data, _ = bench.codec.encode_watched(sent.query, own, US, token, version, bench_room, list(endpoints))
    bench.deliver(data, sent.to)


def change(
    bench: Bench,
    id: int,
    added: Iterable[Endpoint] = (),
    removed: Iterable[Endpoint] = (),
    *,
    version: int = VERSION + 1,
) -> Reply | Error | None:
    """Have a holder say that something has changed."""
    return bench.query(Changed(KEY, version, tuple(added), tuple(removed)), contact(id))


def find(bench: Bench, *, token: bytes = b"token") -> dict[int, Sent]:
    """Answer pings and searches, and return the watches that follow."""
    asked: dict[int, Sent] = {}
    while sent := bench.sent():
        for each in sent:
            id = each.to[3]
            if isinstance(each.request, FindNode):
                bench.found(each, id, token=token)
            elif isinstance(each.request, Ping):
                bench.pong(each, id)
            elif not isinstance(each.request, Renew) or not each.request.token:
                asked[id] = each
    return asked


def find_three(bench: Bench) -> dict[int, Sent]:
    """Have a search for two holders find a third node that is nearer; return the watches that follow."""
    for sent in bench.sent():
        bench.found(sent, sent.to[3], [contact(79)])
    return find(bench)


def watching(*holders: int, named: Iterable[Endpoint] = (), policy: Policy = POLICY) -> tuple[Bench, Handle]:
    """Return a node that watches KEY at these holders, each of which has named these endpoints."""
    bench = knowing(*holders, policy=policy)
    op = bench.node.commands.watch(KEY, bench.now)
    asked = find(bench)
    assert set(asked) == set(holders)
    for sent in asked.values():
        assert sent.request == Watch(KEY, b"token", LEASE, SESSION)
        tell(bench, sent, named)
    bench.advance(BETWEEN)
    bench.events()
    return bench, op


def updates(bench: Bench) -> list[tuple[set[Endpoint], set[Endpoint]]]:
    """Return what was added and removed since the last call, once that which was put off is told."""
    bench.advance(BETWEEN)
    told = []
    for event in bench.events():
        if isinstance(event, WatchUpdate):
            assert event.key == KEY
            told.append((set(event.added), set(event.removed)))
    return told


def asked(bench: Bench) -> dict[int, Sent]:
    """Return the holders that are asked now, each once."""
    sent = {each.query.tid: each for each in bench.sent() if isinstance(each.request, Watch)}
    return by_id(list(sent.values()))


# The first update


def test_the_first_update_tells_what_there_is() -> None:
    bench = knowing(1, 2)
    op = bench.node.commands.watch(KEY, bench.now)
    queries = find(bench)
    tell(bench, queries[1], [A])
    assert updates(bench) == []
    tell(bench, queries[2], [A, B])
    assert bench.event(WatchUpdate) == WatchUpdate(op, KEY, (A, B), (A, B), (), 2)


def test_nothing_there_is_told_as_well() -> None:
    bench = knowing(1)
    op = bench.node.commands.watch(KEY, bench.now)
    tell(bench, find(bench)[1])
    assert bench.event(WatchUpdate) == WatchUpdate(op, KEY, (), (), (), 1)


def test_a_slow_node_is_not_waited_for() -> None:
    bench = knowing(1, 2)
    bench.node.commands.watch(KEY, bench.now)
    queries = find(bench)
    tell(bench, queries[1], [A])
    bench.advance(DEFAULT.late_floor + 0.1)
    assert updates(bench) == [({A}, set())]
    tell(bench, queries[2], [B])
    assert updates(bench) == [({B}, set())]


def test_without_a_network_there_is_an_update_too() -> None:
    bench = Bench(policy=POLICY)
    op = bench.node.commands.watch(KEY, bench.now)
    assert bench.event(WatchUpdate) == WatchUpdate(op, KEY, (), (), (), 0)
    bench.node.commands.ping(contact(1).endpoint, bench.now)
    tell(bench, find(bench)[1])
    assert bench.event(WatchUpdate) == WatchUpdate(op, KEY, (), (), (), 1)  # somebody tells of changes now


def test_the_search_for_holders_goes_on_ever_more_rarely() -> None:
    bench = Bench(policy=replace(POLICY, watch_retry=10.0, watch_retry_max=40.0))
    bench.node.commands.watch(KEY, bench.now)
    own = bench.node.watching.own
    pauses = []
    for _ in range(4):
        due = own.next_timeout()
        assert due is not None
        pauses.append(due - bench.now)
        bench.advance(due - bench.now)
    for pause, most in zip(pauses, (10, 20, 40, 40), strict=True):
        assert 0.9 * most <= pause <= most


def test_what_this_node_knows_itself_counts() -> None:
    bench = knowing(1)
    hold_peer(bench.node.store, KEY, A, bench.now)
    bench.node.commands.watch(KEY, bench.now)
    tell(bench, find(bench)[1], [B])
    assert updates(bench) == [({A, B}, set())]
    hold_peer(bench.node.store, KEY, C, bench.now)
    bench.advance(0)
    assert updates(bench) == [({C}, set())]
    let_go(bench.node.store, KEY, A)
    bench.advance(0)
    assert updates(bench) == [(set(), {A})]


def test_the_farthest_replaces_one_that_refuses() -> None:
    bench = knowing(1, 2, policy=replace(POLICY, k=2))
    bench.node.commands.watch(KEY, bench.now)
    queries = find_three(bench)
    assert len(queries) == 2
    (other,) = {1, 2, 79} - set(queries)
    first = next(iter(queries))
    bench.refuse(queries.pop(first), first, ERROR_SERVER, "too many watches")
    queries |= asked(bench)
    assert other in queries
    for sent in queries.values():
        tell(bench, sent, [A])
    assert bench.event(WatchUpdate).holders == 2


def test_full_nodes_are_watched_beside_the_nearest() -> None:
    """What has no room there is on the next nodes."""
    bench = knowing(1, 2, policy=replace(POLICY, k=2))
    bench.node.commands.watch(KEY, bench.now)
    asked_now: dict[int, Request] = {}
    while sent := bench.sent():
        for each in sent:
            id = each.to[3]
            if isinstance(each.request, FindNode):
                bench.found(each, id, [contact(79)], token=b"" if id == 79 else b"token")
            else:
                asked_now[id] = each.request
    assert asked_now == {
        79: Renew(SESSION, LEASE, b""),
        1: Watch(KEY, b"token", LEASE, SESSION),
        2: Watch(KEY, b"token", LEASE, SESSION),
    }


def test_a_node_that_is_silent_is_replaced() -> None:
    bench = knowing(1, 2, policy=replace(POLICY, k=2))
    bench.node.commands.watch(KEY, bench.now)
    queries = find_three(bench)
    first, second = queries
    tell(bench, queries[second], [A])
    bench.advance(DEFAULT.late_floor + 0.1)
    (other,) = {1, 2, 79} - set(queries)
    tell(bench, asked(bench)[other], [B])
    assert updates(bench) == [({A, B}, set())]
    tell(bench, queries[first], [C])  # it was only slow
    assert updates(bench) == [({C}, set())]


def test_a_bad_token_is_renewed_once() -> None:
    bench = knowing(1)
    bench.node.commands.watch(KEY, bench.now)
    (sent,) = find(bench).values()
    bench.refuse(sent, 1, ERROR_PROTOCOL, "bad token")
    renewal = bench.sent_one()
    assert renewal.request == Renew(SESSION, LEASE, b"")
    bench.deliver(bench.codec.encode_renewed(renewal.query.tid, Id(1), US, b"fresh", None), renewal.to)
    again = bench.sent_one()
    assert again.request == Watch(KEY, b"fresh", LEASE, SESSION)
    bench.refuse(again, 1, ERROR_PROTOCOL, "bad token")
    assert bench.sent() == []
    assert bench.event(WatchUpdate).holders == 0


def test_a_node_that_gives_no_token_is_asked_for_one() -> None:
    bench = knowing(1)
    bench.node.commands.watch(KEY, bench.now)
    (renewal,) = find(bench, token=b"").values()
    assert renewal.request == Renew(SESSION, LEASE, b"")
    bench.deliver(bench.codec.encode_renewed(renewal.query.tid, Id(1), US, b"fresh", None), renewal.to)
    tell(bench, bench.sent_one(), [A])
    assert updates(bench) == [({A}, set())]


def test_another_node_at_the_place_is_no_holder() -> None:
    bench = knowing(1)
    bench.node.commands.watch(KEY, bench.now)
    tell(bench, find(bench)[1], [A], id=9)
    assert bench.event(WatchUpdate).endpoints == ()


def test_endpoints_that_mean_nothing_here_are_left_out() -> None:
    bench = knowing(1)
    bench.node.commands.watch(KEY, bench.now)
    loopback = Endpoint.of("127.0.0.1", 80)
    tell(bench, find(bench)[1], [A, loopback])
    assert bench.event(WatchUpdate).endpoints == (A,)
    change(bench, 1, [loopback, B])
    assert updates(bench) == [({B}, set())]


# Several commands


def test_a_second_command_is_told_at_once() -> None:
    bench, first = watching(1, named=[A])
    second = bench.node.commands.watch(KEY, bench.now)
    assert bench.event(WatchUpdate) == WatchUpdate(second, KEY, (A,), (A,), (), 1)
    assert bench.sent() == []
    change(bench, 1, [B])
    told = [event for event in bench.events() if isinstance(event, WatchUpdate)]
    assert [(each.op, each.endpoints, each.added) for each in told] == [(op, (A, B), (B,)) for op in (first, second)]


def test_a_second_command_joins_the_first_search() -> None:
    bench = knowing(1)
    ops = [bench.node.commands.watch(KEY, bench.now) for _ in range(2)]
    tell(bench, find(bench)[1], [A])
    assert [event.op for event in bench.events() if isinstance(event, WatchUpdate)] == ops


def test_the_last_command_ends_the_watch() -> None:
    bench, first = watching(1, 2, named=[A])
    second = bench.node.commands.watch(KEY, bench.now)
    bench.events()
    bench.node.commands.cancel(first)
    bench.advance(0)
    assert bench.sent() == []
    change(bench, 1, [B])
    assert bench.event(WatchUpdate).op == second
    bench.node.commands.cancel(second)
    bench.advance(0)
    assert {sent.request for sent in bench.sent()} == {Watch(KEY, b"session", 0, SESSION)}
    refusal = change(bench, 1, [C], version=VERSION + 2)
    assert isinstance(refusal, Error)
    assert (refusal.code, refusal.text) == (ERROR_PROTOCOL, "not watched")
    bench.advance(10 * PERIOD)
    assert not [sent for sent in bench.sent() if isinstance(sent.request, Renew)]
    assert len(bench.node.watching.own) == 0


@pytest.mark.parametrize("answer", ["acknowledged", "refused", "silent"])
def test_how_the_end_is_answered_does_not_matter(answer: str) -> None:
    bench, op = watching(1)
    bench.node.commands.cancel(op)
    bench.advance(0)
    (sent,) = bench.sent()
    if answer == "acknowledged":
        tell(bench, sent)
    elif answer == "refused":
        bench.refuse(sent, 1)
    else:
        bench.advance(TIMEOUT + 0.1)
    assert bench.events() == []


def test_an_end_is_not_sent_again_once_watched_again() -> None:
    """Else it would end the new watch."""
    bench, op = watching(1)
    bench.node.commands.cancel(op)
    bench.advance(0)
    (ended,) = bench.sent()
    bench.node.commands.watch(KEY, bench.now)
    tell(bench, find(bench)[1], [A])
    bench.advance(TIMEOUT - 0.1)
    assert asked(bench) == {}
    again = bench.event(WatchUpdate).op
    bench.node.commands.cancel(again)
    bench.advance(0)
    (last,) = asked(bench).values()
    tell(bench, ended)  # the answer comes late, and is none to the second end
    bench.node.commands.watch(KEY, bench.now)
    tell(bench, find(bench)[1], [A])
    bench.advance(TIMEOUT - 0.1)
    assert asked(bench) == {}
    tell(bench, last)


def test_a_defect_in_an_end_is_no_matter() -> None:
    bench, op = watching(1)
    bench.node.commands.cancel(op)
    bench.advance(0)
    for query in list(bench.node.requester.transactions):
        query.owner.give_up(bench.now)
    (ended,) = bench.sent()
    tell(bench, ended)
    assert bench.events() == []


def test_a_watch_may_begin_anew_before_it_ends() -> None:
    bench, op = watching(1, named=[A])
    bench.node.commands.cancel(op)
    again = bench.node.commands.watch(KEY, bench.now)
    bench.advance(0)
    assert bench.sent() == []
    assert bench.event(WatchUpdate) == WatchUpdate(again, KEY, (A,), (A,), (), 1)


def test_a_watch_that_ends_in_its_search_asks_no_more() -> None:
    bench = knowing(1, 2)
    op = bench.node.commands.watch(KEY, bench.now)
    sent = bench.sent()
    bench.node.commands.cancel(op)
    bench.advance(0)
    for each in sent:
        bench.found(each, each.to[3])
    assert bench.sent() == []
    assert bench.events() == []


def test_a_late_answer_to_an_ended_watch_is_nothing() -> None:
    bench = knowing(1, 2)
    op = bench.node.commands.watch(KEY, bench.now)
    queries = find(bench)
    bench.node.commands.cancel(op)
    bench.advance(0)
    assert {sent.request for sent in bench.sent()} == {Watch(KEY, b"token", 0, SESSION)}  # they may hold it by now
    tell(bench, queries[1], [A])
    bench.refuse(queries[2], 2)
    assert (bench.sent(), bench.events()) == ([], [])


def test_a_late_token_for_an_ended_watch_is_not_used() -> None:
    bench = knowing(1)
    op = bench.node.commands.watch(KEY, bench.now)
    (renewal,) = find(bench, token=b"").values()
    bench.node.commands.cancel(op)
    bench.advance(0)
    bench.deliver(bench.codec.encode_renewed(renewal.query.tid, Id(1), US, b"fresh", None), renewal.to)
    assert bench.sent() == []


def test_an_ended_watch_stays_without_answers() -> None:
    bench = knowing(1)
    op = bench.node.commands.watch(KEY, bench.now)
    find(bench)
    bench.node.commands.cancel(op)
    bench.advance(TIMEOUT + 1)
    assert bench.events() == []


def test_a_stop_ends_all_watches() -> None:
    bench, op = watching(1, named=[A])
    bench.node.commands.watch(Id(3), bench.now)
    bench.node.watching.own.end_all(bench.now)
    ended = [sent for sent in bench.sent() if isinstance(sent.request, Watch)]
    assert [(sent.request, sent.to) for sent in ended] == [(Watch(KEY, b"session", 0, SESSION), contact(1).endpoint)]
    bench.node.commands.cancel(op)
    bench.advance(0)
    assert len(bench.node.watching.own) == 0


def test_to_cancel_another_command_ends_no_watch() -> None:
    bench, _ = watching(1)
    bench.node.commands.cancel(Handle(99))
    bench.advance(0)
    assert (bench.sent(), len(bench.node.watching.own)) == ([], 1)


def test_a_watch_too_many_is_refused() -> None:
    bench = knowing(1, policy=replace(POLICY, own_watches=1))
    bench.node.commands.watch(KEY, bench.now)
    with pytest.raises(TooManyWatches, match="end another watch first"):
        bench.node.commands.watch(Id(78), bench.now)
    bench.node.commands.watch(KEY, bench.now)
    assert bench.node.counters.caps_hit[OWN_WATCHES] == 1


def test_watches_are_no_operations_under_way() -> None:
    bench = knowing(1, policy=replace(POLICY, operations=1))
    for number in range(3):
        bench.node.commands.watch(Id(number), bench.now)
    bench.node.commands.lookup(KEY, bench.now)


def test_searches_of_many_keys_take_turns() -> None:
    bench = knowing(1)
    for number in range(20):
        bench.node.commands.watch(Id(number), bench.now)
    finds = [sent for sent in bench.sent() if isinstance(sent.request, FindNode)]
    assert len(finds) == 16
    bench.found(finds[0], 1)
    tell(bench, asked(bench)[1])
    more = [sent for sent in bench.sent() if isinstance(sent.request, FindNode)]
    assert [sent.request for sent in more] == [FindNode(Id(16))]


def test_ended_watches_make_room_for_other_searches() -> None:
    bench = knowing(1)
    ops = [bench.node.commands.watch(Id(number), bench.now) for number in range(17)]
    bench.sent()
    for op in ops[:16]:
        bench.node.commands.cancel(op)
    bench.advance(0)
    assert [sent.request for sent in bench.sent()] == [FindNode(Id(16))]


# Changes


def test_each_change_is_told() -> None:
    bench, _ = watching(1, 2, named=[A])
    assert isinstance(change(bench, 1, [B]), Reply)
    assert isinstance(change(bench, 2, [B, C]), Reply)
    assert updates(bench) == [({B}, set()), ({C}, set())]


def test_a_change_told_twice_counts_once() -> None:
    bench, _ = watching(1)
    for _ in range(2):
        assert isinstance(change(bench, 1, [A]), Reply)
    assert updates(bench) == [({A}, set())]
    assert bench.sent() == []


@pytest.mark.parametrize("id", [2, 9])
def test_a_change_from_another_node_is_refused(id: int) -> None:
    bench, _ = watching(1)
    refusal = change(bench, id, [A])
    assert isinstance(refusal, Error)
    assert (refusal.code, refusal.text) == (ERROR_PROTOCOL, "not watched")
    assert updates(bench) == []


def test_a_change_under_another_key_is_refused() -> None:
    bench, _ = watching(1)
    answer = bench.query(Changed(Id(3), VERSION + 1, (A,), ()), contact(1))
    assert isinstance(answer, Error)


@pytest.mark.parametrize("version", [0, VERSION - 1, VERSION + 2, 2**63 - 1])
def test_a_gap_makes_the_holder_be_asked(version: int) -> None:
    bench, _ = watching(1, named=[A])
    assert isinstance(change(bench, 1, [C], version=version), Reply)
    assert updates(bench) == []
    (sent,) = asked(bench).values()
    assert sent.request == Watch(KEY, b"session", LEASE, SESSION)
    change(bench, 1, [C], version=version)
    assert asked(bench) == {}  # one question at a time
    tell(bench, sent, [B], version=VERSION + 5)
    assert updates(bench) == [({B}, {A})]
    again = asked(bench)
    assert set(again) == ({1} if version > VERSION + 6 else set())  # the answer knows of what is older
    for each in again.values():
        tell(bench, each, [B], version=VERSION + 5)
    assert asked(bench) == {}
    change(bench, 1, [C], version=VERSION + 6)
    assert updates(bench) == [({C}, set())]


def test_changes_before_an_answer_follow_it() -> None:
    """They overtake it, or they are older than it is."""
    bench = knowing(1)
    bench.node.commands.watch(KEY, bench.now)
    (sent,) = find(bench).values()
    for added, version in ((C, VERSION + 2), (B, VERSION + 1), (Endpoint.of("10.1.0.9", 80), VERSION)):
        assert isinstance(change(bench, 1, [added], version=version), Reply)
    tell(bench, sent, [A])
    assert updates(bench) == [({A, B, C}, set())]
    assert asked(bench) == {}
    change(bench, 1, (), [A], version=VERSION + 3)
    assert updates(bench) == [(set(), {A})]


def test_a_change_too_far_ahead_of_an_answer_brings_another() -> None:
    bench = knowing(1)
    bench.node.commands.watch(KEY, bench.now)
    (sent,) = find(bench).values()
    change(bench, 1, [B], version=VERSION + 2)
    tell(bench, sent, [A])
    (again,) = asked(bench).values()
    assert again.request == Watch(KEY, b"session", LEASE, SESSION)


def test_a_holder_names_so_many_endpoints_at_most() -> None:
    bench, _ = watching(1, named=[A], policy=replace(POLICY, watch_endpoints=2))
    change(bench, 1, [B, C])
    assert updates(bench) == [({B}, set())]


# Removals


def test_what_no_holder_names_is_gone() -> None:
    bench, _ = watching(1, 2, named=[A])
    change(bench, 1, (), [A])
    assert updates(bench) == []
    change(bench, 2, (), [A])
    assert updates(bench) == [(set(), {A})]
    bench.advance(1)
    assert asked(bench) == {}


def test_a_holder_that_still_names_it_is_asked_soon() -> None:
    bench, _ = watching(1, 2, 3, named=[A, B])
    change(bench, 1, (), [A])
    change(bench, 2, (), [A])
    bench.advance(MOMENT - 0.01)
    assert asked(bench) == {}
    bench.advance(0.02)
    (sent,) = asked(bench).values()
    assert sent.to == contact(3).endpoint
    tell(bench, sent, [A, B], version=VERSION + 9)
    assert updates(bench) == []  # it has it still
    bench.advance(3)
    assert asked(bench) == {}
    change(bench, 3, (), [A], version=VERSION + 10)
    assert updates(bench) == [(set(), {A})]


def test_the_word_of_a_silent_holder_does_not_count() -> None:
    bench, _ = watching(1, 2, named=[A])
    change(bench, 2, [C])
    bench.events()
    change(bench, 1, (), [A])
    bench.advance(MOMENT + DEFAULT.late_floor + 0.2)
    assert updates(bench) == [(set(), {A, C})]
    sent = asked(bench)[2]
    tell(bench, sent, [C], version=VERSION + 3)
    assert updates(bench) == [({C}, set())]


def test_a_change_ends_the_doubt() -> None:
    bench, _ = watching(1, 2, named=[A])
    change(bench, 1, (), [A])
    bench.advance(MOMENT + TIMEOUT + 0.1)
    assert updates(bench) == [(set(), {A})]
    asked(bench)
    change(bench, 2, [B])
    assert updates(bench) == [({A, B}, set())]


def test_the_last_holder_is_not_doubted() -> None:
    bench, _ = watching(1, named=[A])
    change(bench, 1, [B], version=VERSION + 2)
    bench.advance(TIMEOUT + 0.1)
    assert updates(bench) == []


def test_a_gap_is_asked_about_until_there_is_an_answer() -> None:
    """Also at the only holder, which is not doubted."""
    bench, _ = watching(1, named=[A])
    change(bench, 1, [B], version=VERSION + 2)
    bench.advance(TIMEOUT + 0.1)
    asked(bench)
    bench.advance(DEFAULT.watch_gap)
    tell(bench, asked(bench)[1], [A, B], version=VERSION + 3)
    assert updates(bench) == [({B}, set())]
    bench.advance(DEFAULT.watch_gap)
    assert asked(bench) == {}


def test_a_doubt_puts_off_no_other_question() -> None:
    bench, _ = watching(1, 2, 3, named=[A])
    change(bench, 1, [B], version=VERSION + 2)
    late = DEFAULT.late_floor
    bench.advance(late - 0.05)
    asked(bench)
    change(bench, 2, (), [A])
    bench.advance(MOMENT + 0.02)
    assert 3 in asked(bench)


def test_a_question_ends_with_its_watch() -> None:
    bench, op = watching(1, 2, named=[A])
    bench.node.commands.watch(Id(3), bench.now)
    bench.sent()
    change(bench, 1, (), [A])
    bench.node.commands.cancel(op)
    bench.advance(0)
    bench.advance(MOMENT)
    assert {sent.request for sent in asked(bench).values()} == {Watch(KEY, b"session", 0, SESSION)}


def test_a_holder_that_is_asked_is_left_once() -> None:
    bench, op = watching(1, named=[A])
    change(bench, 1, (), (), version=VERSION + 2)
    asked(bench)
    bench.node.commands.cancel(op)
    bench.advance(0)
    assert [sent.request for sent in bench.sent()] == [Watch(KEY, b"session", 0, SESSION)]


def test_what_a_lost_holder_said_may_be_removed_by_others() -> None:
    bench, _ = watching(1, 2, named=[A])
    own = bench.node.watching.own
    own.lost(next(iter(own._watches)), contact(2), bench.now)
    change(bench, 1, (), [A])
    assert updates(bench) == [(set(), {A})]


def test_a_holder_lost_in_doubt_has_no_word() -> None:
    bench, _ = watching(1, 2, named=[A])
    change(bench, 1, (), [A])
    bench.advance(MOMENT + DEFAULT.late_floor + 0.2)
    assert updates(bench) == [(set(), {A})]
    own = bench.node.watching.own
    own.lost(next(iter(own._watches)), contact(2), bench.now)
    assert updates(bench) == []


def test_a_change_answers_a_question_as_well() -> None:
    bench, _ = watching(1, 2, named=[A])
    change(bench, 1, (), [A])
    bench.advance(MOMENT + TIMEOUT + 0.1)
    asked(bench)
    change(bench, 2, (), [A])
    bench.advance(DEFAULT.watch_gap)
    assert asked(bench) == {}


def test_endpoints_keep_their_order() -> None:
    bench, _ = watching(1, 2, named=[B])
    change(bench, 2, [A])
    change(bench, 1, [C])
    bench.advance(BETWEEN)
    told = [event for event in bench.events() if isinstance(event, WatchUpdate)]
    assert told[-1].endpoints == (B, A, C)


def test_a_family_cut_off_is_renewed_no_more() -> None:
    bench, _ = watching(1, 2, named=[A])
    bench.node.watching.cut_off(Family.IPV4, bench.now)
    assert bench.event(WatchUpdate).holders == 0
    assert len(bench.node.publisher.heartbeats) == 0


# More than one answer has room for


def cut(bench: Bench, sent: Sent, endpoints: Iterable[Endpoint], *, version: int = VERSION) -> None:
    """Answer a watch with these endpoints, and say that there are more."""
    assert isinstance(sent.request, Watch)
    named = [bytes(endpoint) for endpoint in endpoints]
    id = Id(sent.to[3])
    bench.deliver(bench.codec._encode(1, sent.query.tid, id, bytes(US), [b"session", version, named, True]), sent.to)


def test_a_cut_answer_removes_nothing_at_first() -> None:
    bench, _ = watching(1, 2, named=[A, B, C])
    change(bench, 1, (), (), version=VERSION + 2)  # a gap
    cut(bench, asked(bench)[1], [A], version=VERSION + 3)
    bench.advance(1)
    assert asked(bench) == {}
    change(bench, 1, [B], version=VERSION + 4)  # what had no room
    bench.advance(1.9)
    assert (asked(bench), updates(bench)) == ({}, [])
    bench.advance(0.1 + MOMENT)
    assert set(asked(bench)) == {2}  # the first one does not name the third any more
    change(bench, 1, (), [A], version=VERSION + 5)
    assert updates(bench) == []


def test_what_follows_a_cut_answer_never_is_gone() -> None:
    bench, _ = watching(1, named=[A, B, C])
    change(bench, 1, (), (), version=VERSION + 2)
    cut(bench, asked(bench)[1], [A], version=VERSION + 3)
    change(bench, 1, (), [B], version=VERSION + 4)
    assert updates(bench) == [(set(), {B})]
    bench.advance(2)
    assert updates(bench) == [(set(), {C})]


def test_what_follows_a_cut_answer_is_not_asked_about() -> None:
    bench, _ = watching(1, 2, named=[A, B])
    change(bench, 1, (), (), version=VERSION + 2)
    cut(bench, asked(bench)[1], [A], version=VERSION + 3)
    change(bench, 1, [B], (), version=VERSION + 4)
    bench.advance(2 + MOMENT + 0.1)
    assert (updates(bench), asked(bench)) == ([], {})


def test_a_cut_answer_is_nothing_to_an_ended_watch() -> None:
    bench, op = watching(1, 2, named=[A, B])
    change(bench, 1, (), (), version=VERSION + 2)
    cut(bench, asked(bench)[1], [A], version=VERSION + 3)
    bench.node.commands.cancel(op)
    bench.advance(2 + MOMENT + 0.1)
    assert bench.events() == []


def test_a_holder_lost_after_a_cut_answer_keeps_its_word() -> None:
    bench, _ = watching(1, 2, named=[A])
    change(bench, 1, [B])
    change(bench, 1, [], version=VERSION + 3)
    cut(bench, asked(bench)[1], [A], version=VERSION + 4)
    bench.events()
    own = bench.node.watching.own
    own.lost(next(iter(own._watches)), contact(1), bench.now)
    bench.advance(2.1)
    assert updates(bench) == []


def test_a_holder_in_doubt_is_asked_again() -> None:
    bench, _ = watching(1, 2, named=[A])
    change(bench, 1, (), [A])
    bench.advance(MOMENT + TIMEOUT + 0.1)
    assert set(asked(bench)) == {2}
    bench.advance(DEFAULT.watch_gap)
    sent = asked(bench)[2]
    bench.refuse(sent, 2, ERROR_SERVER, "busy")  # it tells of changes no more
    bench.advance(DEFAULT.watch_gap)
    assert 2 not in asked(bench)


# Holders come and go


def beats(bench: Bench) -> dict[int, Sent]:
    return by_id(list({sent.query.tid: sent for sent in bench.sent() if isinstance(sent.request, Renew)}.values()))


def renew(bench: Bench, sent: Sent, held: int) -> None:
    bench.deliver(bench.codec.encode_renewed(sent.query.tid, Id(sent.to[3]), US, b"next", held), sent.to)


def test_a_watch_is_renewed_with_the_session() -> None:
    bench, _ = watching(1)
    bench.advance(PERIOD)
    (sent,) = beats(bench).values()
    assert sent.request == Renew(SESSION, LEASE, b"session")
    renew(bench, sent, 1)
    assert asked(bench) == {}


def test_a_holder_that_forgot_is_asked_again() -> None:
    bench, _ = watching(1, named=[A])
    bench.advance(PERIOD)
    renew(bench, beats(bench)[1], 0)
    (sent,) = asked(bench).values()
    assert sent.request == Watch(KEY, b"next", LEASE, SESSION)
    tell(bench, sent, [B], version=5)
    assert updates(bench) == [({B}, {A})]


def test_entries_and_watches_share_a_heartbeat() -> None:
    bench, _ = watching(1, named=[A])
    bench.node.commands.enter(KEY, 80, bench.now)
    for sent in bench.sent():
        if isinstance(sent.request, FindNode):
            bench.found(sent, 1)
    (store,) = [sent for sent in bench.sent() if isinstance(sent.request, Store)]
    bench.pong(store, 1)
    bench.advance(PERIOD)
    renew(bench, beats(bench)[1], 2)
    assert bench.sent() == []
    bench.advance(PERIOD)
    renew(bench, beats(bench)[1], 1)
    kinds = {type(sent.request) for sent in bench.sent()}
    assert kinds == {FindNode, Watch}  # nobody knows which of the two is missing


def test_a_watch_is_renewed_after_the_last_entry_is_gone() -> None:
    bench, _ = watching(1, named=[A])
    bench.node.commands.enter(Id(3), 80, bench.now)
    for sent in bench.sent():
        if isinstance(sent.request, FindNode):
            bench.found(sent, 1)
    (store,) = [sent for sent in bench.sent() if isinstance(sent.request, Store)]
    bench.pong(store, 1)
    bench.node.commands.delete(Id(3), None, bench.now)
    while sent_now := bench.sent():
        for sent in sent_now:
            if isinstance(sent.request, FindNode | FindValue):
                bench.found(sent, 1)
            else:
                bench.pong(sent, 1)
    bench.advance(PERIOD)
    assert set(beats(bench)) == {1}


def lose(bench: Bench, lost: int) -> list[Request]:
    """Have a holder miss heartbeats until it is lost, while all others answer; return what was asked."""
    heartbeats, requests = bench.node.publisher.heartbeats, []
    for _ in range(40):
        bench.advance(TIMEOUT / 2)
        for sent in bench.sent():
            id = sent.to[3]
            requests.append(sent.request)
            if id != lost and isinstance(sent.request, Renew):
                renew(bench, sent, 1)
            elif id != lost and isinstance(sent.request, Ping):
                bench.pong(sent, id)
            elif id != lost and isinstance(sent.request, FindNode):
                bench.found(sent, id)
        if contact(lost) not in heartbeats._holders:
            return [*requests, *(sent.request for sent in bench.sent())]
        bench.advance(TIMEOUT / 2)
    raise AssertionError("it is not lost")


def test_a_lost_holder_is_replaced_soon() -> None:
    bench, _ = watching(1, 2, named=[A])
    change(bench, 2, [B])
    bench.events()
    assert FindNode(KEY) in lose(bench, 2)
    assert updates(bench) == [(set(), {B})]  # once the others were looked up


def test_holders_far_away_are_let_go() -> None:
    bench, _ = watching(1, 2, named=[A], policy=replace(POLICY, k=2))
    change(bench, 1, [B])
    bench.events()
    bench.know(contact(78), contact(79))
    due = bench.node.watching.own.next_timeout()
    assert due is not None
    bench.now = due
    bench.node.handle_timeout(due)
    queries = find(bench)
    for id in (78, 79):
        tell(bench, queries[id], [A])
    ended = [sent for sent in bench.sent() if isinstance(sent.request, Watch) and not sent.request.lease]
    assert {sent.to[3] for sent in ended} == {1, 2}
    assert all(sent.request.token == b"session" for sent in ended if isinstance(sent.request, Watch))
    assert updates(bench) == [(set(), {B})]


def test_an_outage_is_no_news_of_endpoints() -> None:
    bench, _ = watching(1, 2, named=[A])
    bench.advance(20 * PERIOD)
    assert all(removed == set() for _, removed in updates(bench))


def test_new_nodes_are_watched_when_a_network_is_reached() -> None:
    bench = Bench(policy=POLICY)
    bench.node.commands.watch(KEY, bench.now)
    bench.node.commands.ping(contact(1).endpoint, bench.now)
    tell(bench, find(bench)[1], [A])
    assert updates(bench)[-1] == ({A}, set())


def test_one_network_reached_leaves_holders_of_the_other() -> None:
    bench, _ = watching(1, named=[A])
    bench.node.watching.reached(bench.now)
    assert bench.sent() == []


def test_a_defect_in_an_ask_ends_the_search() -> None:
    bench = knowing(1)
    op = bench.node.commands.watch(KEY, bench.now)
    (sent,) = find(bench).values()
    for query in list(bench.node.requester.transactions):
        query.owner.give_up(bench.now)
        query.owner.give_up(bench.now)
    bench.node.handle_timeout(bench.now)
    assert bench.event(WatchUpdate) == WatchUpdate(op, KEY, (), (), (), 0)
    tell(bench, sent, [A])
    assert bench.events() == []


def test_a_refusal_after_a_while_changes_nothing() -> None:
    bench = knowing(1, 2)
    bench.node.commands.watch(KEY, bench.now)
    queries = find(bench)
    tell(bench, queries[2], [A])
    bench.advance(DEFAULT.late_floor + 0.1)
    assert updates(bench) == [({A}, set())]
    bench.refuse(queries[1], 1, ERROR_SERVER)
    assert updates(bench) == []


def test_a_holder_lost_in_a_search_brings_another() -> None:
    bench, _ = watching(1, 2, named=[A])
    due = bench.node.watching.own.next_timeout()
    assert due is not None
    bench.now = due
    bench.node.handle_timeout(due)
    own = bench.node.watching.own
    key = next(iter(own._watches))
    own.lost(key, contact(2), bench.now)
    finds = [sent for sent in bench.sent() if sent.request == FindNode(KEY)]
    for sent in finds:
        if sent.to == contact(1).endpoint:
            bench.found(sent, 1)
        else:
            bench.refuse(sent, 2)
    again = own.next_timeout()
    assert again is not None
    assert again - bench.now <= POLICY.watch_gap


def test_one_that_waits_for_its_turn_is_searched_no_sooner() -> None:
    bench = knowing(1)
    for number in range(17):
        bench.node.commands.watch(Id(number), bench.now)
    own = bench.node.watching.own
    last = list(own._watches.values())[-1]
    own._searches.soon(last, bench.now)
    assert own.next_timeout() is None


def test_a_network_reached_in_a_search_begins_no_other() -> None:
    bench = knowing(1)
    bench.node.commands.watch(KEY, bench.now)
    sent = bench.sent()
    bench.node.watching.reached(bench.now)
    assert bench.sent() == []
    assert len(sent) == 1


def test_what_is_asked_already_is_asked_once_more() -> None:
    bench, _ = watching(1, named=[A])
    own = bench.node.watching.own
    (watch,) = own._watches.values()
    for _ in range(3):
        own.ask(watch, contact(1), b"session", None, bench.now)
    (sent,) = asked(bench).values()
    tell(bench, sent, [A], version=VERSION + 1)
    (again,) = asked(bench).values()
    tell(bench, again, [B], version=VERSION + 2)
    assert asked(bench) == {}
    assert updates(bench) == [({B}, {A})]


def test_a_new_contact_is_watched_where_holders_are_few() -> None:
    bench, _ = watching(1, named=[A])
    bench.advance(POLICY.watch_gap)
    bench.know(contact(2))
    bench.advance(0)
    tell(bench, find(bench)[2], [B])
    assert updates(bench) == [({B}, set())]


def test_a_new_contact_is_no_news_for_k_holders() -> None:
    bench, _ = watching(1, 2, named=[A], policy=replace(POLICY, k=2))
    bench.advance(POLICY.watch_gap)
    bench.know(contact(3))
    bench.advance(1)
    assert bench.sent() == []


def test_updates_that_follow_closely_are_put_together() -> None:
    bench, _ = watching(1)
    change(bench, 1, [A])
    change(bench, 1, [B], version=VERSION + 2)
    change(bench, 1, [C], [A], version=VERSION + 3)
    assert [set(event.added) for event in bench.events() if isinstance(event, WatchUpdate)] == [{A}]
    bench.advance(BETWEEN)
    assert [(set(event.added), event.removed) for event in bench.events() if isinstance(event, WatchUpdate)] == [
        ({B, C}, (A,))
    ]


def test_what_a_holder_never_named_it_cannot_remove() -> None:
    bench, _ = watching(1, 2, named=[A])
    change(bench, 2, [B])
    bench.events()
    change(bench, 1, (), [B])
    bench.advance(1)
    assert asked(bench) == {}


def test_questions_come_more_rarely_while_nothing_comes_of_them() -> None:
    """A holder that removes and names an endpoint again and again has the others asked ever more rarely."""
    bench, _ = watching(1, 2, named=[A])
    rounds, version = 0, VERSION
    for _ in range(100):
        change(bench, 1, (), [A], version=version + 1)
        change(bench, 1, [A], version=version + 2)
        version += 2
        bench.advance(0.2)
        for sent in asked(bench).values():
            rounds += 1
            tell(bench, sent, [A], version=VERSION + rounds)
    assert 4 <= rounds <= 14
    assert updates(bench) == []


def refused(*ids: int) -> tuple[Bench, Handle]:
    """Return a node that watches KEY, which these nodes refuse; a lookup is under way."""
    bench = knowing(*ids)
    op = bench.node.commands.watch(KEY, bench.now)
    for id, sent in find(bench).items():
        bench.refuse(sent, id, ERROR_SERVER, "too many watches of this key")
    bench.advance(0)
    return bench, op


def answer_lookup(bench: Bench, named: Iterable[Endpoint]) -> int:
    """Answer the find_values that are sent; return how many there are."""
    finds = [sent for sent in bench.sent() if sent.request == FindValue(KEY)]
    for sent in finds:
        bench.found(sent, sent.to[3], endpoints=named)
    return len(finds)


def test_a_refused_watch_is_looked_up() -> None:
    bench, op = refused(1, 2)
    assert answer_lookup(bench, [A]) == 2
    bench.advance(BETWEEN)
    told = [event for event in bench.events() if isinstance(event, WatchUpdate)]
    assert told[-1] == WatchUpdate(op, KEY, (A,), (A,), (), 2)
    bench.advance(POLICY.watch_retry)
    answer_lookup(bench, [B])
    assert updates(bench) == [({B}, set())]
    bench.advance(POLICY.watch_retry)
    answer_lookup(bench, [B])
    assert updates(bench) == [(set(), {A})]


def test_a_refused_watch_is_tried_again_in_a_while() -> None:
    bench, _ = refused(1)
    answer_lookup(bench, [A])
    bench.advance(BETWEEN)
    bench.events()
    watches: dict[int, Sent] = {}
    while not watches:
        due = bench.node.watching.own.next_timeout()
        assert due is not None
        bench.now = due
        bench.node.handle_timeout(due)
        sent = bench.sent()
        for each in sent:
            if isinstance(each.request, FindValue):
                bench.found(each, 1, endpoints=[A])
            elif isinstance(each.request, FindNode):
                bench.found(each, 1)
            elif isinstance(each.request, Ping):
                bench.pong(each, 1)
        watches = asked(bench)
    assert bench.now <= POLICY.watch_again + POLICY.watch_retry_max + 1
    tell(bench, watches[1], [B])
    assert updates(bench) == [({B}, set()), (set(), {A})]


def test_an_outage_of_one_family_is_no_news_for_the_other() -> None:
    watch = OwnWatch(KEY, 15.0)
    watch.ops[Handle(1)] = None
    four, six_ = contact(1), six(2)
    watch.has_heard(four, VERSION, [A])
    watch.has_heard(six_, VERSION, [B])
    watch.update(0.0, first=True)
    watch.lose(six_)
    watch.lose(four)
    watch.forget_lost({len(four.endpoint)})
    (update,) = watch.update(1.0)
    assert update.endpoints == (B,)
