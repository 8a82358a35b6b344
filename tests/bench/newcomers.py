"""How many newcomers stay unknown while each node of a simulated network gets forged queries.

Run it with `python3 dev.py bench newcomers`. The forged queries come from empty addresses, under IDs for which each
node has room. A node pings their senders, and has no pings left for real ones, unless some are kept for nodes that can
prove their address.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import NamedTuple

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import FindNode
from dhtd.core.policy import DEFAULT
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from dhtd.sim.places import scattered
from dhtd.wire.native import NativeCodec

TICK = 0.1  # seconds between the parts of the flood
NEAR = NATIVE.bits - 6  # forged IDs differ in so many bits: a node has room for them in its table


class Result(NamedTuple):
    """The fate of the newcomers."""

    newcomers: int
    unknown: int  # in nobody's table
    datagrams: float  # that a newcomer has sent


class Flood:
    """Forged queries to each of these hosts, from now on."""

    def __init__(self, net: Network, hosts: Sequence[Host], rate: float) -> None:
        self._net = net
        self._hosts = hosts
        self._count = round(rate * TICK)
        self._rng = Random(f"flood {net.seed}")
        self._codec = NativeCodec()
        self._send()

    def _send(self) -> None:
        rng = self._rng
        for host in self._hosts:
            for _ in range(self._count):
                source = Endpoint(bytes((rng.randrange(1, 127), *rng.randbytes(3))) + b"\x06\xc1")
                sender = Id(host.id ^ rng.getrandbits(NEAR))
                query = self._codec.encode_query(rng.randbytes(8), sender, FindNode(NATIVE.random(rng)))
                host.node.handle_datagram(query, source, self._net.now)
            self._net.flush(host)
        self._net.schedule.at(self._net.now + TICK, self._send)


def measure(nodes: int, newcomers: int, rate: float, seconds: float, seed: int = 1) -> Result:
    """Flood a network with so many forged queries a second at each node, let newcomers in, and look for them."""
    net = Network(seed, policy=replace(DEFAULT, lonely_lookups=0), address=scattered)
    hosts = net.grow(nodes)
    net.run_for(120.0)
    if rate:
        Flood(net, hosts, rate)
        net.run_for(5.0)
    added = net.grow(newcomers, every=seconds / newcomers / 2)
    net.run_for(seconds / 2)
    known = {contact.id for host in hosts for contact in host.node.overlays.contacts()}
    unknown = sum(host.id not in known for host in added)
    return Result(newcomers, unknown, sum(host.sent for host in added) / newcomers)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("dev.py bench newcomers", description="Count newcomers that nobody knows.")
    parser.add_argument("--nodes", type=int, default=64, metavar="N", help="that are there before (64)")
    parser.add_argument("--newcomers", type=int, default=16, metavar="N", help="(16)")
    parser.add_argument("--rate", type=float, default=300.0, metavar="N", help="forged queries a second and node (300)")
    parser.add_argument("--seconds", type=float, default=30.0, metavar="S", help="of simulated time (30)")
    options = parser.parse_args(arguments)
    print(f"{'forged queries/s':>16} {'newcomers':>10} {'in no table':>12} {'datagrams of each':>18}")
    for rate in (0.0, options.rate):
        result = measure(options.nodes, options.newcomers, rate, options.seconds)
        print(f"{rate:>16g} {result.newcomers:>10} {result.unknown:>12} {result.datagrams:>18.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
