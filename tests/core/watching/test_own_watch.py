"""One watched key by itself: what holders say, and what that comes to."""

from __future__ import annotations

import pytest

from dhtd.core.events import Handle, WatchUpdate
from dhtd.core.watching.own_watch import _MOMENT, _MOMENT_MAX, _PATIENCE, OwnWatch
from tests.core.played import KEY
from tests.core.small import contact
from tests.core.watched import A, B

OP = Handle(1)


def test_the_moment_doubles_after_some_rounds() -> None:
    watch = OwnWatch(KEY, 1.0)
    moments = []
    for _ in range(_PATIENCE + 12):
        moments.append(watch.moment)
        watch.to_be_asked()
    assert moments[: _PATIENCE + 1] == [_MOMENT] * (_PATIENCE + 1)
    doubled = [min(_MOMENT * 2**each, _MOMENT_MAX) for each in range(1, 12)]
    assert moments[_PATIENCE + 1 :] == pytest.approx(doubled)


def test_the_first_update_tells_all() -> None:
    watch = OwnWatch(KEY, 1.0)
    watch.add(OP)
    watch.has_heard(contact(1), 1, [A])
    assert watch.update(0.0) == []
    assert watch.update(0.0, first=True) == [WatchUpdate(OP, KEY, (A,), (A,), (), 1)]
    assert watch.update(0.0, first=True) == []


def test_a_removal_brings_short_moments_again() -> None:
    watch = OwnWatch(KEY, 1.0)
    watch.has_heard(contact(1), 1, [A])
    watch.update(0.0, first=True)
    for _ in range(10):
        watch.to_be_asked()
    watch.change(contact(1), [], [A], most=8)
    watch.update(1.0)
    for _ in range(_PATIENCE):
        watch.to_be_asked()
    assert watch.moment == _MOMENT
    watch.to_be_asked()
    assert watch.moment == 2 * _MOMENT


def test_a_holder_is_asked_about_all_that_others_removed() -> None:
    watch = OwnWatch(KEY, 1.0)
    for id in (1, 2, 3):
        watch.has_heard(contact(id), 1, [A, B])
    watch.change(contact(1), [], [A], most=8)
    assert watch.removed([A], contact(1))
    watch.change(contact(2), [], [B], most=8)
    assert watch.removed([B], contact(2))
    watch.change(contact(3), [], [B], most=8)
    watch.change(contact(1), [], [B], most=8)
    assert watch.to_be_asked() == [contact(2), contact(3)]  # of A
    assert watch.to_be_asked() == []
