"""What own entries make a node send, to keep them: in the simulator.

Run it with `python3 dev.py bench leases`. A node of a large network has many entries. After an hour its datagrams are
counted for an hour and a half: two of the longest intervals between publications. The other nodes only answer, since
their own upkeep would take most of the time. A quarter of an hour of one core for 10,000 nodes.

Then ten nodes of a network of 100 have one entry each. All nodes do their upkeep. Each owner renews its lease at
the holders of its entry: 8 in most places, and up to 32 where the IDs of nodes crowd.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Final

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE
from dhtd.core.messages import Query
from dhtd.sim import warm
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from dhtd.sim.places import scattered

SETTLED: Final = 3_600.0  # seconds until datagrams are counted
COUNTED: Final = 5_400.0  # seconds for which they are
FEW: Final = 100  # nodes of the second network
OWNERS: Final = 10  # of them
SWEEP: Final = 10.0  # seconds
PACE: Final = 10  # entries that are made in a second


class Datagrams:
    """Counts the datagrams of some nodes: those that each sends by kind, and all that it is sent."""

    def __init__(self, net: Network, hosts: Sequence[Host]) -> None:
        self._net = net
        self.sent: dict[Endpoint, Counter[str]] = {host.endpoint: Counter() for host in hosts}
        self.received = dict.fromkeys(self.sent, 0)
        net.taps.append(self._tap)

    def clear(self) -> None:
        """Count from now on."""
        for endpoint, sent in self.sent.items():
            sent.clear()
            self.received[endpoint] = 0

    def _tap(self, source: Endpoint, destination: Endpoint, data: bytes) -> None:
        if destination in self.received:
            self.received[destination] += 1
        if source in self.sent:
            message = self._net.codec.decode(data)
            self.sent[source][type(message.request).__name__ if isinstance(message, Query) else "answers"] += 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Count what nodes send, and print it."""
    options = _parser().parse_args(arguments)
    seconds = options.settled, options.counted
    if options.entries:
        many = counted(options.seed, options.nodes, 1, options.entries, *seconds)
        print(f"{options.entries:,} entries of one node among {options.nodes:,}, queries that it sends a second:")
        [sent] = many.sent.values()
        del sent["answers"]  # a node that does nothing by itself never ends a check of a stranger, and begins it anew
        print(_table(sent, options.counted), flush=True)
    few = counted(options.seed, FEW, OWNERS, 1, *seconds)
    print(f"one entry of an idle node among {FEW}, datagrams that it sends a second, mean of {OWNERS} nodes:")
    print(_table(sum(few.sent.values(), Counter()), options.counted * OWNERS))
    for name, each in (
        ("sent", [sent.total() / options.counted for sent in few.sent.values()]),
        ("received", [received / options.counted for received in few.received.values()]),
    ):
        print(f"{name}: {min(each):.2f} to {max(each):.2f}, {sum(each) / OWNERS:.2f} in the mean")
    return 0


def counted(seed: int, nodes: int, owners: int, entries: int, settled: float, seconds: float) -> Datagrams:
    """Return what some nodes send and are sent in so many seconds; each has so many entries.

    Around a single one, the others only answer.
    """
    net = Network(seed, address=scattered)
    hosts = [net.add(start=False, age=2 * net.policy.bucket_refresh) for _ in range(nodes)]
    warm.acquaint(net, hosts)
    if owners == 1:
        for host in hosts[1:]:
            host.wake_at = float("-inf")  # it has a wake-up already, which never comes
    datagrams = Datagrams(net, hosts[:owners])
    for number in range(owners * entries):
        owner = hosts[number % owners]
        owner.node.commands.enter(NATIVE.digest(b"%d" % number), 3_000, net.now)
        net.flush(owner)
        net.run_for(1 / PACE)
    _run(net, settled)
    datagrams.clear()
    _run(net, seconds)
    return datagrams


def _run(net: Network, seconds: float) -> None:
    """Let time pass, and have all nodes drop what has expired: those that only answer do nothing by themselves."""
    until = net.now + seconds
    while net.now < until:
        net.run_for(min(SWEEP, until - net.now))
        for host in net.hosts:
            host.node.store.sweep(net.now)


def _table(sent: Counter[str], seconds: float) -> str:
    kinds = ", ".join(f"{kind} {number / seconds:.2f}" for kind, number in sent.most_common())
    return f"in all {sent.total() / seconds:.2f}: {kinds}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dev.py bench leases", description="Count what own entries make a node send.")
    parser.add_argument("--nodes", type=int, default=10_000, metavar="N", help="nodes of the network (10000)")
    parser.add_argument("--entries", type=int, default=1_000, metavar="N", help="of the first node (1000); 0: none")
    parser.add_argument("--settled", type=float, default=SETTLED, metavar="S", help="seconds before counting (3600)")
    parser.add_argument("--counted", type=float, default=COUNTED, metavar="S", help="seconds of counting (5400)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="what all chance follows from (1)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
