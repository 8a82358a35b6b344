"""The handles of commands: who waits, what runs, and which events the owner is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dhtd.core.counters import OPERATIONS, none_hit
from dhtd.core.endpoint import Family
from dhtd.core.events import GaveUp, Handle, Isolated, LookupProgress, LookupStats, Progress, WatchUpdate
from dhtd.core.ids import Id
from dhtd.core.querying.handles import Handles
from dhtd.errors import Busy

NEWS = Isolated(Family.IPV4)
STATS = LookupStats(0, 0, 0, 0, 0.0)


def make(limit: int = 8) -> Handles:
    return Handles(limit, none_hit())


def test_each_command_has_a_handle_of_its_own() -> None:
    handles = make()
    first, second = handles.begin(), handles.begin()
    assert (first, second) == (1, 2)
    assert handles.open == handles.running == {first, second}


def test_the_owner_is_told_of_the_end_and_of_news() -> None:
    handles = make()
    assert handles.poll() is None
    op = handles.begin()
    handles.tell(GaveUp(op), 0.0)
    handles.tell_news(NEWS)
    assert [handles.poll() for _ in range(3)] == [GaveUp(op), NEWS, None]
    assert handles.open == handles.running == set()


def test_an_end_is_told_once() -> None:
    handles = make()
    op = handles.begin()
    handles.tell(GaveUp(op), 0.0)
    handles.tell(GaveUp(op), 0.0)
    assert [handles.poll(), handles.poll()] == [GaveUp(op), None]


@pytest.mark.parametrize(
    "progress",
    [lambda op: LookupProgress(op, (), STATS), lambda op: WatchUpdate(op, Id(1), (), (), (), 0)],
    ids=["a lookup", "a watch"],
)
def test_progress_is_no_end(progress: Callable[[Handle], Progress]) -> None:
    handles = make()
    op = handles.begin()
    handles.tell(progress(op), 0.0)
    assert handles.poll() == progress(op)
    assert handles.open == handles.running == {op}


def test_a_command_whose_owner_left_runs_on_silently() -> None:
    handles = make()
    op = handles.begin()
    handles.leave(op)
    assert (handles.open, handles.running) == (set(), {op})
    handles.tell(GaveUp(op), 0.0)
    assert handles.poll() is None
    assert handles.running == set()


def test_what_has_ended_may_be_left_and_ended_again() -> None:
    handles = make()
    op = handles.begin()
    handles.end(op)
    handles.end(op)
    handles.leave(op)
    assert handles.open == handles.running == set()


def test_as_many_run_as_the_limit_says() -> None:
    caps_hit = none_hit()
    handles = Handles(2, caps_hit)
    first = handles.begin()
    handles.check_free()
    handles.begin()
    handles.leave(first)  # it still runs
    for _ in range(2):
        with pytest.raises(Busy, match=r"taken at once \(2\)"):
            handles.check_free()
    assert caps_hit[OPERATIONS] == 2
    handles.end(first)
    handles.check_free()
