"""A fault: a few changes of the code, made in a copy of the checkout, for the tests to notice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class DoesNotApplyError(Exception):
    """The code has changed, and a fault no longer fits it."""


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a mutant, in words that hold when lines move."""

    path: str  # from the root of the checkout
    function: str  # for example Search.next; empty at the level of the module
    before: str  # the lines that change, in one
    after: str
    nth: int = 1  # of the pieces in the function that read alike

    def __str__(self) -> str:
        """Return one line for a person."""
        nth = f" ({self.nth})" if self.nth > 1 else ""
        return f"{self.path} {self.function or '-'}{nth}: {self.before}  =>  {self.after}"


@dataclass(frozen=True, slots=True, eq=False)
class Fault:
    """The whole text of each file that is changed, by path."""

    name: str
    texts: dict[str, str]
    place: Place | None = None  # of a mutant


@dataclass(frozen=True, slots=True)
class Change:
    """Replace `before`, which is in the file once, by `after`."""

    path: str
    before: str
    after: str


def seed(root: Path, name: str, changes: tuple[Change, ...]) -> Fault:
    """Return the fault of these changes to the code under `root`; raise `DoesNotApplyError`."""
    texts: dict[str, str] = {}
    for change in changes:
        text = texts.get(change.path) or (root / change.path).read_text()
        found = text.count(change.before)
        if found != 1:
            raise DoesNotApplyError(f"{name}: {change.path} has {found} times, not once:\n{change.before}")
        texts[change.path] = text.replace(change.before, change.after)
    return Fault(name, texts)
