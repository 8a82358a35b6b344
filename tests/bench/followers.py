"""What clients that follow all events cost a daemon: find_node served with them and without, in turn.

Run it with `python3 dev.py bench followers` (Linux). The daemon gets the load of `dev.py bench`. Clients follow by the
control socket, or with `--http` by server-sent events, in a process of their own, and read all that comes. The kernel
counts the CPU time of the daemon.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import select
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from random import Random
from statistics import median

from tests.bench.load import Sources
from tests.bench.neighbours import fill
from tests.bench.peers.dhtd import Dhtd
from tests.bench.peers.peer import FIND_NODE, PORT

REQUEST = b'{"v":1,"id":1,"method":"events"}\n'
HTTP_REQUEST = b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
SOURCES = 256
SETTLE = 0.5  # seconds for clients to come or go


class Followed(Dhtd):
    """A daemon with room for many clients, on a socket that the bench knows."""

    def __init__(self, address: str, rng: Random, clients: int, path: Path) -> None:
        super().__init__(address, rng)
        self._clients = clients
        self._path = path

    def command(self) -> list[str]:
        """Return the command line."""
        own = [each for each in super().command() if not each.startswith("--socket=")]
        door = f"--http=unix:{self._path}.http"  # in both cases, so that these differ in the clients alone
        return [*own, f"--socket={self._path}", f"--socket-clients={2 * self._clients + 8}", door]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the ratio of each round; the status is 1 if the median is below 0.8."""
    options = _parser().parse_args(arguments)
    rng = Random(1)
    host = f"127.{1 + os.getpid() % 250}.100"
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "s"
        daemon = Followed(f"{host}.1", rng, options.clients, path)
        try:
            daemon.start()
            fill([daemon], [f"127.{1 + os.getpid() % 250}.101.{1 + each}" for each in range(200)], options.fill, rng)
            ratios = list(_rounds(daemon, path, options, rng))
        finally:
            daemon.stop()
    found = median(ratios)
    spread = f"from {min(ratios):.3f} to {max(ratios):.3f}"
    print(f"{options.clients} clients: {found:.3f} of the find_node served without, {spread}")
    return int(found < 0.8)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dev.py bench followers", description="Measure what clients that follow cost.")
    parser.add_argument("--clients", type=int, default=100, metavar="N", help="clients (100)")
    parser.add_argument("--http", action="store_true", help="they follow by HTTP")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="interleaved rounds (7)")
    parser.add_argument("--queries", type=int, default=25_600, metavar="N", help="queries of each load (25600)")
    parser.add_argument("--fill", type=float, default=10.0, metavar="S", help="seconds to fill the table (10)")
    return parser


def _rounds(daemon: Dhtd, path: Path, options: argparse.Namespace, rng: Random) -> list[float]:
    addresses = [f"127.{1 + os.getpid() % 250}.{109 + each // 250}.{1 + each % 250}" for each in range(SOURCES)]
    daemon.ids = [rng.randbytes(daemon.id_size) for _ in range(SOURCES)]
    ratios = []
    with Sources((daemon.address, PORT), addresses, daemon.tid_size, rng) as sources:
        daemon.prepare(sources)
        make = daemon.make(FIND_NODE, sources)
        sources.flood(daemon.pid, make, options.queries)
        for _ in range(options.rounds):
            alone = sources.flood(daemon.pid, make, options.queries)
            over, read = multiprocessing.Event(), multiprocessing.Value("q", 0)
            clients = multiprocessing.Process(target=_follow, args=(path, options, over, read))
            clients.start()
            time.sleep(SETTLE)
            began = time.monotonic()
            followed = sources.flood(daemon.pid, make, options.queries)
            took = time.monotonic() - began
            over.set()
            clients.join()
            time.sleep(SETTLE)
            ratios.append(followed.rate / alone.rate)
            print(
                f"{alone.rate:,.0f} and {followed.rate:,.0f} per CPU-second, {ratios[-1]:.3f}; "
                f"{read.value / options.clients / took / 1000:,.1f} kB a second to each client"
            )
    return ratios


def _follow(path: Path, options: argparse.Namespace, over: Event, read: Synchronized[int]) -> None:
    poll, sockets = select.poll(), {}
    for _ in range(options.clients):
        client = socket.socket(socket.AF_UNIX)
        client.connect(f"{path}.http" if options.http else str(path))
        client.sendall(HTTP_REQUEST if options.http else REQUEST)
        poll.register(client, select.POLLIN)
        sockets[client.fileno()] = client
    total = 0
    while not over.is_set():
        for descriptor, _ in poll.poll(100):
            data = sockets[descriptor].recv(1 << 20)
            if not data or b'"error"' in data or b"problem+json" in data:
                raise SystemExit(f"a client was turned away: {data!r:.200}")
            total += len(data)
    read.value = total


if __name__ == "__main__":
    sys.exit(main())
