"""Where a Chord node stands: in a ring, on its way into one, or on its way out."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final


class Standing(Enum):
    """The states of a node. `TRANSITIONS` has the ways between them."""

    ALONE = auto()  # a ring of one, and nobody to ask for another
    SEEKING = auto()  # a ring of one; it asks the endpoints that it knows for its place in another
    JOINED = auto()  # it has a successor
    LEAVING = auto()  # it hands its records over
    LEFT = auto()  # it answers nobody


TRANSITIONS: Final = {
    Standing.ALONE: {Standing.SEEKING, Standing.JOINED, Standing.LEFT},
    Standing.SEEKING: {Standing.JOINED, Standing.LEFT},
    Standing.JOINED: {Standing.SEEKING, Standing.LEAVING},
    Standing.LEAVING: {Standing.LEFT},
    Standing.LEFT: set(),
}
