"""What checks cost a daemon.

Run it with `python3 dev.py bench checks`. A daemon has 1,000 entries with checks every 5 seconds, all of one service on
loopback: by TCP, and then by HTTP. The figures are its CPU time, of which the same daemon takes the first for its
entries alone, and its memory. Two minutes, mostly of waiting.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final

from dhtd.service.entries import ENTER
from tests.bench.gone import free_port
from tests.e2e.daemons import Daemon, Network

SETTLED: Final = 10.0  # seconds
MEASURED: Final = 30.0  # seconds
SERVER: Final = """
import socketserver, sys
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        if self.rfile.readline():
            self.wfile.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 128
with Server(("127.0.0.1", int(sys.argv[1])), Handler) as server:
    print("up", flush=True)
    server.serve_forever()
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("dev.py bench checks", description="Check many entries, and measure the daemon.")
    parser.add_argument("--entries", type=int, default=1000, metavar="N", help="with checks (1000)")
    options = parser.parse_args(arguments)
    port = free_port()
    kinds = {"no checks": None, "tcp": "tcp", "http": f"http://127.0.0.1:{port}/"}
    with server(port):
        for name, check in kinds.items():
            with Network() as network:
                [daemon, _] = network.start(2)
                before = memory(daemon)
                enter(daemon, Random(3), options.entries, port, check)
                time.sleep(SETTLED)
                began = cpu(daemon)
                time.sleep(MEASURED)
                share = (cpu(daemon) - began) / MEASURED
                grown = (memory(daemon) - before) / options.entries
                print(f"{name:<10} {100 * share:5.1f} % of a core, {grown:,.0f} bytes more an entry")


def enter(daemon: Daemon, rng: Random, entries: int, port: int, check: str | None) -> None:
    for _ in range(entries):
        with daemon.ask() as client:
            client.ask(ENTER, id=f"{rng.getrandbits(256):064x}", port=port, wait=False, check=check)


def cpu(daemon: Daemon) -> float:
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(daemon: Daemon) -> int:
    fields = Path(f"/proc/{daemon.process.pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def server(port: int) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", SERVER, str(port)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


if __name__ == "__main__":
    main()
