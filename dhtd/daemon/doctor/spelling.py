"""IDs in sentences and in commands, and names that resemble another."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from typing import Final

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,62}")
_SIMILAR: Final = 0.75  # of `difflib`
_COMPARED_MAX: Final = 2_000  # names: 12 ms of work with 10 characters each, 55 ms with 60
_SLIP: Final = 4  # characters by which the length of a name differs from that of the one that is meant
_SHORT: Final = 8  # digits of an ID in a sentence


class Spelling:
    """One ID, and the name by which people know it, if there is one."""

    def __init__(self, id: str, name: str | None) -> None:
        self.id = id
        self.name = name

    def __str__(self) -> str:
        return self.name or f"{self.id[:_SHORT]}..."

    def argument(self) -> str:
        """Return it as the arguments of a command."""
        if self.name is None or self.name.startswith("-"):
            return self.id
        letters = [character for character in self.name if character not in "0123456789abcdefABCDEF"]
        is_plain = _PLAIN.fullmatch(self.name) and 2 * len(letters) > len(self.name)
        return self.name if is_plain else f"--name {shlex.quote(self.name)}"


def similar(name: str, names: Iterable[str]) -> str | None:
    """Return the name that is meant by a slip: another case, or some other letters; None if there is none.

    With many names, this is work for a thread.
    """
    known = [each for each in dict.fromkeys(names) if each != name and abs(len(each) - len(name)) <= _SLIP]
    folded = name.casefold().strip()
    for each in known:
        if each.casefold().strip() == folded:
            return each
    others = islice(known, _COMPARED_MAX)
    return next(iter(get_close_matches(name, others, 1, _SIMILAR)), None)
