"""The step of heartbeats: when the next one of each holder is due."""

from __future__ import annotations

from random import Random

import pytest

from dhtd.core.publishing.step import Step

PERIOD, RATE = 20.0, 10.0
TOGETHER = 16  # holders that are asked at once
JITTER = 0.05  # of a period


def next_for(step: Step, now: float, *, slot: float = 0.5, holders: int = 1) -> float:
    return step.next_for(slot, holders, RATE, PERIOD, now)


def test_the_next_step_is_a_period_away() -> None:
    for seed in range(20):
        first = next_for(Step(Random(seed)), 100.0)
        assert 100.0 + PERIOD * (1 - JITTER) <= first <= 100.0 + PERIOD


def test_steps_differ_from_node_to_node() -> None:
    steps = {next_for(Step(Random(seed)), 0.0) for seed in range(200)}
    assert len(steps) == 200
    assert min(steps) < PERIOD * (1 - 0.9 * JITTER)
    assert max(steps) > PERIOD * (1 - 0.1 * JITTER)


def test_few_holders_have_one_step() -> None:
    step = Step(Random(1))
    assert len({next_for(step, 0.0, slot=slot, holders=TOGETHER) for slot in (0.0, 0.3, 1.0)}) == 1


def test_more_holders_are_asked_one_after_another() -> None:
    step = Step(Random(1))
    first = next_for(step, 0.0, slot=0.0, holders=TOGETHER + 20)
    for slot in (0.25, 0.5, 1.0):
        assert next_for(step, 0.0, slot=slot, holders=TOGETHER + 20) == pytest.approx(first + slot * 20 / RATE)


def test_a_step_that_comes_too_soon_is_left_out() -> None:
    step = Step(Random(1))
    first = next_for(step, 0.0)
    assert next_for(step, first - PERIOD / 4 - 0.01) == first
    again = next_for(step, first - PERIOD / 4)
    assert first + PERIOD * (1 - JITTER) <= again <= first + PERIOD


def test_after_a_long_while_the_step_begins_anew() -> None:
    step = Step(Random(1))
    next_for(step, 0.0)
    assert 1_000.0 + PERIOD * (1 - JITTER) <= next_for(step, 1_000.0) <= 1_000.0 + PERIOD


def test_holders_that_use_up_the_rate_have_no_jitter() -> None:
    """Shorter pauses would send more than the rate."""
    for holders, is_exact in ((198, False), (199, True)):
        step = Step(Random(1))
        first = next_for(step, 0.0, slot=0.0, holders=holders)
        assert (first == PERIOD) is is_exact
