"""Outcomes reach their listeners once what brought them about is done."""

from __future__ import annotations

import pytest

from dhtd.core.querying.operations import Operations, start


def test_an_outcome_waits_for_the_end_of_other_things() -> None:
    operations, told = Operations(), list[tuple[str, float]]()

    def listen(outcome: str, now: float) -> None:
        told.append((outcome, now))

    report = operations.report_to(listen)
    assert (len(operations), told) == (0, [])
    report("one")
    report("other")
    assert (len(operations), told) == (2, [])
    operations.settle(3.0)
    assert (len(operations), told) == (0, [("one", 3.0), ("other", 3.0)])
    operations.settle(4.0)
    assert len(told) == 2


def test_each_listener_is_told_of_its_own_operation() -> None:
    operations, told = Operations(), list[tuple[str, int]]()

    def first(outcome: int, now: float) -> None:
        told.append(("first", outcome))

    def second(outcome: int, now: float) -> None:
        told.append(("second", outcome))

    to_first, to_second = operations.report_to(first), operations.report_to(second)
    to_second(2)
    to_first(1)
    operations.settle(0.0)
    assert told == [("second", 2), ("first", 1)]


def test_what_a_listener_brings_about_is_told_as_well() -> None:
    operations, told = Operations(), list[str]()

    def end(outcome: str, now: float) -> None:
        told.append(outcome)

    def listen(outcome: str, now: float) -> None:
        told.append(outcome)
        operations.report_to(end)("another")

    report = operations.report_to(listen)
    report("one")
    report("two")
    operations.settle(0.0)
    assert told == ["one", "two", "another", "another"]
    assert len(operations) == 0


def test_a_failing_listener_is_not_told_again() -> None:
    operations, told = Operations(), list[str]()

    def fail(outcome: str, now: float) -> None:
        raise ValueError(outcome)

    def listen(outcome: str, now: float) -> None:
        told.append(outcome)

    operations.report_to(fail)("first")
    operations.report_to(listen)("second")
    with pytest.raises(ValueError, match="first"):
        operations.settle(0.0)
    operations.settle(0.0)
    assert told == ["second"]


class Startable:
    """Notes its start and its end."""

    def __init__(self, *, fails: bool) -> None:
        self.fails = fails
        self.calls: list[tuple[str, float]] = []

    def start(self, now: float) -> None:
        self.calls.append(("start", now))
        if self.fails:
            raise ValueError("a defect")

    def give_up(self, now: float) -> None:
        self.calls.append(("give up", now))


def test_an_operation_starts_and_goes_on() -> None:
    operation = Startable(fails=False)
    start(operation, 3.0)
    assert operation.calls == [("start", 3.0)]


def test_a_defect_at_the_start_is_raised_and_the_end() -> None:
    operation = Startable(fails=True)
    with pytest.raises(ValueError, match="a defect"):
        start(operation, 3.0)
    assert operation.calls == [("start", 3.0), ("give up", 3.0)]
