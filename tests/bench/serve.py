"""How many queries a daemon answers per CPU-second, against a bare UDP echo in Python: interleaved rounds, ratios.

Run it with `python3 dev.py bench serve` (Linux). The CPU time is that of the serving process alone, from /proc.
The table is filled by real nodes of one process here, so that find_node is answered from full buckets.
"""

from __future__ import annotations

import os
import random
import select
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from dhtd.core.endpoint import Endpoint
from dhtd.core.messages import FindNode, FindValue, Ping, Request
from dhtd.core.metric import NATIVE
from dhtd.core.node import Node
from dhtd.wire.native import NativeCodec
from tests.e2e.daemons import PORT, Network

QUERIES = 20_000  # a round
ROUNDS = 5
WINDOW = 64  # queries in flight
NEIGHBOURS = 200

ECHO = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
while True:
    data, address = s.recvfrom(2049)
    s.sendto(data, address)
"""


def main() -> None:
    """Measure and print."""
    rng = random.Random(1)
    with Network() as network:
        (daemon,) = network.start(1, "--rate-limit", "0")
        contacts = fill(daemon.address, rng)
        echo = subprocess.Popen([sys.executable, "-c", ECHO], stdout=subprocess.PIPE, text=True)
        assert echo.stdout is not None
        echo_address = ("127.0.0.1", int(echo.stdout.readline()))
        address = (daemon.address, PORT)
        target = NATIVE.random(rng)
        kinds: dict[str, tuple[tuple[str, int], int, Callable[[], Request]]] = {
            "echo (170 bytes)": (echo_address, echo.pid, lambda: FindNode(target)),
            "ping": (address, daemon.process.pid, Ping),
            "find_node, any target": (address, daemon.process.pid, lambda: FindNode(NATIVE.random(rng))),
            "find_value, any key": (address, daemon.process.pid, lambda: FindValue(NATIVE.random(rng))),
        }
        rates: dict[str, list[float]] = {name: [] for name in kinds}
        try:
            for _ in range(ROUNDS):
                for name, (where, pid, make) in kinds.items():
                    rates[name].append(QUERIES / flood(where, pid, make, rng))
        finally:
            echo.kill()
            echo.communicate()
    base = statistics.median(rates["echo (170 bytes)"])
    print(f"{contacts} contacts in the table")
    print(f"{'query':<22} {'per CPU-second':>14} {'of echo':>8}")
    for name, samples in rates.items():
        median = statistics.median(samples)
        print(f"{name:<22} {median:>14,.0f} {median / base:>8.2f}")


def flood(where: tuple[str, int], pid: int, make: Callable[[], Request], rng: random.Random) -> float:
    """Send QUERIES queries, WINDOW at a time; return the CPU seconds that the process `pid` took for them."""
    codec = NativeCodec()
    sender = NATIVE.random(rng)
    datagrams = [codec.encode_query(rng.randbytes(8), sender, make()) for _ in range(QUERIES)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(where)
        client.settimeout(0.5)
        before = cpu_seconds(pid)
        sent = answered = 0
        while answered < QUERIES:
            while sent < QUERIES and sent - answered < WINDOW:
                client.send(datagrams[sent])
                sent += 1
            try:
                client.recv(2048)
            except TimeoutError:  # lost on the way: not counted as answered, and not waited for
                answered = sent
            else:
                answered += 1
        return cpu_seconds(pid) - before


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, by its scheduler's clock (nanoseconds in /proc/PID/schedstat)."""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:  # noqa: PTH123 - read between measurements
        return int(file.read().split()[0]) / 1e9


def fill(address: str, rng: random.Random) -> int:
    """Have NEIGHBOURS nodes on loopback query the daemon and answer its pings; return how many it knows then."""
    base = f"127.{1 + os.getpid() % 254}"
    nodes = {}
    for number in range(NEIGHBOURS):
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bound.bind((f"{base}.{200 + number // 250}.{1 + number % 250}", PORT))
        bound.setblocking(False)
        nodes[bound] = Node(NATIVE.random(rng), NativeCodec(), rng=rng, now=0.0)
    daemon = Endpoint.of(address, PORT)
    deadline = time.monotonic() + 40.0  # strangers are pinged eight a second
    while time.monotonic() < deadline:
        for bound, node in nodes.items():
            node.ping(daemon, time.monotonic())
            while (transmit := node.poll_transmit()) is not None:
                bound.sendto(transmit.data, (address, PORT))
        until = time.monotonic() + 1.0
        while (left := until - time.monotonic()) > 0:
            for bound in select.select(list(nodes), [], [], left)[0]:
                data, (host, port) = bound.recvfrom(2048)
                answer = nodes[bound].handle_datagram(data, Endpoint.of(host, port), time.monotonic())
                if answer is not None:
                    bound.sendto(answer, (host, port))
    for bound in nodes:
        bound.close()
    return NEIGHBOURS


if __name__ == "__main__":
    main()
