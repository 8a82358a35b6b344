"""The time of entering many IDs: one `dht enter` after another, and one `dht enter --file` for all.

Run it with `python3 dev.py bench enter`. 16 daemons on loopback know each other. One of them enters a few IDs by a
command each, and others a list of a thousand: once until all are published, and once until they are on disk. The CPU
time of all daemons together is what the time would be on one idle core.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from tests.e2e.daemons import Daemon, Network

DAEMONS = 16
ONE_BY_ONE = 20  # commands whose time is told for as many as the list has
TICKS = os.sysconf("SC_CLK_TCK")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("dev.py bench enter", description="Enter many IDs, one by one and by a list.")
    parser.add_argument("--entries", type=int, default=1_000, metavar="N", help="in the list (1000)")
    many = parser.parse_args(arguments).entries
    with Network() as network:
        daemons = network.start(DAEMONS)
        for daemon in daemons:
            daemon.wait_until(lambda about: about["contacts"]["good"] >= DAEMONS // 2)
        listed = network.directory / "list"
        listed.write_text("".join(f"service-{number}.example.org {1_000 + number}\n" for number in range(many)))
        print(f"{'what':<24} {'seconds':>8} {'CPU s':>6}  holders: median, least")

        def one_by_one() -> list[int]:
            return [
                len(network.dht(daemons[1], "enter", f"one-{number}.example.org", "80")["replicas"])
                for number in range(ONE_BY_ONE)
            ]

        tell(f"{many} by one command each", daemons, one_by_one, many / ONE_BY_ONE)
        for daemon, name, options in ((daemons[2], "published", []), (daemons[3], "on disk", ["--no-wait"])):
            tell(f"a list of {many}, {name}", daemons, lambda: by_list(network, daemon, listed, options))  # noqa: B023


def tell(name: str, daemons: Sequence[Daemon], work: Callable[[], list[int]], times: float = 1.0) -> None:
    """Print how long some work takes; `times`: for so many times as much."""
    began, spent = time.monotonic(), cpu(daemons)
    holders = work()
    seconds, used = times * (time.monotonic() - began), times * (cpu(daemons) - spent)
    print(f"{name:<24} {seconds:>8.1f} {used:>6.1f}  {median(holders):g}, {min(holders)}", flush=True)


def by_list(network: Network, daemon: Daemon, listed: Path, options: list[str]) -> list[int]:
    """Enter a list; return the number of holders of each entry."""
    dht = ("dht", "--socket", str(daemon.socket), "--timeout", "120", "enter", "--file", str(listed), *options)
    done = network.run(*dht)
    assert done.returncode == 0, done.stderr
    return [int(line.split()[2]) for line in done.stdout.splitlines()]


def cpu(daemons: Sequence[Daemon]) -> float:
    """Return the CPU seconds of all daemons so far."""
    stats = (Path(f"/proc/{daemon.process.pid}/stat").read_text(encoding="ascii") for daemon in daemons)
    return sum(sum(map(int, stat.rpartition(")")[2].split()[11:13])) for stat in stats) / TICKS


if __name__ == "__main__":
    main()
