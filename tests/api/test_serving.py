"""Entries for as long as a block runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from dhtd.api.names import Id
from dhtd.api.serving import Serving
from dhtd.api.waits import finish
from dhtd.errors import Busy, DaemonTimeout
from tests.api.fakes import ENTRY, FakeDaemon, Hang, VirtualWaits, asking, error, event, hangs, hangs_up, result, says

ENTERED = says(result(**ENTRY))


def keep(waits: VirtualWaits) -> None:
    """Do the work of the background, until nothing happens any more."""
    with pytest.raises(Hang):
        finish(waits.works[-1](waits))


def test_the_block_has_the_entry(tmp_path: Path) -> None:
    with asking(tmp_path, ENTERED) as (dht, daemon, _):
        entry = finish(dht.serve("wiki", 80, min_replicas=2).__aenter__())
        assert (entry.id, entry.name, entry.port, entry.guard) == (Id("5a" * 32), "wiki", 80, "connection")
        assert daemon.requests[0]["params"] == {
            "id": Id.of_name("wiki").hex,
            "name": "wiki",
            "port": 80,
            "attached": True,
            "min_replicas": 2,
            "within_s": 9.0,
        }


def test_the_end_of_the_block_awaits_the_withdrawal(tmp_path: Path) -> None:
    with asking(tmp_path, ENTERED) as (dht, daemon, waits):
        serving = dht.serve("wiki", 80)
        finish(serving.__aenter__())
        finish(serving.__aexit__(None, None, None))
        assert (daemon.clients, waits.now()) == ([], 0.0)  # the daemon has hung up


def test_a_withdrawal_that_hangs_is_left_to_the_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with asking(tmp_path, ENTERED) as (dht, daemon, waits):
        serving = dht.serve("wiki", 80)
        finish(serving.__aenter__())
        monkeypatch.setattr(FakeDaemon, "turn", lambda _: False)
        finish(serving.__aexit__(None, None, None))
        assert waits.now() == 5.0
        monkeypatch.undo()
        daemon.turn()
        assert daemon.clients == []


def test_it_is_entered_again_after_a_restart(tmp_path: Path) -> None:
    with asking(tmp_path, ENTERED, ENTERED) as (dht, daemon, waits):
        finish(dht.serve("wiki", 80).__aenter__())
        daemon.stop()
        waits.at_sleep.extend([lambda: None, daemon.start])
        keep(waits)
        assert (len(daemon.requests), len(daemon.clients), waits.slept) == (2, 1, [0.05, 0.1])


def test_it_is_tried_until_it_is_entered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    no = hangs_up(error("busy", "full"))
    with asking(tmp_path, ENTERED, no, no, hangs_up(error("no-descriptor", "none")), hangs, ENTERED) as (
        dht,
        daemon,
        waits,
    ):
        finish(dht.serve("wiki", 80).__aenter__())
        late = str(dht.connection().too_late())
        daemon.drop(daemon.clients[0])
        keep(waits)
        assert len(daemon.requests) == 6
        assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
            "wiki is not entered: full; trying again",
            "wiki is not entered: none; trying again",
            f"wiki is not entered: {late}; trying again",
        ]


@pytest.mark.parametrize(("script", "kind"), [(says(error("busy")), Busy), (hangs, DaemonTimeout)])
def test_a_block_without_an_entry_does_not_begin(tmp_path: Path, script: object, kind: type[Exception]) -> None:
    with asking(tmp_path, script) as (dht, daemon, waits):  # type: ignore[arg-type]
        with pytest.raises(kind):
            finish(dht.serve("wiki", 80).__aenter__())
        daemon.turn()
        assert (daemon.clients, waits.works) == ([], [])


def test_a_daemon_without_a_place_is_asked_again(tmp_path: Path) -> None:
    full = hangs_up(error("too-many-clients"))
    with asking(tmp_path, full, says(event(), result(**ENTRY))) as (dht, _, waits):
        finish(dht.serve("wiki", 80).__aenter__())
        assert waits.slept == [0.05]


def test_a_daemon_that_is_just_back_withdraws_as_well(tmp_path: Path) -> None:
    """The block ends before the entry was made again: the new daemon may have it by its state file."""
    with asking(tmp_path, ENTERED, ENTERED) as (dht, daemon, waits):
        serving = dht.serve("wiki", 80)
        finish(serving.__aenter__())
        daemon.stop()
        waits.at_sleep.append(lambda: None)
        work = waits.works[-1](waits)

        def end() -> None:
            raise Hang

        waits.at_sleep.append(end)
        with pytest.raises(Hang):
            finish(work)
        daemon.start()
        finish(serving.__aexit__(None, None, None))
        assert (len(daemon.requests), daemon.clients) == (2, [])


def test_the_end_of_a_block_without_a_daemon_is_quiet(tmp_path: Path) -> None:
    with asking(tmp_path, ENTERED) as (dht, daemon, _):
        serving: Serving = dht.serve("wiki", 80)
        finish(serving.__aenter__())
        daemon.stop()
        finish(serving.__aexit__(None, None, None))
