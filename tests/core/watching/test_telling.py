"""Updates for commands: at once, or a little later where they follow each other closely."""

from __future__ import annotations

import pytest

from dhtd.core.events import Handle, WatchUpdate
from dhtd.core.watching.own_watch import OwnWatch
from dhtd.core.watching.telling import Telling
from tests.core.played import KEY
from tests.core.watched import A, B, C

OP = Handle(1)
BETWEEN = 0.05  # seconds


class Told:
    """A watch, and what its command was told."""

    def __init__(self) -> None:
        self.updates: list[tuple[float, set[object]]] = []
        self.telling = Telling(self._note)
        self.watch = OwnWatch(KEY, 1.0)
        self.telling.join(self.watch, OP, 0.0)

    def _note(self, update: WatchUpdate, now: float) -> None:
        assert update.op == OP
        self.updates.append((now, set(update.endpoints)))


@pytest.fixture
def told() -> Told:
    """Return a watch whose command was told of `A` at 1,000 s."""
    told = Told()
    told.watch.knows_itself([A])
    told.telling.searched(told.watch, 1_000.0)
    assert told.updates == [(1_000.0, {A})]
    return told


def test_nothing_is_told_before_the_first_search() -> None:
    told = Told()
    told.watch.knows_itself([A])
    told.telling.news(told.watch, 1.0)
    assert (told.updates, told.telling.next_timeout()) == ([], None)


def test_news_too_close_to_others_wait(told: Told) -> None:
    for now, endpoints in ((1_000.01, [A, B]), (1_000.02, [A, B, C])):
        told.watch.knows_itself(endpoints)
        told.telling.news(told.watch, now)
        assert told.telling.next_timeout() == pytest.approx(1_000.0 + BETWEEN)
    told.telling.go_on(1_000.0 + BETWEEN - 0.001)
    assert len(told.updates) == 1
    told.telling.go_on(1_000.0 + BETWEEN)
    assert told.updates[1:] == [(1_000.0 + BETWEEN, {A, B, C})]
    assert told.telling.next_timeout() is None


def test_news_are_told_at_once_after_a_while(told: Told) -> None:
    told.watch.knows_itself([B])
    told.telling.news(told.watch, 1_000.0 + BETWEEN)
    assert (told.updates[1:], told.telling.next_timeout()) == ([(1_000.0 + BETWEEN, {B})], None)


def test_a_watch_without_commands_is_told_of_no_more(told: Told) -> None:
    told.watch.knows_itself([B])
    told.telling.news(told.watch, 1_000.01)
    told.telling.forget(told.watch)
    told.telling.go_on(2_000.0)
    assert (len(told.updates), told.telling.next_timeout()) == (1, None)
