"""How the pictures of docs are drawn: one style, and the same file to the byte from the same figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK: Final = "#1a1a1a"
GREY: Final = "#767676"
FAINT: Final = "#d8d8d8"
# From Okabe and Ito's colours, which colour-blind people can tell apart.
BLUE: Final = "#0072B2"
ORANGE: Final = "#D55E00"
GREEN: Final = "#009E73"

_STYLE: Final[Any] = {
    "axes.edgecolor": GREY,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 17,
    "axes.titleweight": "bold",
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 14,
    "svg.fonttype": "path",
    "svg.hashsalt": "dhtd",
    "text.color": INK,
}


def save(path: Path, width: float, height: float, fill: Callable[[Figure], None]) -> None:
    """Write the SVG of a figure of this size in inches."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        figure = Figure(figsize=(width, height), facecolor="white")
        FigureCanvasAgg(figure)
        fill(figure)
        figure.savefig(path, format="svg", metadata={"Date": None})
