"""Values that are held for others: placed again where nobody has put them for an hour."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.events import Handle
from dhtd.core.ids import Id, packed
from dhtd.core.messages import VALUE_LASTS, Get, Put
from dhtd.core.policy import DEFAULT
from dhtd.core.records import Immutable, Value
from dhtd.core.storage.held_values import SWEPT
from tests.core.bench import Bench
from tests.core.small import endpoint
from tests.core.values.valued import (
    KEY,
    NEW,
    OLD,
    STILL,
    VALUE,
    at,
    converge,
    gets,
    got,
    id_of,
    knowing,
    next_get,
    place,
    take,
)
from tests.values import hold

JITTER = DEFAULT.republish_jitter
REPUBLISH = DEFAULT.value_republish
SILENT = DEFAULT.replicate * 1.25 + 2 * DEFAULT.store_sweep  # by then a held value is replicated


def put(bench: Bench, value: Value = VALUE, key: Id = KEY, **options: object) -> Handle:
    return bench.node.commands.put(key, value, bench.now, **options)  # type: ignore[arg-type]


def kept(bench: Bench, key: Id = KEY) -> Value | None:
    own = bench.node.values.own.get(key)
    return None if own is None else own.value


def held_by(bench: Bench, value: Value = VALUE, key: Id = KEY, lasts: int = VALUE_LASTS) -> None:
    hold(bench.node.values.held, key, value, endpoint(9), bench.now, lasts)


def test_a_silent_value_is_placed_again() -> None:
    """Also where it is there already: that holder hears of it, and need not do the same."""
    bench = knowing(1, 2, 3, policy=STILL)
    held_by(bench)
    bench.advance(DEFAULT.replicate - 1)
    assert bench.sent() == []
    next_get(bench, SILENT)
    placed = place(bench, {1: VALUE, 2: OLD})
    assert {(each.token, each.value) for each in placed} == {(b"token%d" % number, VALUE) for number in (1, 2, 3)}
    left = bench.node.values.held.get(KEY, bench.now)
    assert left is not None
    assert all(left[1] <= each.lasts <= left[1] + 30 for each in placed)
    assert left[1] < VALUE_LASTS - DEFAULT.replicate + 1
    assert bench.events() == []


@pytest.mark.no_cover
def test_it_is_placed_again_every_hour() -> None:
    bench = knowing(1, policy=STILL)
    held_by(bench, lasts=int(2.6 * 3_600))
    for _ in range(2):
        rest = next_get(bench, SILENT)
        assert DEFAULT.replicate - 1 <= rest <= SILENT
        place(bench)
    with pytest.raises(AssertionError, match="no get"):
        next_get(bench, SILENT)
    assert len(bench.node.values.held) == 0


def test_a_value_that_is_put_again_is_not_handed_on() -> None:
    bench = knowing(1, policy=STILL)
    for _ in range(8):
        held_by(bench)
        bench.advance(DEFAULT.replicate / 2)
        assert bench.sent() == []


def test_a_value_that_soon_expires_is_not_handed_on() -> None:
    bench = knowing(1, policy=STILL)
    held_by(bench, lasts=int(DEFAULT.replicate * 1.25 + 50))
    bench.node.values.held.by_key[packed(KEY)].replicate_at = int(DEFAULT.replicate * 1.25)
    bench.advance(SILENT)
    assert bench.sent() == []


def test_an_own_value_is_not_handed_on_as_well() -> None:
    bench = knowing(1, policy=replace(STILL, value_republish=1e6))
    held_by(bench)
    put(bench)
    place(bench)
    bench.advance(2 * SILENT)
    assert bench.sent() == []


def test_a_newer_one_found_so_is_held_instead() -> None:
    bench = knowing(1, 2, policy=STILL)
    held_by(bench, OLD)
    next_get(bench, SILENT)
    assert place(bench, {2: NEW}) == []
    assert bench.node.values.known.get(KEY, bench.now) is not None
    (held,) = bench.node.values.held
    assert (held.value, held.expires_at) == (NEW, VALUE_LASTS)


def test_at_most_so_many_are_handed_on_at_once() -> None:
    bench = knowing(1, policy=replace(STILL, replicating=3))
    for number in range(10):
        held_by(bench, Immutable(b"%d" % number), Id(number))
    bench.advance(SILENT - bench.now)
    keys = set[Id]()
    for _ in range(10):
        asked = [sent for sent in bench.sent() if isinstance(sent.request, Get)]
        if not asked:
            break
        under_way = len(bench.node.values.keeping._replications)
        assert under_way <= 3
        for sent in asked:
            assert isinstance(sent.request, Get)
            keys.add(sent.request.key)
            got(bench, sent, 0)
        bench.advance(0.001)
    assert len(keys) == 10


def test_what_is_heard_while_it_waits_is_left_alone() -> None:
    bench = knowing(1, policy=replace(STILL, replicating=1))
    for number in range(3):
        held_by(bench, Immutable(b"%d" % number), Id(number))
    for held in bench.node.values.held.by_key.values():
        held.replicate_at = 3_601
    next_get(bench, SILENT)
    (first,) = gets(bench).values()
    assert len(bench.node.values.keeping._silent) == 2
    for number in range(3):
        held_by(bench, Immutable(b"%d" % number), Id(number))
    got(bench, first, 0)
    (last,) = bench.sent()
    take(bench, last)
    bench.advance(10)
    assert bench.sent() == []
    assert len(bench.node.values.keeping._silent) == 0


@pytest.mark.parametrize(("hours", "placed"), [(6, True), (25, False)])
@pytest.mark.no_cover
def test_what_has_waited_lasts_no_longer(hours: int, placed: bool) -> None:
    """The names of its bootstrap nodes cannot be resolved for hours, and each hour the value is silent again."""
    bench = Bench(own_id=at(127), policy=STILL)
    bench.node.start([], bench.now, awaits_names=True)
    held_by(bench)
    bench.advance(hours * 3_600.0)
    assert len(bench.node.waiting) == len(bench.node.values.keeping._replications) == 1
    bench.node.commands.ping(endpoint(at(1)), bench.now)
    (ping,) = bench.sent()
    bench.pong(ping, at(1))
    asked = {id_of(sent) ^ KEY: sent for sent in bench.sent() if isinstance(sent.request, Get)}
    lasts = [sent.request.lasts for sent in converge(bench, asked).values() if isinstance(sent.request, Put)]
    assert lasts == ([VALUE_LASTS - hours * 3_600] if placed else [])


def test_many_held_values_are_swept_in_turns() -> None:
    bench = knowing(1, policy=STILL)
    for number in range(2 * SWEPT):
        held = bench.node.values.held
        hold(held, Id(number), Immutable(b""), endpoint(number % 64), bench.now, 30)
    bench.advance(29)
    while len(bench.node.values.held) == 2 * SWEPT:
        began = bench.node.poll_timeout() or 0.0
        bench.advance(began - bench.now)
    assert len(bench.node.values.held) == SWEPT
    assert bench.node.values.next_timeout() == pytest.approx(bench.now + 0.01)
    bench.advance(0.02)
    assert len(bench.node.values.held) == 0
