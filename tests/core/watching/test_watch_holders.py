"""The holders of a watch: heartbeats, losses, outages, newcomers, and lookups in place of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Handle, WatchUpdate
from dhtd.core.ids import Id
from dhtd.core.messages import (
    ERROR_SERVER,
    FindNode,
    FindValue,
    Ping,
    Renew,
    Request,
    Store,
    Watch,
)
from dhtd.core.policy import DEFAULT
from dhtd.core.watching.own_watch import OwnWatch
from tests.core.bench import Bench, Sent
from tests.core.played import KEY, TIMEOUT
from tests.core.small import contact, six
from tests.core.watched import (
    BETWEEN,
    LEASE,
    PERIOD,
    POLICY,
    VERSION,
    A,
    B,
    asked,
    beats,
    change,
    find,
    knowing,
    renew,
    tell,
    updates,
    watching,
)
from tests.records import SESSION


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
        if contact(lost) not in heartbeats.holders:
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


def test_an_old_change_does_not_call_off_another_question() -> None:
    bench, _ = watching(1, named=[A])
    own = bench.node.watching.own
    (watch,) = own._watches.values()
    for _ in range(2):
        own.ask(watch, contact(1), b"session", None, bench.now)
    (sent,) = asked(bench).values()
    change(bench, 1, [B], version=VERSION)
    tell(bench, sent, [A], version=VERSION + 1)
    assert list(asked(bench)) == [1]


def test_a_holder_that_refuses_is_none_any_more() -> None:
    bench, _ = watching(1, 2, named=[A])
    (watch,) = bench.node.watching.own._watches.values()
    change(bench, 1, [B], version=VERSION + 5)
    bench.refuse(asked(bench)[1], 1, ERROR_SERVER)
    assert list(watch.words) == [contact(2)]
    assert bench.node.publisher.heartbeats.token(contact(1)) == b""


def test_a_new_contact_brings_a_search_after_a_gap() -> None:
    bench = knowing(1)
    bench.advance(100.0)
    bench.node.commands.watch(KEY, bench.now)
    tell(bench, find(bench)[1], [A])
    began = bench.now
    bench.advance(1.0)
    bench.know(contact(2))
    assert bench.node.watching.own._searches.next_timeout() == began + POLICY.watch_gap


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
