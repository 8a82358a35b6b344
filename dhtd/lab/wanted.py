"""Reads what a request wants: numbers from its path and its query, and the members of the object in its body."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import inf
from typing import Any, Final

from dhtd.core.ids import Id, Keyspace
from dhtd.errors import BadRequest
from dhtd.http.reading import read_body, read_query
from dhtd.service.params import SERIAL_MAX, shown

COUNT_MAX: Final = 1_000  # lookups or newcomers by one request
SPEED_MAX: Final = 1_000_000.0
MAX: Final = "max"  # the speed that is as fast as it goes
NODE_DIGITS: Final = 9  # of the number of a node


def query(text: bytes, *names: str) -> dict[str, str]:
    """Return a query by name; raise `BadRequest` where it has others than these."""
    found: dict[str, str] = {}
    for name, value in read_query(text):
        if name not in names:
            there = f"there are: {', '.join(names)}" if names else "there is none here"
            raise BadRequest(f"no parameter {shown(name)}; {there}")
        if name in found:
            raise BadRequest(f"{name!r} is there twice")
        found[name] = value
    return found


def body(data: bytes, *names: str) -> dict[str, Any]:
    """Return the object in a body; raise `BadRequest` where it has others than these members."""
    found = read_body(data)
    for name in found:
        if name not in names:
            raise BadRequest(f"no member {shown(name)}; there are: {', '.join(names)}")
    return found


def time(name: str, text: str) -> float:
    """Return a virtual time."""
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?", text):
        raise BadRequest(f"{name!r} is a time in seconds, such as 12.5, not {shown(text)}")
    return float(text)


def serial(text: str) -> int:
    """Return the serial of an event."""
    if not re.fullmatch(r"[0-9]{1,15}", text) or int(text) > SERIAL_MAX:
        raise BadRequest(f"'after' is the serial of an event, not {shown(text)}")
    return int(text)


def node(text: str) -> int:
    """Return the number of a node from a path."""
    if not re.fullmatch(rf"[0-9]{{1,{NODE_DIGITS}}}", text):
        raise BadRequest(f"a node has a number from 0, and not {shown(text)}")
    return int(text)


def number(given: Mapping[str, Any], name: str, low: float, high: float, *, beyond: bool = False) -> float:
    """Return a member that is a number from `low` to `high`, or more than `low` where it must be `beyond` it."""
    value = given.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRequest(f"{name!r} is a number, not {shown(value)}")
    if not ((low < value if beyond else low <= value) and value <= high):
        least = f"above {low:.15g}, to" if beyond else f"from {low:.15g} to"
        raise BadRequest(f"{name!r} is a number {least} {high:.15g}, not {shown(value)}")
    return float(value) + 0.0  # not minus zero


def count(given: Mapping[str, Any], default: int | None = None) -> int:
    """Return how many are wanted."""
    value = given.get("count", default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= COUNT_MAX:
        raise BadRequest(f"'count' is a number from 1 to {COUNT_MAX}, not {shown(value)}")
    return value


def speed(given: Mapping[str, Any]) -> float:
    """Return a speed: virtual seconds in a real one."""
    if given.get("speed") == MAX:
        return inf
    if isinstance(given.get("speed"), str):
        raise BadRequest(f"'speed' is a number from 0 to {SPEED_MAX:.15g}, or {MAX!r}, not {shown(given['speed'])}")
    return number(given, "speed", 0.0, SPEED_MAX)


def node_or_any(given: Mapping[str, Any]) -> int | None:
    """Return the number of the node that is wanted; None for any."""
    value = given.get("n")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**NODE_DIGITS:
        raise BadRequest(f"'n' is the number of a node, or null for any, not {shown(value)}")
    return value


def id_or_any(given: Mapping[str, Any], keyspace: Keyspace) -> Id | None:
    """Return the ID that is wanted; None for any."""
    value = given.get("id")
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadRequest(f"'id' is an ID in hex digits, or null for any, not {shown(value)}")
    return keyspace.parse(value)
