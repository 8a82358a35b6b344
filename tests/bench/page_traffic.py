"""Lookups among thousands of nodes, as the events of a simulated network tell them.

The nodes have ideal tables: 8 contacts at random from each half of the keyspace that a bucket covers. Lookups are
Kademlia's, three queries at once, and end when the eight nearest nodes known have answered.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, Final

BITS: Final = 256
K: Final = 8
ALPHA: Final = 3
SLOW: Final = 0.6  # seconds
SILENT: Final = 1.5
LOST: Final = 0.03  # of the queries

Event = dict[str, Any]


@dataclass
class Traffic:
    """`rate` lookups a second among `nodes` nodes."""

    nodes: int
    rate: float
    seed: int = 1
    ids: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.ids = sorted(self.rng.getrandbits(BITS) for _ in range(self.nodes))
        self.hex = [f"{id:064x}" for id in self.ids]

    def endpoint(self, number: int) -> str:
        return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}:1729"

    def rows(self) -> list[list[object]]:
        """Return the nodes as `GET /v1/simulation/nodes` has them."""
        return [[number, self.hex[number], self.endpoint(number), True, number % 3] for number in range(self.nodes)]

    def events(self, seconds: float) -> list[Event]:
        """Return the events of so many seconds, in order."""
        told: list[Event] = []
        for op in range(int(seconds * self.rate)):
            told += self.lookup(op, self.rng.uniform(0, seconds))
        return sorted(told, key=lambda event: float(event["at"]))

    def named(self, by: int, target: int) -> list[int]:
        """Return the nodes that a node names: of the smallest part of the keyspace with the target that it knows."""
        shared = BITS - (self.ids[by] ^ target).bit_length()
        for bits in range(min(shared + 1, BITS), -1, -1):
            low = target >> (BITS - bits) << (BITS - bits)
            first, last = bisect_left(self.ids, low), bisect_left(self.ids, low + (1 << (BITS - bits)))
            others = (
                [number for number in range(first, last) if number != by] if last - first < 64 else range(first, last)
            )
            if len(others) >= K:
                return self.rng.sample(others, K)
        return []

    def lookup(self, op: int, begun: float) -> Iterator[Event]:
        """Yield the events of one lookup."""
        searcher, target = self.rng.randrange(self.nodes), self.rng.getrandbits(BITS)
        common = {"op": op, "n": searcher}
        yield {
            "at": begun,
            "kind": "lookup-begun",
            **common,
            "node_id": self.hex[searcher],
            "id": f"{target:064x}",
            "purpose": "lookup",
        }
        known = dict.fromkeys(self.named(searcher, target), 0)  # node -> hops
        done: set[int] = set()
        asked: set[int] = set()
        pending: list[tuple[float, int, int, float, str]] = []
        now, query, silent, hops = 0.0, 0, 0, 0
        best = max((self._bits(number, target) for number in known), default=0)
        while True:
            nearest = sorted((number for number in known), key=lambda number: self.ids[number] ^ target)[:K]
            fresh = [number for number in nearest if number not in asked]
            while fresh and len(pending) < ALPHA:
                number = fresh.pop(0)
                asked.add(number)
                query += 1
                hops = max(hops, known[number] + 1)
                yield self._step(
                    common, begun, now, number, query, "asked", hop=known[number] + 1, bits=self._bits(number, target)
                )
                trip = self.rng.lognormvariate(-2.6, 0.7)
                if self.rng.random() < LOST:
                    heappush(pending, (now + SILENT, number, query, SILENT, "silent"))
                else:
                    heappush(pending, (now + trip, number, query, trip, "answered"))
            if not pending:
                break
            now, number, of, trip, how = heappop(pending)
            if how == "silent":
                silent += 1
                known.pop(number, None)
                yield self._step(common, begun, now, number, of, "silent")
                continue
            done.add(number)
            names = self.named(number, target)
            for each in names:
                known.setdefault(each, known.get(number, 0) + 1)
            nearer = max([best, *(self._bits(each, target) for each in names)])
            nodes = [{"id": self.hex[each], "endpoint": self.endpoint(each)} for each in names]
            yield self._step(
                common,
                begun,
                now,
                number,
                of,
                "answered",
                rtt_ms=round(1000 * trip, 3),
                gained=nearer - best,
                nodes=nodes,
                late=trip > SLOW,
            )
            best = nearer
        ended = {"hops": hops, "queries": query, "responses": len(done), "timeouts": silent, "found": True}
        yield {"at": begun + now, "kind": "lookup-ended", **common, **ended, "elapsed_ms": round(1000 * now, 3)}

    def _bits(self, number: int, target: int) -> int:
        return BITS - (self.ids[number] ^ target).bit_length()

    def _step(
        self, common: Event, begun: float, now: float, number: int, query: int, step: str, **more: object
    ) -> Event:
        return {
            "at": begun + now,
            "kind": "lookup-step",
            **common,
            "to": number,
            "step": step,
            "query": query,
            "at_ms": round(1000 * now, 3),
            "endpoint": self.endpoint(number),
            "node_id": self.hex[number],
            "hop": None,
            "bits": None,
            "named_by": [],
            "about": None,
            "rtt_ms": None,
            "gained": None,
            "nodes": [],
            "peers": [],
            "late": False,
            "code": None,
            **more,
        }
