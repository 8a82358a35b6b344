"""Gets of values: what they believe, what they find, and whom they send it to, with every peer played."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.events import Copy, GaveUp, GetDone, GetProgress
from dhtd.core.ids import Id
from dhtd.core.messages import Get, Put
from dhtd.core.records import Immutable, Mutable, Value
from tests.core.bench import QUIET, Bench
from tests.core.small import CODEC, endpoint
from tests.core.values.valued import (
    DATA,
    DATA_KEY,
    KEY,
    NEW,
    OLD,
    TIMEOUT,
    TWIN,
    VALUE,
    at,
    begun,
    done,
    gets,
    got,
    knowing,
    near,
    puts,
    read,
)
from tests.values import by_owner, forged, hold, squatting


def copy(distance: int, value: Value) -> Copy:
    (contact,) = near(distance)
    return Copy(contact, value)


# What is found


def test_a_get_asks_the_nodes_near_the_key() -> None:
    bench = knowing(1, 40)
    op, asked = begun(bench)
    assert {distance: sent.request for distance, sent in asked.items()} == {1: Get(KEY), 40: Get(KEY)}
    got(bench, asked[40], contacts=near(2))
    assert gets(bench).keys() == {2}
    bench.now += 0.1
    got(bench, asked[1], VALUE)
    told = bench.event(GetProgress)
    assert (told.op, told.value, told.stats.responses) == (op, VALUE, 1)
    assert told.stats.first == pytest.approx(0.1)


def test_a_node_without_others_finds_nothing() -> None:
    bench = Bench()
    op, _ = begun(bench)
    told = done(bench)
    assert (told.op, told.key, told.value, told.complete, told.is_ours) == (op, KEY, None, False, False)
    assert (told.copies, told.stale, told.conflicting, told.closest) == ((), (), (), ())


def test_the_newest_value_is_found() -> None:
    bench = knowing(1, 2, 3, 4)
    told, placed = read(bench, {1: OLD, 2: NEW, 4: VALUE})
    assert (told.value, told.copies, told.complete, told.is_ours) == (NEW, tuple(near(2)), True, False)
    assert told.stale == (copy(1, OLD), copy(4, VALUE))
    assert told.conflicting == ()
    assert set(told.closest) == set(near(1, 2, 3, 4))
    assert placed.keys() == {1, 3, 4}


def test_each_better_value_is_told_at_once() -> None:
    bench = knowing(1, 2, 3, 4)
    _, asked = begun(bench)
    for distance, held in ((1, OLD), (2, NEW), (3, VALUE)):
        got(bench, asked[distance], held)
    assert [told.value for told in bench.events() if isinstance(told, GetProgress)] == [OLD, NEW]
    got(bench, asked[4])
    assert done(bench).value == NEW


def test_a_newer_value_of_the_last_one_counts() -> None:
    bench = knowing(*range(1, 9))
    told, _ = read(bench, dict.fromkeys(range(1, 8), VALUE) | {8: NEW})
    assert (told.value, len(told.stale)) == (NEW, 7)


def test_what_is_forged_is_not_believed() -> None:
    bench = knowing(1, 2, 3, 4)
    lies = {1: forged(9), 2: NEW._replace(seq=9), 3: by_owner(9, salt=b"another key")}
    told, placed = read(bench, lies | {4: OLD})
    assert (told.value, told.copies, told.stale, told.conflicting) == (OLD, tuple(near(4)), (), ())
    assert bench.node.counters.forged == 3
    assert placed.keys() == {1, 2, 3}


def test_only_lies_are_nothing() -> None:
    bench = knowing(1, 2)
    told, placed = read(bench, {1: forged(1), 2: DATA})
    assert (told.value, told.copies, placed) == (None, (), {})


@pytest.mark.parametrize(
    ("held", "best", "conflicting"),
    [
        ({1: VALUE, 2: VALUE, 3: TWIN}, VALUE, [3]),
        ({1: TWIN, 2: VALUE, 3: TWIN, 4: TWIN}, TWIN, [2]),
        ({1: VALUE, 2: TWIN}, max(VALUE, TWIN), None),
        ({1: VALUE, 2: TWIN, 3: OLD, 4: OLD}, max(VALUE, TWIN), None),
    ],
)
def test_of_two_signed_alike_most_nodes_say(held: dict[int, Value], best: Value, conflicting: list[int] | None) -> None:
    bench = knowing(1, 2, 3, 4)
    told, placed = read(bench, held)
    assert told.value == best
    others = [copy.value for copy in told.conflicting]
    assert others == ([TWIN if best == VALUE else VALUE] * len(others))
    if conflicting is not None:
        assert [copy.contact for copy in told.conflicting] == near(*conflicting)
    assert placed.keys() == {1, 2, 3, 4} - {number for number in held if held[number] != OLD}


def test_a_conflict_is_none_once_there_is_a_newer_one() -> None:
    told, placed = read(knowing(1, 2, 3), {1: VALUE, 2: TWIN, 3: NEW})
    assert (told.value, told.conflicting, len(told.stale)) == (NEW, (), 2)
    assert placed.keys() == {1, 2}


# Data that never change


def test_data_end_a_get_at_once() -> None:
    bench = knowing(1, 2, 3, key=DATA_KEY)
    _, asked = begun(bench, DATA_KEY)
    got(bench, asked[2])
    got(bench, asked[1], DATA)
    told = done(bench)
    assert (told.value, told.copies, told.complete) == (DATA, tuple(near(1, key=DATA_KEY)), True)
    assert puts(bench).keys() == {2}
    got(bench, asked[3], DATA)
    assert (bench.sent(), bench.events()) == ([], [])


def test_a_thorough_get_finds_all_copies() -> None:
    bench = knowing(1, 2, 3, key=DATA_KEY)
    told, placed = read(bench, {1: DATA, 3: DATA}, DATA_KEY, thorough=True)
    assert (told.value, told.copies) == (DATA, tuple(near(1, 3, key=DATA_KEY)))
    assert placed.keys() == {2}


def test_own_data_need_no_others() -> None:
    bench = knowing(1, key=DATA_KEY)
    hold(bench.node.values.held, DATA_KEY, DATA, endpoint(9), bench.now)
    op, asked = begun(bench, DATA_KEY)
    assert asked == {}
    told = bench.events()
    assert [type(each) for each in told] == [GetProgress, GetDone]
    assert isinstance(told[1], GetDone)
    assert (told[1].op, told[1].value, told[1].is_ours, told[1].complete, told[1].copies) == (op, DATA, True, True, ())
    _, asked = begun(bench, DATA_KEY, thorough=True)
    assert asked.keys() == {1}


# Squatters


@pytest.mark.parametrize("signed", [False, True])
def test_a_squatter_is_in_nobodys_way(signed: bool) -> None:
    told, placed = read(knowing(1, 2, 3), {1: squatting(VALUE), 2: OLD}, signed=signed)
    assert (told.value, told.copies) == (OLD, tuple(near(2)))
    assert told.stale == (() if signed else (copy(1, squatting(VALUE)),))
    assert placed.keys() == {1, 3}


def test_a_squatter_alone_is_found_where_it_may_be() -> None:
    told, _ = read(knowing(1, 2), {1: squatting(VALUE)})
    assert told.value == squatting(VALUE)
    bench = knowing(1, 2)
    told, placed = read(bench, {1: squatting(VALUE)}, signed=True)
    assert (told.value, placed) == (None, {})


def test_an_own_squatter_is_not_what_is_wanted() -> None:
    bench = knowing(1)
    hold(bench.node.values.held, KEY, squatting(VALUE), endpoint(9), bench.now)
    told, _ = read(bench, {}, signed=True)
    assert (told.value, told.is_ours) == (None, False)
    told, _ = read(bench, {})
    assert (told.value, told.is_ours) == (squatting(VALUE), True)


@pytest.mark.parametrize("salt", [b"", b"s" * 64])
def test_what_looks_like_a_key_ends_no_get(salt: bytes) -> None:
    value = by_owner(1, salt=salt)
    key = CODEC.key_of(value)
    bench = knowing(1, 2, key=key)
    _, asked = begun(bench, key)
    got(bench, asked[1], squatting(value))
    assert [type(told) for told in bench.events()] == [GetProgress]
    got(bench, asked[2], value)
    assert done(bench).value == value


@pytest.mark.parametrize(("size", "ends"), [(31, True), (32, False), (96, False), (97, True)])
def test_data_of_another_size_are_no_key(size: int, ends: bool) -> None:
    value = Immutable(bytes(size))
    key = CODEC.key_of(value)
    bench = knowing(1, 2, key=key)
    _, asked = begun(bench, key)
    got(bench, asked[1], value)
    assert any(isinstance(told, GetDone) for told in bench.events()) is ends


# What this node has itself


def test_an_own_value_is_compared_with_others() -> None:
    bench = knowing(1, 2)
    hold(bench.node.values.held, KEY, VALUE, endpoint(9), bench.now, 600)
    told, placed = read(bench, {1: OLD})
    assert (told.value, told.copies, told.is_ours) == (VALUE, (), True)
    assert {sent.request.lasts for sent in placed.values() if isinstance(sent.request, Put)} == {600}
    told, _ = read(bench, {1: NEW})
    assert (told.value, told.is_ours) == (NEW, False)


@pytest.mark.parametrize("is_known", [False, True])
def test_a_get_with_something_waits_for_no_late_node(is_known: bool) -> None:
    bench = knowing(1, 2)
    if is_known:
        hold(bench.node.values.held, KEY, VALUE, endpoint(9), bench.now, 600)
    _, asked = begun(bench)
    got(bench, asked[1])
    bench.advance(TIMEOUT / 2)
    assert any(isinstance(told, GetDone) for told in bench.events()) is is_known
    bench.advance(TIMEOUT)
    assert any(isinstance(told, GetDone) for told in bench.events()) is not is_known


def test_a_newer_value_ends_the_old_one_here() -> None:
    """This node serves no old copy once it knows better."""
    bench = knowing(1, 2)
    hold(bench.node.values.held, KEY, OLD, endpoint(9), bench.now)
    _, asked = begun(bench)
    got(bench, asked[1], NEW)
    known = bench.node.values.known.get(KEY, bench.now)
    assert known is not None
    assert known[0] == NEW


# Long values


def test_a_long_value_takes_three_queries() -> None:
    """The value has no room in an answer to a stranger, and leaves none for contacts."""
    bench = knowing(1)
    _, asked = begun(bench)
    got(bench, asked[1], None, token=b"proof", more=True)
    second = gets(bench)[1]
    assert second.request == Get(KEY, b"proof")
    got(bench, second, VALUE, token=b"proof", more=True)
    assert bench.event(GetProgress).value == VALUE
    third = gets(bench)[1]
    assert third.request == Get(KEY, b"proof", VALUE.seq)
    got(bench, third, VALUE, near(2), token=b"proof", more=True)
    fourth = gets(bench)
    assert fourth.keys() == {2}
    got(bench, fourth[2])
    told = done(bench)
    assert (told.value, told.copies, told.stats.queries, told.stats.responses) == (VALUE, tuple(near(1)), 2, 2)


def test_a_long_value_of_a_silent_node_is_found() -> None:
    """Its contacts are missing, but the value is there."""
    bench = knowing(1)
    _, asked = begun(bench)
    got(bench, asked[1], VALUE, token=b"proof", more=True)
    bench.sent()
    bench.advance(2 * TIMEOUT + 1)
    told = done(bench)
    assert (told.value, told.copies) == (VALUE, tuple(near(1)))


def test_a_liar_cannot_keep_a_get_asking() -> None:
    bench = knowing(1)
    _, asked = begun(bench)
    count, queries = 0, list(asked.values())
    while queries and count <= 3:
        count += len(queries)
        for sent in queries:
            assert isinstance(sent.request, Get)
            value = by_owner(100 + count)
            bench.deliver(
                bench.codec._encode(
                    1, sent.query.tid, Id(sent.to[3]), bytes(6), [b"proof", b"", b"", True, list(value), 60]
                ),
                sent.to,
            )
        queries = [sent for sent in bench.sent() if isinstance(sent.request, Get)]
    assert count <= 3
    assert isinstance(done(bench).value, Mutable)


# How it ends


def test_a_silent_node_makes_it_incomplete() -> None:
    bench = knowing(1)
    begun(bench)
    bench.advance(2 * TIMEOUT + 1)
    told = done(bench)
    assert (told.value, told.complete, told.stats.timeouts) == (None, False, 1)


def test_a_get_at_its_limits_is_incomplete() -> None:
    bench = knowing(1, 2, 3, policy=replace(QUIET, search_queries=2))
    told, _ = read(bench, {1: VALUE})
    assert (told.value, told.complete) == (VALUE, False)


def test_a_cancelled_get_tells_nothing() -> None:
    bench = knowing(1, 2)
    op, asked = begun(bench)
    got(bench, asked[1], OLD)
    bench.node.commands.cancel(op)
    bench.events()
    got(bench, asked[2], NEW)
    assert (bench.sent(), bench.events()) == ([], [])
    assert bench.node.handles.running == set()


def test_a_waiting_get_can_be_cancelled() -> None:
    bench = Bench(own_id=at(127))
    bench.node.start([endpoint(9)], bench.now)
    op = bench.node.commands.get(KEY, bench.now)
    assert len(bench.node.waiting) == 1
    bench.node.commands.cancel(op)
    assert len(bench.node.waiting) == 0


def test_a_defect_ends_a_get() -> None:
    bench = knowing(1)
    op, asked = begun(bench)
    (reading,) = bench.node.commands._asking.values()
    for _ in range(2):
        reading.give_up(bench.now)
    bench.node.handle_timeout(bench.now)
    assert bench.events() == [GaveUp(op)]
    got(bench, asked[1], VALUE)
    assert bench.events() == []
