"""The time in which real clients find a payload by the DHT, with dhtd and with libtorrent as their only router.

Run it with `python3 dev.py bench clients`, as root: the network is in a namespace. It is a router, twelve nodes of
libtorrent, and a seeder that has announced a torrent. Then clients start that know the router alone: libtorrent,
transmission, aria2, and npm's bittorrent-dht, which only looks the seeder up. Each is measured from its start until it
has the payload. Both routers are measured in turn.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from tests.e2e.daemons import POLL, Network
from tests.mainline.clients import Aria2, MissingClientError, NodeClient, Transmission
from tests.mainline.island import SUBNET, address, island
from tests.mainline.payload import PORT, Payload, Peer
from tests.mainline.torrents import Torrents
from tests.netns.lab import LabError

ROUTERS: Final = ("dhtd", "libtorrent")
CROWD: Final = 12  # transmission begins when it knows more than eight nodes
KNOWN: Final = 8  # of them, before clients begin: buckets have no room for all
PATIENCE: Final = 240.0  # seconds for all clients

_ROUTER, _SEEDER, _CROWD, _CLIENTS = 1, 2, 10, 50  # addresses on the island


@dataclass(slots=True)
class Run:
    """A client that runs: since when, and how to see that it has what it looked for."""

    kind: str
    begun: float
    is_done: Callable[[], bool]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table."""
    options = _parser().parse_args(arguments)
    kinds = options.only or list(CLIENTS)
    found: dict[tuple[str, str], list[float]] = {}
    try:
        for number in range(options.rounds):
            for router in ROUTERS if number % 2 else reversed(ROUTERS):
                for kind, taken in measure(router, options.each, kinds):
                    found.setdefault((kind, router), []).append(taken)
                    print(f"round {number + 1}, {router} as router: {kind} {taken:.1f} s", file=sys.stderr)
    except (LabError, MissingClientError) as error:
        print(f"bench clients: {error}", file=sys.stderr)
        return 1
    print(f"{options.rounds} rounds with each router, {options.each} of each client at once: seconds until the payload")
    print(f"\n{'':<16}{'dhtd p50':>10}{'least':>8}{'most':>8}{'libtorrent p50':>16}{'least':>8}{'most':>8}{'ratio':>8}")
    for kind in kinds:
        ours, theirs = (found[kind, router] for router in ROUTERS)
        figures = "".join(
            f"{median(taken):>{width}.2f}{min(taken):>8.2f}{max(taken):>8.2f}"
            for taken, width in ((ours, 10), (theirs, 16))
        )
        print(f"{kind:<16}{figures}{median(ours) / median(theirs):>8.3f}")
    return 0


def measure(router: str, each: int, kinds: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Have clients find a payload in a new network; yield each one's kind and seconds."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(island())
        endpoint = stack.enter_context(ROUTER[router]())
        payload = Payload.of(1)
        stack.enter_context(Peer(address(_SEEDER), payload, directory / "seed"))
        seeder = stack.enter_context(Torrents(address(_SEEDER), endpoint))
        witness = stack.enter_context(Torrents(address(_SEEDER + 1), endpoint))
        for one in (seeder, witness):
            one.wait_for_nodes(KNOWN)
        seeder.announce(payload.info_hash, PORT, is_seed=True)
        witness.peers(payload.info_hash)
        running: list[Run] = []
        for number in range(each):
            for kind in kinds:
                home = directory / f"{kind}-{number}"
                at = address(_CLIENTS + len(running))
                begun = time.monotonic()
                running.append(Run(kind, begun, CLIENTS[kind](stack, at, endpoint, home, payload)))
        while running:
            for run in list(running):
                if run.is_done():
                    yield run.kind, time.monotonic() - run.begun
                    running.remove(run)
                elif time.monotonic() > run.begun + PATIENCE:
                    raise LabError(f"{run.kind} has found nothing in {PATIENCE:.0f} s with {router} as router")
            time.sleep(POLL)


@contextmanager
def _dhtd() -> Iterator[str]:
    with Network(SUBNET) as network, ExitStack() as stack:
        [daemon] = network.start(1, "--network=mainline")
        for number in range(CROWD):
            stack.enter_context(Torrents(address(_CROWD + number), daemon.endpoint))
        daemon.wait_until(lambda node: node["contacts"]["good"] >= KNOWN)
        yield daemon.endpoint


@contextmanager
def _libtorrent() -> Iterator[str]:
    with Torrents(address(_ROUTER)) as router, ExitStack() as stack:
        for number in range(CROWD):
            one = stack.enter_context(Torrents(address(_CROWD + number), router.endpoint))
            router.join(one.endpoint)  # it asks for nobody while it has no contact
        router.wait_for_nodes(KNOWN)
        yield router.endpoint


def _libtorrent_client(stack: ExitStack, at: str, router: str, home: Path, payload: Payload) -> Callable[[], bool]:
    home.mkdir()
    stack.enter_context(Torrents(at, router)).download(payload, home)
    return lambda: payload.is_in(home)


def _transmission(stack: ExitStack, at: str, router: str, home: Path, payload: Payload) -> Callable[[], bool]:
    client = stack.enter_context(Transmission(at, router, home, payload))
    return lambda: payload.is_in(client.downloads)


def _aria2(stack: ExitStack, at: str, router: str, home: Path, payload: Payload) -> Callable[[], bool]:
    client = stack.enter_context(Aria2(at, router, home, payload))
    return lambda: payload.is_in(client.downloads)


def _bittorrent_dht(stack: ExitStack, at: str, router: str, home: Path, payload: Payload) -> Callable[[], bool]:
    client = stack.enter_context(NodeClient("bittorrent-dht", at, router, home))
    return lambda: f"{address(_SEEDER)}:{PORT}" in client.call("peers", payload.info_hash)


ROUTER: Final = dict(zip(ROUTERS, (_dhtd, _libtorrent), strict=True))
CLIENTS: Final = {
    "libtorrent": _libtorrent_client,
    "transmission": _transmission,
    "aria2": _aria2,
    "bittorrent-dht": _bittorrent_dht,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "dev.py bench clients", description="Measure clients with dhtd and with libtorrent as router."
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="networks of each router (5)")
    parser.add_argument("--each", type=int, default=3, metavar="N", help="clients of each kind in a network (3)")
    parser.add_argument("--only", action="append", choices=CLIENTS, default=[], help="this client; may be repeated")
    return parser


if __name__ == "__main__":
    sys.exit(main())
