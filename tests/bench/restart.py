"""The time that a node takes to start with a full store, with random keys and with keys chosen to collide.

Run it with `python3 dev.py bench restart`. The hash of an integer is its rest modulo 2**61 - 1, so keys at this
distance fall into one place of a dictionary keyed by integers. The state file is written and read as the daemon does
it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.node import Node
from dhtd.core.records import Peer
from dhtd.daemon.state.file import SavedRecord, StateFile
from dhtd.daemon.state.saver import Saver
from dhtd.wire.native import NativeCodec
from tests.records import KEPT

ENTRIES = 49_437
SOURCES = 8
PRIME = 2**61 - 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure in turn, and print the least of each and their ratio."""
    parser = argparse.ArgumentParser("dev.py bench restart", description="Measure starts with colliding keys.")
    parser.add_argument("--entries", type=int, default=ENTRIES, metavar="N", help=f"held for others ({ENTRIES})")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="interleaved (5)")
    options = parser.parse_args(arguments)
    rng, base = Random(1), Random(2).getrandbits(180)
    keys = {
        "random": [NATIVE.random(rng) for _ in range(options.entries)],
        "colliding": [Id(base + number * PRIME) for number in range(options.entries)],
    }
    least = dict.fromkeys(keys, float("inf"))
    with tempfile.TemporaryDirectory() as place:
        paths = {name: _saved(Path(place) / f"{name}.db", held) for name, held in keys.items()}
        for _ in range(options.rounds):
            for name, path in paths.items():
                least[name] = min(least[name], _start(path, options.entries))
    print(f"{options.entries} entries: random {least['random']:.2f} s, colliding {least['colliding']:.2f} s")
    print(f"colliding ÷ random: {least['colliding'] / least['random']:.2f}")
    return 0


def _saved(path: Path, keys: Sequence[Id]) -> Path:
    with closing(StateFile.open(path)) as file:
        file.save_held(
            [
                (
                    key,
                    [
                        SavedRecord(
                            key, Peer(Endpoint.of(f"10.0.0.{place % SOURCES}", 1 + place // SOURCES)), 3_600, KEPT
                        )
                    ],
                )
                for place, key in enumerate(keys)
            ]
        )
    return path


def _start(path: Path, entries: int) -> float:
    """Return the seconds until a node has everything in a file, and has been asked once for each entry."""
    with closing(StateFile.open(path)) as file:
        began = time.perf_counter()
        node = Node(NATIVE.digest(b"node"), NativeCodec(), rng=Random(1), now=time.monotonic())
        Saver(file, time.monotonic).restore(node)
        found = sum(len(node.store.get(held.key, time.monotonic())) for held in node.store)
        took = time.perf_counter() - began
    assert found == entries, f"{found} of {entries} entries came back"
    return took


if __name__ == "__main__":
    sys.exit(main())
