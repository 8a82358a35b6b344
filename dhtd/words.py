"""Numbers in words: how many of what, and how long."""

from __future__ import annotations


def count(number: object, noun: str) -> str:
    """Return `1 node`, `2 nodes`; `- nodes` for a number that is not known, and what is no number as it is."""
    plural = f"{noun[:-1]}ies" if noun.endswith("ry") else f"{noun}s"
    if not isinstance(number, int | float):
        return f"{'-' if number is None else number} {plural}"
    return f"{number:,} {noun if number == 1 else plural}"


def about(number: float) -> str:
    """Return an estimate in words: two digits of it, since no estimate is better than that."""
    whole = max(0, round(number))
    unit = 10 ** max(0, len(str(whole)) - 2)
    return f"about {round(whole / unit) * unit:,}"


def duration(seconds: float | None) -> str:
    """Return a duration in its two largest units, such as `2 h 5 min`; `-` for one that is not known."""
    if seconds is None:
        return "-"
    if 0 < seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    whole = int(seconds)
    for size, unit, part_size, part_unit in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // part_size
            return f"{whole // size} {unit}" + (f" {rest} {part_unit}" if rest else "")
    return f"{whole} s"
