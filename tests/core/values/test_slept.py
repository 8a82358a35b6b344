"""A machine that stood still: values of others expire in time, and own ones are published soon."""

from __future__ import annotations

from dhtd.core.ids import Id, packed
from dhtd.core.messages import VALUE_LASTS
from dhtd.core.policy import DEFAULT
from tests.core.bench import Bench
from tests.core.small import contact, endpoint
from tests.core.values.test_own_values import KEY, NEW, NOW, OLD, OTHER, REPLICAS, make
from tests.values import by_owner, hold

SOON = DEFAULT.startup_spread


def test_a_held_value_expires_by_the_wall_clock() -> None:
    bench = Bench()
    held = bench.node.values.held
    hold(held, Id(5), by_owner(1), endpoint(1), bench.now, lasts=3_600)
    held.changed.take()
    bench.node.machine.slept(599.5, bench.now)
    assert held.get(Id(5), bench.now + 2_999) == (by_owner(1), 1)
    assert held.get(Id(5), bench.now + 3_000) is None
    assert held.changed.take() == {packed(Id(5))}
    assert held.sweep(bench.now + 3_060)[0] == []
    assert len(held) == 0


def test_own_values_are_due_sooner_by_the_pause() -> None:
    values = make()
    own = values.keep(KEY, OLD, 1)
    values.slept(100.0, NOW)  # it has no timer
    assert values.next_timeout() is None
    values.published(own, REPLICAS, NOW)
    due = values.next_timeout()
    assert due is not None
    values.slept(100.0, NOW)
    assert values.next_timeout() == due - 100.0
    assert own.published_at == NOW - 100.0
    values.slept(10 * DEFAULT.value_republish, NOW)
    after = values.next_timeout()
    assert after is not None
    assert NOW <= after <= NOW + SOON


def test_a_pause_makes_no_value_later() -> None:
    values = make()
    values.due_at(values.keep(KEY, OLD, 1), NOW + 0.001)
    values.slept(3.0, NOW)
    due = values.next_timeout()
    assert due is not None
    assert due <= NOW + 0.001


def test_replicas_are_gone_after_a_day() -> None:
    values = make()
    own, late = values.keep(KEY, OLD, 1), values.keep(OTHER, NEW, 1)
    values.published(own, REPLICAS, NOW)
    values.slept(VALUE_LASTS - 1, NOW)
    values.published(late, (contact(1),), NOW)
    assert own.replicas == REPLICAS
    values.slept(1, NOW)
    assert (own.replicas, late.replicas) == ((), (contact(1),))


def test_a_value_is_due_at_once_while_it_is_published() -> None:
    values = make()
    own = values.keep(KEY, OLD, 1)
    assert values.due_in(own, NOW) == 0
    values.due_at(own, NOW + 5)
    assert [values.due_in(own, now) for now in (NOW, NOW + 5, NOW + 9)] == [5, 0, 0]
