"""The wheel: everything that is filed comes back by its deadline or within a minute, once, and not too soon."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.storage.wheel import _AHEAD, _SLOTS, Wheel


def popped(wheel: Wheel[str], now: float) -> list[str]:
    items = []
    while (item := wheel.pop(now)) is not None:
        items.append(item)
    return items


def test_an_item_comes_in_the_second_of_its_deadline() -> None:
    wheel = Wheel[str]()
    wheel.file("a", 10.2, 0.0)
    assert popped(wheel, 10.9) == []
    assert popped(wheel, 11.0) == ["a"]
    assert popped(wheel, 500.0) == []


def test_a_late_deadline_comes_after_a_minute() -> None:
    wheel = Wheel[str]()
    wheel.file("a", 10_000.0, 5.0)
    assert popped(wheel, 64.9) == []
    assert popped(wheel, 65.0) == ["a"]


def test_seconds_come_in_order() -> None:
    wheel = Wheel[str]()
    for item, deadline in (("c", 30.0), ("a", 10.0), ("b", 20.0)):
        wheel.file(item, deadline, 0.0)
    assert popped(wheel, 30.0) == ["a", "b", "c"]


def test_a_past_deadline_comes_in_the_next_second() -> None:
    wheel = Wheel[str]()
    assert popped(wheel, 50.0) == []
    wheel.file("a", 10.0, 50.0)
    assert popped(wheel, 50.9) == []
    assert popped(wheel, 51.0) == ["a"]


def test_what_is_filed_meanwhile_waits_its_turn() -> None:
    wheel = Wheel[str]()
    wheel.file("a", 10.0, 0.0)
    wheel.file("b", 10.0, 0.0)
    first = wheel.pop(10.0)
    wheel.file("c", 10.0, 10.0)
    assert {first, wheel.pop(10.0)} == {"a", "b"}
    assert wheel.pop(10.0) is None
    assert popped(wheel, 11.0) == ["c"]


@pytest.mark.parametrize("pause", [_AHEAD + 1, _SLOTS - 1, _SLOTS, _SLOTS + 1, 100_000])
def test_a_long_pause_loses_nothing(pause: int) -> None:
    wheel = Wheel[str]()
    for second in range(_AHEAD + 1):
        wheel.file(str(second), float(second), 0.0)
    assert sorted(popped(wheel, float(pause)), key=int) == [str(second) for second in range(_AHEAD + 1)]
    assert popped(wheel, pause + 200.0) == []


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.25, 1.0, 7.5, 59.0, 200.0]), st.floats(-10.0, 100.0)), min_size=1, max_size=30
    )
)
def test_every_item_comes_once_and_in_time(steps: list[tuple[float, float]]) -> None:
    wheel, now = Wheel[str](), 0.0
    due: dict[str, int] = {}  # the second of each item
    for number, (pause, ahead) in enumerate(steps):
        now += pause
        for item in popped(wheel, now):
            assert due.pop(item) <= now
        assert all(second > now for second in due.values())
        wheel.file(str(number), now + ahead, now)
        due[str(number)] = max(ceil(min(now + ahead, now + _AHEAD)), int(now) + 1)
    assert set(popped(wheel, now + _AHEAD + 1)) == set(due)
