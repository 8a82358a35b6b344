"""How long `dht` takes as a whole process, against `python -c "import typer"`: one interleaved run, medians, ratios.

Run it with `python3 dev.py bench startup`. Two daemons on loopback serve the requests.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.e2e.daemons import Network

ROUNDS = 25


def main() -> None:
    """Measure and print."""
    with Network() as network:
        first, second = network.start(2)
        id = "5a" * 32
        network.dht(first, "enter", id, "3000")
        program = str(Path(sys.executable).with_name("dht"))
        client = [program, "--socket", str(second.socket)]
        commands = {
            "import typer": [sys.executable, "-c", "import typer"],
            "dht --version": [program, "--version"],
            "dht ping": [*client, "ping", first.endpoint],
            "dht info": [*client, "info"],
            "dht lookup": [*client, "lookup", id],
        }
        times = measure(commands)
    base = statistics.median(times["import typer"])
    print(f"{'command':<16} {'median ms':>10} {'ratio':>6}")
    for name, samples in times.items():
        median = statistics.median(samples)
        print(f"{name:<16} {1000 * median:>10.1f} {median / base:>6.2f}")


def measure(commands: dict[str, list[str]]) -> dict[str, list[float]]:
    """Return the wall times of each command, in seconds; every round runs each once, so that noise hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - began)
    return times


if __name__ == "__main__":
    main()
