"""The doors of a daemon, beside its control socket: all are open, or none."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Self

from dhtd.service.door import Door


class Doors:
    """Entering the context opens all doors, or raises a `DhtdError`. Leaving it closes them."""

    def __init__(self, doors: Sequence[Door]) -> None:
        self.all = tuple(doors)
        self.places: list[str] = []  # where programs knock, for people
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            for door in self.all:
                self.places += door.open()
                opened.callback(door.close)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._opened.close()
