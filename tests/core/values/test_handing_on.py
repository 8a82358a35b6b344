"""Held values for newcomers: which nodes are given which values, once each, and when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.endpoint import Family
from dhtd.core.events import ValueSuperseded
from dhtd.core.ids import Id
from dhtd.core.messages import FindNode, Get, Ping, Put
from dhtd.core.records import Immutable, Value
from dhtd.core.values.handing_on import _MOST
from tests.core.bench import Bench, Sent
from tests.core.small import contact, endpoint, six
from tests.core.values.valued import DATA, DATA_KEY, KEY, NEW, OLD, STILL, VALUE, at, got, id_of, take
from tests.values import forged, hold, squatting

STAYS = 60.0
POLICY = replace(STILL, newcomer_stays=STAYS, stranger_pings=0, k=4)


def holding(*values: Value, policy: object = POLICY, lasts: int = 3_600, **options: object) -> Bench:
    """Return a node beside the key that holds these values."""
    bench = Bench(own_id=at(64), policy=policy, **options)  # type: ignore[arg-type]
    for value in values:
        hold(bench.node.values.held, KEY, value, endpoint(9), bench.now, lasts)
    return bench


def values_sent(bench: Bench) -> list[Sent]:
    """Return the gets and puts that go out."""
    return [sent for sent in bench.sent() if isinstance(sent.request, Get | Put)]


def stay(bench: Bench, *distances: int, seconds: float = 2 * STAYS + 1) -> list[Sent]:
    """Have newcomers at these distances from the key, and let time pass until something goes out."""
    bench.know(*[contact(at(distance)) for distance in distances])
    until = bench.now + seconds
    while (when := bench.node.poll_timeout()) is not None and when <= until:
        bench.advance(max(0.0, when - bench.now))
        if sent := values_sent(bench):
            return sent
    bench.advance(until - bench.now)
    return values_sent(bench)


def test_a_newcomer_near_a_key_is_given_its_value() -> None:
    bench = holding(VALUE)
    bench.advance(10)
    (asked,) = stay(bench, 1)
    assert STAYS <= bench.now - 10 <= 2 * STAYS
    assert asked.request == Get(KEY, None, 2)
    got(bench, asked, token=b"proof")
    (sent,) = values_sent(bench)
    known = bench.node.values.held.get(KEY, bench.now)
    assert known is not None
    assert sent.request == Put(KEY, b"proof", VALUE, None, known[1])
    take(bench, sent)
    bench.advance(5 * STAYS)
    assert values_sent(bench) == []


def test_data_are_given_without_a_seq() -> None:
    bench = Bench(own_id=at(64, DATA_KEY), policy=POLICY)
    hold(bench.node.values.held, DATA_KEY, DATA, endpoint(9), bench.now)
    (asked,) = stay(bench, 1)
    assert asked.request == Get(DATA_KEY, None, 0)


@pytest.mark.parametrize(("held", "given"), [(OLD, True), (squatting(VALUE), True), (VALUE, False), (None, True)])
def test_who_has_it_is_not_given_it(held: Value | None, given: bool) -> None:
    bench = holding(VALUE)
    (asked,) = stay(bench, 1)
    got(bench, asked, held)
    assert bool(values_sent(bench)) is given


def test_a_full_newcomer_is_given_nothing() -> None:
    bench = holding(VALUE)
    (asked,) = stay(bench, 1)
    got(bench, asked, token=b"")
    assert values_sent(bench) == []


@pytest.mark.parametrize(("held", "known"), [(NEW, NEW), (forged(9), VALUE)])
def test_a_newer_value_of_a_newcomer_is_learned(held: Value, known: Value) -> None:
    bench = holding(VALUE)
    (asked,) = stay(bench, 1)
    got(bench, asked, held)
    assert values_sent(bench) == []
    found = bench.node.values.held.get(KEY, bench.now)
    assert found is not None
    assert found[0] == known


def test_it_supersedes_an_own_value_too() -> None:
    bench = holding(VALUE)
    bench.node.values.own.keep(KEY, VALUE, 1)
    (asked,) = stay(bench, 1)
    got(bench, asked, NEW)
    assert ValueSuperseded(KEY, NEW) in bench.events()


def test_what_is_gone_meanwhile_is_not_given() -> None:
    bench = holding(VALUE, lasts=int(2 * STAYS + 70))
    (asked,) = stay(bench, 1)
    bench.now += 200
    got(bench, asked)
    assert values_sent(bench) == []


def test_what_soon_expires_is_not_given() -> None:
    assert stay(holding(VALUE, lasts=int(STAYS + 59)), 1) == []


def test_a_newcomer_far_from_the_key_is_given_nothing() -> None:
    bench = Bench(own_id=at(3), policy=POLICY)
    bench.know(*[contact(at(distance)) for distance in (1, 2, 4, 5, 7, 9)])
    hold(bench.node.values.held, KEY, VALUE, endpoint(9), bench.now)
    assert stay(bench, 40) == []
    assert stay(bench, 10) == []
    # Half as many more than K are near it: nodes leave.
    (asked,) = stay(bench, 8)
    assert id_of(asked) == at(8)
    got(bench, asked, VALUE)
    (asked,) = stay(bench, 0)
    assert id_of(asked) == KEY


def test_a_newcomer_far_from_us_is_given_nothing() -> None:
    policy = replace(POLICY, k=1)
    bench = Bench(own_id=at(1), policy=policy)
    bench.know(contact(at(2)), contact(at(4)))
    hold(bench.node.values.held, KEY, VALUE, endpoint(9), bench.now)
    bench.know(contact(at(100)))
    assert len(bench.node.values.handing_on._came) == 0


def test_who_left_before_is_given_nothing() -> None:
    bench = holding(VALUE)
    gone, there = contact(at(1)), contact(at(2))
    bench.know(gone)
    bench.advance(1)
    bench.know(there)
    for _ in range(2):
        bench.node.state.timed_out(gone, bench.now - 1)
    asked = {id_of(sent) for sent in stay(bench)}
    bench.advance(STAYS)
    assert asked | {id_of(sent) for sent in values_sent(bench)} == {there.id}
    assert len(bench.node.values.handing_on._came) == 0


def test_a_node_without_values_waits_for_nobody() -> None:
    bench = Bench(own_id=at(64), policy=POLICY)
    bench.know(contact(at(1)))
    assert len(bench.node.values.handing_on._came) == 0


def test_a_contact_of_another_family_is_no_newcomer() -> None:
    bench = holding(VALUE)
    bench.node.values.met(six(1), bench.now)
    assert len(bench.node.values.handing_on._came) == 0
    both = holding(VALUE, families=(Family.IPV4, Family.IPV6))
    both.know(six(at(1)))
    assert len(both.node.values.handing_on._came) == 1


def test_few_newcomers_wait() -> None:
    bench = holding(VALUE, policy=replace(POLICY, k=128))
    handing = bench.node.values.handing_on
    bench.know(newcomer := contact(at(1)))
    handing._came.cancel(newcomer)
    for number in range(_MOST - 1):
        handing._came.set(contact(1_000 + number), 1e9)
    handing.met(newcomer, bench.now)
    assert newcomer in handing._came
    handing._came.cancel(newcomer)
    handing._came.set(contact(999), 1e9)
    handing.met(newcomer, bench.now)
    assert newcomer not in handing._came


def test_at_most_so_many_are_given_at_once() -> None:
    bench = holding(policy=replace(POLICY, replicating=3))
    for number in range(1, 9):
        hold(bench.node.values.held, Id(at(number)), Immutable(b"x"), endpoint(number), bench.now)
    asked = stay(bench, 1)
    assert len(asked) == 3
    assert bench.node.values.handing_on.next_timeout() is None
    seen = 0
    while asked:
        seen += len(asked)
        for sent in asked:
            got(bench, sent, 0)
        bench.advance(0.02)
        asked = values_sent(bench)
        assert len(asked) <= 3
    assert seen == 8


def test_many_values_are_looked_at_in_turns() -> None:
    bench = holding(policy=replace(POLICY, replicating=10_000))
    for number in range(128):
        hold(bench.node.values.held, Id(number), Immutable(b"x"), endpoint(number), bench.now)
    handing = bench.node.values.handing_on
    first = stay(bench, 1)
    assert len(first) == 127  # and one step to begin
    assert handing.next_timeout() == pytest.approx(bench.now + 0.01)
    bench.node.handle_timeout(bench.now)  # too early
    assert values_sent(bench) == []
    bench.advance(0.02)
    assert len(first) + len(values_sent(bench)) == 128
    assert handing.next_timeout() is None


def test_a_silent_newcomer_blocks_nobody() -> None:
    bench = holding(VALUE, policy=replace(POLICY, replicating=1))
    handing = bench.node.values.handing_on
    (asked,) = stay(bench, 1)
    bench.refuse(asked, at(1))
    assert handing._under_way == set()
    bench.advance(1)
    (asked,) = stay(bench, 2)
    handing.give_up(bench.now)
    assert handing._under_way == set()
    got(bench, asked)
    (sent,) = values_sent(bench)
    assert isinstance(sent.request, Put)


def test_another_node_at_its_place_is_given_nothing() -> None:
    bench = holding(VALUE)
    (asked,) = stay(bench, 1)
    result = [b"token", b"", b"", False, None, 0]
    bench.deliver(bench.codec._encode(1, asked.query.tid, Id(at(50)), bytes(6), result), asked.to)
    assert [sent for sent in values_sent(bench) if isinstance(sent.request, Put)] == []


def test_it_sends_nothing_else() -> None:
    bench = holding(VALUE)
    bench.know(contact(at(1)))
    bench.advance(3 * STAYS)
    assert {type(sent.request) for sent in bench.sent()} <= {Get, Ping, FindNode}
