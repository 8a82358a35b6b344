"""Values that a node keeps in the network, and those that it hands on: when each is placed, and what that brings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.events import Handle, ValuePut, ValueSuperseded
from dhtd.core.ids import Id, packed
from dhtd.core.messages import ERROR_CAS, VALUE_LASTS, Get, Put
from dhtd.core.policy import DEFAULT
from dhtd.core.records import Value
from dhtd.core.values.own_values import OwnValue
from dhtd.errors import TooManyValues
from tests.core.bench import Bench
from tests.core.small import CODEC, endpoint
from tests.core.values.valued import (
    DATA,
    DATA_KEY,
    KEY,
    NEW,
    OLD,
    STILL,
    VALUE,
    converge,
    gets,
    got,
    knowing,
    near,
    next_get,
    place,
    puts,
    take,
)
from tests.values import by_owner, hold

JITTER = DEFAULT.republish_jitter
REPUBLISH = DEFAULT.value_republish
SILENT = DEFAULT.replicate * 1.25 + 2 * DEFAULT.store_sweep  # by then a held value is replicated


def put(bench: Bench, value: Value = VALUE, key: Id = KEY, **options: object) -> Handle:
    return bench.node.commands.put(key, value, bench.now, **options)  # type: ignore[arg-type]


def kept(bench: Bench, key: Id = KEY) -> Value | None:
    own = bench.node.values.own.get(key)
    return None if own is None else own.value


def own_of(bench: Bench) -> OwnValue:
    own = bench.node.values.own.get(KEY)
    assert own is not None
    return own


# Own values


def test_a_put_value_is_kept_and_published() -> None:
    bench = knowing(1, 2, policy=STILL)
    op = put(bench)
    assert kept(bench) == VALUE
    assert place(bench) == [Put(KEY, b"token%d" % number, VALUE, None, VALUE_LASTS) for number in (1, 2)]
    assert bench.event(ValuePut) == ValuePut(op, KEY, tuple(near(1, 2)), asked=2)
    assert own_of(bench).replicas == tuple(near(1, 2))
    for _ in range(3):
        rest = next_get(bench, 2 * REPUBLISH)
        assert REPUBLISH * (1 - JITTER) <= rest <= REPUBLISH * (1 + JITTER)
        assert len(place(bench)) == 2
    assert bench.events() == []


def test_a_value_put_once_is_not_kept() -> None:
    bench = knowing(1, policy=STILL)
    op = put(bench, keep=False)
    assert kept(bench) is None
    assert len(place(bench)) == 1
    assert bench.event(ValuePut).op == op
    bench.advance(3 * REPUBLISH)
    assert bench.sent() == []


def test_a_value_that_too_few_hold_is_tried_again() -> None:
    bench = knowing(1, 2, policy=STILL)
    put(bench, wanted=3)
    assert len(place(bench)) == 2
    rests = []
    for _ in range(3):
        rests.append(next_get(bench, 600))
        assert len(place(bench)) == 2
    assert rests == [15.0, 30.0, 60.0]
    own_of(bench).wanted = 2
    next_get(bench, 600)
    place(bench)
    assert next_get(bench, 2 * REPUBLISH) > REPUBLISH / 2


def test_a_put_in_place_of_another_calls_that_off() -> None:
    bench = knowing(1, policy=STILL)
    first = put(bench, OLD)
    asked = gets(bench)
    second = put(bench, VALUE)
    told = bench.event(ValuePut)
    assert (told.op, told.cancelled, told.replicas) == (first, True, ())
    got(bench, asked[1])
    assert [each.value for each in place(bench)] == [VALUE]
    assert bench.event(ValuePut).op == second
    assert kept(bench) == VALUE


def test_the_same_put_again_ends_with_the_first() -> None:
    bench = knowing(1, policy=STILL)
    ops = [put(bench, VALUE), put(bench, VALUE)]
    assert len(place(bench)) == 1
    assert [(each.op, each.cancelled, each.replicas) for each in bench.events() if isinstance(each, ValuePut)] == [
        (op, False, tuple(near(1))) for op in ops
    ]
    # One that is due by the clock is called off: nobody waits for it, and it has less patience.
    next_get(bench, 2 * REPUBLISH)
    gets(bench)
    op = put(bench, VALUE)
    place(bench)
    assert bench.event(ValuePut).op == op


def test_a_dropped_value_is_published_no_more() -> None:
    bench = knowing(1, policy=STILL)
    op = put(bench)
    asked = gets(bench)
    assert bench.node.commands.drop_value(KEY, bench.now)
    assert converge(bench, asked) == {}
    told = bench.event(ValuePut)
    assert (told.op, told.cancelled) == (op, True)
    assert not bench.node.commands.drop_value(KEY, bench.now)
    put(bench)
    place(bench)
    assert bench.node.commands.drop_value(KEY, bench.now)
    bench.sent()
    bench.advance(2 * REPUBLISH)
    assert bench.sent() == []
    assert bench.node.values.next_timeout() is None


def test_excess_own_values_are_refused() -> None:
    bench = knowing(1, policy=replace(STILL, own_values=1))
    put(bench)
    bench.node.commands.check_value_room(KEY)
    with pytest.raises(TooManyValues):
        bench.node.commands.check_value_room(DATA_KEY)


def test_restored_values_are_published_soon() -> None:
    bench = knowing(1, policy=STILL)
    bench.advance(1_000)
    bench.node.values.keeping.restore(KEY, VALUE, 1, bench.now)
    assert bench.sent() == []
    assert next_get(bench, 60) <= DEFAULT.startup_spread
    assert [each.value for each in place(bench)] == [VALUE]
    assert bench.events() == []


def test_few_values_are_published_at_once() -> None:
    bench = knowing(1, policy=replace(STILL, publishing=2, startup_spread=0.0))
    for seq in range(5):
        value = by_owner(seq, salt=b"%d" % seq)
        bench.node.values.keeping.restore(CODEC.key_of(value), value, 1, bench.now)
    placed = set()
    for _ in range(5):
        bench.advance(0.001)
        asked = [sent for sent in bench.sent() if isinstance(sent.request, Get)]
        if not asked:
            break
        assert len(asked) <= 2
        for sent in asked:
            got(bench, sent)
        for sent in bench.sent():
            assert isinstance(sent.request, Put)
            placed.add(sent.request.value)
            take(bench, sent)
    assert len(placed) == 5


def test_a_reached_network_hurries_values() -> None:
    bench = Bench(own_id=KEY ^ 127, policy=STILL)
    put(bench)
    assert bench.event(ValuePut).replicas == ()
    bench.advance(300)
    own_of(bench).failures = 9
    bench.know(*near(1))
    assert own_of(bench).failures == 0
    assert next_get(bench, 60) <= DEFAULT.startup_spread


# What supersedes them


def test_a_found_value_takes_the_place_of_ours() -> None:
    bench = knowing(1, policy=STILL)
    op = put(bench, OLD)
    assert place(bench, {1: NEW}) == []
    told, done = bench.events()
    assert told == ValueSuperseded(KEY, NEW)
    assert isinstance(done, ValuePut)
    assert (done.op, done.newer, done.replicas) == (op, NEW, ())
    assert kept(bench) == NEW
    assert bench.node.values.own.changed == {packed(KEY)}
    assert next_get(bench, 60) == 15.0
    assert [each.value for each in place(bench)] == [NEW]
    assert next_get(bench, 2 * REPUBLISH) > REPUBLISH / 2


def test_a_newer_own_value_is_not_lost_by_an_older_put() -> None:
    bench = knowing(1, policy=STILL)
    put(bench, NEW)
    place(bench)
    bench.events()
    op = put(bench, OLD)
    assert bench.sent() == []
    told, done = bench.events()
    assert told == ValueSuperseded(KEY, NEW)
    assert done == ValuePut(op, KEY, (), asked=0, newer=NEW)
    assert kept(bench) == NEW
    assert next_get(bench, 60) == 15.0


@pytest.mark.parametrize("keep", [False, True])
def test_a_put_gives_way_to_what_this_node_holds(keep: bool) -> None:
    bench = knowing(1, policy=STILL)
    hold(bench.node.values.held, KEY, NEW, endpoint(9), bench.now)
    op = put(bench, OLD, keep=keep)
    assert bench.sent() == []
    assert bench.events()[-1] == ValuePut(op, KEY, (), asked=0, newer=NEW)
    assert kept(bench) == (NEW if keep else None)


def test_what_others_put_here_supersedes_ours() -> None:
    """In a network of two, nobody else can tell the node that keeps the older one."""
    bench = knowing(1, policy=STILL)
    put(bench, OLD)
    place(bench)
    bench.events()
    hold(bench.node.values.held, KEY, NEW, endpoint(9), bench.now)
    next_get(bench, 1.2 * REPUBLISH)
    assert bench.event(ValueSuperseded) == ValueSuperseded(KEY, NEW)
    assert kept(bench) == NEW
    assert [each.value for each in place(bench)] == [NEW]


def test_a_put_supersedes_what_this_node_holds() -> None:
    bench = knowing(1, policy=STILL)
    hold(bench.node.values.held, KEY, OLD, endpoint(9), bench.now)
    put(bench, keep=False)
    known = bench.node.values.held.get(KEY, bench.now)
    assert known is not None
    assert known[0] == VALUE


@pytest.mark.parametrize(("refusing", "held"), [((1, 2), OLD), ((1,), OLD), ((), VALUE)])
def test_a_refused_cas_leaves_what_is_held(refusing: tuple[int, ...], held: Value) -> None:
    """Else this node would bring the refused value to all that hold what the `cas` protects."""
    bench = knowing(1, 2, policy=STILL)
    hold(bench.node.values.held, KEY, OLD, endpoint(9), bench.now)
    put(bench, cas=OLD.seq, keep=False)
    for distance, sent in converge(bench, gets(bench)).items():
        if distance in refusing:
            bench.refuse(sent, near(distance)[0].id, ERROR_CAS)
        else:
            take(bench, sent)
    assert bench.event(ValuePut).newer is None
    known = bench.node.values.held.get(KEY, bench.now)
    assert known is not None
    assert known[0] == held


def test_a_value_that_was_placed_is_kept() -> None:
    bench = knowing(1, 2, policy=STILL)
    hold(bench.node.values.held, KEY, OLD, endpoint(9), bench.now)
    put(bench, cas=OLD.seq, keep=False)
    place(bench)
    replicas = bench.event(ValuePut).replicas
    bench.node.commands.keep_value(KEY, VALUE, replicas, bench.now, wanted=2)
    assert (kept(bench), own_of(bench).replicas) == (VALUE, replicas)
    assert [each.value for each in bench.node.values.held] == [VALUE]
    assert REPUBLISH * (1 - JITTER) <= next_get(bench, 2 * REPUBLISH) <= REPUBLISH * (1 + JITTER)


def test_a_value_is_kept_while_it_is_placed() -> None:
    bench = knowing(1, policy=STILL)
    put(bench, cas=1, keep=False)
    bench.node.commands.keep_value(KEY, VALUE, (), bench.now)
    assert bench.node.values.own.next_timeout() is None  # it is being published
    place(bench)
    assert own_of(bench).replicas == tuple(near(1))
    assert next_get(bench, 2 * REPUBLISH) >= REPUBLISH * (1 - JITTER)


def test_a_value_put_once_leaves_a_kept_one_its_turn() -> None:
    bench = knowing(1, policy=STILL)
    put(bench, OLD)
    place(bench)
    bench.events()
    op = put(bench, VALUE, keep=False)
    assert kept(bench) == OLD
    assert bench.node.values.own.next_timeout() is None  # the kept one has no turn meanwhile
    place(bench)
    assert bench.event(ValuePut).op == op
    assert next_get(bench, 60) == 15.0
    place(bench, {1: VALUE})
    assert bench.event(ValueSuperseded).value == VALUE
    assert kept(bench) == VALUE


def test_what_was_learned_meanwhile_is_not_held_yet() -> None:
    bench = knowing(1, policy=STILL)
    put(bench, OLD)
    asked = gets(bench)
    bench.node.values.known.learned(KEY, NEW, bench.now)
    for sent in converge(bench, asked).values():
        take(bench, sent)
    assert len(bench.event(ValuePut).replicas) == 1
    assert (own_of(bench).value, own_of(bench).replicas) == (NEW, ())
    assert next_get(bench, 60) == 15.0


def test_what_supersedes_nothing_is_no_news() -> None:
    bench = knowing(1, policy=STILL)
    put(bench, VALUE)
    place(bench)
    bench.events()
    for value in (OLD, VALUE):
        bench.node.values.known.learned(KEY, value, bench.now)
    bench.node.values.known.learned(DATA_KEY, DATA, bench.now)
    assert bench.events() == []
    assert kept(bench) == VALUE


def test_a_node_without_values_wakes_for_none() -> None:
    bench = knowing(1, policy=STILL)
    assert bench.node.values.next_timeout() is None
    put(bench)
    bench.node.commands.drop_value(KEY, bench.now)
    assert bench.node.values.next_timeout() is None
    hold(bench.node.values.held, KEY, VALUE, endpoint(9), bench.now, 60)
    assert bench.node.values.next_timeout() is not None
    bench.advance(80)
    assert bench.node.values.next_timeout() is None


def test_a_full_house_of_publications_waits() -> None:
    bench = knowing(1, policy=replace(STILL, publishing=0))
    bench.node.values.keeping.restore(KEY, VALUE, 1, bench.now)
    bench.advance(600)
    assert bench.sent() == []
    assert bench.node.values.next_timeout() is None
    assert puts(bench) == {}
