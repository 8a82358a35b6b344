"""A traced lookup on a terminal: a tree of its queries that grows while they are answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from dhtd.cli.terminal import drawing
from dhtd.cli.told import Told
from dhtd.cli.traced import Query, Traced, printable

_STYLES: Final = {"time": "", "gain": "green", "found": "bold", "fault": "yellow", "plain": "dim"}
_OUTCOMES: Final = {"asked": "dim", "answered": "green", "silent": "red", "refused": "red"}
_WIDE: Final = 60  # columns from which on a node's ID is shown


def trace(answers: Iterator[Told], title: str) -> Told:
    """Draw the events as they arrive, and leave the whole tree on the terminal; return the result."""
    console = Console(highlight=False)
    traced = Traced()
    live = Live(
        console=console, refresh_per_second=8, transient=True, get_renderable=lambda: tree(traced, title, console)
    )
    with drawing(live.stop, live.start), live:
        for told in answers:
            if "step" in told.body:
                traced.take(told)
    console.print(tree(traced, title, console))
    return told


def tree(traced: Traced, title: str, console: Console) -> Group:
    """Return the queries so far: under each those that its answer has led to, one a line."""
    lines = [_cut(Text(printable(title), style="bold"))]
    waiting = _children("", traced.first)
    while waiting:  # no recursion: a liar may lead a lookup through a hundred hops
        guide, further, query = waiting.pop()
        text = Text(_end_of(guide, console.width // 2), style="bright_black")
        lines.append(_cut(text.append_text(_line(query, is_wide=console.width >= _WIDE))))
        waiting += _children(further, query.next)
    return Group(*lines)


def _children(guide: str, queries: list[Query]) -> list[tuple[str, str, Query]]:
    """Return queries in reverse, each with what stands before its line, and before the lines below it."""
    found = [(f"{guide}├── ", f"{guide}│   ", query) for query in queries]
    if queries:
        found[-1] = (f"{guide}└── ", f"{guide}    ", queries[-1])
    return found[::-1]


def _end_of(guide: str, width: int) -> str:
    """Return as much of the end of a guide as there is room for, so that the node is seen at any depth."""
    return guide if len(guide) <= width else f"…{guide[len(guide) - max(0, width - 1) :]}"[:width]


def _line(query: Query, *, is_wide: bool) -> Text:
    sign = {"answered": "● ", "asked": "○ "}.get(query.outcome, "✗ ")
    text = Text(sign, style=_OUTCOMES.get(query.outcome, ""))
    text.append(printable(query.endpoint), style="default")
    if is_wide:
        text.append(f" {printable(query.short_id)}", style="dim")
    if query.bits is not None:
        text.append(f" {query.bits:g} bits", style="dim")
    for words, kind in query.words():
        text.append("  ")
        text.append(words, style=_STYLES[kind])
    return _cut(text)


def _cut(text: Text) -> Text:
    """Have a text take one line, however narrow the terminal is."""
    text.no_wrap, text.overflow = True, "ellipsis"
    return text
