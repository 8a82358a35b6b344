"""A crowd of libtorrent's nodes in three processes, with a router that announces keys; on loopback, or far away.

Far away is another namespace, at the end of a link that delays each packet. As a program, this is one of the processes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import libtorrent as lt

from tests.mainline.island import SUBNET, inside
from tests.mainline.torrents import PORT, Torrents, session
from tests.netns.lab import Lab
from tests.netns.link import by_hand

PARTS: Final = 3  # processes of nodes, one of which may die

_SEARCHES: Final = 5  # of random keys by each node, by which they come to know each other
_SEARCHES_MAX: Final = 15  # until it is certain that they do not
_KNOWN: Final = 8  # contacts of each
_PAUSE: Final = 3.0  # seconds between two of them
_ROUTER: Final = "router"
_NODES: Final = "nodes"


@dataclass(slots=True)
class Place:
    """Where a crowd is, and those that ask it: the beginnings of their addresses, and how a program starts there."""

    near: str
    far: str
    command: tuple[str, ...] = ()
    subnet: str | None = None  # of daemons


@dataclass(slots=True)
class Crowd:
    router: str
    parts: list[subprocess.Popen[str]] = field(default_factory=list)


@contextmanager
def place(delay: float) -> Iterator[Place]:
    """Yield loopback, or two namespaces for a delay in seconds: this thread enters the near one."""
    if not delay:
        begin = f"127.{1 + os.getpid() % 250}"
        yield Place(f"{begin}.100", begin)
        return
    with Lab() as lab, ExitStack() as stack:
        near, far = lab.machine(), lab.machine()
        # No interface has these addresses: else libtorrent takes nothing that comes by another.
        near.run("ip route add local 10.77.0.0/16 dev lo")
        far.run("ip route add local 10.78.0.0/16 dev lo")
        link = by_hand(lab, near, "10.79.0.1/30", far, "10.79.0.2/30", delay=delay, loss=0.0)
        ends = stack.enter_context(link)
        near.run(f"ip route add 10.78.0.0/16 dev {ends[0]}")
        far.run(f"ip route add 10.77.0.0/16 dev {ends[1]}")
        stack.enter_context(inside(near))
        yield Place("10.77.0", "10.78", ("ip", "netns", "exec", far.name), SUBNET)


@contextmanager
def crowd(where: Place, nodes: int, keys: Sequence[str]) -> Iterator[Crowd]:
    """Start a crowd, and wait until its nodes know each other and the keys are announced."""
    begun: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [*where.command, sys.executable, "-m", "tests.bench.crowd", *arguments]
        begun.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return begun[-1]

    try:
        made = Crowd(f"{where.far}.200.1:{PORT}")
        router = start(_ROUTER, made.router)
        _wait(router)  # who asks a router in vain asks it again after minutes
        for part in range(PARTS):
            count = nodes // PARTS + (part < nodes % PARTS)
            endpoints = ",".join(f"{where.far}.{201 + part}.{1 + number}:{PORT}" for number in range(count))
            made.parts.append(start(_NODES, endpoints, made.router))
        for one in made.parts:
            _wait(one)
        assert router.stdin is not None
        router.stdin.write(" ".join(keys) + "\n")
        router.stdin.flush()
        _wait(router)
        yield made
    finally:
        for one in begun:
            one.kill()
            one.communicate()


def _wait(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline(), f"{process.args!r} has ended"


def main() -> None:
    """Be a process of a crowd until killed."""
    parser = argparse.ArgumentParser("crowd")
    parser.add_argument("kind", choices=(_ROUTER, _NODES))
    parser.add_argument("endpoints")
    parser.add_argument("router", nargs="?", default="")
    options = parser.parse_args()
    if options.kind == _ROUTER:
        _be_router(options.endpoints)
    else:
        _be_nodes(options.endpoints, options.router)


def _be_router(endpoint: str) -> None:
    host, _, _ = endpoint.rpartition(":")
    with Torrents(host) as router:
        _say_ready()
        keys = sys.stdin.readline().split()
        for key in keys:
            router.announce(key, 4_444)
        for key in keys:
            router.peers(key)
        _say_ready()
        while True:
            router.session.wait_for_alert(1_000)
            router.session.pop_alerts()


def _be_nodes(endpoints: str, router: str) -> None:
    nodes, count = session(endpoints, router), len(endpoints.split(","))
    rng = Random(endpoints)
    searches = 0
    while searches < _SEARCHES or not _know_others(nodes, count):
        assert searches < _SEARCHES_MAX, "nodes of libtorrent that know nobody"
        searches += 1
        nodes.dht_get_peers(lt.sha1_hash(rng.randbytes(20)))
        time.sleep(_PAUSE)
    _say_ready()
    while True:
        nodes.wait_for_alert(1_000)
        nodes.pop_alerts()


def _know_others(nodes: Any, count: int) -> bool:
    """Whether each node of a session knows at least K."""
    nodes.pop_alerts()
    nodes.post_dht_stats()
    known: list[int] = []
    deadline = time.monotonic() + _PAUSE
    while len(known) < count and time.monotonic() < deadline:
        nodes.wait_for_alert(100)
        stats = [alert for alert in nodes.pop_alerts() if isinstance(alert, lt.dht_stats_alert)]
        known += [sum(bucket["num_nodes"] for bucket in each.routing_table) for each in stats]
    return len(known) >= count and min(known) >= _KNOWN


def _say_ready() -> None:
    print("ready", flush=True)


if __name__ == "__main__":
    main()
