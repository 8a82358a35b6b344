"""Steps that are due at one time: a failing one takes the turn of no other."""

from __future__ import annotations

import pytest

from dhtd.core.querying.attempts import Attempts


def fail(error: BaseException) -> None:
    raise error


def test_steps_that_succeed_raise_nothing() -> None:
    attempts, done = Attempts(), list[tuple[int, int]]()
    attempts.do(lambda first, second: done.append((first, second)), 1, second=2)
    attempts.conclude()
    assert done == [(1, 2)]


def test_failures_are_raised_together_at_the_end() -> None:
    attempts, done = Attempts(), list[str]()
    first, second = ValueError("first"), KeyError("second")
    attempts.do(fail, first)
    attempts.do(done.append, "between")
    attempts.do(fail, second)
    with pytest.raises(ExceptionGroup) as raised:
        attempts.conclude()
    assert raised.value.exceptions == (first, second)
    assert done == ["between"]


def test_a_failure_is_raised_once() -> None:
    attempts = Attempts()
    attempts.do(fail, ValueError())
    with pytest.raises(ExceptionGroup):
        attempts.conclude()
    attempts.conclude()


def test_an_interrupt_is_no_failed_step() -> None:
    attempts = Attempts()
    with pytest.raises(KeyboardInterrupt):
        attempts.do(fail, KeyboardInterrupt())
    attempts.conclude()
