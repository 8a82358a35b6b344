"""The time of the serving path, by function: a daemon under a flood of one operation.

Run it with `python3 dev.py profile` (Linux). Two daemons with full tables get the same load. The kernel counts the cost
of a query at the first. The second runs under cProfile, which makes every call dearer, and so inflates functions with
many small calls. Its figures show where to look, not how long a function takes.
"""

from __future__ import annotations

import argparse
import os
import pstats
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.bench.load import Sources, cpu_seconds
from tests.bench.neighbours import fill
from tests.bench.peers.dhtd import Dhtd
from tests.bench.peers.peer import FIND_NODE, OPERATIONS, PORT

SOURCES = 256
LOAD = 12_800  # queries in a row; in pauses between them, the limit of each source recovers
ROOT = Path(__file__).resolve().parents[2]


class Line(NamedTuple):
    own: float  # microseconds a query, without the functions that it calls
    total: float  # and with it
    calls: float  # a query
    where: str


class Profiled(Dhtd):
    """`dhtd start` under cProfile."""

    name = "dhtd under cProfile"

    def command(self) -> list[str]:
        """Return the daemon's command line, with the profiler before it."""
        return [sys.executable, "-m", "cProfile", "-o", str(self.output), *super().command()]

    @property
    def output(self) -> Path:
        """The file of the profile."""
        return Path(self._directory.name) / "profile"

    def lines(self, queries: int) -> list[Line]:
        """End the daemon, and return its functions, dearest first."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        stats = pstats.Stats(str(self.output)).stats  # type: ignore[attr-defined]  # typeshed has not got it
        per_query = 1e6 / queries
        found = [
            Line(own * per_query, total * per_query, calls / queries, _place(*function))
            for function, (_, calls, own, total, _) in stats.items()
        ]
        return sorted(found, reverse=True)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    rng = Random(1)
    with ExitStack() as stack:
        plain, profiled = Dhtd(_address(0, 1), rng), Profiled(_address(0, 2), rng)
        for peer in (plain, profiled):
            stack.callback(peer.stop)
            peer.start()
        fill((plain, profiled), [_address(1, 1 + place) for place in range(options.neighbours)], options.fill, rng)
        user, system = flood(plain, options.operation, options.queries, rng)
        before = cpu_seconds(profiled.pid)
        flood(profiled, options.operation, options.queries, rng)
        slower = (cpu_seconds(profiled.pid) - before) * 1e6 / options.queries
        lines = profiled.lines(options.queries)
    whole = f"{user + system:.1f} us each, {system:.1f} of them the kernel's"
    print(f"{options.operation}, {options.queries} queries: {whole}")
    print(f"under cProfile {slower:.1f} us; starting and filling the table are in these figures, too\n")
    print(f"{'own us':>7} {'all us':>7} {'calls':>6}  a query")
    for line in lines[: options.lines]:
        print(f"{line.own:>7.2f} {line.total:>7.2f} {line.calls:>6.2f}  {line.where}")
    return 0


def flood(peer: Dhtd, operation: str, queries: int, rng: Random) -> tuple[float, float]:
    """Put so many queries; return the microseconds of user and of system time of each."""
    addresses = [_address(9 + number // 250, 1 + number % 250) for number in range(SOURCES)]
    peer.ids = [rng.randbytes(peer.id_size) for _ in range(SOURCES)]
    with Sources((peer.address, PORT), addresses, peer.tid_size, rng) as sources:
        peer.prepare(sources)
        make = peer.make(operation, sources)
        before = _ticks(peer.pid)
        for done in range(0, queries, LOAD):
            sources.flood(peer.pid, make, min(LOAD, queries - done))
        after = _ticks(peer.pid)
    tick = 1e6 / os.sysconf("SC_CLK_TCK") / queries
    return (after[0] - before[0]) * tick, (after[1] - before[1]) * tick


def _ticks(pid: int) -> tuple[int, int]:
    """Return the user and system time of a process, in clock ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return int(fields[11]), int(fields[12])


def _place(file: str, line: int, function: str) -> str:
    """Return a function's name in the words of this repository."""
    if file == "~":
        return function
    path = Path(file)
    if path.is_relative_to(ROOT):
        return f"{path.relative_to(ROOT)}:{line} {function}"
    return f"{'/'.join(path.parts[-2:])}:{line} {function}"


def _address(high: int, low: int) -> str:
    return f"127.{1 + os.getpid() % 250}.{100 + high}.{low}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dev.py profile", description="Show where the serving path's time goes.")
    parser.add_argument("operation", nargs="?", choices=OPERATIONS, default=FIND_NODE, help="what is asked (find_node)")
    parser.add_argument("--queries", type=int, default=128_000, metavar="N", help="how many (128000)")
    parser.add_argument("--neighbours", type=int, default=200, metavar="N", help="nodes that fill the tables (200)")
    parser.add_argument("--fill", type=float, default=20.0, metavar="S", help="seconds in which they do (20)")
    parser.add_argument("--lines", type=int, default=30, metavar="N", help="functions to print (30)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
