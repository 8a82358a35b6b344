"""What holders tell a watcher: changes, gaps, removals, doubts, cut answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.events import WatchUpdate
from dhtd.core.ids import Id
from dhtd.core.messages import (
    ERROR_PROTOCOL,
    ERROR_SERVER,
    Changed,
    Error,
    Reply,
    Watch,
)
from dhtd.core.policy import DEFAULT
from tests.core.bench import US, Bench, Sent
from tests.core.played import KEY, TIMEOUT
from tests.core.small import contact
from tests.core.watched import (
    BETWEEN,
    LEASE,
    MOMENT,
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
    updates,
    watching,
)
from tests.records import SESSION

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
