"""How soon a network for tests is ready, and gone; and a thousand lookups at once by the Python API.

Run it with `python3 dev.py bench testnet`. Each round starts a network of 8 anew, in this process.
"""

from __future__ import annotations

import statistics
import time

import anyio

import dhtd
from dhtd.testing.networks import testnet_blocking

ROUNDS = 12
NODES = 8
LOOKUPS = 1000


def main() -> None:
    ready, gone = [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        with testnet_blocking(NODES):
            ready.append(time.perf_counter() - began)
            began = time.perf_counter()
        gone.append(time.perf_counter() - began)
    _show(f"{NODES} nodes ready", ready[1:])  # the first one imports
    _show(f"{NODES} nodes gone", gone[1:])
    with testnet_blocking(NODES) as net:
        for backend in ("asyncio", "trio"):
            seconds = anyio.run(look_up, str(net[0].socket), backend=backend)
            print(f"{LOOKUPS} lookups at once, {backend}: {seconds:.2f} s, {LOOKUPS / seconds:.0f} a second")


async def look_up(socket: str) -> float:
    """Return how long so many lookups at once take, with all nodes in this process."""
    async with dhtd.connect(socket) as dht, dht.serve("bench", 80):

        async def one() -> None:
            async for _ in dht.lookup("bench"):
                pass

        began = time.perf_counter()
        async with anyio.create_task_group() as group:
            for _ in range(LOOKUPS):
                group.start_soon(one)
        return time.perf_counter() - began


def _show(what: str, samples: list[float]) -> None:
    median, most = statistics.median(samples), max(samples)
    print(f"{what}: median {1000 * median:.0f} ms of {len(samples)}, at most {1000 * most:.0f} ms")


if __name__ == "__main__":
    main()
