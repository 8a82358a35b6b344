"""The answers of a daemon of any version, older or newer.

A missing value is shown as `-`, and an unknown one as it is.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

_MOST = 1e18


class Told:
    """One object of an answer. `gaps` collects the missing keys of the whole answer."""

    def __init__(self, body: Mapping[str, Any], where: str = "", gaps: dict[str, None] | None = None) -> None:
        self.body = body
        self.gaps: dict[str, None] = {} if gaps is None else gaps
        self._where = where

    def value(self, key: str) -> Any:
        """Return the value at a key, or None."""
        if key not in self.body:
            self._miss(key)
        return self.body.get(key)

    def text(self, key: str) -> str:
        """Return the value as it is printed."""
        return shown(self.value(key))

    def number(self, key: str) -> float | None:
        """Return the value if it is a plausible number: not NaN, and not beyond all counts."""
        value = self.value(key)
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and -_MOST < value < _MOST
        return value if is_number else None

    def flag(self, key: str) -> bool | None:
        """Return the value if it is true or false."""
        value = self.value(key)
        return value if isinstance(value, bool) else None

    def texts(self, key: str) -> list[str]:
        """Return the elements of a list as they are printed."""
        value = self.value(key)
        return [shown(element) for element in value] if isinstance(value, list) else []

    def part(self, key: str) -> Told:
        """Return the object at a key; an empty one where there is none."""
        value = self.value(key)
        return Told(value if isinstance(value, dict) else {}, f"{self._where}{key}.", self.gaps)

    def parts(self, key: str) -> list[Told]:
        """Return the objects in a list."""
        value = self.value(key)
        elements = value if isinstance(value, list) else []
        return [Told(element, f"{self._where}{key}[].", self.gaps) for element in elements if isinstance(element, dict)]

    def row(self, keys: Iterable[str]) -> list[str]:
        """Return the values at these keys as they are printed, and then those at unknown keys."""
        known = tuple(keys)
        return [
            *(word(self.value(key)) for key in known),
            *(word(self.body[key]) for key in self.body if key not in known),
        ]

    def _miss(self, key: str) -> None:
        self.gaps[self._where + key] = None


def holders_of(told: Told) -> int | None:
    """Return how many nodes hold an entry, if that is told: one that was reached by both address families is one."""
    return len({replica.text("node_id") for replica in told.parts("replicas")}) if "replicas" in told.body else None


def named(told: Told) -> str:
    """Return the name of the ID that an answer is about, with a colon; nothing if it has none."""
    name = told.body.get("name")
    return f"{name}: " if isinstance(name, str) else ""


def word(value: object) -> str:
    """Return a value as one word of a line: a text with white space or quotes is quoted as for a shell."""
    text = shown(value)
    is_word = not isinstance(value, str) or not (value == "-" or any(c.isspace() or c in "\"'\\" for c in value))
    return text if is_word else shlex.quote(text)


def shown(value: object) -> str:
    """Return a value as it is printed."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case dict() | list():
            return json.dumps(value)
        case _:
            return str(value)
