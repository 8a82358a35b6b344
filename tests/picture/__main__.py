"""Draws the pictures of README and docs. The name of the file says which: `python3 dev.py picture docs/ring.svg`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.picture import info, lookup, ring

PICTURES: Final[dict[str, Callable[[Path], None]]] = {
    "info.svg": info.draw,
    "lookup.svg": lookup.draw,
    "ring.svg": ring.draw,
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("dev.py picture", description="Draw a picture of README or docs.")
    parser.add_argument("file", type=Path, help=f"the SVG to write: {', '.join(PICTURES)}")
    options = parser.parse_args(arguments)
    draw = PICTURES.get(options.file.name)
    if draw is None:
        parser.error(f"no picture is named {options.file.name}; there are: {', '.join(PICTURES)}")
    draw(options.file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
