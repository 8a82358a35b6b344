"""The cost of the dearest datagram beside a ping, and the answers to honest pings under a rain of such bombs.

Run it with `python3 dev.py bench hostile` (Linux). It looks for the dearest datagram among the bombs that the tests
know, and among mutants of the dearest ones so far. Then a daemon gets the worst kinds from one address, and pings from
another. The bombs are forged, their sources are not.
"""

from __future__ import annotations

import argparse
import socket
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from random import Random

from dhtd.core.ids import NATIVE
from dhtd.core.messages import Ping
from dhtd.errors import WireError
from dhtd.wire.native import NativeCodec
from tests.e2e.daemons import PORT, Daemon, Network
from tests.wire.bombs import LARGEST, bombs
from tests.wire.mutator import Mutator

BOMBER, HONEST = "127.66.0.1", "127.66.0.2"
PATIENCE = 1.0  # seconds for an answer
KEPT = 12  # of the dearest, to be changed further


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print two figures. The status is 1 if an honest ping was lost."""
    options = _parser().parse_args(arguments)
    dearest, pings = look_for_dearest(options.mutants, Random(options.seed))
    print(f"dearest datagram of {LARGEST} bytes: {pings:.1f} pings ({len(dearest)} bytes: {dearest[:24].hex()}...)")
    with Network() as network:
        (daemon,) = network.start(1)
        answered, sent = under_bombs(daemon, options.bombs, options.seconds)
    print(f"honest pings answered under {options.bombs:g} bombs a second: {answered} of {sent}, {answered / sent:.0%}")
    return int(answered < sent)


def look_for_dearest(mutants: int, rng: Random) -> tuple[bytes, float]:
    """Return the dearest datagram found, and its cost in pings."""
    codec = NativeCodec()
    known = dearest_of([data for _, data in bombs()])
    mutator = Mutator(rng.randrange(10**6), [data for _, data in known])
    for _ in range(mutants):
        data = next(mutator.mutants(rng.choice(known)[1], 1))[:LARGEST]
        known = sorted([*known, (cost(codec, data, 3), data)], reverse=True)[:KEPT]
    return in_pings([data for _, data in known])


def dearest_of(datagrams: Iterable[bytes]) -> list[tuple[float, bytes]]:
    """Return a few of the dearest, with their costs."""
    codec = NativeCodec()
    return sorted(((cost(codec, data, 3), data) for data in datagrams), reverse=True)[:KEPT]


def in_pings(datagrams: Iterable[bytes]) -> tuple[bytes, float]:
    """Return the dearest and its cost, measured by turns with a ping, since the machine may be slow for a moment."""
    codec = NativeCodec()
    ping = codec.encode_query(bytes(8), NATIVE.digest(b"ping"), Ping())
    ratio, dearest = max((cost(codec, data, 30) / cost(codec, ping, 30), data) for data in datagrams)
    return dearest, ratio


def cost(codec: NativeCodec, data: bytes, rounds: int) -> float:
    """Return the least seconds that decoding a datagram takes."""
    least = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(20):
            with suppress(WireError):
                codec.decode(data)
        least = min(least, time.perf_counter() - began)
    return least / 20


def under_bombs(daemon: Daemon, rate: float, seconds: float) -> tuple[int, int]:
    """Return how many honest pings were answered meanwhile, and how many were sent: a hundred a second."""
    over = threading.Event()
    bomber = threading.Thread(target=_bomb, args=(daemon.address, rate, over))
    bomber.start()
    rng, codec, answered, sent = Random(1), NativeCodec(), 0, 0
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as honest:
            honest.bind((HONEST, 0))
            honest.settimeout(PATIENCE)
            id, ends = NATIVE.random(rng), time.monotonic() + seconds
            while time.monotonic() < ends:
                tid = rng.randbytes(8)
                honest.sendto(codec.encode_query(tid, id, Ping()), (daemon.address, PORT))
                sent += 1
                with suppress(TimeoutError):
                    while tid not in honest.recv(LARGEST):
                        pass  # the daemon pings the sender of a query
                    answered += 1
                time.sleep(0.01)
    finally:
        over.set()
        bomber.join()
    return answered, sent


def _bomb(address: str, rate: float, over: threading.Event) -> None:
    each = [data for name, data in bombs() if not name.endswith("short")]
    began, sent = time.monotonic(), 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bomber:
        bomber.bind((BOMBER, 0))
        while not over.wait(max(0.0, began + sent / rate - time.monotonic())):
            bomber.sendto(each[sent % len(each)], (address, PORT))
            sent += 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dev.py bench hostile", description="Measure what hostile datagrams cost.")
    parser.add_argument("--bombs", type=float, default=400.0, metavar="N", help="a second (400)")
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S", help="of bombs (20)")
    parser.add_argument("--mutants", type=int, default=5_000, metavar="N", help="tried in search of the dearest (5000)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the search (1)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
