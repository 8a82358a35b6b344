"""The ring over the endpoints of a service, beside uhashring: keys a second, and the load of the most loaded.

Run it with `python3 dev.py bench ring`. Ten endpoints with 150 virtual nodes; rounds are interleaved.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from statistics import median

from dhtd.api.hash_ring import KEYS, HashRing

ENDPOINTS = [f"192.0.2.{number}:80" for number in range(10)]
ROUNDS = 11


def main() -> None:
    from uhashring import HashRing as Other

    keys = [f"key:{number}" for number in range(KEYS)]
    other = Other(ENDPOINTS, vnodes=150)
    rings: dict[str, Callable[[str], str]] = {"dhtd": HashRing(ENDPOINTS).node, "uhashring": other.get_node}
    rates: dict[str, list[float]] = {name: [] for name in rings}
    for _ in range(ROUNDS):
        for name, node in rings.items():
            began = time.process_time()
            for key in keys:
                node(key)
            rates[name].append(len(keys) / (time.process_time() - began))
    for name, node in rings.items():
        ratio = median(mine / base for mine, base in zip(rates[name], rates["uhashring"], strict=True))
        loads = Counter(map(node, keys))
        most = max(loads.values()) * len(ENDPOINTS) / len(keys)
        rate = median(rates[name])
        print(f"{name:<10} {rate:>10,.0f} keys a second   {ratio:.2f} of uhashring   most loaded {most:.3f}")


if __name__ == "__main__":
    main()
