"""Placements of values: who is asked, who is asked to hold them, and what becomes of it, with every peer played."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.endpoint import Family
from dhtd.core.events import Handle, ValuePut
from dhtd.core.messages import VALUE_LASTS, Contact, Get, Put
from dhtd.core.policy import DEFAULT
from dhtd.core.records import Immutable, Value
from tests.core.bench import QUIET, Bench, Sent
from tests.core.small import endpoint, six
from tests.core.values.valued import (
    DATA,
    DATA_KEY,
    FEW,
    KEY,
    NEW,
    OLD,
    TWIN,
    VALUE,
    at,
    converge,
    gets,
    got,
    id_of,
    knowing,
    near,
    puts,
    take,
)
from tests.values import forged, squatting

TIMEOUT = DEFAULT.query_timeout


def begun(bench: Bench, value: Value = VALUE, **options: object) -> tuple[Handle, dict[int, Sent]]:
    """Put a value, and return the handle and the gets that go out."""
    key = DATA_KEY if isinstance(value, Immutable) else KEY
    op = bench.node.commands.put(key, value, bench.now, **options)  # type: ignore[arg-type]
    return op, gets(bench)


def replicas(*distances: int) -> tuple[Contact, ...]:
    return tuple(near(*distances))


def test_a_value_goes_to_the_nearest_with_their_tokens() -> None:
    bench = knowing(1, 2, 3, policy=FEW)
    op, asked = begun(bench)
    assert all(sent.request == Get(KEY, None, 2) for sent in asked.values())
    sent_puts = converge(bench, asked)
    assert sent_puts.keys() == {1, 2}
    for distance, sent in sent_puts.items():
        assert sent.request == Put(KEY, b"token%d" % distance, VALUE, None, VALUE_LASTS)
        take(bench, sent)
    assert bench.event(ValuePut) == ValuePut(op, KEY, replicas(1, 2), asked=2)
    assert bench.sent() == []


def test_data_are_put_as_they_are() -> None:
    bench = knowing(1, key=DATA_KEY)
    _, asked = begun(bench, DATA)
    assert asked[1].request == Get(DATA_KEY, None, 0)
    got(bench, asked[1])
    assert puts(bench)[1].request == Put(DATA_KEY, b"token", DATA, None, VALUE_LASTS)


def test_a_cas_goes_with_each_put() -> None:
    bench = knowing(1)
    _, asked = begun(bench, cas=1)
    got(bench, asked[1], OLD)
    assert puts(bench)[1].request == Put(KEY, b"token", VALUE, 1, VALUE_LASTS)


def test_a_node_without_others_places_nothing() -> None:
    bench = Bench()
    op = bench.node.commands.put(KEY, VALUE, bench.now)
    assert bench.event(ValuePut) == ValuePut(op, KEY, (), asked=0)


def test_holders_of_it_are_asked_to_renew_it() -> None:
    bench = knowing(1, 2)
    _, asked = begun(bench)
    got(bench, asked[1], VALUE)
    got(bench, asked[2], OLD)
    assert puts(bench).keys() == {1, 2}


@pytest.mark.parametrize("held", [NEW])
def test_a_newer_value_is_the_outcome(held: Value) -> None:
    bench = knowing(1, 2, 3)
    op, asked = begun(bench)
    got(bench, asked[1])
    got(bench, asked[2], held)
    got(bench, asked[3], OLD)
    assert bench.sent() == []
    assert bench.event(ValuePut) == ValuePut(op, KEY, (), asked=0, newer=held)


def test_the_newest_of_all_is_the_outcome() -> None:
    newest = NEW._replace(seq=2)
    bench = knowing(1, 2, 3)
    _, asked = begun(bench, OLD)
    for distance, held in ((1, VALUE), (2, NEW), (3, VALUE)):
        got(bench, asked[distance], held)
    assert bench.event(ValuePut).newer == NEW != newest


@pytest.mark.parametrize("held", [forged(9), NEW._replace(seq=9), NEW._replace(data=b"other"), squatting(VALUE)])
def test_a_forged_newer_value_stops_nothing(held: Value) -> None:
    bench = knowing(1, 2)
    _, asked = begun(bench)
    got(bench, asked[1], held)
    got(bench, asked[2])
    assert puts(bench).keys() == {1, 2}


def test_a_signed_value_supersedes_ours_without() -> None:
    bench = knowing(1)
    op = bench.node.commands.put(KEY, squatting(VALUE), bench.now)
    asked = gets(bench)
    assert asked[1].request == Get(KEY, None, 0)
    got(bench, asked[1], VALUE)
    assert bench.event(ValuePut) == ValuePut(op, KEY, (), asked=0, newer=VALUE)


def test_a_full_node_yields_to_the_next() -> None:
    bench = knowing(1, 2, 3, policy=FEW)
    _, asked = begun(bench)
    assert converge(bench, asked, full=[1]).keys() == {2, 3}


@pytest.mark.parametrize("code", [202, 203, 206])
def test_a_refusal_moves_a_put_to_the_next(code: int) -> None:
    bench = knowing(1, 2, 3, policy=FEW)
    op, asked = begun(bench)
    first = converge(bench, asked)
    bench.refuse(first[1], at(1), code, "no")
    last = puts(bench)
    assert last.keys() == {3}
    take(bench, last[3])
    assert bench.events() == []
    take(bench, first[2])
    told = bench.event(ValuePut)
    assert (told.op, told.replicas, told.asked) == (op, replicas(3, 2), 3)
    assert [(error.code, error.text) for error in told.refusals] == [(code, "no")]


@pytest.mark.parametrize("code", [301, 302])
def test_a_holder_of_another_is_not_replaced(code: int) -> None:
    bench = knowing(1, 2, 3, policy=FEW)
    _, asked = begun(bench)
    first = converge(bench, asked, {1: TWIN})
    bench.refuse(first[1], at(1), code)
    assert bench.sent() == []
    take(bench, first[2])
    told = bench.event(ValuePut)
    assert (told.replicas, told.asked, [error.code for error in told.refusals]) == (replicas(2), 2, [code])


def test_a_silent_holder_is_asked_again_and_replaced() -> None:
    bench = knowing(1, 2, 3, policy=FEW)
    _, asked = begun(bench)
    take(bench, converge(bench, asked)[2])
    bench.advance(2 * TIMEOUT + 0.1)
    sent = [each for each in bench.sent() if isinstance(each.request, Put)]
    assert [id_of(each) for each in sent][:3] == [at(1), at(1), at(3)]
    take(bench, sent[-1])
    assert bench.event(ValuePut).refusals == ()


def test_a_waiting_placement_called_off_never_begins() -> None:
    bench = Bench(own_id=at(127), policy=QUIET)
    bench.node.start([endpoint(9)], bench.now)
    for number, value in enumerate((OLD, VALUE)):
        bench.node.commands.put(KEY, value, bench.now)
        assert (len(bench.node.waiting), len(bench.events())) == (1, number)
    bench.node.commands.drop_value(KEY, bench.now)
    assert (len(bench.node.waiting), bench.event(ValuePut).cancelled) == (0, True)


def test_a_placement_called_off_asks_nobody_else() -> None:
    bench = knowing(1, 2, 3, policy=FEW)
    _, asked = begun(bench)
    first = converge(bench, asked)
    bench.node.commands.drop_value(KEY, bench.now)
    bench.refuse(first[1], at(1))
    assert bench.sent() == []


def test_a_placement_ends_when_nobody_is_left() -> None:
    bench = knowing(1, 2, policy=FEW)
    _, asked = begun(bench)
    for distance, sent in converge(bench, asked).items():
        bench.refuse(sent, at(distance))
    told = bench.event(ValuePut)
    assert (told.replicas, told.asked, len(told.refusals)) == ((), 2, 2)


def test_each_family_has_its_holders() -> None:
    bench = Bench(own_id=at(127), policy=FEW, families=(Family.IPV4, Family.IPV6))
    fours, sixes = near(1, 2, 3), [six(at(distance)) for distance in (1, 2, 3)]
    bench.know(*fours, *sixes)
    bench.node.commands.put(KEY, VALUE, bench.now)
    there = {each.endpoint: each for each in (*fours, *sixes)}
    asked, taken = bench.sent(), []
    while asked:
        sent = asked.pop()
        own = there[sent.to]
        if isinstance(sent.request, Get):
            result = [b"token", b"", b"", False, None, 0]
            bench.deliver(bench.codec._encode(1, sent.query.tid, own.id, bytes(sent.to), result), sent.to)
        elif isinstance(sent.request, Put):
            taken.append(own)
            bench.pong(sent, own.id)
        asked += bench.sent()
    assert set(taken) == {*fours[:2], *sixes[:2]}
    told = bench.event(ValuePut)
    assert (set(told.replicas), told.asked) == (set(taken), 4)


def test_a_crowded_region_has_more_holders() -> None:
    crowded = replace(QUIET, k=2, region=1.5, region_nodes=4, crowded=1.0, size_samples=0)
    bench = knowing(*range(1, 12), policy=crowded)
    _, asked = begun(bench)
    placed = converge(bench, asked)
    for sent in placed.values():
        take(bench, sent)
    assert len(placed) > 2
    assert len(bench.event(ValuePut).replicas) == len(placed)


def test_a_defect_ends_a_placement_as_far_as_it_came() -> None:
    bench = knowing(1, 2)
    op, asked = begun(bench)
    first = converge(bench, asked)
    take(bench, first[1])
    (publication,) = bench.node.values.keeping._publications.values()
    publication.placement.give_up(bench.now)
    publication.placement.give_up(bench.now)
    publication.placement.cancel()
    bench.node.handle_timeout(bench.now)
    assert bench.event(ValuePut) == ValuePut(op, KEY, replicas(1), asked=2)
    take(bench, first[2])
    assert bench.events() == []


def test_nodes_behind_those_without_values_are_asked() -> None:
    """Many nodes of the Mainline network know nothing of values, and refuse a get."""
    bench = knowing(*range(1, 8), policy=FEW)
    _, asked = begun(bench)
    refused: set[int] = set()
    while not asked.keys() & {5, 6, 7}:
        assert asked, "nobody else is asked"
        refused |= asked.keys()
        for distance, sent in asked.items():
            bench.refuse(sent, at(distance))
        asked = gets(bench)
    assert refused == {1, 2, 3, 4}
    assert converge(bench, asked).keys() == {5, 6}
