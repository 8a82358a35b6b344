"""The time of `dht`, of the Python API and of `dhtd start` until it is ready, against `python -c "import typer"`.

Run it with `python3 dev.py bench startup`: one interleaved run, medians, ratios. Two daemons on loopback serve the
requests, and each started one joins them. All modules are compiled, as an installer leaves them, whatever the
environment says.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.e2e.daemons import Daemon, Network

ROUNDS = 25


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="dhtd-compiled-") as compiled, Network() as network:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = compiled
        first, second = network.start(2)
        id = "5a" * 32
        network.dht(first, "bootstrap", second.endpoint)
        network.dht(first, "enter", id, "3000")
        program = str(Path(sys.executable).with_name("dht"))
        started: list[Daemon] = []
        client = [program, "--socket", str(second.socket)]
        commands = {
            "import typer": [sys.executable, "-c", "import typer"],
            "dhtd.connect": [sys.executable, "-c", "import dhtd; dhtd.connect"],
            "dhtd.connect_blocking": [sys.executable, "-c", "import dhtd; dhtd.connect_blocking"],
            "dht --version": [program, "--version"],
            "dht ping": [*client, "ping", first.endpoint],
            "dht info": [*client, "info"],
            "dht lookup": [*client, "lookup", id],
        }
        runs: dict[str, Callable[[], object]] = {
            name: partial(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)
            for name, command in commands.items()
        }
        runs["dhtd start"] = lambda: started.append(network.start(1)[0])
        times = measure(runs, between=lambda: started.pop().kill())
    base = statistics.median(times["import typer"])
    print(f"{'command':<22} {'median ms':>10} {'ratio':>6}")
    for name, samples in times.items():
        median = statistics.median(samples)
        print(f"{name:<22} {1000 * median:>10.1f} {median / base:>6.2f}")


def measure(runs: dict[str, Callable[[], object]], between: Callable[[], object]) -> dict[str, list[float]]:
    """Return the wall times of each run, in seconds; every round runs each once, so noise hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(1 + ROUNDS):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if turn:  # the first one compiles
                times[name].append(time.perf_counter() - began)
        between()
    return times


if __name__ == "__main__":
    main()
