"""The picture of a lookup in docs/how-it-works.md: on the ring, in the tree, and how both close in on the key.

The networks are simulated, and stand. The same machine looks the same key up in both. A traced lookup tells the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from math import cos, pi, sin
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from dhtd.core.events import Event, LookupDone, LookupStep
from dhtd.core.ids import Id
from dhtd.core.traces import QueryAnswered, QueryAsked, QueryStep
from dhtd.sim.host import Host
from dhtd.sim.plan import Plan
from dhtd.sim.simulation import Simulation
from tests.picture.drawing import BLUE, FAINT, GREEN, GREY, INK, ORANGE, save

NODES: Final = 128
SEED: Final = 8
BITS: Final = 256
SIZE: Final = 1 << BITS  # of the keyspace
KEY: Final = Id(int.from_bytes(sha256(b"wiki").digest()))
WAY: Final = 0.8  # of the ring, from the machine that asks to the key
LEVELS: Final = 10  # of the tree that are drawn
HOPS: Final = (GREY, ORANGE, BLUE, GREEN, "#CC79A7", "#56B4E9", "#E69F00")  # colours by the number of the hop


@dataclass(frozen=True, slots=True)
class Asked:
    """A query of a lookup."""

    id: Id
    hop: int
    begun: float  # milliseconds since the lookup began
    ended: float | None  # without one, there was no answer


@dataclass(frozen=True, slots=True)
class Lookup:
    """What a traced lookup has told."""

    ids: tuple[Id, ...]  # of the network
    own: Id
    queries: tuple[Asked, ...]
    hops: int
    milliseconds: float


def draw(path: Path) -> None:
    save(path, 18, 6.4, _fill)


def looked_up(overlay: str) -> Lookup:
    """Return a lookup in a network that stands. The machine that asks has most of the ring before it."""
    simulation = Simulation(Plan(nodes=NODES, seed=SEED, overlay=overlay, warm=True, lookups=0, entries=1))
    net = simulation.net
    while net.now < simulation.stands_at + 60.0:
        simulation.advance(1)
    net.listener = None
    hosts = sorted(net.live, key=lambda host: host.id)
    net.enter(hosts[0], KEY, 8080)
    asker = min(hosts, key=lambda host: abs((KEY - host.id) / SIZE % 1 - WAY))
    steps: list[QueryStep] = []
    done: list[LookupDone] = []

    def heard(host: Host, event: Event) -> None:
        if isinstance(event, LookupStep) and event.op == op:
            steps.append(event.step)
        elif isinstance(event, LookupDone) and host is asker and event.op == op:
            done.append(event)

    begun = net.now
    net.listener = heard
    op = asker.member.commands.lookup(KEY, asker.clock(begun), traced=True)
    net.flush(asker)
    net.run_until(lambda: bool(done))
    answers = {step.query: 1000 * (step.at - begun) for step in steps if isinstance(step, QueryAnswered)}
    queries = tuple(
        Asked(step.contact.id, step.hops, 1000 * (step.at - begun), answers.get(step.query))
        for step in steps
        if isinstance(step, QueryAsked)
    )
    return Lookup(tuple(host.id for host in hosts), asker.id, queries, done[0].stats.hops, 1000 * (net.now - begun))


def on_the_ring(id: Id) -> int:
    """Return how often the ring was halved if only the way from an ID to the key is left."""
    return BITS - ((KEY - id) % SIZE).bit_length()


def in_the_tree(id: Id) -> int:
    """Return with how many bits of the key an ID begins: each halves the tree."""
    return BITS - (id ^ KEY).bit_length()


def _fill(figure: Figure) -> None:
    chord, kademlia = looked_up("chord"), looked_up("kademlia")
    _ring(figure.add_axes((0.0, 0.02, 0.31, 0.82)), chord)
    _tree(figure.add_axes((0.335, 0.06, 0.36, 0.76)), kademlia)
    _closing(figure.add_axes((0.755, 0.14, 0.235, 0.68)), chord, kademlia)


def _ring(axes: Any, lookup: Lookup) -> None:
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2))
    axes.set_title(f"On the ring: {lookup.hops} hops, {len(lookup.queries)} queries", loc="center", pad=12)
    axes.scatter(*zip(*map(_around, lookup.ids), strict=True), s=26, color=GREY, zorder=2)
    here = lookup.own
    for number, query in enumerate(lookup.queries, 1):
        x, y = _around(query.id)
        arrow = FancyArrowPatch(
            _around(here), (x, y), connectionstyle="arc3,rad=0.25", arrowstyle="-|>", mutation_scale=20,
            color=_colour(query.hop), linewidth=2.4, shrinkA=4, shrinkB=5, zorder=3,
        )  # fmt: skip
        axes.add_patch(arrow)
        axes.annotate(
            str(number), (1.1 * x, 1.1 * y), ha="center", va="center", color=_colour(query.hop), weight="bold"
        )
        here = query.id
    axes.scatter(*_around(lookup.own), s=110, color=INK, zorder=4)
    axes.annotate("asks", _scaled(_around(lookup.own), 0.82), ha="center", va="center")
    axes.scatter(*_around(KEY), s=150, marker="D", color=INK, zorder=4)
    axes.annotate("the key", _scaled(_around(KEY), 0.78), ha="center", va="center")


def _tree(axes: Any, lookup: Lookup) -> None:
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(-LEVELS - 1.6, 0.4))
    axes.set_title(f"In the tree: {lookup.hops} hops, {len(lookup.queries)} queries", loc="center", pad=12)
    for low, high, level in _branches(lookup.ids, 0, SIZE, 0):
        axes.plot((_across(low), _across(high)), (-level, -level - 1), color=FAINT, linewidth=1.2, zorder=1)
    depths = {id: _depth(id, lookup.ids) for id in lookup.ids}

    def leaf(id: int, depth: int) -> tuple[float, float]:
        width = SIZE >> depth
        return (id // width + 0.5) * width / SIZE, -depth

    axes.scatter(*zip(*(leaf(id, depths[id]) for id in lookup.ids), strict=True), s=14, color=GREY, zorder=2)
    for query in lookup.queries:
        axes.scatter(*leaf(query.id, depths[query.id]), s=95, color=_colour(query.hop), zorder=4)
    axes.scatter(*leaf(lookup.own, depths[lookup.own]), s=110, color=INK, zorder=4)
    axes.annotate("asks", leaf(lookup.own, depths[lookup.own] + 1), ha="center", va="top")
    axes.scatter(KEY / SIZE, -LEVELS - 0.6, s=130, marker="D", color=INK, zorder=4)
    axes.annotate("the key", (KEY / SIZE + 0.025, -LEVELS - 0.6), va="center")
    for hop in range(1, lookup.hops + 1):
        axes.scatter(0.02 + 0.13 * (hop - 1), -LEVELS - 1.4, s=95, color=_colour(hop))
        axes.annotate(f"hop {hop}", (0.04 + 0.13 * (hop - 1), -LEVELS - 1.4), va="center")


def _closing(axes: Any, chord: Lookup, kademlia: Lookup) -> None:
    axes.set_title("Closing in", pad=12)
    for lookup, halvings, colour, name in ((chord, on_the_ring, ORANGE, "ring"), (kademlia, in_the_tree, BLUE, "tree")):
        times, bits = [0.0], [halvings(lookup.own)]
        for query in sorted(lookup.queries, key=lambda query: query.ended or 0.0):
            if query.ended is not None:
                times.append(query.ended)
                bits.append(max(bits[-1], halvings(query.id)))
        axes.step([*times, lookup.milliseconds], [*bits, bits[-1]], where="post", color=colour, linewidth=3, label=name)
        axes.plot(times[1:], bits[1:], "o", color=colour)
    axes.set_xlabel("milliseconds since the lookup began")
    axes.set_ylabel("halvings of the way to the key")
    axes.legend(frameon=False, loc="lower right")


def _around(id: int) -> tuple[float, float]:
    """Return the place of an ID on the circle, which begins on top and goes clockwise."""
    turn = 2 * pi * id / SIZE
    return sin(turn), cos(turn)


def _scaled(place: tuple[float, float], factor: float) -> tuple[float, float]:
    return factor * place[0], factor * place[1]


def _across(place: int) -> float:
    return place / SIZE


def _branches(ids: tuple[Id, ...], low: int, high: int, level: int) -> Iterator[tuple[int, int, int]]:
    """Yield from where to where each branch goes, and its level, as far as more than one ID is below."""
    inside = tuple(id for id in ids if low <= id < high)
    if len(inside) < 2 or level == LEVELS:
        return
    middle = (low + high) // 2
    for begin, end in ((low, middle), (middle, high)):
        if any(begin <= id < end for id in inside):
            yield middle, (begin + end) // 2, level
            yield from _branches(inside, begin, end, level + 1)


def _depth(id: Id, ids: tuple[Id, ...]) -> int:
    """Return the level at which an ID is alone."""
    nearest = max(BITS - (id ^ other).bit_length() for other in ids if other != id)
    return min(LEVELS, nearest + 1)


def _colour(hop: int) -> str:
    return HOPS[hop % len(HOPS)]
