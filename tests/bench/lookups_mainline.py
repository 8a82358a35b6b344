"""Lookups among 200 nodes of libtorrent, a third of them just killed: dhtd beside a libtorrent of one node.

Run it with `python3 dev.py bench lookups-mainline`. The nodes know each other from searches, and keys are announced
there. A daemon and a session of libtorrent join. Then a third of the nodes is killed (-9), and both look up the same
keys, in turn, one at a time. Each is measured until its first peer, and until its end: through the control socket for
dhtd, by its alerts for libtorrent. Few keys are looked up in a network, since both forget the dead by and by.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from statistics import median
from typing import Final

import libtorrent as lt

from dhtd.service.entries import LOOKUP
from dhtd.sim.report import percentile
from tests.bench.crowd import Place, crowd, place
from tests.e2e.daemons import DEADLINE, Daemon, Network
from tests.mainline.torrents import Torrents
from tests.netns.lab import LabError

WARMING: Final = 5  # lookups of random keys before the death of a third

_STEP: Final = 1  # milliseconds between two looks at a search of libtorrent


@dataclass(frozen=True, slots=True)
class Outcome:
    """The seconds of one lookup, and how many peers it found."""

    first: float | None
    whole: float
    peers: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Look up, and print the figures of both."""
    options = _parser().parse_args(arguments)
    found: list[tuple[Outcome, Outcome, Outcome]] = []
    try:
        for number in range(options.networks):
            with place(options.delay / 1_000) as where:
                found += measure(where, Random(number), options.nodes, options.keys)
    except LabError as error:
        print(f"bench lookups-mainline: {error}", file=sys.stderr)
        return 1
    network = f"{options.nodes} nodes of libtorrent, {options.delay:g} ms away, a third of them killed"
    print(f"{options.networks} networks of {network}; {len(found)} lookups each")
    print(f"\n{'':<12}{'first peer':>10}{'':>8}{'end':>8}{'':>8}{'peers':>7}{'nobody':>8}")
    print(f"{'':<12}{'p50 ms':>10}{'p90':>8}{'p50 ms':>8}{'p90':>8}{'mean':>7}{'found':>8}")
    rows = [_figures(outcomes) for outcomes in zip(*found, strict=True)]
    for name, row in zip(("dhtd", "its daemon", "libtorrent"), rows, strict=True):
        print(f"{name:<12}{row[0]:>10.1f}{row[1]:>8.1f}{row[2]:>8.1f}{row[3]:>8.1f}{row[4]:>7.2f}{row[5]:>8.0f}")
    ratios = [other / mine for mine, other in zip(rows[0][:4], rows[2][:4], strict=True)]
    print(f"{'quotient':<12}{ratios[0]:>10.2f}{ratios[1]:>8.2f}{ratios[2]:>8.2f}{ratios[3]:>8.2f}")
    return 0


def measure(where: Place, rng: Random, nodes: int, keys: int) -> Iterator[tuple[Outcome, Outcome, Outcome]]:
    """Make a network, kill a third of it, and yield what each key took: dhtd, inside its daemon, and libtorrent."""
    sought = [rng.randbytes(20).hex() for _ in range(keys)]
    with crowd(where, nodes, sought) as others, Network(where.subnet) as network:
        [daemon] = network.start(1, "--network=mainline", f"--bootstrap={others.router}")
        with Torrents(f"{where.near}.9", others.router) as theirs:
            daemon.wait_until(lambda node: node["contacts"]["good"] >= 8)
            theirs.wait_for_nodes(8)
            for key in (rng.randbytes(20).hex() for _ in range(WARMING)):
                look_up(daemon, key)
                look_up_by_libtorrent(theirs, key)
            rng.choice(others.parts).kill()
            for number, key in enumerate(sought):
                if number % 2:
                    mine = look_up(daemon, key)
                    yield *mine, look_up_by_libtorrent(theirs, key)
                else:
                    other = look_up_by_libtorrent(theirs, key)
                    yield *look_up(daemon, key), other


def look_up(daemon: Daemon, key: str) -> tuple[Outcome, Outcome]:
    """Look a key up as `dht lookup` does; return what it took for the client, and inside the daemon."""
    begun = time.monotonic()
    first = last = None
    with daemon.ask() as client:
        for last in client.stream(LOOKUP, id=key):
            if first is None and last["peers"]:
                first = time.monotonic() - begun
    assert last is not None
    found, stats = len(last["peers"]), last["stats"]  # the result, which has all peers
    inside = None if stats["first_ms"] is None else stats["first_ms"] / 1_000
    return Outcome(first, time.monotonic() - begun, found), Outcome(inside, stats["elapsed_ms"] / 1_000, found)


def look_up_by_libtorrent(theirs: Torrents, key: str) -> Outcome:
    """Look a key up by `dht_get_peers`, which tells of peers as they are found, and not of its end: its list does."""
    begun = time.monotonic()
    target = lt.sha1_hash(bytes.fromhex(key))
    session = theirs.session
    session.pop_alerts()
    session.dht_get_peers(target)
    first, peers, is_active = None, set(), True
    while is_active:
        session.post_dht_stats()
        is_told = False
        while not is_told:  # each question has one answer, which is not left to the next search
            session.wait_for_alert(_STEP)
            now = time.monotonic() - begun
            for alert in session.pop_alerts():
                if isinstance(alert, lt.dht_get_peers_reply_alert) and alert.info_hash == target and alert.num_peers():
                    first = now if first is None else first
                    peers.update(alert.peers())
                if isinstance(alert, lt.dht_stats_alert):
                    is_active, is_told = any(each["type"] == "get_peers" for each in alert.active_requests), True
            assert now < DEADLINE, "a search of libtorrent does not end"
    return Outcome(first, time.monotonic() - begun, len(peers))


def _figures(outcomes: Sequence[Outcome]) -> tuple[float, ...]:
    """Return p50 and p90 of first peers and ends in ms, the mean of peers, and how many found nobody."""
    firsts = sorted(each.first for each in outcomes if each.first is not None)
    ends = sorted(each.whole for each in outcomes)
    return (
        *(1_000 * figure for taken in (firsts, ends) for figure in (median(taken), percentile(taken, 0.9))),
        sum(each.peers for each in outcomes) / len(outcomes),
        len(outcomes) - len(firsts),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "dev.py bench lookups-mainline", description="Compare lookups with libtorrent's, among nodes of libtorrent."
    )
    parser.add_argument("--nodes", type=int, default=200, metavar="N", help="nodes of a network (200)")
    parser.add_argument("--keys", type=int, default=10, metavar="N", help="lookups in a network (10)")
    parser.add_argument("--networks", type=int, default=3, metavar="N", help="networks (3)")
    parser.add_argument(
        "--delay", type=float, default=0.0, metavar="MS", help="of each packet, one way, in a namespace; needs root (0)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
