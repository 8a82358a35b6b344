"""The steps of a diagnosis on a terminal: each with a mark, as it is done, and its sentence beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dhtd.cli.terminal import drawing
from dhtd.cli.told import Told
from dhtd.cli.traced import printable

_MARKS: Final = {True: ("✓", "green"), False: ("✗", "bold red"), None: ("·", "dim")}
_STEP: Final = 13  # columns, with the space behind
_NARROW: Final = 40  # columns, below which steps have no names
_GOES_ON: Final = Text("… looking", "dim", no_wrap=True, overflow="crop")


class Steps:
    """Draws steps below each other, and under them, until the end, that it goes on."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._live = Live(_GOES_ON, console=self._console, transient=True, refresh_per_second=2)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Take the last line away at the end, and where a signal ends or stops the program."""
        with drawing(self._live.stop, self._live.start), self._live:
            yield

    def draw(self, told: Told) -> None:
        """Draw a step."""
        mark, style = _MARKS[told.flag("good")]
        columns = [(1, Text(mark, style))]
        if self._console.width >= _NARROW:
            columns.append((_STEP, Text(printable(told.text("step")), "dim")))
        rest = self._console.width - sum(width + 1 for width, _ in columns)
        self._row([*columns, (rest, Text(printable(told.text("message"))))])

    def end(self, told: Told, command: str | None) -> None:
        """Draw the verdict, and the command by itself: a line of it can be pasted, however wide it is."""
        style = "bold" if told.flag("healthy") else "bold red"
        self._console.print()
        self._console.print(Text(printable(told.text("verdict")), style))
        if command is not None:
            self._console.print(Text(f"    {printable(command)}", "bold"), soft_wrap=True)

    def _row(self, columns: list[tuple[int, Text]]) -> None:
        grid = Table.grid(padding=(0, 1, 0, 0))
        for width, _ in columns:
            grid.add_column(width=max(1, width), overflow="fold")
        grid.add_row(*(text for _, text in columns))
        self._console.print(grid)
