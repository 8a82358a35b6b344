"""Watches: changes, restarts of the daemon without false removals, and the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from dhtd.api.names import Id
from dhtd.api.results import Change
from dhtd.api.waits import finish
from dhtd.api.watch import Watch
from dhtd.errors import DaemonTimeout, DaemonUnreachable, TooManyWatches
from tests.api.fakes import FakeDaemon, Hang, asking, error, event, goes_away, hangs, hangs_up, says

ONE, TWO = "192.0.2.1:80", "192.0.2.2:80"
ID = Id.of_name("wiki")


def told(*peers: str, holders: int = 8, id: Id = ID, name: str | None = "wiki") -> bytes:
    return event(id=id.hex, name=name, peers=list(peers), added=[], removed=[], holders=holders)


def next_of(watch: Watch) -> tuple[list[str], list[str], list[str], bool]:
    change: Change = finish(watch.__anext__())
    return (*(list(map(str, each)) for each in (change.added, change.removed, change.endpoints)), change.is_confirmed)  # type: ignore[return-value]


def test_changes_are_told_as_they_come(tmp_path: Path) -> None:
    with asking(tmp_path, says(told(ONE), told(ONE), told(TWO))) as (dht, daemon, _):
        watch = dht.watch("wiki")
        assert next_of(watch) == ([ONE], [], [ONE], True)
        assert next_of(watch) == ([TWO], [ONE], [TWO], True)
        with pytest.raises(Hang):
            next_of(watch)
        assert daemon.requests[0]["params"] == {"ids": [{"id": ID.hex, "name": "wiki"}]}


def test_several_ids_are_watched_by_one_connection(tmp_path: Path) -> None:
    other = Id("5a" * 32)
    script = says(
        told(ONE), told(TWO, id=other, name=None), event(id="77" * 32, peers=[ONE]), told(id=other, name=None)
    )
    with asking(tmp_path, script) as (dht, daemon, _):
        watch = dht.watch("wiki", other, "wiki")
        changes = [finish(watch.__anext__()) for _ in range(3)]
        assert [(change.id, change.name, len(change.endpoints)) for change in changes] == [
            (ID, "wiki", 1),
            (other, None, 1),
            (other, None, 0),
        ]
        assert daemon.requests[0]["params"] == {"ids": [{"id": ID.hex, "name": "wiki"}, {"id": other.hex}]}
        assert daemon.most == 2  # one for the ID of the daemon


def test_a_restart_tells_no_false_removals(tmp_path: Path) -> None:
    script = (goes_away(told(ONE, TWO)), says(told(holders=0), told(TWO, holders=0), told(TWO)))
    with asking(tmp_path, *script) as (dht, daemon, waits):
        waits.at_sleep.extend([lambda: None, daemon.start])
        watch = dht.watch("wiki")
        assert next_of(watch) == ([ONE, TWO], [], [ONE, TWO], True)
        assert next_of(watch) == ([], [], [ONE, TWO], False)  # the new daemon knows nobody yet
        assert next_of(watch) == ([], [ONE], [TWO], True)  # other nodes have said so
        assert waits.slept == [0.05, 0.1]


def test_the_same_after_a_restart_is_no_change(tmp_path: Path) -> None:
    with asking(tmp_path, goes_away(told(ONE)), says(told(ONE), told(TWO))) as (dht, daemon, waits):
        waits.at_sleep.append(daemon.start)
        watch = dht.watch("wiki")
        assert next_of(watch) == ([ONE], [], [ONE], True)
        assert next_of(watch) == ([TWO], [ONE], [TWO], True)


def test_pauses_between_tries_grow_up_to_two_seconds(tmp_path: Path) -> None:
    with asking(tmp_path, goes_away(told(ONE)), goes_away(told(TWO)), says(told(ONE))) as (dht, daemon, waits):
        waits.at_sleep.extend([*[lambda: None] * 7, daemon.start, daemon.start])
        watch = dht.watch("wiki")
        for _ in range(3):
            next_of(watch)
        assert waits.slept == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 0.05]


@pytest.mark.parametrize(
    ("script", "kind"), [(says(error("too-many-watches")), TooManyWatches), (hangs, DaemonTimeout)]
)
def test_a_watch_that_cannot_begin_fails(tmp_path: Path, script: object, kind: type[Exception]) -> None:
    with asking(tmp_path, script) as (dht, _, waits):  # type: ignore[arg-type]
        watch = dht.watch("wiki")
        with pytest.raises(kind):
            next_of(watch)
        assert waits.slept == []
        with pytest.raises(StopAsyncIteration):
            finish(watch.__anext__())


def test_a_watch_without_a_daemon_fails(tmp_path: Path) -> None:
    with asking(tmp_path) as (dht, daemon, _):
        daemon.stop()
        with pytest.raises(DaemonUnreachable):
            next_of(dht.watch("wiki"))


def test_a_watch_waits_for_a_place(tmp_path: Path) -> None:
    full = hangs_up(error("too-many-clients"))
    with asking(tmp_path, full, full, says(told(ONE))) as (dht, _, waits):
        assert next_of(dht.watch("wiki")) == ([ONE], [], [ONE], True)
        assert len(waits.slept) == 2


def test_what_fails_later_is_tried_again(tmp_path: Path) -> None:
    """A daemon that is full, or has a defect, may get over it; one that refuses the request will not."""
    script = goes_away(told(ONE)), hangs_up(error("busy")), hangs_up(error("internal-error")), says(told(TWO))
    with asking(tmp_path, *script, goes_away(), says(error("invalid-id"))) as (dht, daemon, waits):
        waits.at_sleep.append(daemon.start)
        watch = dht.watch("wiki")
        next_of(watch)
        assert next_of(watch) == ([TWO], [ONE], [TWO], True)


def test_a_quiet_watch_has_no_timeout(tmp_path: Path) -> None:
    with asking(tmp_path, says(told(ONE))) as (dht, _, waits):
        watch = dht.watch("wiki")
        next_of(watch)
        waits.time = 1e6
        with pytest.raises(Hang):
            next_of(watch)


def test_leaving_the_loop_ends_the_watch(tmp_path: Path) -> None:
    def use(daemon: FakeDaemon, watch: Watch) -> None:
        next_of(watch)
        assert len(daemon.clients) == 1

    with asking(tmp_path, says(told(ONE)), says(told(ONE))) as (dht, daemon, _):
        daemon.turn()
        use(daemon, dht.watch("wiki"))
        daemon.turn()
        assert daemon.clients == []
        watch = dht.watch("wiki")
        next_of(watch)
        finish(watch.aclose())
        daemon.turn()
        assert daemon.clients == []
