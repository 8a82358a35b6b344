"""Real daemons on loopback, under load, killed and restarted: in the end nothing is lost, and nothing has grown.

Run it with `python3 dev.py soak`. Workers enter, look up and delete, and throw garbage at the daemons, while one after
another is killed with SIGKILL and comes back from its state file. A quarter of them, the elders, run all the time. When
time is up, all come back and have a minute. Then this must hold, or the status is 1:

- every acknowledged and undeleted entry is found, by a daemon that did not make it;
- no daemon holds a deleted entry, though some were down during the deletion and came back with it; they have the minute
  for that, and another one that is reported;
- for each elder, memory, file descriptors and threads of the last third are those of the second: see `judge`;
- while the load goes on, no holder has an entry of a dead owner for longer than a lease, and no elder misses an entry
  of an owner that is up: see `truth`. So every third victim is away for longer than a lease;
- clients that watch a few IDs at elders all the time have been told who serves these, and of nobody else: see `watch`.
  Where a kill has cut off a request, its owner says in the end whether the entry is there;
- no daemon ended by itself, has a traceback in its log, or counted a defect.

The seed decides the order of actions, but not their speed, so two runs are alike but not the same.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from types import FrameType
from typing import Final, NoReturn

from dhtd.control.client import Client
from dhtd.errors import DhtdError
from dhtd.service.entries import LOOKUP
from tests.e2e.daemons import DEADLINE, Daemon
from tests.soak.judge import GROWTH, flatness
from tests.soak.load import Entry, Ledger, Worker
from tests.soak.probe import Sample, probe
from tests.soak.result import ASK_AGAIN, Result, plain, table
from tests.soak.swarm import ELDERS, Swarm
from tests.soak.truth import LEASE, SLACK, Truth
from tests.soak.watch import WATCHED, Watch

WORKERS: Final = 4
KILL_EVERY: Final = 10.0  # seconds, in the mean
AWAY: Final = 15.0  # seconds that a daemon is down, at most
LONG: Final = 3  # one in so many is down for longer than a lease
SAMPLE_EVERY: Final = 2.0  # seconds
TICK: Final = 0.1
DEAD: Final = LEASE + 4 * SLACK  # seconds that such a victim is down, at least
# Seconds until the last look, in which the last daemons to come back can publish and hear of deletions.
CALM: Final = 60.0


def _is_tracked(entry: Entry) -> bool:
    """Whether the owner of an entry has it."""
    with Client(entry.owner.socket, DEADLINE) as client:
        tracking = client.info("tracking")["tracking"]
    return any((each["id"], each["port"]) == (entry.id, entry.port) for each in tracking)


class Soak:
    def __init__(
        self, swarm: Swarm, daemons: int, seconds: float, seed: int, calm: float = CALM, kill_every: float = KILL_EVERY
    ) -> None:
        self._swarm = swarm
        self._many = daemons
        self._seconds = seconds
        self._seed = seed
        self._calm = calm
        self._kill_every = kill_every
        self._rng = Random(f"soak {seed}")
        self._ledger = Ledger()
        self._truth = Truth(swarm.presence)
        self._series: dict[str, list[tuple[float, Sample]]] = {}  # by address
        self._kills = self._restarts = self._ended = 0
        self._traces: list[str] = []

    def run(self) -> Result:
        self._swarm.populate(self._many)
        stop = threading.Event()
        entries = 10 * self._many
        ids = [f"{self._rng.getrandbits(256):064x}" for _ in range(WATCHED)]
        watches = [Watch(daemon, ids) for daemon in self._swarm.elders]
        workers = [
            Worker(self._swarm, self._ledger, self._truth, Random(f"worker {self._seed} {number}"), entries, ids, stop)
            for number in range(WORKERS)
        ]
        with ThreadPoolExecutor(WORKERS) as pool:
            running = [pool.submit(worker.run) for worker in workers]
            try:
                self._disturb()
            finally:
                stop.set()
            for each in running:
                each.result()
        self._restarts += len(self._swarm.bring_back(float("inf")))
        time.sleep(self._calm)
        found, deleted, wrong = self._look_up_all(), self._look_for_deleted(), self._look_at_watches(ids, watches)
        return self._result(*found, *deleted, sum(watch.updates for watch in watches), wrong)

    def _disturb(self) -> None:
        """Kill, restart and take samples until time is up."""
        began = time.monotonic()
        kill_at, sample_at = self._rng.expovariate(1 / self._kill_every), 0.0
        while (now := time.monotonic() - began) < self._seconds:
            if now >= kill_at:
                is_long = self._kills % LONG == LONG - 1
                away, at_least = (DEAD + AWAY, DEAD) if is_long else (AWAY, 0.0)
                self._kills += self._swarm.kill_one(self._rng, now, away, at_least) is not None
                kill_at += self._rng.expovariate(1 / self._kill_every)
            self._restarts += len(self._swarm.bring_back(now))
            if now >= sample_at:
                self._sample(now)
                self._look_at_stores()
                sample_at += SAMPLE_EVERY
            time.sleep(TICK)

    def _sample(self, now: float) -> None:
        for daemon in self._swarm.up():
            sample = probe(daemon.process.pid)
            if sample is not None:
                self._series.setdefault(daemon.address, []).append((now, sample))
            elif daemon.process.poll() is not None:
                self._ended += 1
                self._swarm.launch(daemon)

    def _look_at_stores(self) -> None:
        """Look for entries of owners that have been away for longer than a lease."""
        now = time.monotonic()
        overdue = self._truth.overdue(now)
        for daemon in self._swarm.up() if overdue else ():
            try:
                with Client(daemon.socket, DEADLINE) as client:
                    store = client.info("store")["store"]
            except DhtdError:
                continue  # it has ended by itself, which the next sample finds out
            held = [(each["id"], each["endpoint"], each["expires_in_s"]) for each in store]
            self._truth.holds(daemon.address, held, overdue, now)

    def _look_up_all(self) -> tuple[int, int, list[Entry]]:
        missing = [entry for entry in self._ledger.entered if not self._is_found(entry)]
        at_once = len(self._ledger.entered) - len(missing)
        again_until = time.monotonic() + min(ASK_AGAIN, self._calm)
        lost = missing
        while lost and time.monotonic() < again_until:
            time.sleep(1.0)
            lost = [entry for entry in lost if not self._is_found(entry)]
        return at_once, len(missing) - len(lost), lost

    def _look_at_watches(self, ids: Sequence[str], watches: Sequence[Watch]) -> list[str]:
        """Return in words what clients were told that is not so."""
        there = [*self._ledger.entered, *filter(_is_tracked, self._ledger.unproven.values())]
        truth = {id: frozenset(entry.endpoint for entry in there if entry.id == id) for id in ids}
        until = time.monotonic() + min(ASK_AGAIN, self._calm)
        while (wrong := [words for watch in watches for words in watch.wrong(truth)]) and time.monotonic() < until:
            time.sleep(1.0)
        return wrong + [f"a watch ended at {watch.address}" for watch in watches if watch.has_ended]

    def _look_for_deleted(self) -> tuple[int, list[str]]:
        """Return how many deleted entries were dropped a little late, and which are still held where."""
        deleted = {(entry.id, entry.endpoint) for entry in self._ledger.deleted}
        began = time.monotonic()
        kept = at_once = self._kept(deleted)
        while kept and time.monotonic() < began + min(ASK_AGAIN, self._calm):
            time.sleep(1.0)
            kept = self._kept(deleted)
        late = {each[1:] for each in at_once} - {each[1:] for each in kept}
        self._traces = [line for where, *entry in sorted(kept) for line in self._trace(where, *entry)]
        return len(late), sorted(f"{' '.join(entry)} at {where}" for where, *entry in kept)

    def _trace(self, holder: str, id: str, endpoint: str) -> list[str]:
        """Return the reasons why an entry is kept: lines of seconds before now."""
        owner = endpoint.rpartition(":")[0]
        events = [
            (when, what) for when, entry, what in self._ledger.history if (entry.id, entry.endpoint) == (id, endpoint)
        ]
        for who, address in (("owner", owner), ("holder", holder)):
            events += [(when, f"{who} {what}") for when, whose, what in self._swarm.history if whose == address]
        [daemon] = [daemon for daemon in self._swarm.daemons if daemon.address == owner]
        with Client(daemon.socket, DEADLINE) as client:
            owed = [each for each in client.info("withdrawals")["withdrawals"] if each["id"] == id]
        now = time.monotonic()
        return [
            f"{id} at {holder}",
            *(f"  {when - now:8.1f} s {what}" for when, what in sorted(events)),
            f"  owed: {owed}",
        ]

    def _kept(self, deleted: set[tuple[str, str]]) -> set[tuple[str, str, str]]:
        """Return where each of these is held, or believed to be an own entry."""
        kept = set()
        for daemon in self._swarm.daemons:
            with Client(daemon.socket, DEADLINE) as client:
                info = client.info(None)
            held = [(entry["id"], entry["endpoint"]) for entry in info["store"]]
            held += [(entry["id"], f"{daemon.address}:{entry['port']}") for entry in info["tracking"]]
            kept |= {(daemon.address, *entry) for entry in deleted.intersection(held)}
        return kept

    def _is_found(self, entry: Entry) -> bool:
        """Ask a daemon that is not the owner."""
        asked = self._rng.choice([daemon for daemon in self._swarm.daemons if daemon is not entry.owner])
        try:
            with Client(asked.socket, DEADLINE) as client:
                *_, result = client.stream(LOOKUP, id=entry.id)
        except DhtdError as error:
            self._ledger.surprise(f"{error.code} at the end")
            return False
        return entry.endpoint in result["peers"]

    def _result(
        self,
        at_once: int,
        later: int,
        lost: list[Entry],
        let_go_later: int,
        kept: list[str],
        updates: int,
        wrong: list[str],
    ) -> Result:
        ledger, elders = self._ledger, self._swarm.elders
        ran = [self._series.get(daemon.address, []) for daemon in elders]
        return Result(
            daemons=self._many,
            elders=len(elders),
            minutes=round(self._seconds / 60, 2),
            seed=self._seed,
            kills=self._kills,
            restarts=self._restarts,
            counts=dict(sorted(ledger.counts.items())),
            entries=len(ledger.entered),
            found_at_once=at_once,
            found_later=later,
            lost=[f"{entry.id} {entry.endpoint}" for entry in lost],
            deleted=len(ledger.deleted),
            let_go_later=let_go_later,
            updates=updates,
            untrue=wrong,
            deaths=len(self._truth.deaths),
            stale=sorted(self._truth.stale),
            missed=sorted(self._truth.missed),
            kept=kept if self._calm >= CALM else None,
            traces=self._traces if self._calm >= CALM else [],
            flatness=[flatness(quantity, ran, self._seconds) for quantity in GROWTH],
            ended_by_themselves=self._ended,
            tracebacks=sum(_log(daemon).count("Traceback") for daemon in self._swarm.daemons),
            defects=sum(_defects(daemon) for daemon in self._swarm.daemons),
            surprises=dict(ledger.surprises),
        )


def _log(daemon: Daemon) -> str:
    return daemon.log.read_text(encoding="utf-8", errors="replace")


def _defects(daemon: Daemon) -> int:
    with Client(daemon.socket, DEADLINE) as client:
        return int(client.info("network")["network"]["defects"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak and report; return the exit status."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _end)
    with Swarm() as swarm:
        result = Soak(swarm, options.daemons, 60 * options.minutes, options.seed, kill_every=options.kill_every).run()
    print(json.dumps(plain(result)) if options.json else table(result))
    return 0 if result.is_good else 1


def _end(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)  # through the end of every context, so that no daemon stays


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "dev.py soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--daemons", type=_several, default=24, metavar="N", help="(24)")
    parser.add_argument(
        "--minutes", type=float, default=20.0, metavar="M", help="of load; a minute of calm follows (20)"
    )
    parser.add_argument(
        "--kill-every", type=_pause, default=KILL_EVERY, metavar="S", help="seconds from kill to kill, in the mean (10)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="another seed draws other victims (1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser


def _pause(text: str) -> float:
    pause = float(text)
    if not 0 < pause < float("inf"):
        raise argparse.ArgumentTypeError("more than 0 seconds")
    return pause


def _several(text: str) -> int:
    many = int(text)
    if many < ELDERS:
        raise argparse.ArgumentTypeError(f"{ELDERS} daemons at least")
    return many


if __name__ == "__main__":
    sys.exit(main())
