"""A flood of forged sources at a real daemon: its memory, and the success of lookups through it.

Run it with `python3 dev.py bench flood` (Linux). Three daemons form a network. One of them gets pings, each from a new
address and under a new ID: the kernel lets anybody send from any address in 127/8. Meanwhile the third looks up the
entries of the others.
"""

from __future__ import annotations

import argparse
import socket
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

from dhtd.control.client import Client
from dhtd.core.ids import NATIVE
from dhtd.core.messages import Ping
from dhtd.service.entries import LOOKUP
from dhtd.wire.native import NativeCodec
from tests.bench.load import cpu_seconds, resident
from tests.e2e.daemons import DEADLINE, PORT, Daemon, Network

IP_PKTINFO = 8  # ip(7); Python's module does not name it
MIB = 2**20
CHUNK = 500  # datagrams between looks at the clock, and at last at how many have arrived: an overload drops some
ADDRESSES = 0xFFFFFF  # in 127/8
SETTLE = 20.0  # seconds until the daemons have joined, and their memory has settled


def main(arguments: Sequence[str] | None = None) -> int:
    """Flood, and print the effect. The status is 1 if a lookup failed."""
    options = _parser().parse_args(arguments)
    with Network() as network, ThreadPoolExecutor(1) as pool:
        daemons = network.start(3, *options.option)
        target, asker = daemons[0], daemons[2]
        time.sleep(options.settle)
        for daemon in daemons[:2]:
            network.dht(daemon, "enter", "--name", f"from {daemon.address}", "80")
        over = threading.Event()
        pid = target.process.pid
        used = _send(target, 20_000, 0, options.rate)  # one-time allocations
        before, counted, spent = resident(pid), _counters(target), cpu_seconds(pid)
        looking = pool.submit(_look_up, asker, daemons[:2], over)
        began = time.monotonic()
        try:
            sent = _send(target, options.sources, used, options.rate) - used
        finally:
            over.set()
        took = time.monotonic() - began
        looked_up = looking.result()
        after, counters, spent = resident(pid), _counters(target), cpu_seconds(pid) - spent
    received = counters["datagrams_received"] - counted["datagrams_received"]
    print(f"{sent:,} sources, each used once, in {took:.0f} s: {sent / took:,.0f} a second")
    print(f"received {received:,}, each for {1e6 * spent / max(received, 1):.1f} us of CPU")
    hit = {name: hits - counted["caps_hit"][name] for name, hits in counters["caps_hit"].items()}
    print(f"caps hit: {', '.join(f'{name} {hits:,}' for name, hits in hit.items() if hits) or 'none'}")
    print(f"resident before {before / MIB:.1f} MiB, after {after / MIB:.1f} MiB, grown by {(after - before) / MIB:.2f}")
    print(f"lookups meanwhile: {sum(looked_up)} of {len(looked_up)} found what is there")
    return int(not all(looked_up))


def _look_up(asker: Daemon, others: Sequence[Daemon], over: threading.Event) -> list[bool]:
    """Look up the entries of the others, again and again; return the lookups that found them."""
    found = []
    while not over.is_set():
        for daemon in others:
            key = NATIVE.format(NATIVE.digest(f"from {daemon.address}".encode()))
            with Client(asker.socket, DEADLINE) as client:
                *_, result = client.stream(LOOKUP, id=key)
            found.append(result["peers"] == [f"{daemon.address}:80"])
        over.wait(0.2)
    return found


def _send(target: Daemon, sources: int, first: int, rate: float) -> int:
    """Send pings from one address after the other until so many have arrived; return the next address."""
    rng, codec = Random(first), NativeCodec()
    at = (target.address, PORT)
    wanted = _counters(target)["datagrams_received"] + sources
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("0.0.0.0", 0))
        began = time.monotonic()
        number = first
        while number < ADDRESSES:
            sent = number - first
            if sent >= sources and sent % CHUNK == 0 and _counters(target)["datagrams_received"] >= wanted:
                break
            if sent % CHUNK == 0:
                time.sleep(max(0.0, sent / rate - (time.monotonic() - began)))
            number += 1
            source = (0x7F000000 | number * 7_919 % ADDRESSES).to_bytes(4, "big")  # each of them once
            data = codec.encode_query(rng.randbytes(8), NATIVE.random(rng), Ping())
            bound.sendmsg([data], [(socket.IPPROTO_IP, IP_PKTINFO, bytes(4) + source + bytes(4))], 0, at)
    return number


def _counters(daemon: Daemon) -> dict[str, Any]:
    with Client(daemon.socket, DEADLINE) as client:
        return client.info("network")["network"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dev.py bench flood", description="Flood a daemon from forged sources.")
    parser.add_argument("--sources", type=int, default=1_000_000, metavar="N", help="distinct addresses (1000000)")
    parser.add_argument("--rate", type=float, default=40_000.0, metavar="N", help="queries a second (40000)")
    parser.add_argument("--settle", type=float, default=SETTLE, metavar="S", help=f"seconds before ({SETTLE:g})")
    parser.add_argument("option", nargs="*", help="options of the daemons, after --, such as --rate-limit-total=10000")
    return parser


if __name__ == "__main__":
    sys.exit(main())
