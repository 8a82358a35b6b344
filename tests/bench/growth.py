"""Whether a query costs the same in a large node as in a small one: as its table grows, and as its store does.

Run it with `python3 dev.py bench growth`. Nodes are called as the daemon calls them, without sockets, since the cost of
these would hide the difference. Nodes of each size take turns.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from random import Random
from statistics import median

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import Contact, FindNode, FindValue, Request
from dhtd.core.node import Node
from dhtd.core.policy import DEFAULT, Policy
from dhtd.wire.native import NativeCodec
from tests.records import hold_peer

SOURCES = 250
MET = (8, 20, 1_000, 100_000)  # nodes that a node has met, for tables of the usual sizes
BITS = NATIVE.width * 8
CODEC = NativeCodec()

Make = Callable[[Node, Random], Request]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    rng = Random(1)
    print(f"{options.rounds} rounds of {options.queries} queries; medians, and ratios to the first row\n")
    tables = [having_met(number, rng) for number in MET] + [with_contacts(options.contacts, rng)]
    _compare(
        options,
        rng,
        {f"{len(node.state.table):,} contacts": node for node in tables},
        {"find_node, any": lambda _, rng: FindNode(NATIVE.random(rng)), "find_node, near": _find_near},
    )
    stores = {f"{number:,} entries": holding(number, 2 * number, rng) for number in (1, options.held)}
    stores[f"{options.held:,}, full"] = holding(options.held, options.held, rng)
    known = {id(node): [entry.key for entry in islice(node.store, 4_096)] for node in stores.values()}
    _compare(
        options,
        rng,
        stores,
        {
            "find_value, none": lambda _, rng: FindValue(NATIVE.random(rng)),
            "find_value, one": lambda node, rng: FindValue(rng.choice(known[id(node)])),
        },
    )
    return 0


def _compare(options: argparse.Namespace, rng: Random, nodes: dict[str, Node], kinds: dict[str, Make]) -> None:
    """Print the cost of each kind of query at each node; the nodes take turns."""
    gc.collect()
    print(f"{'us a query':<18} " + " ".join(f"{kind:>17} {'ratio':>6}" for kind in kinds))
    medians: dict[str, list[float]] = {name: [] for name in nodes}
    for make in kinds.values():
        rounds = [[cost(node, make, options.queries, rng) for node in nodes.values()] for _ in range(options.rounds)]
        for name, *costs in zip(nodes, *rounds, strict=True):
            medians[name].append(median(costs))
    first = next(iter(medians.values()))
    for name, figures in medians.items():
        cells = [f"{figure:>17.2f} {figure / base:>6.2f}" for figure, base in zip(figures, first, strict=True)]
        print(f"{name:<18} " + " ".join(cells))
    print()


def having_met(number: int, rng: Random) -> Node:
    """Return a node that has met so many random nodes."""
    node = Node(NATIVE.random(rng), NativeCodec(), rng=rng, now=0.0)
    for place in range(number):
        node.state.answered(Contact(NATIVE.random(rng), endpoint(place)), 0.1, 0.0)
    return node


def with_contacts(number: int, rng: Random, policy: Policy = DEFAULT) -> Node:
    """Return a node with so many contacts: K at each distance, doubling, from the farthest on.

    More than some two hundred are in no table that has come about: it takes 2 ** 125 nodes to know a thousand of them.
    """
    node = Node(NATIVE.random(rng), NativeCodec(), rng=rng, now=0.0, policy=policy)
    for place in range(number):
        distance = 1 << (BITS - 1 - place // DEFAULT.k)
        id = Id(node.own_id ^ (distance | rng.randrange(distance)))
        node.state.answered(Contact(id, endpoint(place)), 0.1, 0.0)
    assert len(node.state.table) == number
    return node


def holding(number: int, most: int, rng: Random) -> Node:
    """Return a node with a usual table and so many entries of at `most`, each with its own key and source."""
    node = with_contacts(100, rng, replace(DEFAULT, store_entries=most))
    for place in range(number):
        hold_peer(node.store, NATIVE.random(rng), endpoint(place), 0.0)
    assert len(node.store) == number
    return node


def cost(node: Node, make: Make, queries: int, rng: Random) -> float:
    """Return the CPU microseconds of one query."""
    sources = [(NATIVE.random(rng), endpoint(1 << 20 | place)) for place in range(SOURCES)]
    batch = []
    for place in range(queries):
        id, source = sources[place % SOURCES]
        batch.append((CODEC.encode_query(rng.randbytes(CODEC.traits.tid_size), id, make(node, rng)), source))
    handle, now = node.handle_datagram, 1.0
    node.gate.limit_rate(DEFAULT.rate_limit)  # from each source as many as it may send at once
    began = time.process_time()
    for data, source in batch:
        handle(data, source, now)
    spent = time.process_time() - began
    while node.poll_transmit():
        pass
    return spent / queries * 1e6


def _find_near(node: Node, rng: Random) -> Request:
    """Return a query about a place in the range of the node's own bucket, which is seldom full."""
    bucket = node.state.table.bucket(node.own_id)
    return FindNode(Id(rng.randint(bucket.low, bucket.high)))


def endpoint(number: int) -> Endpoint:
    return Endpoint((0x0A000000 + number).to_bytes(4, "big") + b"\x06\xc1")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dev.py bench growth", description="Compare small nodes with large ones.")
    parser.add_argument("--contacts", type=int, default=1_000, metavar="N", help="in the large table (1000)")
    parser.add_argument("--held", type=int, default=1_000_000, metavar="N", help="entries in the large store (1000000)")
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="interleaved rounds (15)")
    parser.add_argument("--queries", type=int, default=12_800, metavar="N", help="in each round (12800)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
