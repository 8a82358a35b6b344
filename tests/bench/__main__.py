"""Answers per CPU-second of a daemon, beside other implementations and a bare echo.

Run it with `python3 dev.py bench` (Linux). Each implementation is a process on loopback. Played nodes fill its table,
and it gets the same closed loop of queries from the same number of addresses. Rounds are interleaved, so other work of
the machine hits all alike. The kernel counts the CPU time of each process. dhtd runs with all its protections; the
limits of others are lifted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from random import Random
from statistics import median

from tests.bench.load import WINDOW, Measured, Sources, TooShortError
from tests.bench.neighbours import fill
from tests.bench.peers.dhtd import Dhtd
from tests.bench.peers.dhtd_mainline import DhtdMainline
from tests.bench.peers.dhtd_sealed import DhtdSealed
from tests.bench.peers.echo import Echo
from tests.bench.peers.kademlia import Kademlia, Kademlia8
from tests.bench.peers.libtorrent import Libtorrent
from tests.bench.peers.opendht import OpenDht
from tests.bench.peers.peer import FIND_NODE, OPERATIONS, PORT, Peer, UnexpectedAnswerError

PEERS: dict[str, type[Peer]] = {
    kind.name: kind for kind in (Echo, Dhtd, DhtdSealed, DhtdMainline, Libtorrent, OpenDht, Kademlia, Kademlia8)
}
SOURCES = 256  # so many that none of them meets a rate limit, and that fifty endpoints are found under a key

Loads = dict[tuple[str, str], dict[int, Measured]]  # by operation and implementation, and by round


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one implementation for one operation."""

    operation: str
    implementation: str
    per_cpu_s: float  # the median of rounds
    least: float
    most: float
    to_libtorrent: float | None  # medians of the ratios of each round
    to_echo: float | None
    to_dhtd: float | None
    lost: int


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    chosen = [kind for name, kind in PEERS.items() if name in options.peer or not options.peer]
    missing = [kind.name for kind in chosen if not kind.is_there()]
    if missing:
        print(f"not installed, and so not measured: {', '.join(missing)}", file=sys.stderr)
    rng = Random(1)
    try:
        with _running([kind for kind in chosen if kind.is_there()], rng) as peers:
            addresses = [_address(1 + number // 250, 1 + number % 250) for number in range(options.neighbours)]
            fill([peer for peer in peers if peer.name != Echo.name], addresses, options.fill, rng)
            rows = list(_rows(_measure(peers, options, rng)))
    except (TooShortError, UnexpectedAnswerError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({"machine": _machine(), "versions": _versions(), "rows": [asdict(row) for row in rows]}))
    else:
        _print(rows, options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dev.py bench", description="Measure dhtd beside other implementations.")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="interleaved rounds (7)")
    parser.add_argument("--queries", type=int, default=12_800, metavar="N", help="queries of each load (12800)")
    parser.add_argument(
        "--window", type=int, default=WINDOW, metavar="N", help=f"sent in a row, then awaited ({WINDOW})"
    )
    parser.add_argument("--neighbours", type=int, default=200, metavar="N", help="nodes that fill the tables (200)")
    parser.add_argument("--fill", type=float, default=40.0, metavar="S", help="seconds in which they do (40)")
    parser.add_argument("--peer", action="append", choices=PEERS, default=[], help="only this one; may be repeated")
    parser.add_argument(
        "--operation", action="append", choices=OPERATIONS, default=[], help="only this one; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


@contextmanager
def _running(kinds: Sequence[type[Peer]], rng: Random) -> Iterator[list[Peer]]:
    with ExitStack() as stack:
        peers = []
        for number, kind in enumerate(kinds):
            peer = kind(_address(0, 1 + number), rng)
            stack.callback(peer.stop)
            peer.start()
            peers.append(peer)
        yield peers


def _measure(peers: Sequence[Peer], options: argparse.Namespace, rng: Random) -> Loads:
    """Return the loads of each operation and implementation."""
    found: Loads = {}
    with ExitStack() as stack:
        addresses = [_address(9 + number // 250, 1 + number % 250) for number in range(SOURCES)]
        loads = []
        for peer in peers:
            peer.ids = [rng.randbytes(peer.id_size) for _ in range(SOURCES)]
            sources = stack.enter_context(Sources((peer.address, PORT), addresses, peer.tid_size, rng, peer.unseal))
            peer.prepare(sources)
            loads.append((peer, sources))
        for turn in range(options.rounds):
            for operation in options.operation or OPERATIONS:
                for peer, sources in loads:
                    if operation in peer.operations:
                        load = _load(peer, operation, sources, options.queries, options.window)
                        if load is not None:
                            found.setdefault((operation, peer.name), {})[turn] = load
    return found


def _load(peer: Peer, operation: str, sources: Sources, queries: int, window: int) -> Measured | None:
    """Put one load; return None, and say so, where the answers of another implementation are no longer what they were.

    Its table may run empty while the others are measured. Ours must not.
    """
    check = partial(peer.check, operation)
    try:
        load = sources.flood(peer.pid, peer.make(operation, sources), queries, window, check)
        if not load.answered:
            raise UnexpectedAnswerError(f"{peer.name} does not answer {operation}")
    except UnexpectedAnswerError as error:
        if isinstance(peer, Dhtd):
            raise
        print(f"bench: a round of {peer.name}, {operation}, is left out: {error}", file=sys.stderr)
        return None
    return load


def _rows(found: Loads) -> Iterator[Row]:
    for (operation, name), loads in found.items():
        rates = [load.rate for load in loads.values()]
        to_libtorrent, to_dhtd = (_quotient(loads, found.get((operation, each.name))) for each in (Libtorrent, Dhtd))
        to_echo = _quotient(loads, found.get((FIND_NODE, Echo.name)))
        yield Row(
            operation,
            name,
            round(median(rates)),
            round(min(rates)),
            round(max(rates)),
            to_libtorrent,
            to_echo,
            to_dhtd,
            sum(load.lost for load in loads.values()),
        )


def _quotient(loads: dict[int, Measured], base: dict[int, Measured] | None) -> float | None:
    """Return the median of the ratios of each round: what slows the machine down slows down both."""
    ratios = [load.rate / base[turn].rate for turn, load in loads.items() if turn in base] if base else []
    return round(median(ratios), 3) if ratios else None


def _print(rows: Sequence[Row], options: argparse.Namespace) -> None:
    print(f"{_machine()}; {', '.join(f'{name} {number}' for name, number in _versions().items())}")
    load = f"{options.queries} queries from {SOURCES} addresses, {options.window} in a row"
    print(f"{options.rounds} rounds of {load}; medians, least and most\n")
    head = f"{'operation':<17} {'implementation':<15} {'per CPU-second':>14} {'least':>8} {'most':>8} "
    print(f"{head}{'÷ libtorrent':>12} {'÷ echo':>7} {'÷ dhtd':>7} {'lost':>5}")
    for row in rows:
        ratios = f"{_ratio(row.to_libtorrent):>12} {_ratio(row.to_echo):>7} {_ratio(row.to_dhtd):>7}"
        rates = f"{row.per_cpu_s:>14,.0f} {row.least:>8,.0f} {row.most:>8,.0f}"
        print(f"{row.operation:<17} {row.implementation:<15} {rates} {ratios} {row.lost:>5}")


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _address(high: int, low: int) -> str:
    """Return an unused address in 127/8."""
    return f"127.{1 + os.getpid() % 250}.{100 + high}.{low}"


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"


def _versions() -> dict[str, str]:
    found = {}
    for name in PEERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    sys.exit(main())
