"""A node's memory: bytes for a contact, for entries and values of its own and of others; a million held entries.

Run it with `python3 dev.py bench memory` (Linux). Each figure is the growth of a new process's resident set, with keys,
sources and everything else. The daemon at rest is a real one.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from random import Random

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE
from dhtd.core.messages import SESSION_SIZE, VALUE_LASTS, Contact, Put
from dhtd.core.node import Node
from dhtd.core.policy import DEFAULT
from dhtd.core.records import PUBLIC_KEY_SIZE, SIGNATURE_SIZE, Immutable, Mutable, Value
from dhtd.core.storage.outcomes import STORED
from dhtd.wire.native import NativeCodec
from tests.bench.load import resident
from tests.e2e.daemons import Network
from tests.records import own_key

REPLICAS = DEFAULT.k  # nodes that hold an own entry
SAVED = 10_000  # entries or values that are held before they are saved
DATA = 100  # bytes of a value
MIB = 2**20


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.part:
        print(grown(PARTS[options.part], options.number))
        return 0
    numbers = {
        "contact": options.contacts,
        "held entry": options.held,
        "own entry": options.own,
        "held value": options.values,
        "held value, signed": options.values,
        "own value": options.own_values,
    }
    print(f"{'':<26} {'number':>9} {'bytes each':>11} {'MiB':>7}")
    bytes_by_part = {}
    for part, number in numbers.items():
        bytes_by_part[part] = measure(part, number)
        print(f"{part:<26} {number:>9,} {bytes_by_part[part] / number:>11,.0f} {bytes_by_part[part] / MIB:>7.1f}")
    with Network() as network:
        at_rest = resident(network.start(1)[0].process.pid)
    print(f"{'daemon at rest':<26} {'':>9} {'':>11} {at_rest / MIB:>7.1f}")
    full = at_rest + bytes_by_part["held entry"]
    print(f"{'daemon with held entries':<26} {options.held:>9,} {'':>11} {full / MIB:>7.1f}")
    return 0


def measure(part: str, number: int) -> int:
    """Return the bytes of so many of a part, in a new process."""
    command = [sys.executable, "-m", "tests.bench.memory", f"--part={part}", f"--number={number}"]
    return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def grown(fill: Callable[[int, Random], object], number: int) -> int:
    """Return by how many bytes this process grows when filled."""
    rng = Random(1)
    fill(10, rng)  # one-time allocations do not count
    gc.collect()
    before = resident(os.getpid())
    kept = fill(number, rng)
    gc.collect()
    after = resident(os.getpid())
    assert kept
    return after - before


def contacts(number: int, rng: Random) -> object:
    """Return nodes with so many contacts in all, each with a table of the usual size: a hundred or so."""
    nodes: list[Node] = []
    made = 0
    while made < number:
        node = _node(rng)
        nodes.append(node)
        for place in range(100):
            id = NATIVE.random(rng)
            contact = Contact(id, _endpoint(made + place))
            node.state.answered(contact, 0.1, 0.0)
        made += len(node.state.table)
    return nodes


def held(number: int, rng: Random) -> object:
    """Return a node that holds so many entries, each with its own key, source and session, renewed twice."""
    node = _node(rng, number)
    now, sweep_at, draws = 0.0, 0.0, rng
    for turn in range(3 * number):  # in three periods
        place = turn % number
        if not place:
            draws = Random(number)  # the same ones again, as new objects
        key, session = NATIVE.random(draws), draws.randbytes(SESSION_SIZE)
        if now >= sweep_at:
            node.store.sweep(now)
            sweep_at += DEFAULT.store_sweep
        if turn < number:
            node.store.put(key, _endpoint(place), session, 60, now)
        else:
            assert node.store.renew(_endpoint(place).ip, session, 60, now) == 1
        now += DEFAULT.heartbeat / number
        if place % SAVED == 0:
            node.store.changed.take()  # as the daemon does, which saves them
    assert len(node.store) == number
    return node


def own(number: int, rng: Random) -> object:
    """Return a node with so many entries of its own, each published on K nodes of a network of a thousand."""
    node = _node(rng)
    network = [Contact(NATIVE.random(rng), _endpoint(place)) for place in range(1_000)]
    for _ in range(number):
        key = NATIVE.random(rng)
        entry = node.own_records.add(own_key(key, 3_000))
        node.own_records.began(entry, 0.0)
        replicas = tuple(rng.sample(network, REPLICAS))
        for contact in replicas:
            node.own_records.may_hold(entry, contact, 3_600.0)
        node.own_records.published(own_key(key, 3_000), replicas, 0.0)
    return node


def held_values(number: int, rng: Random, *, signed: bool = False) -> object:
    """Return a node that holds so many values of 100 bytes, each with its own key and source, put twice."""
    node = _node(rng, number)
    for now in 0.0, 1_800.0:
        draws = Random(number)  # the same ones again, as new objects
        for place in range(number):
            key, value = NATIVE.random(draws), _value(draws, signed=signed)
            request = Put(key, b"", value, None, VALUE_LASTS)
            assert node.values.held.put(request, _endpoint(place).ip, now, _is_good) == STORED
            if place % SAVED == 0:
                node.values.held.changed.take()  # as the daemon does, which saves them
    assert len(node.values.held) == number
    return node


def own_values(number: int, rng: Random) -> object:
    """Return a node that keeps so many signed values of 100 bytes, each on K nodes of a network of a thousand."""
    node = _node(rng)
    network = [Contact(NATIVE.random(rng), _endpoint(place)) for place in range(1_000)]
    for _ in range(number):
        kept = node.values.own.keep(NATIVE.random(rng), _value(rng, signed=True), 1)
        node.values.own.published(kept, tuple(rng.sample(network, REPLICAS)), 0.0)
    return node


PARTS: dict[str, Callable[[int, Random], object]] = {
    "contact": contacts,
    "held entry": held,
    "own entry": own,
    "held value": held_values,
    "held value, signed": partial(held_values, signed=True),
    "own value": own_values,
}


def _value(rng: Random, *, signed: bool) -> Value:
    data = rng.randbytes(DATA)
    if not signed:
        return Immutable(data)
    return Mutable(rng.randbytes(PUBLIC_KEY_SIZE), b"", 1_700_000_000_000_000, data, rng.randbytes(SIGNATURE_SIZE))


def _is_good(value: Value) -> None:
    """Verify nothing: this measures no time."""


def _node(rng: Random, entries: int = DEFAULT.store_entries) -> Node:
    policy = replace(DEFAULT, store_entries=entries, values=entries, value_kib=entries)
    return Node(NATIVE.random(rng), NativeCodec(), rng=rng, now=0.0, policy=policy)


def _endpoint(number: int) -> Endpoint:
    return Endpoint((0x0A000000 + number).to_bytes(4, "big") + b"\x06\xc1")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dev.py bench memory", description="Measure what a node's memory goes into.")
    parser.add_argument("--contacts", type=int, default=100_000, metavar="N", help="contacts, of many nodes (100000)")
    parser.add_argument("--held", type=int, default=1_000_000, metavar="N", help="held entries (1000000)")
    parser.add_argument("--own", type=int, default=20_000, metavar="N", help="own entries (20000)")
    parser.add_argument("--values", type=int, default=100_000, metavar="N", help="held values (100000)")
    parser.add_argument("--own-values", type=int, default=20_000, metavar="N", help="own values (20000)")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
