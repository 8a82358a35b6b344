"""`dht info` on a terminal: a view of what is inside the daemon, in which nothing that matters is cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

from dhtd.cli.render_node import FAMILIES, about_node
from dhtd.cli.told import Told, shown
from dhtd.config.networks import MAINLINE, network_of
from dhtd.core.messages import VALUE_LASTS
from dhtd.words import count, duration

STATES = {"good": ("green", "█"), "questionable": ("yellow", "▓"), "bad": ("red", "░")}
_NEW_STATE = ("magenta", "?")  # one that only newer daemons have
_K = 8  # places in a bucket's bar; fuller buckets have longer ones
_ROWS_MAX = 20  # rows of each kind beside other sections; the rest is counted
_BAR_WIDTH = 12
_ID_MIN = 12  # digits of an ID that are always shown, which tell it from all others there are
_GAP = 2  # columns between cells


def info(told: Told, section: str | None) -> None:
    """Print the view of what is inside the daemon, or of one section of it."""
    console = Console(highlight=False)
    for part in _View(console.width, section).parts(told):
        console.print(part)


@dataclass
class _Row:
    """What is told of one thing. The ID is shortened to what there is room for; a bar is left out before that."""

    cells: list[Text]
    id: str = ""
    bar: Text = field(default_factory=Text)


class _View:
    """Draws for a terminal of so many columns."""

    def __init__(self, width: int, section: str | None) -> None:
        self._width = width
        self._section = section
        self._has_cut_id = False

    def parts(self, told: Told) -> Iterator[RenderableType]:
        """Yield what is to be printed of an answer."""
        for name in told.body:
            if name == "node":
                yield about_node(told.part(name))
            elif name == "routing_table":
                yield from self._routing_table(told.part(name).parts("buckets"))
            elif name in _LISTS:
                # Some lists are empty on most nodes.
                if told.body[name] or self._section or name not in _RARE:
                    title, row = _LISTS[name]
                    yield from self._entries(title, name, map(row, _in_order(name, told.parts(name))))
            elif name == "network":
                yield _title("Since start")
                yield from self._lines(self._in_halves(_counters(told.part(name).body)))
            else:  # a section that only newer daemons have
                yield _title(name)
                yield Text(f"dht info {name} | cat prints it", style="dim")
        if self._has_cut_id:
            yield Text("IDs that end in … are longer: dht info | cat prints them whole", style="dim")

    def _entries(self, title: str, section: str, rows: Iterable[_Row]) -> Iterator[RenderableType]:
        entries = list(rows)
        yield _title(f"{title}: {len(entries):,}")
        yield from self._table(entries, section)

    def _routing_table(self, buckets: list[Told]) -> Iterator[RenderableType]:
        families = list(dict.fromkeys(bucket.text("family") for bucket in buckets))
        for family in families:
            of_family = [bucket for bucket in buckets if bucket.text("family") == family]
            members = [member for bucket in of_family for member in bucket.parts("members")]
            of = f" of {FAMILIES.get(family, family)}" if len(families) > 1 else ""
            yield _title(f"Routing table{of}: {count(len(members), 'contact')}")
            filled = [bucket for bucket in of_family if bucket.parts("members")]
            yield from self._table([_bucket(bucket) for bucket in filled], "routing_table", none="empty")
            yield _legend(members, len(of_family) - len(filled))
            if members:
                yield _title(f"Contacts{of}")
                yield from self._table([_contact(member) for member in members], "routing_table")

    def _table(self, rows: Sequence[_Row], section: str, none: str = "none") -> Iterator[RenderableType]:
        """Yield the lines of some rows: one for each where there is room, else as many as it takes."""
        if not rows:
            yield Text(none, style="dim")
            return
        drawn = rows if self._section else rows[:_ROWS_MAX]
        yield from self._lines(drawn)
        if len(drawn) < len(rows):
            yield Text(f"and {len(rows) - len(drawn):,} more: dht info {section} shows all", style="dim")

    def _in_halves(self, rows: list[_Row]) -> list[_Row]:
        """Put the second half of some short rows beside the first, where there is room."""
        half = -(-len(rows) // 2)
        nothing = _Row([Text(), Text()])
        beside = [_Row([*a.cells, *b.cells]) for a, b in zip_longest(rows[:half], rows[half:], fillvalue=nothing)]
        return beside if _width(_columns(beside)) <= self._width else rows

    def _lines(self, rows: Sequence[_Row]) -> Iterator[Text]:
        if not rows:
            return
        columns = _columns(rows)
        id_width = max(len(row.id) for row in rows)
        bar_width = max(row.bar.cell_len for row in rows)
        beside_id = _width(columns) + (_GAP if id_width else 0)
        for bar in (bar_width + _GAP if bar_width else 0, 0):
            room = self._width - beside_id - bar
            if room >= min(id_width, _ID_MIN + 1):
                widths = [min(room, id_width), *columns] if id_width else columns
                for row in rows:
                    cells = [self._id(row.id, room), *row.cells] if id_width else row.cells
                    yield _line([*cells, row.bar] if bar else cells, widths)
                return
        for row in rows:
            first = [self._id(row.id, _ID_MIN + 1)] if row.id else []
            yield from _folded([*first, *(cell for cell in row.cells if cell.plain)], self._width)

    def _id(self, id: str, room: int) -> Text:
        """Return an ID, or as much of it as there is room for."""
        is_whole = len(id) <= room
        self._has_cut_id |= not is_whole
        return Text(id if is_whole else f"{id[: room - 1]}…", style="cyan")


def _columns(rows: Sequence[_Row]) -> list[int]:
    return [max(row.cells[place].cell_len for row in rows) for place in range(len(rows[0].cells) if rows else 0)]


def _width(columns: Sequence[int]) -> int:
    return sum(columns) + _GAP * max(0, len(columns) - 1)


def _line(cells: Sequence[Text], widths: Sequence[int]) -> Text:
    """Return cells in columns; the last one needs no width."""
    line = Text()
    for place, cell in enumerate(cells):
        line.append_text(cell)
        if place < len(cells) - 1:
            line.append(" " * (widths[place] - cell.cell_len + _GAP))
    return line


def _folded(cells: Iterable[Text], width: int) -> Iterator[Text]:
    """Yield lines of as many cells as fit, those after the first one indented."""
    line = Text()
    for cell in cells:
        if line.plain.strip() and line.cell_len + _GAP + cell.cell_len > width:
            yield line
            line = Text(" " * _GAP)
        elif line.plain:
            line.append(" " * _GAP)
        line.append_text(cell)
    yield line


def _title(text: str) -> RenderableType:
    return Padding(Text(text, style="bold"), (1, 0, 0, 0))


# What is told of each thing


def _bucket(bucket: Told) -> _Row:
    bar = Text()
    members = bucket.parts("members")
    order = list(STATES)
    for state in sorted(
        (member.text("state") for member in members), key=lambda state: order.index(state) if state in order else 9
    ):
        style, glyph = STATES.get(state, _NEW_STATE)
        bar.append(glyph, style=style)
    bar.append("·" * max(0, _K - len(members)), style="dim")
    active = Text(f"active {duration(bucket.number('last_activity_s'))} ago", style="dim")
    return _Row([Text(_range(bucket), style="cyan"), Text(count(len(members), "contact")), active], bar=bar)


def _range(bucket: Told) -> str:
    """Return what the IDs of a bucket have in common, in hexadecimal, and the rest of its bits as a mask."""
    try:
        low, high = int(bucket.text("low"), 16), int(bucket.text("high"), 16)
    except ValueError:
        return "-"
    digits_in_all = bucket.text("low")
    prefix = 4 * len(digits_in_all) - (low ^ high).bit_length()
    digits = -(-prefix // 4)
    shown_digits = (
        digits_in_all[:digits] if digits <= 8 else f"{digits_in_all[:3]}..{digits_in_all[digits - 3 : digits]}"
    )
    return f"{shown_digits}…/{prefix}"


def _legend(members: Sequence[Told], empty: int) -> Text:
    """Explain the glyphs that were drawn, and count what was not."""
    legend = Text()
    drawn = {member.text("state") for member in members}
    for state in sorted(drawn):
        style, glyph = STATES.get(state, _NEW_STATE)
        legend.append(f"{glyph} {state}  ", style=style)
    if empty:
        legend.append(f"{count(empty, 'empty bucket')} not shown", style="dim")
    return legend


def _contact(member: Told) -> _Row:
    state, rtt, heard = member.text("state"), member.number("rtt_ms"), member.number("last_activity_s")
    style, _ = STATES.get(state, _NEW_STATE)
    timeouts = member.number("timeouts")
    last = Text("never heard" if heard is None else f"heard {duration(heard)} ago", style="dim")
    if timeouts:
        last.append(f", {count(timeouts, 'timeout')} since")
    return _Row(
        [Text(member.text("endpoint")), Text(state, style=style), Text("-" if rtt is None else f"{rtt:.3g} ms"), last],
        id=member.text("id"),
    )


def _tracked(entry: Told) -> _Row:
    replicas, again, state = entry.number("replicas"), entry.number("refresh_in_s"), entry.text("state")
    held = Text(count(replicas, "replica"), style="green" if replicas else "red")
    when = Text("being published" if again == 0 else f"again in {duration(again)}")
    away = Text(f"{state}: {entry.text('message')}", style="red")
    name, file = (Text("" if entry.value(key) is None else entry.text(key)) for key in ("name", "file"))
    cells = [name, Text(f"port {entry.text('port')}"), held, away if state in {"failing", "waiting"} else when, file]
    return _Row(cells, entry.text("id"), _remaining(again, 2700, "blue"))


def _withdrawal(each: Told) -> _Row:
    state = Text("to be confirmed", style="green") if each.flag("acknowledged") else Text("to be asked", style="red")
    retry = each.number("retry_in_s")
    if network_of(each.text("id")) is MAINLINE:  # which has no withdrawals
        state = Text(f"expires in {duration(each.number('expires_in_s'))}")
    elif retry is not None:
        state.append(f" in {duration(retry)}", style="default")
    return _Row([Text(f"port {each.text('port')}"), Text(each.text("endpoint")), state], each.text("id"))


def _held(entry: Told) -> _Row:
    left, age = entry.number("expires_in_s"), entry.number("age_s")
    bar = _remaining(left, (age or 0) + (left or 0), "magenta")
    return _Row([Text(entry.text("endpoint")), Text(f"expires in {duration(left)}")], entry.text("id"), bar)


def _value(value: Told) -> _Row:
    replicas, again = value.number("replicas"), value.number("refresh_in_s")
    wanted = value.number("min_replicas") or 1
    enough = replicas is not None and replicas >= wanted
    held = Text(count(replicas, "replica"), style="green" if enough else "red")
    when = Text("being published" if again == 0 else f"again in {duration(again)}")
    name = Text("" if value.value("name") is None else value.text("name"))
    return _Row([name, *_of_value(value), held, when], value.text("id"), _remaining(again, 2700, "blue"))


def _held_value(value: Told) -> _Row:
    left = value.number("expires_in_s")
    cells = [Text(value.text("source")), *_of_value(value), Text(f"expires in {duration(left)}")]
    return _Row(cells, value.text("id"), _remaining(left, VALUE_LASTS, "magenta"))


def _of_value(value: Told) -> list[Text]:
    seq = value.value("seq")
    return [Text(f"{value.text('bytes')} bytes"), Text("never changes" if seq is None else f"seq {value.text('seq')}")]


def _in_order(section: str, rows: list[Told]) -> list[Told]:
    """Return what is held for others in the order in which it expires, and the rest as it is."""
    if section not in _EXPIRING:
        return rows
    return sorted(rows, key=lambda row: row.number("expires_in_s") or 0.0)


def _remaining(seconds: float | None, of: float, style: str) -> Text:
    filled = round(_BAR_WIDTH * min(1.0, (seconds or 0) / of)) if of > 0 else 0
    return Text("━" * filled, style=style).append("━" * (_BAR_WIDTH - filled), style="bright_black")


def _counters(counters: Mapping[str, Any]) -> list[_Row]:
    """Return the counters that have counted anything."""
    rows = []
    for name, value in counters.items():
        parts = value if isinstance(value, dict) else {"": value}
        for part, number in parts.items():
            if number:
                words = f"{number:,}" if isinstance(number, int) else shown(number)
                rows.append(_Row([Text(f"{name} {part}".strip().replace("_", " "), style="dim"), Text(words)]))
    return rows


# The sections that are lists, with their titles
_LISTS: Final[dict[str, tuple[str, Callable[[Told], _Row]]]] = {
    "tracking": ("Entered here", _tracked),
    "withdrawals": ("Deleted here, and perhaps still held", _withdrawal),
    "store": ("Held for others", _held),
    "values": ("Values kept here", _value),
    "held_values": ("Values held for others", _held_value),
}
_RARE: Final = ("withdrawals", "values", "held_values")
_EXPIRING: Final = ("store", "held_values")
