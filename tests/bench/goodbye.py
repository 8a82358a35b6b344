"""How soon entries are gone when their daemon is killed or stopped, and whether a restart leaves a gap.

Run it with `python3 dev.py bench goodbye`. Sixteen daemons run on loopback. In each round, four of them get an entry,
and the other twelve look all four up without a pause. Then the four end: by SIGKILL, as in a power cut; by SIGTERM; or
by SIGTERM, and they are started again within 10 s. An entry is gone when the last lookup that has found it ends.
Fourteen minutes for 3 rounds of each, which a core has little to do in.

The end comes at any moment between two heartbeats. Right after an enter, each lease is new, and lasts longest.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from statistics import median
from typing import Final

from dhtd.core.policy import DEFAULT
from tests.e2e.daemons import DEADLINE, Daemon, Network

DAEMONS: Final = 16
OWNERS: Final = 4  # that end in one round
CONTACTS: Final = 8  # of each daemon, before the first round
PAUSE: Final = 0.05  # seconds between two turns of lookups
PERIOD: Final = DEFAULT.heartbeat  # seconds
BETWEEN: Final = 1.7  # seconds between the ends of two daemons: their heartbeats are not in step
AWAY: Final = 9.0  # seconds from a stop until the daemon is started again, at most; it is ready within another
AFTER: Final = 75.0  # seconds for which lookups go on after that: longer than a lease
LEASE: Final = 150.0  # seconds until an entry must be gone


@dataclass
class Watched:
    """An entry, its owner, and the lookups of it."""

    id: str
    owner: Daemon
    ended_at: float = 0.0  # when its owner got the signal, by time.monotonic()
    found: list[float] = field(default_factory=list)  # when the lookups that found it ended
    missed: int = 0  # lookups that did not find it
    in_a_row: int = 0  # of these, since the last one that found it

    def look_up(self, asked: Daemon) -> bool:
        """Look it up from a daemon."""
        is_found = bool(asked.look_up(self.id))
        if is_found:
            self.found.append(time.monotonic())
        else:
            self.missed += 1
        self.in_a_row = 0 if is_found else self.in_a_row + 1
        return is_found

    @property
    def gone_after(self) -> float:
        """Seconds from the end of its owner to the end of the last lookup that found it."""
        return self.found[-1] - self.ended_at


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("dev.py bench goodbye", description="End daemons, and look their entries up.")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of each kind of end (3)")
    options = parser.parse_args(arguments)
    rng = Random(19)
    with Network() as network:
        daemons = network.start(DAEMONS)
        settle(daemons, CONTACTS)
        for name, end in (("killed (-9)", Daemon.kill), ("stopped", Daemon.stop)):
            gone = [each.gone_after for _ in range(options.rounds) for each in ended(network, daemons, rng, end)]
            figures = f"{median(gone):.1f} s in the median, {max(gone):.1f} s at most"
            print(f"{name:<22} gone from every lookup after {figures}, of {len(gone)} entries", flush=True)
        watched = [each for _ in range(options.rounds) for each in restarted(network, daemons, rng, AFTER)]
        missed, lookups = count(watched)
        print(f"restarted within 10 s  missing from {missed:,} of {lookups:,} lookups, of {len(watched)} entries")


def settle(daemons: Sequence[Daemon], contacts: int) -> None:
    """Wait until all daemons know some others."""
    for daemon in daemons:
        daemon.wait_until(lambda node: node["contacts"]["good"] >= contacts)


def count(watched: Sequence[Watched]) -> tuple[int, int]:
    """Return how many lookups missed their entry, and how many there were."""
    missed = sum(each.missed for each in watched)
    return missed, missed + sum(len(each.found) for each in watched)


def ended(network: Network, daemons: Sequence[Daemon], rng: Random, end: Callable[[Daemon], object]) -> list[Watched]:
    """End the owners of some entries, wait until these are gone, and start the owners again."""
    entries, askers = enter(network, daemons, rng)
    with looking_up(askers, entries):
        time.sleep(rng.uniform(PERIOD, 2 * PERIOD))
        for each in entries:
            each.ended_at = time.monotonic()
            end(each.owner)
            time.sleep(BETWEEN)
        deadline = time.monotonic() + LEASE
        while not all(each.in_a_row >= len(askers) for each in entries):
            assert time.monotonic() < deadline, "an entry does not go"
            time.sleep(PAUSE)
    for each in entries:
        network.launch(each.owner)
        network.dht(each.owner, "delete", each.id)
    settle(daemons, CONTACTS)
    return entries


def restarted(network: Network, daemons: Sequence[Daemon], rng: Random, after: float) -> list[Watched]:
    """Restart the owners of some entries one by one, and look these up until some time after that."""
    entries, askers = enter(network, daemons, rng)
    with looking_up(askers, entries):
        for each in entries:
            each.ended_at = time.monotonic()
            each.owner.stop()
            time.sleep(max(0.0, each.ended_at + rng.uniform(0.0, AWAY) - time.monotonic()))
            network.launch(each.owner)
        time.sleep(after)
    for each in entries:
        network.dht(each.owner, "delete", each.id)
    return entries


def enter(network: Network, daemons: Sequence[Daemon], rng: Random) -> tuple[list[Watched], list[Daemon]]:
    """Enter an ID on each of some daemons; return the entries, and the other daemons, which all find them."""
    owners = rng.sample(list(daemons[1:]), min(OWNERS, len(daemons) - 1))  # the others join by the first
    entries = [Watched(f"{rng.getrandbits(256):064x}", owner) for owner in owners]
    askers = [daemon for daemon in daemons if daemon not in owners]
    for each in entries:
        network.dht(each.owner, "enter", each.id, "80")
    deadline = time.monotonic() + DEADLINE
    while not all(asked.look_up(each.id) for each in entries for asked in askers):
        assert time.monotonic() < deadline, "an entry is not found everywhere"
    return entries, askers


@contextmanager
def looking_up(askers: Sequence[Daemon], entries: Sequence[Watched]) -> Iterator[None]:
    """Look all entries up from all these daemons, again and again."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(PAUSE):
            for asked in askers:
                for each in entries:
                    each.look_up(asked)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        try:
            yield
        finally:
            stop.set()
        running.result()


if __name__ == "__main__":
    main()
