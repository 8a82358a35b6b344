"""The waits of `dht watch`, on a clock that nobody waits for: for events, wake-ups, and a daemon that is lost."""

from __future__ import annotations

import math
import select
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import pytest

from dhtd.cli import watching
from dhtd.cli.arguments import Key
from dhtd.cli.watched import Change
from dhtd.cli.watching import Watching
from dhtd.errors import BadRequest, DaemonUnreachable, DhtdError, TooManyClients, UsageError

ID = "07" * 32
ONE, TWO = "10.7.7.1:80", "10.7.7.2:80"
GONE, BACK = "the daemon has gone away; watching again as soon as it is back", "the daemon is back"
LOST = DaemonUnreachable("no daemon is running")
FULL = TooManyClients("too many clients")
WAKEUP, OUTPUT = 101, 102


def event(*peers: str) -> dict[str, Any]:
    return {"id": ID, "name": None, "peers": list(peers), "added": [], "removed": [], "holders": 8}


Step = Mapping[str, Any] | DhtdError | None


class Feed:
    """One connection: each poll brings the next step. An error as the first one refuses the request."""

    def __init__(self, world: World, steps: Iterable[Step]) -> None:
        self._world = world
        self._steps = list(steps)
        self._is_heard = False
        self.is_closed = False

    def begin(self, ids: object) -> None:
        self._world.began.append(self._world.now)
        self._world.asked.append(ids)
        if self._steps and isinstance(self._steps[0], DhtdError):
            raise self._steps[0]

    def silence_ends(self) -> float | None:
        return None if self._is_heard else self._world.now + 10.0

    @property
    def is_ready(self) -> bool:
        return bool(self._steps)

    def events(self) -> Iterator[Mapping[str, Any]]:
        step = self._steps.pop(0) if self._steps else None
        if isinstance(step, DhtdError):
            raise step
        if step is not None:
            self._is_heard = True
            yield step

    def close(self) -> None:
        self.is_closed = True


class Poll:
    def __init__(self, world: World) -> None:
        self._world = world
        self._registered: dict[object, int] = {}

    def register(self, descriptor: object, events: int) -> None:
        self._registered[descriptor] = events

    def poll(self, milliseconds: float | None) -> list[tuple[object, int]]:
        ready = [each for each, events in self._registered.items() if self._world.is_ready(each, events)]
        if not ready:
            assert milliseconds is not None, "nobody would ever end this"
            self._world.waits.append(milliseconds)
            self._world.now += milliseconds / 1000
        return [(each, select.POLLIN) for each in ready]


class World:
    """Stands in for the modules `time` and `select`, and for the daemon, which has these connections in turn."""

    POLLIN = select.POLLIN

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *connections: Iterable[Step]) -> None:
        self.now = 1_000.0
        self.began: list[float] = []
        self.asked: list[object] = []
        self.waits: list[float] = []
        self.said: list[str] = []
        self.ready: set[int] = set()
        self.feeds: list[Feed] = []
        self._connections = [list(steps) for steps in connections]
        monkeypatch.setattr(watching, "time", self)
        monkeypatch.setattr(watching, "select", self)

    def monotonic(self) -> float:
        return self.now

    def poll(self) -> Poll:
        return Poll(self)

    def is_ready(self, descriptor: object, events: int) -> bool:
        if isinstance(descriptor, Feed):
            return events == select.POLLIN and descriptor.is_ready
        assert events == {WAKEUP: select.POLLIN, OUTPUT: 0}[descriptor]  # type: ignore[index]
        return descriptor in self.ready

    def connect(self) -> Any:
        self.feeds.append(Feed(self, self._connections.pop(0) if self._connections else [LOST]))
        return self.feeds[-1]

    def watching(self, *keys: Key) -> Watching:
        return Watching(self.connect, keys or [Key(ID, None)], self.said.append)


def changes(turns: Iterable[Change | None]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [(change.added, change.removed) for change in turns if change is not None]


def test_each_event_is_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, [event(ONE), event(ONE), event(TWO)])
    with world.watching() as ours:
        turns = list(ours.turns(1_005.0))
    assert changes(turns) == [((ONE,), ()), ((TWO,), (ONE,))]
    assert turns[1] is None
    assert (world.said, world.feeds[0].is_closed) == ([], True)
    assert world.now == pytest.approx(1_005.0, abs=0.01)


