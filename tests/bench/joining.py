"""The fate of `dht enter` in the first seconds of daemons that start together.

Run it with `python3 dev.py bench joining`. Again and again, 16 daemons start at once on loopback. They join through the
first of them, which may be ready last. Each is told to enter an ID at a random moment of the next three seconds, once
without options and once with `--min-replicas 1`. The output counts the exit statuses, and the holders of the entries.
16 entries take as long as 30 starts of a program: 3 minutes of two idle cores for 200.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from random import Random
from statistics import median

from tests.e2e.daemons import BIN, DEADLINE, Network

DAEMONS = 16
SPREAD = 3.0  # seconds
RETRY = 0.05


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("dev.py bench joining", description="Enter while daemons start together.")
    parser.add_argument("--entries", type=int, default=200, metavar="N", help="entered, 16 at a time (200)")
    options = parser.parse_args(arguments)
    rng = Random(24)
    plain: Counter[int] = Counter()
    wanting: Counter[int] = Counter()
    holders: list[int] = []
    while (missing := options.entries - plain.total() - wanting.total()) > 0:
        is_plain = plain.total() <= wanting.total()
        outcomes = one_round(rng, min(missing, DAEMONS), [] if is_plain else ["--min-replicas", "1"])
        (plain if is_plain else wanting).update(status for status, _ in outcomes)
        holders += [many for status, many in outcomes if status == 0]
        print(f"\r{len(holders)} of {options.entries} entered", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    for name, statuses in (("dht enter", plain), ("dht enter --min-replicas 1", wanting), ("both", plain + wanting)):
        shown = ", ".join(f"{statuses[status]} with status {status}" for status in sorted({*statuses, 0, 4}))
        print(f"{name:<28} of {statuses.total():>4} ended: {shown}")
    print(f"nodes that held an entry: {median(holders):g} in the median, {min(holders)} at least")


def one_round(rng: Random, entries: int, options: list[str]) -> list[tuple[int, int]]:
    """Start daemons together, enter on some, and return the exit statuses, and the number of holders."""
    with Network() as network:
        daemons = network.launch_together(DAEMONS)
        began = time.monotonic()
        due = sorted((rng.uniform(0.0, SPREAD), number) for number in range(DAEMONS))[:entries]
        running = []
        for when, number in due:
            time.sleep(max(0.0, began + when - time.monotonic()))
            while not daemons[number].socket.exists():  # nobody can be asked yet
                assert time.monotonic() < began + DEADLINE, "a daemon does not start"
                time.sleep(RETRY)
            socket, id = str(daemons[number].socket), f"{rng.getrandbits(256):064x}"
            command = [str(BIN / "dht"), "--socket", socket, "enter", id, "3000", "--json", *options]
            running.append(subprocess.Popen(command, env=network.environment(), stdout=subprocess.PIPE, text=True))
        outcomes = []
        for process in running:
            output, _ = process.communicate(timeout=DEADLINE)
            outcomes.append((process.returncode, len(json.loads(output).get("replicas", []))))
        return outcomes


if __name__ == "__main__":
    main()
