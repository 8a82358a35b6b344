"""A fuzz target, and its known inputs.

A target takes any bytes and raises if something is wrong. Its inputs come from three places: the target makes some
itself (from the golden datagrams, for example), `corpus/TARGET.hex` has those that led a fuzzer somewhere, and
`findings/TARGET.hex` those that were once wrong. A line is an input in hex, and `#` begins a comment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
PLACE: Final = Path(".fuzz")  # the results of runs


@dataclass(frozen=True)
class Target:
    """One thing to fuzz."""

    name: str
    summary: str
    check: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]
    largest: int  # bytes of an input
    mutate: Callable[[bytes, int], bytes] | None = None  # changes an input by its structure, as a seed says
    read: Callable[[bytes], None] | None = None  # reads an input without a check, to measure its cost

    def corpus(self) -> list[bytes]:
        """Return every known input, with old findings."""
        return [*self.seeds(), *committed(f"corpus/{self.name}.hex"), *committed(f"findings/{self.name}.hex")]


def committed(name: str) -> list[bytes]:
    """Return the inputs in a file; none if there is no file."""
    path = HERE / name
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    return [bytes.fromhex(text) for line in lines if (text := line.partition("#")[0].strip())]
