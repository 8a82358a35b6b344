"""Whether a query costs the same in a large node as in a small one: as its table grows, and as its store does.

Run it with `python3 dev.py bench growth`. Nodes are called as the daemon calls them, without sockets, whose cost would
hide the difference; those of each size take turns.
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
from typing import NamedTuple

from dhtd.core.endpoint import Endpoint
from dhtd.core.messages import Contact, FindNode, FindValue, Request
from dhtd.core.metric import NATIVE, Id
from dhtd.core.node import Node
from dhtd.core.policy import DEFAULT, Policy
from dhtd.wire.native import NativeCodec

SOURCES = 250
BITS = NATIVE.width * 8
CODEC = NativeCodec()

Make = Callable[[Node, Random], Request]


class Comparison(NamedTuple):
    """One kind of query, put to two nodes."""

    name: str
    make: Make
    small: Node
    large: Node


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table."""
    options = _parser().parse_args(arguments)
    rng = Random(1)
    few, many = with_contacts(DEFAULT.k, rng), with_contacts(options.contacts, rng)
    bare, full = holding(1, rng), holding(options.held, rng)
    known = {id(node): [entry.key for entry in islice(node.store, 4_096)] for node in (bare, full)}
    comparisons = (
        Comparison("contacts: find_node, any", lambda _, rng: FindNode(NATIVE.random(rng)), few, many),
        Comparison("contacts: find_node, near it", _find_somewhere, few, many),
        Comparison("entries: find_value, none", lambda _, rng: FindValue(NATIVE.random(rng)), bare, full),
        Comparison("entries: find_value, one", lambda node, rng: FindValue(rng.choice(known[id(node)])), bare, full),
    )
    gc.collect()
    print(f"{options.contacts:,} contacts where there were {DEFAULT.k}, {options.held:,} entries where there was one")
    print(f"{options.rounds} rounds of {options.queries} queries; medians\n")
    print(f"{'':<30} {'small, us':>10} {'large, us':>10} {'ratio':>6}")
    for name, make, *nodes in comparisons:
        rounds = [[cost(node, make, options.queries, rng) for node in nodes] for _ in range(options.rounds)]
        small, large = (median(costs) for costs in zip(*rounds, strict=True))
        print(f"{name:<30} {small:>10.2f} {large:>10.2f} {large / small:>6.2f}")
    return 0


def with_contacts(number: int, rng: Random, policy: Policy = DEFAULT) -> Node:
    """Return a node with so many contacts: K at each distance, doubling, from the farthest on."""
    node = Node(NATIVE.random(rng), NativeCodec(), rng=rng, now=0.0, policy=policy)
    for place in range(number):
        distance = 1 << (BITS - 1 - place // DEFAULT.k)
        id = Id(node.own_id ^ (distance | rng.randrange(distance)))
        node.state.answered(Contact(id, endpoint(place)), 0.1, 0.0)
    assert len(node.state.table) == number
    return node


def holding(number: int, rng: Random) -> Node:
    """Return a node with a usual table that holds so many entries, each of a key and a source of its own."""
    node = with_contacts(100, rng, replace(DEFAULT, store_entries=number))
    for place in range(number):
        node.store.put(NATIVE.random(rng), endpoint(place), 0.0)
    assert len(node.store) == number
    return node


def cost(node: Node, make: Make, queries: int, rng: Random) -> float:
    """Return the microseconds of CPU that one query costs."""
    sources = [(NATIVE.random(rng), endpoint(1 << 20 | place)) for place in range(SOURCES)]
    batch = []
    for place in range(queries):
        id, source = sources[place % SOURCES]
        batch.append((CODEC.encode_query(rng.randbytes(CODEC.tid_size), id, make(node, rng)), source))
    handle, now = node.handle_datagram, 1.0
    node.limit_rate(DEFAULT.rate_limit)  # from each source as many as it may send at once
    began = time.process_time()
    for data, source in batch:
        handle(data, source, now)
    spent = time.process_time() - began
    while node.poll_transmit():
        pass
    return spent / queries * 1e6


def _find_somewhere(node: Node, rng: Random) -> Request:
    """Return a query that any bucket is as likely to answer as another."""
    bucket = rng.choice(node.state.table.buckets)
    return FindNode(Id(rng.randint(bucket.low, bucket.high)))


def endpoint(number: int) -> Endpoint:
    """Return one of many endpoints."""
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