def test_an_event_of_another_id_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, [{**event(ONE), "id": "08" * 32}, {**event(ONE), "id": None}, event(TWO)])
    with world.watching() as ours:
        turns = list(ours.turns(1_001.0))
    assert turns[:2] == [None, None]
    assert changes(turns) == [((TWO,), ())]


def test_names_are_asked_for_where_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, [event()])
    with world.watching(Key(ID, None), Key("08" * 32, "wiki"), Key(ID, "again")) as ours:
        list(ours.turns(1_001.0))
    assert world.asked == [[{"id": ID}, {"id": "08" * 32, "name": "wiki"}]]


def test_a_lost_daemon_is_tried_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, [event(ONE), LOST])
    with world.watching() as ours:
        assert changes(ours.turns(1_012.0)) == [((ONE,), ())]
    pauses = [later - sooner for sooner, later in pairwise(world.began)]
    assert pauses[:8] == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0], abs=0.002)
    assert all(feed.is_closed for feed in world.feeds)
    assert world.said == [GONE]


def test_a_daemon_that_is_back_is_tried_soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, [event(ONE), LOST], [LOST], [LOST], [LOST], [event(ONE, TWO), LOST])
    with world.watching() as ours:
        assert changes(ours.turns(1_001.0)) == [((ONE,), ()), ((TWO,), ())]
    pauses = [later - sooner for sooner, later in pairwise(world.began)]
    assert pauses[:6] == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.05, 0.1], abs=0.002)
    assert world.said == [GONE, BACK, GONE]


def test_an_error_of_the_daemon_is_said_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, [event(ONE), DhtdError("a defect in dhtd")])
    with world.watching() as ours:
        list(ours.turns(1_000.5))
    assert world.said == ["a defect in dhtd; watching again as soon as it is back"]


@pytest.mark.parametrize("error", [LOST, DhtdError("a defect"), BadRequest("watch: no such thing")])
def test_a_watch_that_never_began_fails(monkeypatch: pytest.MonkeyPatch, error: DhtdError) -> None:
    world = World(monkeypatch, [error])
    with world.watching() as ours, pytest.raises(type(error)):
        list(ours.turns(1_010.0))
    assert (len(world.began), world.feeds[0].is_closed, world.said) == (1, True, [])


def test_what_the_daemon_does_not_understand_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, [event(ONE), LOST], [UsageError("no such ID")])
    with world.watching() as ours, pytest.raises(UsageError):
        list(ours.turns(1_010.0))


def test_a_place_is_waited_for_as_long_as_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, *[[FULL]] * 20)
    with world.watching() as ours, pytest.raises(TooManyClients):
        list(ours.turns(1_060.0))
    assert 1_010.0 <= world.now <= 1_012.1
    assert world.said == []


def test_a_wake_up_is_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, [event(ONE)])
    with world.watching() as ours:
        turns = ours.turns(wakeup=WAKEUP)
        assert changes([next(turns)]) == [((ONE,), ())]
        world.ready = {WAKEUP}
        assert next(turns) is None


def test_a_reader_that_is_gone_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, [event(ONE)])
    with world.watching() as ours:
        turns = ours.turns(wakeup=WAKEUP, output=OUTPUT)
        next(turns)
        world.ready = {WAKEUP, OUTPUT}
        with pytest.raises(BrokenPipeError, match="Broken pipe"):
            next(turns)


def test_without_a_limit_only_something_ends_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, [event(ONE)])
    with world.watching() as ours:
        turns = ours.turns(math.inf)
        next(turns)
        with pytest.raises(AssertionError, match="nobody would ever end this"):
            next(turns)
    assert world.waits == []


def test_a_silent_daemon_is_waited_for_as_long_as_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, [])
    with world.watching() as ours:
        turns = ours.turns(1_004.0)
        assert list(turns) == []
    assert world.waits[0] == pytest.approx(4_001.0)
    world = World(monkeypatch, [])
    with world.watching() as ours:
        assert list(ours.turns(1_030.0)) == []
    assert world.waits[0] == pytest.approx(10_001.0)
