"""The pace: how far a run may go by a real time."""

from __future__ import annotations

from math import inf

import pytest

from dhtd.lab.pace import LAG, MEASURED, STRIDE, Pace, Slices


def test_one_virtual_second_takes_a_real_one() -> None:
    pace = Pace(100.0, 7.0)
    assert pace.until(100.0, 7.0) == 7.0
    assert pace.until(100.2, 7.0) == pytest.approx(7.2)
    assert pace.until(100.4, 7.2) == pytest.approx(7.4)


def test_another_speed_counts_from_when_it_is_set() -> None:
    pace = Pace(100.0, 7.0)
    pace.set_speed(10.0, 101.0, 8.0)
    assert pace.until(101.1, 8.0) == pytest.approx(9.0)


def test_speed_zero_stops() -> None:
    pace = Pace(100.0, 7.0)
    pace.set_speed(0.0, 101.0, 8.0)
    assert pace.until(200.0, 8.0) == 8.0
    pace.set_speed(1.0, 200.0, 8.0)
    assert pace.until(200.1, 8.0) == pytest.approx(8.1)


def test_without_a_limit_it_goes_on_and_on() -> None:
    pace = Pace(100.0, 7.0, inf)
    assert pace.until(100.0, 7.0) == 7.0 + STRIDE


@pytest.mark.parametrize("speed", [1.0, 20.0])
def test_what_cannot_be_held_is_not_caught_up_with(speed: float) -> None:
    pace = Pace(100.0, 7.0, speed)
    assert pace.until(110.0, 7.0) == pytest.approx(7.0 + LAG * speed)
    assert pace.until(110.0 + 0.1, 7.0 + LAG * speed) == pytest.approx(7.0 + (LAG + 0.1) * speed)


def test_an_advance_goes_to_its_goal_and_then_on() -> None:
    pace = Pace(100.0, 7.0)
    pace.advance(1_000.0)
    assert pace.until(100.0, 7.0) == 7.0 + STRIDE
    assert pace.until(101.0, 990.0) == 1_000.0
    assert pace.until(102.0, 1_000.0) == 1_000.0
    assert pace.goal is None
    assert pace.until(102.1, 1_000.0) == pytest.approx(1_000.1)


def test_an_advance_of_a_run_that_stands_ends_so() -> None:
    pace = Pace(100.0, 7.0, 0.0)
    pace.advance(8.0)
    assert pace.until(100.0, 7.0) == 8.0
    assert pace.until(105.0, 8.0) == 8.0
    assert pace.until(110.0, 8.0) == 8.0


def test_a_speed_ends_an_advance() -> None:
    pace = Pace(100.0, 7.0)
    pace.advance(1_000.0)
    pace.set_speed(2.0, 100.0, 8.0)
    assert pace.goal is None
    assert pace.until(100.1, 8.0) == pytest.approx(8.2)


def test_the_speed_that_is_reached_is_measured() -> None:
    pace = Pace(100.0, 0.0)
    assert pace.reached == 0.0
    for step in range(1, 41):
        pace.measure(100.0 + step / 4, step / 8)
    assert pace.reached == pytest.approx(0.5)
    for step in range(1, 20):
        pace.measure(110.0 + step / 4, 5.0 + step / 2)
    assert pace.reached == pytest.approx(2.0)
    assert len(pace._measured) <= MEASURED * 4 + 2


def test_slices_grow_to_what_fits() -> None:
    slices = Slices(0.01, most=1_000)
    sizes = []
    for _ in range(12):
        sizes.append(slices.events)
        slices.took(slices.events, slices.events * 0.0001)
    assert sizes[:4] == [1, 2, 4, 8]
    assert sizes[-1] == 100
    slices.took(100, 10.0)
    assert slices.events == 1
    for _ in range(20):
        slices.took(slices.events, 0.0)
    assert slices.events == 1_000
