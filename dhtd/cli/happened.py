"""One event of the node as a line: the time, the kind, and pairs of a name and a value."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dhtd.cli.told import word
from dhtd.cli.traced import printable

_APART = ("serial", "at", "kind")


def line(event: Mapping[str, Any]) -> str:
    """Return the line. What is null, empty or false is left out, since most kinds have much of it."""
    words = [_time(event.get("at")), word(event.get("kind"))]
    for name, value in event.items():
        if name not in _APART and value is not None and value is not False and value not in ([], {}):
            words.append(f"{name}={_value(value)}")
    return printable(" ".join(words))


def _value(value: object) -> str:
    """Return a value as one word: the endpoints of nodes, elements with commas, and pairs with colons."""
    if isinstance(value, list):
        return ",".join(
            word(each["endpoint"] if isinstance(each, dict) and "endpoint" in each else each) for each in value
        )
    if isinstance(value, dict):
        return ",".join(f"{word(name)}:{word(each)}" for name, each in value.items())
    return word(value)


def _time(at: object) -> str:
    """Return the UTC of seconds since the epoch, in milliseconds."""
    try:
        moment = datetime.fromtimestamp(at if isinstance(at, int | float) else float("nan"), UTC)
    except (ValueError, OverflowError, OSError):
        return "-"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
