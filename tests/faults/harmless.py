"""The mutants that no test can or need catch, each with its reason, in harmless.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.faults.fault import Place

LIST: Final = Path(__file__).with_name("harmless.toml")


@dataclass(frozen=True, slots=True)
class Harmless:
    """One entry: a place, a change to any of `after`, and the reason why that does no harm."""

    path: str
    function: str
    before: str
    after: tuple[str, ...]
    reason: str
    nth: int = 1

    def places(self) -> list[Place]:
        """Return the places of these mutants."""
        return [Place(self.path, self.function, self.before, after, self.nth) for after in self.after]


def load(path: Path = LIST) -> list[Harmless]:
    tables = tomllib.loads(path.read_text()).get("harmless", [])
    return [Harmless(**{**table, "after": tuple(table["after"])}) for table in tables]
