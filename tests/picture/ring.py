"""The picture of the ring in docs/how-it-works.md: whose each key is, what moves, and how the load is shared.

Everything in it is what `dhtd.HashRing` says of some keys. A key is drawn at the place of its hash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2s
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure
from matplotlib.patches import Wedge

import dhtd
from tests.picture.drawing import BLUE, FAINT, GREY, INK, ORANGE, save

MACHINES: Final = [f"192.0.2.{number}:80" for number in range(10)]
NEWCOMER: Final = "192.0.2.10:80"
KEYS: Final = [f"key:{number}" for number in range(1_500)]  # that are drawn
COLOURS: Final = (
    "#332288",
    "#88CCEE",
    "#44AA99",
    "#117733",
    "#999933",
    "#DDCC77",
    "#CC6677",
    "#882255",
    "#AA4499",
    "#661100",
)  # fmt: skip - Paul Tol's, which colour-blind people can tell apart
VNODES: Final = (1, 10, 150)


def draw(path: Path) -> None:
    save(path, 18, 5.6, _fill)


def hashed(key: str) -> int:
    return int.from_bytes(blake2s(key.encode()).digest())


def by_remainder(key: str, machines: Sequence[str]) -> str:
    return machines[hashed(key) % len(machines)]


def _fill(figure: Figure) -> None:
    owned, remainder, ring = (figure.add_axes((0.01 + 0.235 * at, 0.03, 0.22, 0.78)) for at in range(3))
    ten, eleven = dhtd.HashRing(MACHINES, 1), dhtd.HashRing([*MACHINES, NEWCOMER], 1)
    colour = dict(zip(MACHINES, COLOURS, strict=True))
    _circle(owned, "Whose is a key?", "10 machines, 8 places each")
    _keys(owned, {key: colour[ten.node(key)] for key in KEYS})

    def moved(finds: Callable[[str, Sequence[str]], str]) -> list[str]:
        return [key for key in KEYS if finds(key, MACHINES) != finds(key, [*MACHINES, NEWCOMER])]

    at_ring = [key for key in KEYS if ten.node(key) != eleven.node(key)]
    for axes, keys, title in (
        (remainder, moved(by_remainder), "The remainder"),
        (ring, at_ring, "The ring"),
    ):
        share = 100 * len(keys) / len(KEYS)
        _circle(axes, title, f"an 11th machine comes:\n{share:.0f} % of the keys move")
        _keys(axes, dict.fromkeys(KEYS, FAINT) | dict.fromkeys(keys, ORANGE))
    _loads(figure.add_axes((0.765, 0.16, 0.22, 0.65)))


def _circle(axes: Any, title: str, words: str) -> None:
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set(xlim=(-1, 1), ylim=(-1, 1))
    axes.set_title(title, pad=14, loc="center")
    axes.text(0, 0, words, ha="center", va="center", color=INK)


def _keys(axes: Any, colour: Mapping[str, str]) -> None:
    """Draw each key at its place on the circle, which begins on top and goes clockwise."""
    turns = sorted(((hashed(key) >> 224) / 2**32, colour[key]) for key in KEYS)
    for painted, run in groupby(zip(turns, [*turns[1:], (1.0, "")], strict=True), key=lambda pair: pair[0][1]):
        pairs = list(run)
        begin, end = pairs[0][0][0], pairs[-1][1][0]
        axes.add_patch(Wedge((0, 0), 1.0, 90 - 360 * end, 90 - 360 * begin, width=0.2, color=painted, linewidth=0))


def _loads(axes: Any) -> None:
    axes.set_title("The load of each machine", pad=14)
    for at, vnodes in enumerate(VNODES):
        found = dhtd.HashRing(MACHINES, vnodes).balance()
        loads = sorted(found.counts[each] / found.expected[each] for each in MACHINES)
        axes.bar([at + 0.08 * (number - 4.5) for number in range(10)], loads, 0.07, color=BLUE)
        axes.annotate(
            f"{loads[-1]:.2f}", (at + 0.36, loads[-1]), (0, 5), textcoords="offset points", ha="right", color=BLUE
        )
    axes.axhline(1, color=GREY, linewidth=1, linestyle="--")
    axes.set_xticks(range(len(VNODES)), [f"{vnodes}" for vnodes in VNODES])
    axes.set_xlabel("virtual nodes of each machine")
    axes.set_ylabel("keys ÷ a fair share")
    axes.set_ylim(0, 2.1)
