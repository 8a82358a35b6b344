"""Long lists of `info` in pages: `limit` rows of each list, from `offset` on, and where the next page is."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from dhtd.errors import BadRequest
from dhtd.service.params import shown

LIMIT: Final = 100  # rows in a page, where the request does not say
LIMIT_MAX: Final = 1_000
OFFSET_MAX: Final = 10_000_000
_BUCKETS: Final = "buckets"  # the list in the section `routing_table`


class Page:
    """The rows of one page, of each list of an `info`."""

    def __init__(self, limit: int = LIMIT, offset: int = 0) -> None:
        self._limit = limit
        self._offset = offset
        self._sections: dict[str, Any] = {}
        self._seen: dict[str, int] = {}  # rows, by section

    async def add(self, part: Mapping[str, Any]) -> None:
        """Take a part of the answer."""
        for name, value in part.items():
            if isinstance(value, list):
                self._take(name, value, self._sections.setdefault(name, []))
            elif isinstance(value, dict) and _BUCKETS in value:
                self._take(name, value[_BUCKETS], self._sections.setdefault(name, {_BUCKETS: []})[_BUCKETS])
            else:
                self._sections[name] = value

    def answer(self, path: str, elements: Mapping[str, str]) -> dict[str, Any]:
        """Return the sections, and the paths of the next pages by section."""
        end = self._offset + self._limit
        base = path.removesuffix("/{section}")
        query = f"limit={self._limit}&offset={end}"
        further = {name: f"{base}/{name}?{query}" for name, seen in self._seen.items() if seen > end}
        return {**self._sections, "next": further}

    def _take(self, name: str, rows: list[Any], taken: list[Any]) -> None:
        seen = self._seen.get(name, 0)
        skipped = max(0, self._offset - seen)
        taken += islice(rows, skipped, skipped + self._limit - len(taken))
        self._seen[name] = seen + len(rows)


def read_page(query: list[tuple[str, str]]) -> tuple[Page, list[tuple[str, str]]]:
    """Return the page that a query asks for, and what else is in the query; raise `BadRequest`."""
    given: dict[str, int] = {}
    others = []
    for name, text in query:
        most = {"limit": LIMIT_MAX, "offset": OFFSET_MAX}.get(name)
        if most is None:
            others.append((name, text))
            continue
        least = 1 if name == "limit" else 0
        if not (text.isascii() and text.isdecimal() and len(text) <= 9 and least <= int(text) <= most):
            raise BadRequest(f"{name!r} is a number from {least} to {most}, not {shown(text)}")
        if name in given:
            raise BadRequest(f"{name!r} is there twice")
        given[name] = int(text)
    return Page(**given), others
