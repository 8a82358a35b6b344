"""The commands that watch a key: several share one watch, and the last one ends it."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest

from dhtd.core.counters import OWN_WATCHES
from dhtd.core.events import Handle, WatchUpdate
from dhtd.core.ids import Id, packed
from dhtd.core.messages import (
    ERROR_PROTOCOL,
    Error,
    FindNode,
    Renew,
    Watch,
)
from dhtd.core.watching.searches import Searches
from dhtd.errors import TooManyWatches
from tests.core.bench import US, Bench
from tests.core.played import KEY, TIMEOUT
from tests.core.small import contact
from tests.core.watched import (
    PERIOD,
    POLICY,
    VERSION,
    A,
    B,
    C,
    asked,
    change,
    find,
    knowing,
    tell,
    watching,
)
from tests.records import SESSION


def test_a_second_command_is_told_at_once() -> None:
    bench, first = watching(1, named=[A])
    second = bench.node.commands.watch(KEY, bench.now)
    assert bench.event(WatchUpdate) == WatchUpdate(second, KEY, (A,), (A,), (), 1)
    assert bench.sent() == []
    change(bench, 1, [B])
    told = [event for event in bench.events() if isinstance(event, WatchUpdate)]
    assert [(each.op, each.endpoints, each.added) for each in told] == [(op, (A, B), (B,)) for op in (first, second)]


def test_a_second_command_without_a_network_is_told_too() -> None:
    bench = Bench(policy=POLICY)
    for _ in range(2):
        op = bench.node.commands.watch(KEY, bench.now)
        assert bench.event(WatchUpdate) == WatchUpdate(op, KEY, (), (), (), 0)


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


def test_an_ended_watch_tells_nothing_later() -> None:
    bench, op = watching(1, named=[A])
    change(bench, 1, [B])
    change(bench, 1, [C], version=VERSION + 2)
    own = bench.node.watching.own
    assert own._telling.next_timeout() is not None  # it waits
    bench.node.commands.cancel(op)
    bench.advance(0)
    assert own._telling.next_timeout() is None


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
    assert bench.node.watching.own.next_timeout() is None
    assert len(bench.node.watching.own) == 0


def test_an_ended_watch_leaves_nothing_to_search() -> None:
    bench, op = watching(1, named=[A])
    (searches,) = (part for part in gc.get_referents(bench.node.watching.own) if isinstance(part, Searches))
    tables = [table for table in gc.get_referents(searches) if isinstance(table, dict)]
    assert any(packed(KEY) in table for table in tables)
    bench.node.commands.cancel(op)
    bench.advance(0)
    assert not any(packed(KEY) in table for table in tables)


def test_to_cancel_another_command_ends_no_watch() -> None:
    bench, _ = watching(1)
    bench.node.commands.cancel(Handle(99))
    bench.advance(0)
    assert (bench.sent(), len(bench.node.watching.own)) == ([], 1)


def test_a_watch_too_many_is_refused() -> None:
    bench = knowing(1, policy=replace(POLICY, own_watches=1))
    bench.node.commands.watch(KEY, bench.now)
    for _ in range(2):
        with pytest.raises(TooManyWatches, match="end another watch first"):
            bench.node.commands.watch(Id(78), bench.now)
    bench.node.commands.watch(KEY, bench.now)
    assert bench.node.counters.caps_hit[OWN_WATCHES] == 2


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
