"""How soon an entry is gone when its service is killed.

Run it with `python3 dev.py bench gone`. Twelve daemons run on loopback. Again and again, a service is entered on one of
them by `dht enter ... -- COMMAND`, by `--pid` and by checks every second, and all of them find it. Then the service is
killed (-9), and all look it up without a pause. The time runs until no lookup that began since finds it.
A minute of one core for 20 rounds.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from statistics import median
from typing import Final

from tests.e2e.daemons import BIN, DEADLINE, Daemon, Network

DAEMONS: Final = 12
CONTACTS: Final = 5  # of each daemon, before the first round
SERVICE: Final = (
    "import socket, sys, signal; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1);"
    " s.bind(('127.0.0.1', int(sys.argv[1]))); s.listen(); print('up', flush=True); signal.pause()"
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("dev.py bench gone", description="Kill services, and look them up.")
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="of each kind of guard (20)")
    options = parser.parse_args(arguments)
    rng = Random(19)
    with Network() as network:
        daemons = network.start(DAEMONS)
        for daemon in daemons:
            daemon.wait_until(lambda node: node["contacts"]["good"] >= CONTACTS)
        for name, guarded in (("-- COMMAND", by_command), ("--pid", by_pid), ("--check tcp --every 1", by_check)):
            times = []
            for number in range(options.rounds):
                times.append(one_round(network, daemons, rng, guarded))
                print(f"\r{name}: {number + 1} of {options.rounds}", end="", file=sys.stderr, flush=True)
            print(file=sys.stderr)
            figures = f"{median(times):.2f} s in the median, {max(times):.2f} s at most"
            print(f"{name:<22} gone from every lookup after {figures}")


Guarded = Callable[[Network, Daemon, str, int], Iterator[int]]  # yields the number of the process that serves


def one_round(network: Network, daemons: Sequence[Daemon], rng: Random, guarded: Guarded) -> float:
    """Return the seconds from the kill of a service to the end of the last lookup that has found it."""
    id, port, owner = f"{rng.getrandbits(256):064x}", free_port(), rng.choice(daemons)
    with contextmanager(guarded)(network, owner, id, port) as pid:
        deadline = time.monotonic() + DEADLINE
        while not all(daemon.look_up(id) for daemon in daemons):
            assert time.monotonic() < deadline, "the entry is not found everywhere"
        os.kill(pid, signal.SIGKILL)
        began = last = time.monotonic()
        absent: set[str] = set()
        while len(absent) < len(daemons):
            for daemon in daemons:
                if daemon.look_up(id):
                    last = time.monotonic()
                    absent.clear()
                else:
                    absent.add(daemon.address)
            assert time.monotonic() < deadline, "the entry does not go"
        return last - began


def by_command(network: Network, owner: Daemon, id: str, port: int) -> Iterator[int]:
    """The service is the child of a client, which dies of it."""
    wrapped = "import os, sys; print(os.getpid(), flush=True); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", wrapped, sys.executable, "-c", SERVICE, str(port)]
    with subprocess.Popen(
        [BIN / "dht", "--socket", str(owner.socket), "enter", id, str(port), "--", *command],
        env=network.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as client:
        assert client.stdout is not None
        yield int(client.stdout.readline())
        client.wait(DEADLINE)


def by_pid(network: Network, owner: Daemon, id: str, port: int) -> Iterator[int]:
    with service_on(port) as pid:
        network.dht(owner, "enter", id, str(port), "--pid", str(pid))
        yield pid


def by_check(network: Network, owner: Daemon, id: str, port: int) -> Iterator[int]:
    with service_on(port) as pid:
        network.dht(owner, "enter", id, str(port), "--check", "tcp", "--every", "1")
        yield pid
    network.dht(owner, "delete", id)


@contextmanager
def service_on(port: int) -> Iterator[int]:
    command = [sys.executable, "-c", SERVICE, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        service.stdout.readline()
        try:
            yield service.pid
        finally:
            service.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
