"""Load for a swarm, and the truth after it: the entries that were acknowledged, and not deleted since."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Final, NamedTuple

from dhtd.control.client import Client
from dhtd.core.ids import NATIVE
from dhtd.errors import DaemonUnreachable, DhtdError
from dhtd.service.entries import DELETE, LOOKUP
from tests.e2e.daemons import DEADLINE, PORT, Daemon
from tests.soak.swarm import Swarm
from tests.soak.truth import Truth
from tests.soak.watch import WATCHED_SHARE
from tests.wire.mutator import Mutator
from tests.wire.vectors import VECTORS

PAUSE: Final = 0.2  # seconds between two actions of a worker, in the mean
BURST: Final = 100  # datagrams of garbage at once


class Entry(NamedTuple):
    """An entry of one daemon."""

    owner: Daemon
    id: str
    port: int

    @property
    def endpoint(self) -> str:
        """The endpoint that a lookup should find."""
        return f"{self.owner.address}:{self.port}"


class Ledger:
    """The acknowledged changes. A request cut off by a kill proves nothing: its entry may be there, or not."""

    def __init__(self) -> None:
        self.entered: list[Entry] = []
        self.deleted: list[Entry] = []
        self.entered_at: dict[tuple[str, str], float] = {}  # by ID and endpoint: when, by time.monotonic()
        self.history: list[tuple[float, Entry, str]] = []  # time by time.monotonic(), and acknowledged change
        self.unproven: dict[tuple[str, str], Entry] = {}  # by ID and endpoint: the latest change was not acknowledged
        self.counts: Counter[str] = Counter()
        self.surprises: Counter[str] = Counter()  # failures that no kill explains
        self._lock = threading.Lock()

    def add(self, entry: Entry) -> None:
        with self._lock:
            self.entered.append(entry)
            self.entered_at.setdefault((entry.id, entry.endpoint), time.monotonic())

    def begin(self, entry: Entry, what: str) -> None:
        """Remember the time of a request."""
        with self._lock:
            self.history.append((time.monotonic(), entry, f"being {what}"))
            self.unproven[entry.id, entry.endpoint] = entry

    def note(self, entry: Entry, what: str) -> None:
        """Remember the time of an acknowledgement."""
        with self._lock:
            self.history.append((time.monotonic(), entry, what))
            self.unproven.pop((entry.id, entry.endpoint), None)

    def take(self, rng: Random) -> Entry | None:
        """Take one out, to delete it."""
        with self._lock:
            return self.entered.pop(rng.randrange(len(self.entered))) if self.entered else None

    def pick(self, rng: Random) -> Entry | None:
        """Return one, to look it up."""
        with self._lock:
            return rng.choice(self.entered) if self.entered else None

    def has(self, entry: Entry) -> bool:
        """Whether nobody is deleting it."""
        with self._lock:
            return entry in self.entered

    def bury(self, entry: Entry) -> None:
        with self._lock:
            self.deleted.append(entry)

    def count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def surprise(self, what: str) -> None:
        with self._lock:
            self.surprises[what] += 1


class _CutOffError(Exception):
    """The daemon that was asked has gone away."""

    def __init__(self, by_kill: bool) -> None:
        super().__init__()
        self.by_kill = by_kill


class Worker:
    """Sends daemons random requests until it is told to stop."""

    def __init__(
        self,
        swarm: Swarm,
        ledger: Ledger,
        truth: Truth,
        rng: Random,
        entries: int,
        watched: Sequence[str],
        stop: threading.Event,
    ) -> None:
        self._swarm = swarm
        self._truth = truth
        self._ledger = ledger
        self._rng = rng
        self._entries = entries  # as many are to be there: growing with them would be no leak
        self._watched = watched
        self._stop = stop
        self._garbage = Mutator(rng.randrange(1 << 30), [vector.data for vector in VECTORS.values()])
        self._vectors = itertools.cycle(VECTORS.values())

    def run(self) -> None:
        """Act, and count."""
        while not self._stop.wait(self._rng.expovariate(1 / PAUSE)):
            try:
                self._act(self._rng.choice(self._swarm.up()))
            except _CutOffError as error:
                if error.by_kill:
                    self._ledger.count("cut off by a kill")
                else:
                    self._ledger.surprise(f"{error.__cause__} without a kill")
            except DhtdError as error:  # a node that has just come back may know nobody yet
                self._ledger.count(error.code)

    @contextmanager
    def _client(self, daemon: Daemon) -> Iterator[Client]:
        """Yield a client; raise `_CutOffError` if the daemon goes away."""
        before = daemon.process
        try:
            with Client(daemon.socket, DEADLINE) as client:
                yield client
        except DaemonUnreachable as error:
            raise _CutOffError(daemon.process is not before or daemon not in self._swarm.up()) from error

    def _act(self, daemon: Daemon) -> None:
        ledger, rng = self._ledger, self._rng
        dice = rng.random()
        if dice < 0.1:
            self._throw_garbage(daemon)
            ledger.count("bursts of garbage")
        elif dice < 0.4 and len(ledger.entered) < self._entries:
            self._enter(daemon)
        elif dice < 0.4:
            entry = ledger.take(rng)
            if entry is not None:
                self._delete(entry)
        elif (entry := ledger.pick(rng)) is not None:
            self._look_up(daemon, entry)

    def _look_up(self, daemon: Daemon, entry: Entry) -> None:
        owner, ledger = entry.owner.address, self._ledger
        must_find = daemon in self._swarm.elders and self._truth.must_find(
            owner, ledger.entered_at[entry.id, entry.endpoint], time.monotonic()
        )
        with self._client(daemon) as client:
            *_, result = client.stream(LOOKUP, id=entry.id)
        is_found = entry.endpoint in result["peers"]
        ledger.count("lookups that found" if is_found else "lookups that did not find")
        ledger.count("lookups that had to find" if must_find else "lookups that could fail")
        if must_find and not is_found and ledger.has(entry):
            self._truth.miss(entry.id, entry.endpoint, daemon.address)

    def _enter(self, daemon: Daemon) -> None:
        id = NATIVE.format(NATIVE.random(self._rng))
        if self._rng.random() < WATCHED_SHARE:
            id = self._rng.choice(self._watched)
        entry = Entry(daemon, id, self._rng.randint(1, 65_535))
        with self._client(daemon) as client:
            self._ledger.begin(entry, "entered")
            client.enter(entry.id, entry.port, wait=self._rng.random() < 0.5)
        self._ledger.note(entry, "entered")
        self._ledger.add(entry)
        self._ledger.count("enters")

    def _delete(self, entry: Entry) -> None:
        if entry.owner not in self._swarm.up():
            self._ledger.add(entry)  # another time
            return
        with self._client(entry.owner) as client:
            self._ledger.begin(entry, "deleted")
            client.ask(DELETE, id=entry.id, port=entry.port)
        self._ledger.note(entry, "deleted")
        self._ledger.bury(entry)
        self._ledger.count("deletes")

    def _throw_garbage(self, daemon: Daemon) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thrower:
            thrower.bind((f"127.250.{self._rng.randrange(256)}.{self._rng.randrange(1, 255)}", 0))
            for _ in range(BURST):
                [mutant] = self._garbage.mutants(next(self._vectors).data, 1)
                thrower.sendto(mutant, (daemon.address, PORT))
