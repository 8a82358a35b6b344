"""The soak in small, and its verdict on daemons that grow, lose entries, or stay behind."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from dhtd.control.client import Client
from tests.e2e.daemons import DEADLINE
from tests.soak import __main__ as soak
from tests.soak.judge import GROWTH, JUDGED_FROM, flatness
from tests.soak.load import Entry, Ledger
from tests.soak.probe import Sample, probe
from tests.soak.result import Result, plain, table
from tests.soak.swarm import Swarm
from tests.soak.watch import Watch

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process takes by /proc")

ROOT = Path(__file__).parents[2]
DURATION = 600.0


@pytest.mark.slow
@on_linux
def test_a_short_soak_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(soak, "AWAY", 0.5)
    with Swarm() as swarm:
        result = soak.Soak(swarm, 4, 3.0, seed=1, calm=1.0, kill_every=0.7).run()
    assert result.is_good, table(result)
    assert result.kills == result.restarts > 0
    assert result.entries > 0
    assert result.found_at_once + result.found_later == result.entries
    assert result.kept is None  # there was no time to let go
    assert "soak: passed" in table(result)
    assert json.loads(json.dumps(plain(result)))["passed"] is True
    assert all(daemon.process.poll() is not None for daemon in swarm.daemons)


@on_linux
def test_a_kept_entry_is_told_with_its_past() -> None:
    with Swarm() as swarm:
        owner, holder = swarm.start(2)
        swarm.dht(owner, "bootstrap", holder.endpoint)
        run = soak.Soak(swarm, 2, 0.0, seed=1)
        entry = Entry(owner, "ab" * 32, 80)
        run._ledger.note(entry, "entered")
        swarm.dht(owner, "enter", entry.id, "80")
        swarm.kill_one(Random(1), 0.0, 0.0)  # one of them
        swarm.bring_back(0.0)
        swarm.dht(owner, "delete", entry.id)  # which its holder has to acknowledge once more
        first, *events, owed = run._trace(holder.address, entry.id, entry.endpoint)
    assert first == f"{entry.id} at {holder.address}"
    assert [event.rpartition(" s ")[2].split()[-1] for event in events] == ["entered", "killed", "back"]
    assert f"'node_id': '{holder.node_id}'" in owed


@on_linux
def test_the_owner_tells_of_a_request_that_was_cut_off() -> None:
    with Swarm() as swarm:
        [owner] = swarm.start(1)
        entries = there, lost = Entry(owner, "ab" * 32, 80), Entry(owner, "ab" * 32, 81)
        ledger = Ledger()
        for entry in entries:
            ledger.begin(entry, "entered")
        with Client(owner.socket, DEADLINE) as client:
            client.enter(there.id, there.port, wait=False)
        assert [soak._is_tracked(entry) for entry in ledger.unproven.values()] == [True, False]
        for what in ("entered", "deleted"):
            ledger.begin(lost, what)
            ledger.note(lost, what)
            assert list(ledger.unproven.values()) == [there]
    assert [what for _, entry, what in ledger.history if entry is lost][1:] == [
        "being entered",
        "entered",
        "being deleted",
        "deleted",
    ]


@pytest.mark.long
@on_linux
def test_three_minutes_are_flat() -> None:
    """`python3 dev.py soak` runs for twenty."""
    with Swarm() as swarm:
        result = soak.Soak(swarm, 8, 180.0, seed=2).run()
    assert result.is_good, table(result)
    assert [each.is_flat for each in result.flatness] == [True] * 3


# Flat quantities


def series(rss: Callable[[float], float], descriptors: int = 12) -> list[tuple[float, Sample]]:
    return [(at, Sample(round(rss(at)), descriptors, 1)) for at in range(0, round(DURATION), 2)]


def test_growth_that_stops_is_flat() -> None:
    judged = flatness("rss_kb", [series(lambda at: 20_000 + 100 * min(at, 150))], DURATION)
    assert judged.is_flat
    assert (judged.second, judged.last, judged.worst) == (35_000, 35_000, 1.0)


def test_one_leaking_daemon_is_not_hidden() -> None:
    calm, leak = series(lambda at: 30_000), series(lambda at: 30_000 + 20 * at)
    judged = flatness("rss_kb", [calm, calm, calm, leak], DURATION)
    assert judged.is_flat is False
    assert judged.last == 30_000
    assert judged.worst > GROWTH["rss_kb"][0]


def test_two_more_descriptors_are_a_leak() -> None:
    for more, is_flat in ((1, True), (2, False)):
        grown = [
            (at, sample._replace(descriptors=12 + more * (at >= 2 * DURATION / 3)))
            for at, sample in series(lambda at: 1)
        ]
        assert flatness("descriptors", [grown], DURATION).is_flat is is_flat


def test_short_or_rare_samples_are_not_judged() -> None:
    leak = series(lambda at: 30_000 + 20 * at)
    assert flatness("rss_kb", [leak], JUDGED_FROM - 1).is_flat is None
    assert flatness("rss_kb", [leak[::100]], DURATION).is_flat is None
    assert flatness("rss_kb", [leak, []], DURATION).is_flat is None
    assert flatness("rss_kb", [], DURATION).is_flat is None


@on_linux
def test_only_a_living_process_is_measured() -> None:
    mine = probe(os.getpid())
    assert mine is not None
    assert mine.rss_kb > 1_000
    assert mine.descriptors >= 3
    assert mine.threads >= 1
    ended = subprocess.Popen([sys.executable, "-c", ""])
    while probe(ended.pid) is not None:  # until it is a zombie
        os.sched_yield()
    ended.wait()
    assert probe(ended.pid) is None


# Its report


@pytest.fixture
def good() -> Result:
    return Result(
        daemons=4,
        elders=1,
        minutes=20.0,
        seed=1,
        kills=2,
        restarts=2,
        counts={"enters": 5},
        entries=5,
        found_at_once=4,
        found_later=1,
        lost=[],
        deleted=1,
        let_go_later=0,
        kept=[],
        deaths=1,
        stale=[],
        missed=[],
        updates=3,
        untrue=[],
        traces=[],
        flatness=[flatness(quantity, [series(lambda at: 30_000)], DURATION) for quantity in GROWTH],
        ended_by_themselves=0,
        tracebacks=0,
        defects=0,
        surprises={},
    )


def test_a_result_that_holds_is_good(good: Result) -> None:
    assert good.is_good
    assert table(good).endswith("soak: passed")
    assert "deleted 1, let go of within 60 s 0, kept 0" in table(good)
    assert "kept (too short)" in table(dataclasses.replace(good, kept=None))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"lost": ["ab 127.0.0.1:80"]}, "LOST ab 127.0.0.1:80"),
        ({"kept": ["ab 127.0.0.1:80 at 127.1.0.1"]}, "KEPT ab 127.0.0.1:80 at 127.1.0.1"),
        ({"stale": ["ab 127.0.0.1:80 at 127.1.0.1"]}, "STALE ab 127.0.0.1:80 at 127.1.0.1"),
        ({"missed": ["ab 127.0.0.1:80 by 127.1.0.1"]}, "MISSED ab 127.0.0.1:80 by 127.1.0.1"),
        ({"untrue": ["ab 127.0.0.1:80 not told to 127.1.0.1"]}, "UNTRUE ab 127.0.0.1:80 not told to 127.1.0.1"),
        ({"ended_by_themselves": 1}, "ended by themselves 1"),
        ({"tracebacks": 1}, "tracebacks 1"),
        ({"defects": 1}, "defects 1"),
        ({"surprises": {"daemon-unreachable without a kill": 3}}, "SURPRISE daemon-unreachable without a kill: 3"),
        ({"flatness": [flatness("rss_kb", [series(lambda at: 30_000 + 20 * at)], DURATION)]}, "NO"),
    ],
)
def test_each_failure_fails_the_soak_and_is_told(good: Result, bad: dict[str, object], said: str) -> None:
    result = dataclasses.replace(good, **bad)  # type: ignore[arg-type]
    assert not result.is_good
    assert said in table(result)
    assert table(result).endswith("soak: FAILED")


@pytest.mark.parametrize(
    "bad", [["--kill-every", "0"], ["--kill-every", "inf"], ["--kill-every", "x"], ["--daemons", "3"]]
)
def test_senseless_arguments_are_refused(bad: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        soak.main(bad)
    assert refused.value.code == 2
    assert bad[0] in capsys.readouterr().err


@on_linux
def test_a_watch_knows_what_it_was_told() -> None:
    with Swarm() as swarm:
        owner, elder = swarm.start(2)
        id = "ab" * 32
        watch = Watch(elder, [id])
        swarm.dht(owner, "enter", id, "80")
        there = {id: frozenset({f"{owner.address}:80"})}
        deadline = time.monotonic() + DEADLINE
        while watch.wrong(there):
            assert time.monotonic() < deadline
            os.sched_yield()
        assert watch.wrong({id: frozenset({"192.0.2.1:1"})}) == [
            f"{id} 192.0.2.1:1 not told to {elder.address}",
            f"{id} {owner.address}:80 told to {elder.address}",
        ]
        assert watch.updates > 0
        assert not watch.has_ended
    while not watch.has_ended:
        assert time.monotonic() < deadline
        os.sched_yield()


# Its end

START = """
import signal, sys, time
from tests.soak.__main__ import _end
from tests.soak.swarm import Swarm
signal.signal(signal.SIGTERM, _end)
with Swarm() as swarm:
    swarm.populate(4)
    print(*(daemon.process.pid for daemon in swarm.daemons), flush=True)
    time.sleep(600)
"""


@on_linux
@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_however_it_ends_no_daemon_stays_behind(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", START], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as started:
        assert started.stdout is not None
        pids = [int(word) for word in started.stdout.readline().split()]
        assert len(pids) == 4
        assert all(probe(pid) for pid in pids)
        started.send_signal(number)
    deadline = time.monotonic() + DEADLINE
    while any(probe(pid) for pid in pids):
        assert time.monotonic() < deadline
        os.sched_yield()
